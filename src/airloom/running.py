"""Run one scheme of placing a model on its topology while the network changes by the clock."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from airloom.comparison import Scheme, Setting, deal_traces, drive, repaired_nbytes, run_record, scheme_record
from airloom.core.run import RunRecord
from airloom.core.topology import Conditions
from airloom.deployment import Deployment, Stats
from airloom.files import made_folder, write_value
from airloom.report.folder import RECORD, TRACES


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
    notes: tuple[str, ...] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[RunRecord, Stats]:
    """Send `requests` requests, as many at once as `setting.options.in_flight`, and write the run folder.

    Traces of an earlier run in that folder are replaced; a folder made for a run that fails goes again.

    Args:
        inputs: the inputs of request k.
        changes: of the emulated network; `at_s` counts from the first request. What lies after the
            last outcome does not happen.
        labels, classify: the true classes of the inputs where known, and the class that a result stands for.
        notes: what stands for something else beside the deployment's own notes, a line each.
        progress: called with what is at work, requests done and requests to do.
    """
    tell = progress or (lambda what, done, total: None)
    started = datetime.now(UTC)
    with made_folder(folder), tempfile.TemporaryDirectory(prefix=".run-", dir=folder) as scratch:
        options = dataclasses.replace(setting.options, folder=Path(scratch))
        tell("starting hosts", 0, 0)
        with Deployment(
            setting.captured, setting.topology, setting.profiles, plan=scheme.plan, options=options,
            progress=lambda line: tell(line, 0, 0),
        ) as net:  # fmt: skip
            outcomes, steps = drive(net, setting, inputs, requests, partial(tell, "running"), changes=changes)
            stats, notes = net.stats(), (*notes, *net.notes)
            outcomes.repair_nbytes = repaired_nbytes(stats.hosts)
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
