"""The tables of the page, as HTML; every number in them is a `<data>` with its exact value and basis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from airloom.core.objective import Objective, format_amount
from airloom.core.run import RunRecord
from airloom.report.figure import Figure
from airloom.report.markup import colour, esc, number
from airloom.report.scheme_summary import SchemeSummary
from airloom.report.summary import Summary
from airloom.units import format_bytes, format_deviation, format_joules, format_percent, format_seconds


def html_table(
    header: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], left: int = 1, caption: str = ""
) -> str:
    """`rows` are (class of the row, cells that are HTML already); the first `left` columns are text."""
    head = "".join(f'<th scope="col"{" class=l" if k < left else ""}>{esc(h)}</th>' for k, h in enumerate(header))
    body = []
    for cls, cells in rows:
        first, *rest = cells
        klass = f' class="{cls}"' if cls else ""
        tds = "".join(f"<td{' class=l' if k < left else ''}>{c}</td>" for k, c in enumerate(rest, 1))
        body.append(f'<tr{klass}><th scope="row" class=l>{first}</th>{tds}</tr>')
    title = f"<caption>{esc(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _signed(error: float | None) -> str:
    return '<span class="none">–</span>' if error is None else format_deviation(error)


def _lost(scheme: SchemeSummary) -> str:
    if not scheme.errors:
        return "0"
    return "<br>".join(esc(f"{n} {name}") for name, n in scheme.errors.items())


def schemes_table(summary: Summary) -> str:
    """One row a scheme."""
    rows = []
    for s in summary.schemes:
        cells = [
            esc(s.title), str(s.requests), _lost(s), number(s.p50_s, format_seconds), number(s.p95_s, format_seconds),
            number(s.throughput_hz, lambda v: f"{v:.1f} /s"), number(s.accuracy, format_percent),
            number(s.source_energy_j, format_joules), number(s.energy_j, format_joules),
            number(s.wire_nbytes, format_bytes),
        ]  # fmt: skip
        rows.append(("judged" if s.name == summary.judged else "", cells))
    header = [
        "Scheme", "Requests", "Lost", "p50", "p95", "Results", "Accuracy", "Energy, source", "Energy, all", "Bytes",
    ]  # fmt: skip
    return html_table(header, rows, caption="Energy and bytes are for one result, bytes over all links.")


def predictions_table(summary: Summary) -> str:
    """Predicted beside measured (or simulated), for each scheme and phase."""
    rows = []
    for s in summary.schemes:
        for k, phase in enumerate(s.phases):
            cells = [
                esc(s.title) if k == 0 else "", esc(phase.name), str(phase.results),
                number(phase.predicted_s, format_seconds), number(phase.p50_s, format_seconds),
                _signed(phase.error), number(phase.p95_s, format_seconds),
            ]  # fmt: skip
            rows.append(("judged" if s.name == summary.judged else "", cells))
    came = "Simulated" if summary.simulated else "Measured"
    header = ["Scheme", "Phase", "Results", "Predicted", f"{came} p50", "Predicted off by", f"{came} p95"]
    return html_table(header, rows, left=2)


def stages_table(
    schemes: Sequence[SchemeSummary], chain: Sequence[str], operators: Sequence[str], *, simulated: bool = False
) -> str:
    """Each stage as it ran."""
    rows = []
    for s in schemes:
        for k, stage in enumerate(s.stages):
            place = colour(chain.index(stage.device)) if stage.device in chain else "var(--soft)"
            swatch = f'<span class="swatch" style="background:{place}"></span>'
            names = ""
            if stage.stop <= len(operators):
                names = f"{operators[stage.start]} … {operators[stage.stop - 1]}"
            cells = [
                esc(s.title) if k == 0 else "", swatch + esc(stage.device),
                f'<span title="{esc(names)}">{stage.start}–{stage.stop - 1}</span>', str(stage.runs),
                number(stage.predicted_s, format_seconds), number(stage.p50_s, format_seconds),
                _signed(stage.error), number(stage.p95_s, format_seconds),
            ]  # fmt: skip
            rows.append(("group" if k == 0 else "", cells))
    came = "Simulated" if simulated else "Measured"
    header = ["Scheme", "Host", "Operators", "Runs", "Predicted", f"{came} p50", "Predicted off by", f"{came} p95"]
    return html_table(header, rows, left=2)


def accuracy_table(summary: Summary) -> str:
    """What became of the accuracy that was demanded, one row a scheme."""
    rows = []
    for s in summary.schemes:
        found = s.delivered
        if found is None:
            continue
        floor = '<span class="none">–</span>'
        if found.min_accuracy is not None:
            verdict = {True: "good", False: "bad", None: ""}[found.kept]
            floor = f'<span class="{verdict}">{format_percent(found.min_accuracy)}</span>'
        cells = [
            esc(s.title), floor, number(found.clean, format_percent), number(found.planned, format_percent),
            number(found.predicted, format_percent), number(found.predicted_least, format_percent),
            number(found.measured, format_percent), number(found.incomplete, format_percent),
            number(found.missing_mean, format_percent), number(found.missing_max, format_percent),
            number(found.repairs, lambda v: f"{v:.2f}"), number(found.repair_nbytes, format_bytes),
        ]  # fmt: skip
        rows.append(("judged" if s.name == summary.judged else "", cells))
    header = [
        "Scheme", "Floor", "Nothing lost", "Planned", "Predicted", "Least predicted", "Measured", "Results with gaps",
        "Missing, mean", "Missing, most", "Repairs", "Bytes sent again",
    ]  # fmt: skip
    caption = "Planned before the run; predicted from what was missing in each result; repairs are for one result."
    return html_table(header, rows, caption=caption)


def costs_table(summary: Summary) -> str:
    """What each metric of the objective came to, predicted beside it, and in how many requests its bound was kept."""
    rows = []
    for s in summary.schemes:
        for k, cost in enumerate(s.costs):
            show = partial(format_amount, cost.name)
            bound = kept = '<span class="none">–</span>'
            if cost.limit is not None:
                bound = esc(f"≤ {show(cost.limit)}")
                verdict = "good" if cost.kept == cost.requests else "bad"
                beside = f", {cost.foreseen} foreseen" if cost.foreseen else ""
                kept = f'<span class="{verdict}">{cost.kept} of {cost.requests}</span>{beside}'
            cells = [
                esc(s.title) if k == 0 else "", esc(cost.name), number(cost.predicted, show), number(cost.mean, show),
                number(cost.p95, show), number(cost.worst, show), bound, kept,
                esc(cost.mean.basis) if cost.mean is not None else "",
            ]  # fmt: skip
            rows.append(("judged" if s.name == summary.judged else "", cells))
    header = ["Scheme", "Metric", "Predicted", "Mean", "p95", "Worst", "Bound", "Kept in", "Basis"]
    caption = (
        "For one request. One that had no result keeps no bound; foreseen are those of which the planner, or a host on "
        "the way, knew that the bound would be broken."
    )
    return html_table(header, rows, left=2, caption=caption)


def carried_table(schemes: Sequence[SchemeSummary]) -> str:
    """How cuts went over each link: coding, MCS, and what was missing on arrival."""
    rows = []
    for s in schemes:
        for k, way in enumerate(s.delivered.carried if s.delivered is not None else ()):
            cells = [
                esc(s.title) if k == 0 else "", f"{esc(way.src)} → {esc(way.dst)}", esc(way.coding),
                '<span class="none">–</span>' if way.mcs is None else str(way.mcs), str(way.messages),
                number(way.missing_mean, format_percent), number(way.missing_max, format_percent),
            ]  # fmt: skip
            rows.append(("group" if k == 0 else "", cells))
    header = ["Scheme", "Link", "Coding", "MCS", "Messages", "Missing, mean", "Missing, most"]
    return html_table(header, rows, left=3)


def bytes_table(schemes: Sequence[SchemeSummary]) -> str:
    """Bytes over each link by what they were, for the whole run."""
    order = ["task", "result", "repair", "control"]
    kinds = {kind for s in schemes for link in s.links for kind in link.nbytes}
    columns = [k for k in order if k in kinds] + sorted(kinds - set(order))
    rows = []
    for s in schemes:
        for k, link in enumerate(s.links):
            cells = [esc(s.title) if k == 0 else "", f"{esc(link.src)} → {esc(link.dst)}"]
            cells += [number(link.nbytes.get(kind), format_bytes) for kind in columns]
            rows.append(("group" if k == 0 else "", cells))
    titles = {
        "task": "Cuts",
        "result": "Results",
        "repair": "Repair",
        "control": "Split cost messages",
        "cancel": "Cancelled",
    }
    header = ["Scheme", "Link", *(titles.get(c, c) for c in columns)]
    return html_table(header, rows, left=2)


def conditions_list(record: RunRecord | None, summary: Summary) -> str:
    """Where it ran, what was emulated, what was changed on purpose."""
    said: list[tuple[str, str]] = []
    if record is not None:
        machine = record.machine
        parts = [machine.cpu, f"{machine.cores} cores" if machine.cores else ""]
        parts += [f"{machine.threads} threads" if machine.threads else ""]
        if any(parts):
            said.append(("Machine", ", ".join(p for p in parts if p)))
        versions = [f"Airloom {record.airloom}" if record.airloom else ""]
        versions += [
            f"Python {machine.python}" if machine.python else "",
            f"torch {machine.torch}" if machine.torch else "",
        ]
        if any(versions):
            said.append(("Versions", ", ".join(v for v in versions if v)))
        said += [("Emulated", line) for line in record.emulated]
        said += [("Changed on purpose", f"before request {c.request}: {c.title}") for c in record.changes]
        said += [("Asked for", objective_line(record.objective))] if record.objective is not None else []
        sources = sorted({f"{d.id}: {d.power.source}" for d in record.topology.devices if d.power.source})
        said += [("Power figures", line) for line in sources]
        if record.graph_digest:
            said.append(("Model", f"{record.model}, {record.graph_digest}"))
    if summary.simulated:
        said.append(("Simulated", "no host ran: every time and byte is modelled"))
    for s in summary.schemes:
        if s.drops:
            said.append((f"{s.title}: refused", ", ".join(f"{n} {reason}" for reason, n in s.drops.items())))
        if s.missing_nbytes:
            said.append((f"{s.title}: missing", f"{format_bytes(s.missing_nbytes)}, in {s.incomplete} results"))
        if s.retried:
            said.append((f"{s.title}: tried again", f"{s.retried} requests"))
        if s.note:
            said.append((s.title, s.note))
    if summary.truncated_lines:
        said.append(("Traces", f"{summary.truncated_lines} cut short by a host that was killed"))
    items = "".join(f"<dt>{esc(what)}</dt><dd>{esc(how)}</dd>" for what, how in said)
    return f"<dl>{items}</dl>" if items else '<p class="lead">Nothing is known of it.</p>'


def objective_line(objective: Objective) -> str:
    """`small energy@ue, latency <= 120 ms, exact solver`."""
    terms = " + ".join(f"{t.weight:g} x {t.name}" if t.weight != 1.0 else t.name for t in objective.minimize)
    bounds = [f"{bound.name} <= {format_amount(bound.name, bound.limit)}" for bound in objective.require]
    return ", ".join([f"small {terms}", *bounds, f"{objective.solver} solver"])


def gain_of(summary: Summary, scheme: str) -> Figure | None:
    """How many times faster the judged scheme is than `scheme`."""
    return next((g.p50_ratio for g in summary.gains if g.scheme == scheme), None)
