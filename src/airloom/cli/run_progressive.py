"""`airloom run PLAN.json` where the plan is of a model that is sent: what was predicted beside what came."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airloom.api.delivered import Answer, Began, DeliveredModel
    from airloom.core.delivery_plan import DeliveryPlan

#: Requests that may be under way at once.
_AT_ONCE = 8


def is_delivery_plan(path: Path) -> bool:
    """Whether a file is a plan of `airloom plan --model-size-on-ue` (run files are YAML)."""
    return path.suffix == ".json"


def run_delivery(args: argparse.Namespace) -> int:
    """Carry out the plan, ask as often as it says, and print what came."""
    import os
    import signal
    import sys

    from airloom import api
    from airloom.errors import ConfigError

    for option, given in (("--scheme", args.scheme), ("--plan", args.plan), ("--seconds", args.seconds)):
        if given is not None:
            raise ConfigError("says nothing about a model that is sent: leave it out", where=option)
    plan = api.load_delivery_plan(args.config)
    arrays = None
    if args.inputs is not None:
        from airloom.cli.inputs import read_arrays

        arrays = read_arrays(args.inputs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # hosts share this machine's cores

    from airloom.cli.inputs import made_up, rows_of
    from airloom.cli.terminal import Progress, emit_json

    settings = {} if args.transport is None else {"transport": args.transport}
    with Progress("starting hosts") as progress:
        model = api.deploy_progressive(plan, progress=lambda line: progress.advance(0, note=line), **settings)
    count = args.requests or round(plan.asked.requests_per_s * plan.asked.horizon_s)
    with model:
        graph = next(iter(model.graphs.values()))
        inputs = made_up(graph, 0)[0] if arrays is None else rows_of(arrays, graph, where=str(args.inputs))
        with Progress("running", total=count) as progress:
            answers, failed = drive(model, inputs, count, progress.advance)
        began, fault, fetched, notes = tuple(model.began), model.fault, model.fetched_nbytes, model.notes
    measured = summary(plan, answers, failed, began, fetched, fault)
    if args.json:
        emit_json(measured)
    else:
        print(describe_run(plan, measured))
        for note in notes:
            print(f"emulated: {note}")
    if fault is not None:
        print(f"airloom: the model did not come any further: {fault}", file=sys.stderr)
    return 0 if not failed and fault is None else 1


def drive(
    model: DeliveredModel, inputs: Any, count: int, advance: Any = None
) -> tuple[list[Answer], list[tuple[float, str]]]:
    """`count` requests, evenly spaced from now on; the answers, and when and why others failed."""
    import time
    from concurrent.futures import Future, ThreadPoolExecutor

    from airloom.errors import AirloomError

    every_s = 1.0 / model.plan.asked.requests_per_s
    answers: list[Answer] = []
    failed: list[tuple[float, str]] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked: list[tuple[float, Future[Answer]]] = []
        first_s = model.now_s
        for k in range(count):
            time.sleep(max(first_s + k * every_s - model.now_s, 0.0))
            asked.append((model.now_s, pool.submit(model, *inputs(k))))
            if advance is not None:
                advance(1)
        for at_s, future in asked:
            try:
                answers.append(future.result())
            except AirloomError as error:
                failed.append((at_s, str(error)))
    return answers, failed


def summary(
    plan: DeliveryPlan,
    answers: list[Answer],
    failed: list[tuple[float, str]],
    began: tuple[Began, ...],
    fetched: int,
    fault: Exception | None,
) -> dict[str, Any]:
    """What came, as JSON values: by phase, predicted beside measured."""
    from statistics import median

    phases = []
    for begun in began:
        phase = plan.phases[begun.phase]
        mine = [a for a in answers if a.phase == begun.phase]
        ran = sorted({f"{a.where} {a.configuration}".strip() for a in mine})
        phases.append(
            {
                "phase": begun.phase, "where": phase.where, "network": phase.name, "ran": ran,
                "predicted_start_s": phase.start_s, "start_s": begun.at_s, "predicted_latency_s": phase.latency_s,
                "latency_s": median(a.latency_s for a in mine) if mine else None, "answers": len(mine),
                "fetched_nbytes": begun.nbytes,
            }
        )  # fmt: skip
    latencies = [a.latency_s for a in answers]
    return {
        "model": plan.model,
        "phases": phases,
        "answers": len(answers),
        "failed": [{"at_s": at_s, "error": error} for at_s, error in failed],
        "predicted_mean_latency_s": plan.totals.latency_s,
        "mean_latency_s": sum(latencies) / len(latencies) if latencies else None,
        "predicted_nbytes": plan.totals.nbytes,
        "fetched_nbytes": fetched,
        "fault": None if fault is None else str(fault),
        "basis": "measured",
    }


def describe_run(plan: DeliveryPlan, measured: dict[str, Any]) -> str:
    """The same for a terminal."""
    from airloom.cli.progressive_tables import heading
    from airloom.cli.terminal import table
    from airloom.units import format_bytes, format_seconds

    def seconds(value: float | None) -> str:
        return "–" if value is None else format_seconds(value)

    rows = [
        (
            ", ".join(phase["ran"]) or phase["where"],
            format_seconds(phase["predicted_start_s"]),
            format_seconds(phase["start_s"]),
            seconds(phase["predicted_latency_s"]),
            seconds(phase["latency_s"]),
            str(phase["answers"]),
            format_bytes(phase["fetched_nbytes"]),
        )
        for phase in measured["phases"]
    ]
    header = ("requests ran on", "planned from", "from", "predicted", "median", "answers", "model here")
    lines = [heading(plan), "", table(rows, header), ""]
    lines.append(
        f"{measured['answers']} answers, {len(measured['failed'])} failed; mean latency "
        f"{seconds(measured['mean_latency_s'])} measured, {seconds(measured['predicted_mean_latency_s'])} planned; "
        f"{format_bytes(measured['fetched_nbytes'])} of the model came, {format_bytes(measured['predicted_nbytes'])} "
        f"planned"
    )
    return "\n".join(lines)
