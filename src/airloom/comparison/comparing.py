"""Several schemes in turn, on one deployment."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from airloom.comparison.driving import Outcomes, Step, drive, restored
from airloom.comparison.recording import deal_traces, repaired_nbytes, run_record, scheme_record
from airloom.comparison.setting import Scheme, Setting
from airloom.core.run import RunRecord
from airloom.deployment import Deployment
from airloom.files import made_folder, write_value
from airloom.report.folder import RECORD, TRACES

# Between two schemes: stragglers of the one before come in, and links are measured as they are again.
_SETTLE_S = 0.5


def compare(
    setting: Setting,
    schemes: Sequence[Scheme],
    inputs: Callable[[int], tuple[Any, ...]],
    requests: int,
    *,
    folder: Path,
    steps: Sequence[Step] = (),
    labels: Sequence[int] = (),
    classify: Callable[[Any], int] | None = None,
    title: str = "",
    progress: Callable[[str, int, int], None] | None = None,
) -> RunRecord:
    """Send `requests` requests under each scheme in turn, and write the run folder.

    Args:
        inputs: the inputs of request k.
        steps: changes of the network, the same for every scheme; undone before the next one.
        labels: the true class of each request's inputs, where known.
        classify: the class that a result stands for, to compare with the labels.
        progress: called with the scheme's title, requests done and requests to do.
    """
    tell = progress or (lambda what, done, total: None)
    started = datetime.now(UTC)
    steps = sorted(steps, key=lambda step: step.request)
    with made_folder(folder), tempfile.TemporaryDirectory(prefix=".run-", dir=folder) as scratch:
        options = dataclasses.replace(setting.options, folder=Path(scratch))
        tell("starting hosts", 0, 0)
        outcomes: dict[str, Outcomes] = {}
        with Deployment(setting.captured, setting.topology, setting.profiles, options=options) as net:
            # Tables first: a pinned scheme leaves links measured at their worst, and an idle link is slow to show
            # that it has recovered.
            for scheme in sorted(schemes, key=lambda scheme: scheme.plan is not None):
                net.pin(scheme.plan)
                net.apply(restored(setting.topology))
                net.motion.sleep(_SETTLE_S)
                before = repaired_nbytes(net.status())
                came, _ = drive(net, setting, inputs, requests, partial(tell, scheme.title), steps=steps)
                after = repaired_nbytes(net.status())
                if before is not None and after is not None:  # a host that died has forgotten what it sent
                    came.repair_nbytes = max(0, after - before)
                outcomes[scheme.name] = came
            notes = net.notes
        deal_traces(Path(scratch) / TRACES, folder / TRACES, outcomes)
    records = tuple(scheme_record(setting, scheme, steps, outcomes[scheme.name], classify) for scheme in schemes)
    record = run_record(setting, records, steps, labels=labels[:requests], notes=notes, started=started, title=title)
    write_value(folder / RECORD, record)
    return record
