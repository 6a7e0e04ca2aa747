"""A plan: which stage runs where, and what travels between stages.

A plan is a directed graph. A stage fires when its inputs are there. A chain is the simplest
such graph and the parts of a pruned network side by side are another; one engine runs both.
"""

from __future__ import annotations

from airloom.core.objective import Objective
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
    """One link of a transfer's route and what it should cost.

    Attributes:
        nbytes: on the wire, framing included, repairs not.
        mcs: of a radio link.
        tolerable: share of the blocks that may stay missing; 0 is reliable.
        rounds: expected round trips of repair.
        missing: expected share of the blocks that stay missing.
    """

    src: str
    dst: str
    nbytes: int = 0
    predicted_s: float = 0.0
    mcs: int | None = None
    tolerable: float = 0.0
    rounds: float = 0.0
    missing: float = 0.0


class Transfer(Value, frozen=True):
    """Slices from one stage to another over a route; `src` "" is the input, `dst` "" the result.

    Attributes:
        coding: the name of a coding (`core.coding`), the same on every hop of the route.
        accuracy_drop: expected loss of accuracy of this transfer.
    """

    src: str
    dst: str
    slices: tuple[Slice, ...]
    route: tuple[Hop, ...] = ()
    coding: str = "raw"
    accuracy_drop: float = 0.0


class PlanCost(Value, frozen=True):
    """What a plan costs one request in a metric, and the bound on it if there is one.

    Attributes:
        name: as `core.objective.named` has it: "energy@ue".
        predicted: in s, J, bytes or money.
    """

    name: str
    predicted: float
    limit: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the bound is kept; true where there is none."""
        return self.limit is None or self.predicted <= self.limit * (1.0 + 1e-9)


class PlanPart(Value, frozen=True):
    """A part of what a plan predicts: "forward", "backward", "moves" and the like; the parts add up to it.

    Attributes:
        nbytes: on the wire, of what travels.
        basis: of the seconds.
    """

    name: str
    predicted_s: float
    nbytes: float = 0.0
    basis: Basis = "modelled"


class Alternative(Value, frozen=True):
    """A plan that lost, and by how much.

    Attributes:
        chain: its devices where they are not the plan's; empty where they are.
        scheme: the baseline, the other solver ("convex") or the like; "" for a runner-up.
        costs: in the metrics of the plan beside which it stands.
    """

    stops: tuple[int, ...]
    predicted_s: float
    scheme: str = ""
    costs: tuple[PlanCost, ...] = ()
    chain: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether it keeps all bounds."""
        return all(cost.kept for cost in self.costs)


class Plan(Value, frozen=True, dict=True):
    """A checked, printable decision.

    Attributes:
        chain: the devices in order, source first, those that run nothing included.
        stops: for each device of the chain, the cut at which it stops.
        limits: what bounds the latency: a device id or `src->dst`, the largest share first.
        min_accuracy: the floor that was demanded; None without one.
        clean_accuracy: of the model whole, as its tolerance profile has it.
        predicted_accuracy: what requests should come to under this plan; None without a tolerance profile.
        notes: remarks for people, a line each.
        objective: what the plan was to be good at; None is the least latency.
        costs: what it costs in the metrics of the objective, best effort first, then latency and energy where known.
        gap: proven bound on how far, relative, its best-effort cost lies above the optimum's; None where
            the solver proves none.
        parts: what a training step, or a step whose parameters travel, is made of; empty for plain requests.
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
    min_accuracy: float | None = None
    clean_accuracy: float | None = None
    predicted_accuracy: float | None = None
    notes: tuple[str, ...] = ()
    objective: Objective | None = None
    costs: tuple[PlanCost, ...] = ()
    gap: float | None = None
    parts: tuple[PlanPart, ...] = ()
    schema: int = SCHEMA_VERSION
