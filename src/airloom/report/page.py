"""One self-contained HTML page: no script, nothing fetched; light, dark, printed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from importlib import resources
from typing import Any

from airloom.core.run import Phase
from airloom.report import tables
from airloom.report.draw_latency import Row, draw_latency
from airloom.report.draw_timeline import Expected, Mark, draw_timeline
from airloom.report.draw_topology import draw_topology
from airloom.report.folder import Run, SchemeRun
from airloom.report.headline import slow_line
from airloom.report.markup import colour, esc, number
from airloom.report.scenario import coloured, scenario_sections
from airloom.report.scheme_summary import SchemeSummary, phase_of
from airloom.report.series import RESULT
from airloom.report.summary import Summary
from airloom.units import format_bytes, format_joules, format_percent, format_rate, format_seconds

MAX_DRAWINGS = 4
MAX_PEER_MARKS = 4
MAX_CHANGE_MARKS = 6


def render_page(run: Run, summary: Summary | None = None) -> str:
    """The report of `run` as HTML."""
    summary = summary or run.summary()
    judged = next(s for s in summary.schemes if s.name == summary.judged)
    scheme = next(s for s in run.schemes if s.record.name == summary.judged)
    record = run.record
    title = (record.title or f"{record.model} over {record.topology.name or 'a chain of hosts'}") if record else "Trace"
    sections = [
        *_scenario(run, summary),
        "" if run.simulation else _network(run, scheme, judged),
        _latency(run, summary),
        _costs(summary),
        _accuracy(summary),
        "" if run.simulation else _timeline(run, scheme, judged),
        _section("Stages", "Operators as each host ran them, beside what the profile predicts.",
                 tables.stages_table(
                     summary.schemes, _colours(run, summary, scheme.series.chain), record.operators if record else (),
                     simulated=summary.simulated,
                 )),
        _section("Bytes", "On the wire over the whole run, framing included.", tables.bytes_table(summary.schemes)),
        _section("Conditions", "", tables.conditions_list(record, summary)),
    ]  # fmt: skip
    kind = "Airloom run report" if not summary.simulated else "Airloom simulation report"
    when = f", {record.started}" if record is not None and record.started else ""
    css = resources.files("airloom.report").joinpath("page.css").read_text(encoding="utf-8")
    key = (
        '<p class="key">Every number says where it comes from: plain is measured, <data class="modelled" '
        'value="0">italic</data> is modelled, and one marked ◇ is published. Energy is modelled from power figures and '
        f"measured times; idle power is left out.{esc(slow_line(summary.slow_motion))}</p>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{esc(title)}: Airloom report</title><style>{css}</style></head><body><main>"
        f'<header><p class="kind">{kind}{esc(when)}</p><h1>{esc(title)}</h1>'
        f'<p class="headline">{esc(summary.headline)}</p>{_cards(summary, judged)}</header>'
        f"{''.join(sections)}{key}"
        "<footer>Made by <code>airloom report</code>; <code>airloom report --json</code> gives the same numbers."
        "</footer></main></body></html>\n"
    )


def _section(title: str, lead: str, *body: str) -> str:
    name = title.lower().replace(" ", "-")
    text = f'<p class="lead">{esc(lead)}</p>' if lead else ""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{esc(title)}</h2>{text}{"".join(body)}</section>'


def _scenario(run: Run, summary: Summary) -> list[str]:
    """What a simulated scenario has beside its traces."""
    if run.simulation is None or run.record is None:
        return []
    return [_section(*parts) for parts in scenario_sections(run.simulation, run.record.topology, summary.judged)]


def _colours(run: Run, summary: Summary, chain: Sequence[str]) -> Sequence[str]:
    """Devices in the order of their colours, the same in every part of the page."""
    if run.simulation is None or run.record is None:
        return chain
    return coloured(run.simulation, run.record.topology, summary.judged) or chain


def _cards(summary: Summary, judged: SchemeSummary) -> str:
    others = [s for s in summary.schemes if s.name != judged.name]
    best = min((s for s in others if s.p50_s), key=lambda s: s.p50_s.value if s.p50_s else 0.0, default=None)
    first = others[0] if others else None
    cards = []

    def card(what: str, value: str, beside: str = "") -> None:
        cards.append(
            f'<li><span class="what">{esc(what)}</span><b>{value}</b><span class="beside">{beside}</span></li>'
        )

    if best is not None:
        ratio = tables.gain_of(summary, best.name)
        card("Speed-up over the best other scheme", number(ratio, lambda v: f"{v:.2f} ×"), f"against {esc(best.title)}")
    if first is not None and first is not best:
        ratio = tables.gain_of(summary, first.name)
        card(f"Speed-up over {first.title}", number(ratio, lambda v: f"{v:.2f} ×"), number(first.p50_s, format_seconds))
    card("p50 latency", number(judged.p50_s, format_seconds), f"p95 {number(judged.p95_s, format_seconds)}")
    promised = judged.delivered
    if promised is not None and promised.min_accuracy is not None:
        parts = [f"floor {format_percent(promised.min_accuracy)}"]
        if promised.predicted is not None and promised.measured is not None:
            parts.append(f"predicted {number(promised.predicted, format_percent)}")
        what = "Accuracy" if promised.measured is not None else "Accuracy, predicted"
        card(what, number(promised.measured or promised.predicted, format_percent), ", ".join(parts))
    elif judged.accuracy is not None:
        whole = next((s for s in others if s.accuracy is not None), None)
        beside = "" if whole is None else f"{esc(whole.title)}: {number(whole.accuracy, format_percent)}"
        card("Accuracy", number(judged.accuracy, format_percent), beside)
    if judged.source_energy_j is not None:
        beside = "" if first is None else f"{esc(first.title)}: {number(first.source_energy_j, format_joules)}"
        card("Energy of the source, a result", number(judged.source_energy_j, format_joules), beside)
    if judged.wire_nbytes is not None:
        card("Bytes on all links, a result", number(judged.wire_nbytes, format_bytes))
    lost = judged.requests - judged.results
    card("Requests lost", f'<span class="{"bad" if lost else "good"}">{lost}</span>', f"of {judged.requests}")
    return f'<ul class="cards">{"".join(cards)}</ul>'


def _costs(summary: Summary) -> str:
    """Nothing where no objective was given."""
    if not any(s.costs for s in summary.schemes):
        return ""
    return _section(
        "Costs and bounds",
        "What requests were to cost little of, and the bounds that they were to keep. Energy and money are modelled "
        "from power figures, prices and stage times.",
        tables.costs_table(summary),
    )


def _accuracy(summary: Summary) -> str:
    """Nothing where nothing was demanded and nothing was missing."""
    if all(s.delivered is None for s in summary.schemes):
        return ""
    carried = any(s.delivered is not None and s.delivered.carried for s in summary.schemes)
    notes = [line for s in summary.schemes if s.delivered is not None for line in s.delivered.notes]
    said = "".join(f"<li>{esc(line)}</li>" for line in dict.fromkeys(notes))
    return _section(
        "Accuracy",
        "What was demanded, expected and delivered, and how cuts travelled. Blocks that the floor leaves room for "
        "are not sent again.",
        tables.accuracy_table(summary),
        tables.carried_table(summary.schemes) if carried else "",
        f"<ul>{said}</ul>" if said else "",
    )


def _crossing(scheme: SchemeRun, phases: Sequence[Phase], which: int) -> dict[tuple[str, str], float]:
    """Bytes of one request's tensors over each link, averaged over the requests of a phase."""
    total: dict[tuple[str, str], int] = defaultdict(int)
    sends: dict[tuple[str, str], set[int]] = defaultdict(set)
    for event in scheme.events:
        index = scheme.series.index_of(event)
        if event.kind != "send" or event.data.get("what", "task") != "task" or index is None:
            continue
        nbytes, dst = event.data.get("wire_nbytes", event.data.get("nbytes")), str(event.data.get("dst"))
        if isinstance(nbytes, int) and phase_of(phases, index) == which:
            total[event.host, dst] += nbytes
            sends[event.host, dst].add(index)
    return {link: total[link] / len(sends[link]) for link in total}


def _network(run: Run, scheme: SchemeRun, judged: SchemeSummary) -> str:
    if run.record is None:
        return ""
    record = run.record
    phases = scheme.record.phases or (Phase(name="whole run"),)
    num_operators = len(record.operators) or scheme.series.num_operators
    drawings = []
    for k, phase in list(enumerate(phases))[:MAX_DRAWINGS]:
        seen = judged.phases[k].stops if k < len(judged.phases) else ()
        stops = seen or phase.stops or (judged.moves[0].stops if judged.moves else ())
        drawing = draw_topology(
            record, stops, phase.conditions, num_operators, judged.stages, _crossing(scheme, phases, k)
        )
        drawings.append(
            (f"<h3>{esc(phase.name)}</h3>" if len(phases) > 1 else "") + f'<div class="wide">{drawing}</div>'
        )
    lead = f"Where {judged.title} ran the {num_operators} operators of {record.model} for most requests."
    return _section("Network and stages", lead, *drawings)


def _latency(run: Run, summary: Summary) -> str:
    rows = []
    for scheme, s in zip(run.schemes, summary.schemes, strict=True):
        phases = scheme.record.phases
        served = [x for x in scheme.series.served if x.outcome == RESULT]
        judged = s.name == summary.judged
        if not s.phases:
            rows.append(Row(s.title, "", [x.took_s for x in served], None, judged))
        for k, phase in enumerate(s.phases):
            took = [x.took_s for x in served if phase_of(phases, x.index) == k]
            predicted = None if phase.predicted_s is None else phase.predicted_s.value
            rows.append(Row(s.title, phase.name if len(s.phases) > 1 else "", took, predicted, judged))
    body = [f'<div class="wide">{draw_latency(rows)}</div>', tables.schemes_table(summary)]
    if any(s.phases for s in summary.schemes):
        body += [
            f"<h3>Predicted beside {'simulated' if summary.simulated else 'measured'}</h3>",
            tables.predictions_table(summary),
        ]
    lead = (
        "A dot is a request; the band is the middle half, the tall bar p50, the short one p95; the diamond is what "
        "the planner predicted."
    )
    return _section("Latency", lead, *body)


def _changes_seen(scheme: SchemeRun) -> list[Mark]:
    """Changes of the emulated network that its relay wrote down."""
    series, marks = scheme.series, []
    began = next((e.at_s for e in scheme.events if e.kind == "submit"), 0.0)
    for event in scheme.events:
        if event.kind == "condition" and 0 < event.at_s - began < series.seconds:
            links = [x for x in event.data.get("links", ()) if isinstance(x, dict)]
            said = ", ".join(f"{x.get('src')} → {x.get('dst')} {_state(x)}" for x in links if _forward(x, series.chain))
            marks.append(Mark(event.at_s - began, said or "network changed"))
    return marks[:MAX_CHANGE_MARKS]


def _set_rates(run: Run, start_of: dict[int, float]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """The rates of the topology's links, and what the changes made of them."""
    if run.record is None:
        return {}
    rates = {(link.src, link.dst): [(0.0, link.rate_bps)] for link in run.record.topology.links if not link.trace}
    for change in run.record.changes:
        for state in change.conditions.links:
            if state.rate_bps is not None and (state.src, state.dst) in rates and change.request in start_of:
                rates[state.src, state.dst].append((start_of[change.request], state.rate_bps))
    return rates


def _forward(link: dict[str, Any], chain: Sequence[str]) -> bool:
    ends = link.get("src"), link.get("dst")
    return all(end in chain for end in ends) and chain.index(str(ends[0])) < chain.index(str(ends[1]))


def _state(link: dict[str, Any]) -> str:
    if link.get("up") is False:
        return "down"
    rate = link.get("rate_bps")
    return format_rate(rate) if isinstance(rate, int | float) else "changed"


def _timeline(run: Run, scheme: SchemeRun, judged: SchemeSummary) -> str:
    series = scheme.series
    if not judged.moves:
        return ""
    start_of = {s.index: s.submitted_s for s in series.served}
    marks, expected = [], []
    if run.record is not None:
        marks = [Mark(start_of[c.request], c.title) for c in run.record.changes if c.request in start_of]
    if not marks:
        marks = _changes_seen(scheme)
    phases = scheme.record.phases
    for phase, s in zip(phases, judged.phases, strict=False):
        if s.predicted_s is not None and phase.first_request in start_of:
            expected.append(Expected(start_of[phase.first_request], s.predicted_s.value))
    seen: set[tuple[str, bool]] = set()
    for at_s, _, peer, up in series.peers:
        if 0 < at_s < series.seconds and (peer, up) not in seen and len(seen) < MAX_PEER_MARKS:
            seen.add((peer, up))
            marks.append(Mark(at_s, f"{peer} {'came' if up else 'went'}"))
    num_operators = (len(run.record.operators) if run.record else 0) or series.num_operators
    legend = "".join(
        f'<li><span class="swatch" style="background:{colour(k)}"></span>{esc(device)}</li>'
        for k, device in enumerate(series.chain)
    )
    marks.sort(key=lambda m: m.at_s)
    set_rates = _set_rates(run, start_of)
    drawing = draw_timeline(
        series,
        judged.moves,
        num_operators,
        marks,
        expected,
        set_rates,
        simulated=bool(run.record and run.record.simulated),
    )
    changes = len(judged.moves) - 1
    moved = {0: "It never moved.", 1: "It moved once."}.get(changes, f"It moved {changes} times.")
    return _section(
        "How the plan moved",
        f"Which host ran which operators of each request under {judged.title}, with latency and link rates. {moved}",
        f'<ul class="legend">{legend}</ul><div class="wide">{drawing}</div>',
    )
