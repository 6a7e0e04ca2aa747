"""What a run folder keeps: the record, with what was planned and predicted of each scheme, and its traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import airloom
from airloom.comparison.driving import Outcomes, Step
from airloom.comparison.setting import Scheme, Setting
from airloom.core.plan import Stage
from airloom.core.run import Change, RunRecord, SchemeRecord, promise_of
from airloom.core.topology import Conditions
from airloom.core.trace import Event
from airloom.files import write_aside
from airloom.planner.modes import planned_chain
from airloom.planner.phases import predicted_phase
from airloom.planner.pricing import profile_of

if TYPE_CHECKING:
    from airloom.runtime.commands import HostStatus


def run_record(
    setting: Setting,
    schemes: tuple[SchemeRecord, ...],
    steps: Sequence[Step],
    *,
    labels: Sequence[int],
    notes: tuple[str, ...],
    started: datetime,
    title: str = "",
) -> RunRecord:
    """What `run.json` says of a run that began at `started`; `notes` is `Deployment.notes`."""
    graph = setting.captured.graph
    return RunRecord(
        model=graph.model,
        graph_digest=graph.digest,
        operators=tuple(op.name for op in graph.operators),
        topology=setting.topology,
        chain=planned_chain(setting.pricer(), setting.options.objective),
        schemes=schemes,
        labels=tuple(labels),
        changes=tuple(Change(request=s.request, title=s.title, conditions=s.conditions) for s in steps),
        emulated=notes,
        machine=profile_of(setting.topology.source, setting.profiles).machine,
        airloom=airloom.__version__,
        started=started.isoformat(timespec="seconds"),
        title=title,
        promise=promise_of(setting.options.contract),
        objective=setting.options.objective,
        slow_motion=setting.options.slow_motion,
    )


def scheme_record(
    setting: Setting,
    scheme: Scheme,
    steps: Sequence[Step],
    outcomes: Outcomes,
    classify: Callable[[Any], int] | None,
) -> SchemeRecord:
    """The scheme with what the planner predicts of it, stretch by stretch."""
    phases, stages = [], list[Stage]()
    chain = planned_chain(setting.pricer(), setting.options.objective)
    for step in (Step(0, "at the start", Conditions()), *steps):
        phase, plan = predicted_phase(
            setting.problem(step.conditions, scheme.plan),
            setting.topology,
            profile_of(setting.topology.source, setting.profiles),
            pinned=scheme.plan,
            name=step.title,
            first_request=step.request,
            conditions=step.conditions,
            objective=setting.options.objective,
            chain=chain,
        )
        phases.append(phase)
        if scheme.plan is None:
            stages += [stage for stage in plan.stages if stage not in stages]
    results = outcomes.results()
    return SchemeRecord(
        name=scheme.name,
        title=scheme.title,
        plan=scheme.plan,
        phases=tuple(phases),
        predicted_stages=tuple(stages),
        predictions=tuple(-1 if r is None else classify(r) for r in results) if classify else (),
        note=scheme.note,
        repair_nbytes=outcomes.repair_nbytes,
    )


def repaired_nbytes(hosts: Mapping[str, HostStatus | None]) -> int | None:
    """Bytes of blocks that these hosts have sent again so far; None where none of them counts."""
    counts = [h.counters.get("data_sent_repair_bytes") for h in hosts.values() if h is not None]
    known = [count for count in counts if count is not None]
    return int(sum(known)) if known else None


def deal_traces(source: Path, target: Path, outcomes: Mapping[str, Outcomes]) -> None:
    """Give each scheme the events of its own stretch of time, and each file its head; older traces go."""
    for old in list(target.glob("*/*.jsonl")):
        old.unlink()
        if not any(old.parent.iterdir()):
            old.parent.rmdir()
    for file in sorted(source.glob("*.jsonl")):
        head, *lines = file.read_bytes().splitlines(keepends=True)
        events = [(msgspec.json.decode(line, type=Event).at_s, line) for line in lines if line.endswith(b"\n")]
        for name, span in outcomes.items():
            kept = [line for at_s, line in events if span.began_s <= at_s <= span.ended_s]
            write_aside(target / name / file.name, b"".join((head, *kept)))
