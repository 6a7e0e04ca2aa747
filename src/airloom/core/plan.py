"""A plan: which stage runs where, and what travels between stages.

A plan is a directed graph. A stage fires when its inputs are there. A chain is the simplest
such graph and the parts of a pruned network side by side are another; one engine runs both.
"""

from __future__ import annotations

from airloom.core.value import SCHEMA_VERSION, Basis, Value


class Stage(Value, frozen=True):
    """Operators `start..stop-1` on one device.

    Attributes:
        inputs, outputs: tensor ids of the model graph that it reads from others, and that others
            or the user need.
        predicted_s: seconds it should take.
    """

    id: str
    device: str
    start: int
    stop: int
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    predicted_s: float = 0.0


class Slice(Value, frozen=True):
    """A tensor, or some of its feature maps (`maps` empty means all)."""

    tensor: int
    maps: tuple[int, ...] = ()


class Hop(Value, frozen=True):
    """One link of a transfer's route and what it should cost."""

    src: str
    dst: str
    nbytes: int = 0
    predicted_s: float = 0.0


class Transfer(Value, frozen=True):
    """Slices from one stage to another over a route; `src` "" is the input, `dst` "" the result."""

    src: str
    dst: str
    slices: tuple[Slice, ...]
    route: tuple[Hop, ...] = ()
    coding: str = "raw"


class Alternative(Value, frozen=True):
    """A plan that lost, and by how much; `scheme` names the baseline, or "" for a runner-up."""

    stops: tuple[int, ...]
    predicted_s: float
    scheme: str = ""


class Plan(Value, frozen=True, dict=True):
    """A checked, printable decision.

    Attributes:
        chain: the devices in order, source first, those that run nothing included.
        stops: for each device of the chain, the cut at which it stops.
        limits: what bounds the latency: a device id or `src->dst`, the largest share first.
    """

    model: str
    graph_digest: str
    problem_digest: str
    chain: tuple[str, ...]
    stops: tuple[int, ...]
    stages: tuple[Stage, ...]
    transfers: tuple[Transfer, ...]
    predicted_s: float
    predicted_j: float | None = None
    epoch: int = 0
    basis: Basis = "modelled"
    alternatives: tuple[Alternative, ...] = ()
    limits: tuple[str, ...] = ()
    schema: int = SCHEMA_VERSION
