"""Run one scheme of placing a model on its topology while the network changes by the clock."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airloom.comparison import Outcomes, Scheme, Setting, Step, deal_traces, restored, run_record, scheme_record
from airloom.config import merged
from airloom.core.run import RunRecord
from airloom.core.topology import Conditions
from airloom.deployment import Deployment, Stats
from airloom.files import write_value
from airloom.report.folder import RECORD, TRACES
from airloom.units import format_rate, format_seconds


def run_scheme(
    setting: Setting,
    scheme: Scheme,
    inputs: Callable[[int], tuple[Any, ...]],
    requests: int,
    *,
    folder: Path,
    changes: Sequence[Conditions] = (),
    labels: Sequence[int] = (),
    classify: Callable[[Any], int] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[RunRecord, Stats]:
    """Send `requests` requests, as many at once as `setting.options.in_flight`, and write the run folder.

    Args:
        inputs: the inputs of request k.
        changes: of the emulated network; `at_s` counts from the first request. What lies after the
            last outcome does not happen.
        labels, classify: the true classes of the inputs where known, and the class that a result stands for.
        progress: called with what is at work, requests done and requests to do.
    """
    tell = progress or (lambda what, done, total: None)
    started = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".run-", dir=folder) as scratch:
        options = dataclasses.replace(setting.options, folder=Path(scratch))
        tell("starting hosts", 0, 0)
        with Deployment(
            setting.captured, setting.topology, setting.profiles, plan=scheme.plan, options=options,
            progress=lambda line: tell(line, 0, 0),
        ) as net:  # fmt: skip
            outcomes, steps = _drive(net, setting, inputs, requests, changes, tell)
            stats, notes = net.stats(), net.notes
        deal_traces(Path(scratch) / TRACES, folder / TRACES, {scheme.name: outcomes})
    record = run_record(
        setting,
        (scheme_record(setting, scheme, steps, outcomes, classify),),
        steps,
        labels=labels[:requests],
        notes=notes,
        started=started,
    )
    write_value(folder / RECORD, record)
    return record, stats


def _drive(
    net: Deployment,
    setting: Setting,
    inputs: Callable[[int], tuple[Any, ...]],
    requests: int,
    changes: Sequence[Conditions],
    tell: Callable[[str, int, int], None],
) -> tuple[Outcomes, list[Step]]:
    """Keep `in_flight` requests under way; a change comes when it is due, whatever is under way."""
    outcomes, steps = Outcomes(began_s=time.monotonic()), list[Step]()
    due, now, pending = list(changes), Conditions(), set[Future[Any]]()
    while len(outcomes.requests) < requests or pending:
        elapsed_s = time.monotonic() - outcomes.began_s
        while due and due[0].at_s <= elapsed_s:
            change = due.pop(0)
            now = merged(now, change)
            net.apply(restored(setting.topology, now))
            steps.append(Step(len(outcomes.requests), title(change), now))
        if len(outcomes.requests) < requests and len(pending) < setting.options.in_flight:
            request = net.submit(*inputs(len(outcomes.requests)))
            outcomes.requests.append(request)
            pending.add(request)
            continue
        until_s = due[0].at_s - elapsed_s if due else None
        pending = wait(pending, timeout=until_s, return_when=FIRST_COMPLETED).not_done
        tell("running", len(outcomes.requests) - len(pending), requests)
    outcomes.ended_s = time.monotonic()
    return outcomes, steps


def title(change: Conditions) -> str:
    """A change in a few words, "mec->cloud at 5.00 Mbit/s"."""
    parts = []
    for link in change.links:
        says = [format_rate(link.rate_bps)] if link.rate_bps is not None else []
        says += [f"{format_seconds(link.delay_s)} delay"] if link.delay_s is not None else []
        says += [f"{link.loss:.1%} loss"] if link.loss is not None else []
        parts.append(f"{link.src}->{link.dst} at {', '.join(says)}" if link.up else f"{link.src}->{link.dst} down")
    for device in change.devices:
        parts.append(f"{device.id} at load {device.load:g}" if device.up else f"{device.id} down")
    return "; ".join(parts)
