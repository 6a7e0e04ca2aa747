"""The run folder of a training, with steps in the place of requests."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import airloom
from airloom.core.run import Change, Phase, RunRecord, SchemeRecord
from airloom.files import write_value
from airloom.planner.pricing import profile_of
from airloom.planner.route import chain
from airloom.report.folder import RECORD, TRACES
from airloom.training.course import Course
from airloom.training.result import Trained

_SCHEME = "training"


def write_run(folder: Path, scratch: Path, run: Course, trained: Trained, started: datetime) -> None:
    """Write what `airloom report` shows; traces come from `scratch`."""
    target = folder / TRACES / _SCHEME
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if (scratch / TRACES).is_dir():
        shutil.copytree(scratch / TRACES, target)
    graph = run.captured.graph
    phases = tuple(
        Phase(
            name=f"plan {k + 1}", first_request=one.step - run.first, predicted_s=one.predicted_s, stops=one.plan.stops,
            transfers=one.plan.transfers, notes=one.plan.notes,
        )
        for k, one in enumerate(trained.plans)
    )  # fmt: skip
    own = profile_of(run.topology.source, run.profiles)
    record = RunRecord(
        title=f"Training {graph.model}",
        model=graph.model,
        graph_digest=graph.digest,
        operators=tuple(op.name for op in graph.operators),
        topology=run.topology,
        chain=chain(run.topology),
        schemes=(
            SchemeRecord(
                name=_SCHEME, title="Split training", plan=trained.plans[0].plan if trained.plans else None,
                phases=phases, predicted_stages=tuple(s for one in trained.plans[1:] for s in one.plan.stages),
                note=f"{len(trained.steps)} steps of {run.spec.optimizer}; a request is a step",
            ),
        ),
        changes=tuple(
            Change(request=k - run.first, title="the network changed", conditions=c) for k, c in run.happened
        ),
        emulated=trained.notes,
        machine=own.machine,
        airloom=airloom.__version__,
        started=started.isoformat(timespec="seconds"),
    )  # fmt: skip
    write_value(folder / RECORD, record)
