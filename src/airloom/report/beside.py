"""Two run folders side by side, as a rule real processes and the same in virtual time, and how far they differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import resources

from airloom.core.value import Value
from airloom.errors import ConfigError
from airloom.report.draw_latency import Row, draw_latency
from airloom.report.figure import Figure
from airloom.report.folder import Run, SchemeRun
from airloom.report.headline import slow_line
from airloom.report.markup import esc, number
from airloom.report.scheme_summary import SchemeSummary
from airloom.report.series import RESULT
from airloom.report.tables import html_table
from airloom.units import format_bytes, format_deviation, format_joules, format_seconds


class Pair(Value, frozen=True):
    """One figure of both; `deviation` is the second over the first, less one.

    Attributes:
        what: "p50 latency".
        unit: "s", "J", "B" or "" for a count.
    """

    what: str
    unit: str
    first: Figure | None = None
    second: Figure | None = None
    deviation: float | None = None


class SchemeBeside(Value, frozen=True):
    """What both have of one scheme.

    Attributes:
        operators: by device, operators that it ran for a result in the mean, first and second.
    """

    name: str
    title: str
    figures: tuple[Pair, ...]
    operators: tuple[Pair, ...]


class Beside(Value, frozen=True):
    """Two runs side by side: what `airloom report FIRST SECOND --json` prints.

    Attributes:
        first, second: what they are called.
        requests_lost: without a result, in both.
    """

    model: str
    title: str
    first: str
    second: str
    schemes: tuple[SchemeBeside, ...]
    requests_lost: int = 0


_SHOWN: dict[str, Callable[[float], str]] = {
    "s": format_seconds,
    "J": format_joules,
    "B": format_bytes,
    "": lambda value: f"{value:.0f}" if value == round(value) else f"{value:.1f}",
}


def shown(pair: Pair, figure: Figure | None) -> str:
    """A figure of `pair` as text."""
    return "–" if figure is None else _SHOWN[pair.unit](figure.value)


def beside(first: Run, second: Run) -> Beside:
    """Put the schemes that both runs have side by side.

    Raises:
        ConfigError: one of them has no record, they are of different models, or have no scheme in common.
    """
    if first.record is None or second.record is None:
        raise ConfigError("two runs side by side need their run.json: give run folders, not traces")
    if (first.record.model, first.record.graph_digest) != (second.record.model, second.record.graph_digest):
        raise ConfigError(
            f"{first.record.model} ({first.record.graph_digest[:15]}) and {second.record.model} "
            f"({second.record.graph_digest[:15]}) are different models: nothing to compare"
        )
    names = [scheme.record.name for scheme in second.schemes]
    common = [scheme for scheme in first.schemes if scheme.record.name in names]
    if not common:
        mine = ", ".join(scheme.record.name for scheme in first.schemes)
        raise ConfigError(f"no scheme in common: one has {mine}, the other {', '.join(names)}")
    sums = [{s.name: s for s in run.summary().schemes} for run in (first, second)]
    schemes = []
    for scheme in common:
        name = scheme.record.name
        other = next(s for s in second.schemes if s.record.name == name)
        schemes.append(_scheme(scheme, other, sums[0][name], sums[1][name]))
    said = [_said(run) for run in (first, second)]
    if said[0] == said[1]:
        said = [f"{said[0]}, first", f"{said[1]}, second"]
    lost = sum(s.requests - s.results for found in sums for s in found.values() if s.name in {c.name for c in schemes})
    return Beside(
        model=first.record.model,
        title=first.record.title or f"{first.record.model} over {first.record.topology.name or 'a chain of hosts'}",
        first=said[0],
        second=said[1],
        schemes=tuple(schemes),
        requests_lost=lost,
    )


def _said(run: Run) -> str:
    if run.record is None or run.record.slow_motion == 1.0:
        return "simulated" if run.record is not None and run.record.simulated else "real processes"
    return f"real processes, {run.record.slow_motion:g} times slowed"


def _scheme(a: SchemeRun, b: SchemeRun, first: SchemeSummary, second: SchemeSummary) -> SchemeBeside:
    figures = [
        _pair("requests", "", _count(first.requests, first), _count(second.requests, second)),
        _pair("results", "", _count(first.results, first), _count(second.results, second)),
        _pair("mean latency", "s", first.mean_s, second.mean_s),
        _pair("p50 latency", "s", first.p50_s, second.p50_s),
        _pair("p95 latency", "s", first.p95_s, second.p95_s),
        _pair("bytes, a result", "B", first.wire_nbytes, second.wire_nbytes),
        _pair("energy, all devices", "J", first.energy_j, second.energy_j),
        _pair("energy of the source", "J", first.source_energy_j, second.source_energy_j),
    ]
    counts = [_operators(run) for run in (a, b)]
    devices = [d for d in dict.fromkeys((*a.series.chain, *counts[0], *counts[1])) if counts[0][d] or counts[1][d]]
    basis = [s.p50_s.basis if s.p50_s else "modelled" for s in (first, second)]
    operators = [
        _pair(d, "", *(Figure(value=count[d], basis=base) for count, base in zip(counts, basis, strict=True)))
        for d in devices
    ]
    return SchemeBeside(
        name=a.record.name,
        title=a.record.title,
        figures=tuple(pair for pair in figures if pair.first or pair.second),
        operators=tuple(operators),
    )


def _count(value: int, scheme: SchemeSummary) -> Figure:
    return Figure(value=float(value), basis="modelled" if scheme.p50_s is None else scheme.p50_s.basis)


def _pair(what: str, unit: str, first: Figure | None, second: Figure | None) -> Pair:
    deviation = None
    if first is not None and second is not None and first.value:
        deviation = second.value / first.value - 1.0
    return Pair(what=what, unit=unit, first=first, second=second, deviation=deviation)


def _operators(run: SchemeRun) -> Counter[str]:
    """By device, operators for a result in the mean; a rerun counts."""
    ran: Counter[str] = Counter()
    for stage in run.series.stages:
        ran[stage.device] += stage.stop - stage.start
    results = sum(served.outcome == RESULT for served in run.series.served)
    return Counter({device: count / max(1, results) for device, count in ran.items()})


def render_beside(found: Beside, first: Run, second: Run) -> str:
    """The two as one self-contained page."""
    rows = []
    for scheme in found.schemes:
        # Their names in short, where that tells them apart: the whole of it stands above the tables.
        short = [name.partition(",")[0] for name in (found.first, found.second)]
        names = short if short[0] != short[1] else [found.first, found.second]
        for name, run in zip(names, (first, second), strict=True):
            served = next(s for s in run.schemes if s.record.name == scheme.name).series.served
            took = [one.took_s for one in served if one.outcome == RESULT]
            rows.append(Row(scheme.title, name, took, None, run is first))
    sections = [f'<section><h2>Latency</h2><div class="wide">{draw_latency(rows)}</div></section>']
    for scheme in found.schemes:
        body = html_table(["", found.first, found.second, "Off by"], [("", _cells(pair)) for pair in scheme.figures])
        placed = html_table(
            ["Operators on", found.first, found.second, "Off by"], [("", _cells(pair)) for pair in scheme.operators],
            caption="For a result in the mean.",
        )  # fmt: skip
        sections.append(f"<section><h2>{esc(scheme.title)}</h2>{body}{placed}</section>")
    notes = "".join(f"<li>{esc(line)}</li>" for line in remarks(first, second))
    sections.append(f"<section><h2>What stands for something else</h2><ul>{notes}</ul></section>" if notes else "")
    css = resources.files("airloom.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{esc(found.title)}: side by side</title><style>{css}</style></head><body><main>"
        f'<header><p class="kind">Airloom, {esc(found.first)} and {esc(found.second)} side by side</p>'
        f'<h1>{esc(found.title)}</h1><p class="headline">{esc(headline(found))}</p></header>'
        f"{''.join(sections)}"
        '<p class="key">Every number says where it comes from: plain is measured, <data class="modelled" value="0">'
        f"italic</data> is modelled.{slowed(first, second)} Energy is modelled in both.</p>"
        "<footer>Made by <code>airloom report FIRST SECOND</code>.</footer></main></body></html>\n"
    )


def _cells(pair: Pair) -> Sequence[str]:
    show = _SHOWN[pair.unit]
    off = '<span class="none">–</span>' if pair.deviation is None else format_deviation(pair.deviation)
    return [esc(pair.what), number(pair.first, show), number(pair.second, show), off]


def headline(found: Beside) -> str:
    """How far the two lie apart, in a sentence."""
    parts = []
    for scheme in found.schemes:
        offs = {pair.what: pair.deviation for pair in scheme.figures}
        p50, p95 = offs.get("p50 latency"), offs.get("p95 latency")
        if p50 is None or p95 is None or math.isnan(p50):
            parts.append(f"{scheme.title} has no results in one of them")
        else:
            parts.append(f"{scheme.title}'s latency, {found.second} over {found.first}: p50 {format_deviation(p50)}, "
                         f"p95 {format_deviation(p95)}")  # fmt: skip
    return f"{'; '.join(parts)}."


def slowed(*runs: Run) -> str:
    """What measured times are of, where a run was in slow motion; "" where none was."""
    for run in runs:
        if run.record is not None and run.record.slow_motion != 1.0:
            return slow_line(run.record.slow_motion)
    return ""


def remarks(first: Run, second: Run) -> tuple[str, ...]:
    """What stood for something else in either, each line once."""
    lines = [line for run in (first, second) if run.record is not None for line in run.record.emulated]
    return tuple(dict.fromkeys(lines))
