"""Failure of HARQ attempts on the paper's uplink, by the BLER of the first."""

from __future__ import annotations

from cutwork import Failures
from link import independent


def attempt_failures(prbs: int) -> Failures:
    return independent
