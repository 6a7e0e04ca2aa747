"""A number and where it comes from (law 8)."""

from __future__ import annotations

from airloom.core.value import Basis, Value


class Figure(Value, frozen=True):
    """A number and where it comes from; its unit is in the name of the field that holds it."""

    value: float
    basis: Basis
