"""A run: what was tried on which network, what was predicted, and what came of it.

A run folder holds `run.json`, one `RunRecord`, and `traces/SCHEME/HOST.jsonl`, one trace file a host
(docs/formats.md). The record has what traces cannot tell: the topology, the plans and what they
predicted, the emulated changes, the labels. Everything measured is in the traces.
"""

from __future__ import annotations

from airloom.core.plan import Plan, Stage
from airloom.core.profile import Machine
from airloom.core.topology import Conditions, Topology
from airloom.core.value import SCHEMA_VERSION, Basis, Value


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
    """

    name: str
    first_request: int = 0
    conditions: Conditions = Conditions()
    predicted_s: float | None = None
    stops: tuple[int, ...] = ()
    basis: Basis = "modelled"
    predicted_j: float | None = None


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
    """

    name: str
    title: str
    plan: Plan | None = None
    phases: tuple[Phase, ...] = ()
    predicted_stages: tuple[Stage, ...] = ()
    predictions: tuple[int, ...] = ()
    note: str = ""


class Change(Value, frozen=True):
    """The emulated network was changed on purpose, before the request of that number was submitted."""

    request: int
    title: str
    conditions: Conditions


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
    schema: int = SCHEMA_VERSION
