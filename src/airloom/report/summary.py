"""What a run comes to: its schemes, the gain of the judged one, and that in a sentence.

Law 8: every number carries where it comes from: measured, modelled or published.
"""

from __future__ import annotations

from collections.abc import Sequence

from airloom.core.run import RunRecord, SchemeRecord
from airloom.core.value import Value
from airloom.report.figure import Figure
from airloom.report.headline import headline
from airloom.report.scheme_summary import SchemeSummary, summarise_scheme
from airloom.report.series import Series


class Gain(Value, frozen=True):
    """How many times the judged scheme's p50 fits into that of another: above 1 it is the faster."""

    scheme: str
    p50_ratio: Figure


class Summary(Value, frozen=True):
    """What `airloom report --json` prints; times of a run in slow motion are the network's, not this machine's."""

    model: str
    headline: str
    judged: str
    gains: tuple[Gain, ...]
    schemes: tuple[SchemeSummary, ...]
    simulated: bool = False
    truncated_lines: int = 0
    slow_motion: float = 1.0


def summarise(
    record: RunRecord | None, schemes: Sequence[tuple[SchemeRecord, Series]], *, truncated: int = 0
) -> Summary:
    """Sum up a run; the last scheme is the one to be judged by."""
    summaries = [summarise_scheme(scheme, series, record) for scheme, series in schemes]
    *others, judged = summaries
    gains = []
    for other in others:
        if other.p50_s is not None and judged.p50_s is not None and judged.p50_s.value > 0:
            ratio = Figure(value=other.p50_s.value / judged.p50_s.value, basis=judged.p50_s.basis)
            gains.append(Gain(scheme=other.name, p50_ratio=ratio))
    return Summary(
        model="" if record is None else record.model,
        headline=headline(judged, others),
        judged=judged.name,
        gains=tuple(gains),
        schemes=tuple(summaries),
        simulated=record is not None and record.simulated,
        truncated_lines=truncated,
        slow_motion=1.0 if record is None else record.slow_motion,
    )
