"""A run: what was tried on which network, what was predicted, and what came of it.

A run folder holds `run.json`, one `RunRecord`, and `traces/SCHEME/HOST.jsonl`, one trace file a host
(docs/formats.md). The record has what traces cannot tell: the topology, the plans and what they
predicted, the emulated changes, the labels. Everything measured is in the traces.
"""

from __future__ import annotations

from airloom.core.objective import Objective
from airloom.core.plan import Plan, PlanCost, Stage, Transfer
from airloom.core.profile import Machine
from airloom.core.tolerance import Contract
from airloom.core.topology import Conditions, Topology
from airloom.core.value import SCHEMA_VERSION, Basis, Value

#: Name of the scheme of a run of training, whose requests are steps.
TRAINING = "training"


class Phase(Value, frozen=True):
    """A stretch of a scheme's requests over which the network was left as it was.

    Attributes:
        name: for people, "before the drop".
        first_request: the phase holds the requests from here up to the next phase's first, counted
            from 0 in the order of their submission.
        conditions: how the network differed from the topology.
        predicted_s: latency of one request that the planner gave, None where nobody predicted it.
        stops: for each device of `RunRecord.chain`, the cut at which it was predicted to stop.
        basis: where `predicted_s` comes from.
        predicted_j: energy of one request.
        predicted_accuracy: what its requests should come to; None without a tolerance profile.
        transfers: how cuts were predicted to travel, coding and MCS; empty without a tolerance profile.
        notes: the planner's remarks, a line each.
        costs: what one request should cost in the metrics of the run's objective, with its bounds.
    """

    name: str
    first_request: int = 0
    conditions: Conditions = Conditions()
    predicted_s: float | None = None
    stops: tuple[int, ...] = ()
    basis: Basis = "modelled"
    predicted_j: float | None = None
    predicted_accuracy: float | None = None
    transfers: tuple[Transfer, ...] = ()
    notes: tuple[str, ...] = ()
    costs: tuple[PlanCost, ...] = ()


class SchemeRecord(Value, frozen=True):
    """One way of placing the model, as it was run.

    Attributes:
        name: its folder under `traces/`: letters, digits, `-` and `_`.
        title: for people, "best single split".
        plan: what was pinned or expected at the start; None where there is only a trace.
        phases: what was predicted for which requests, in order of `first_request`.
        predicted_stages: predicted seconds of stages that are not in `plan`, for example of the plan
            that was expected after a change; their ids and tensors may be left empty.
        predictions: for each request, in order of submission, the class the model gave, -1 where there
            was no result; may be empty.
        note: one line on how it was run.
        repair_nbytes: bytes of blocks that hosts sent again, as they counted them; None where they did not.
    """

    name: str
    title: str
    plan: Plan | None = None
    phases: tuple[Phase, ...] = ()
    predicted_stages: tuple[Stage, ...] = ()
    predictions: tuple[int, ...] = ()
    note: str = ""
    repair_nbytes: int | None = None


class Change(Value, frozen=True):
    """The emulated network was changed on purpose, before the request of that number was submitted."""

    request: int
    title: str
    conditions: Conditions


class Promise(Value, frozen=True):
    """The accuracy that was demanded of a run.

    Attributes:
        min_accuracy: the floor; None lets nothing be lost.
        clean: accuracy of the model whole, in `metric`, over `samples` test samples.
    """

    clean: float
    min_accuracy: float | None = None
    metric: str = ""
    samples: int = 0


def promise_of(contract: Contract | None) -> Promise | None:
    """What a run's record keeps of its contract."""
    if contract is None:
        return None
    known = contract.tolerance
    return Promise(min_accuracy=contract.min_accuracy, clean=known.clean, metric=known.metric, samples=known.samples)


class RunRecord(Value, frozen=True, dict=True):
    """What `run.json` holds.

    Attributes:
        model: the model's name, for people.
        graph_digest: identity of the graph.
        operators: names of the L operators, for captions; may be empty.
        topology: as it was run.
        chain: the devices on the way from source to sink, in order.
        schemes: in the order in which a report shows them; the last is the one to be judged by.
        labels: the true class of each request's input, in order of submission, where it is known.
        changes: what was done to the network on purpose.
        simulated: no hosts ran: every time in the traces is modelled.
        emulated: what stood for something else: "links by a relay", "mec: compute stretched to 2 times".
        machine: where it ran.
        started: UTC, ISO 8601.
        promise: the accuracy that was demanded; None where cuts went raw and whole.
        objective: what requests were to cost little of, and the bounds they were to keep; None is the least latency.
        slow_motion: seconds of `machine` that one of the network's took; all times are the network's.
    """

    model: str
    topology: Topology
    schemes: tuple[SchemeRecord, ...]
    chain: tuple[str, ...]
    graph_digest: str = ""
    operators: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    changes: tuple[Change, ...] = ()
    simulated: bool = False
    emulated: tuple[str, ...] = ()
    machine: Machine = Machine()
    airloom: str = ""
    started: str = ""
    title: str = ""
    promise: Promise | None = None
    objective: Objective | None = None
    slow_motion: float = 1.0
    schema: int = SCHEMA_VERSION
