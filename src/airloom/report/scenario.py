"""The sections of the page that only simulated scenarios have: schemes, placement over time, links."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airloom.core.simulated import SchemeTally, SimulationRecord, Span
from airloom.core.topology import Topology
from airloom.core.value import Basis
from airloom.report.figure import Figure
from airloom.report.markup import Svg, colour, esc, number, ticks
from airloom.report.tables import html_table
from airloom.units import format_bytes, format_joules, format_percent, format_rate, format_seconds

WIDTH, HEIGHT, LEFT, TOP = 1000.0, 170.0, 60.0, 18.0
#: One colour for all UEs together.
UES = "UEs"


def scenario_sections(record: SimulationRecord, topology: Topology, judged: str) -> list[tuple[str, str, str]]:
    """Title, lead and HTML of each section."""
    ues = "1 UE" if record.ues == 1 else f"{record.ues} UEs"
    lead = (
        f"{record.scenario} under {record.load} load: {ues}, {format_seconds(record.seconds)} simulated, seed "
        f"{record.seed}. Every scheme had the same draw of the network; baselines decide for every task on the network "
        "as it is."
    )
    sections = [("Schemes over the scenario", lead, _schemes(record, judged))]
    found = next((tally for tally in record.schemes if tally.name == judged), None)
    if found is not None and any(span.requests for span in found.spans):
        sections.append(
            (
                "Placement over time",
                f"Operators that each host ran for a result of {found.title} in the mean, and mean latency; a tick at "
                "the top is a handover.",
                f'{_legend(found, topology)}<div class="wide">{_placement(found, topology)}</div>',
            )
        )
    if any(link.label or link.published_mean_bps for link in record.links):
        sections.append(
            (
                "UE bandwidth",
                "What each link left to a UE, mean and deviation over time, beside what was published.",
                _bandwidth(record),
            )
        )
    return sections


def coloured(record: SimulationRecord, topology: Topology, judged: str) -> tuple[str, ...]:
    """Devices in the order of their colours in the picture of the placement, the source for all UEs; () without one."""
    found = next((tally for tally in record.schemes if tally.name == judged), None)
    if found is None:
        return ()
    return tuple(topology.source if device == UES else device for device in placed_devices(found, topology))


def _modelled(value: float | None, basis: Basis = "modelled") -> Figure | None:
    return None if value is None else Figure(value=value, basis=basis)


def _schemes(record: SimulationRecord, judged: str) -> str:
    def cell(value: float | None, show: Callable[[float], str]) -> str:
        return number(_modelled(value), show)

    rows = []
    for tally in record.schemes:
        spikes = tally.spikes / tally.results if tally.results else None
        energy = sum(tally.energy_j.values()) if tally.energy_j else None
        lost = ", ".join(f"{count} {name}" for name, count in tally.errors.items())
        cells = [
            esc(tally.title), str(tally.requests), esc(lost) or "0", cell(tally.mean_s, format_seconds),
            cell(tally.quantile_s(0.5), format_seconds), cell(tally.quantile_s(0.95), format_seconds),
            cell(tally.quantiles_s[-1] if tally.quantiles_s else None, format_seconds), cell(spikes, format_percent),
            cell(tally.planning_s, format_seconds), cell(energy, format_joules), cell(tally.sent_nbytes, format_bytes),
            str(tally.handovers),
        ]  # fmt: skip
        rows.append(("judged" if tally.name == judged else "", cells))
    header = [
        "Scheme", "Requests", "Lost", "Mean", "p50", "p95", "Most", f"> {format_seconds(record.spike_s)}", "Planning",
        "Energy", "Bytes", "Handovers",
    ]  # fmt: skip
    return html_table(header, rows, caption="Planning is part of the latency; energy and bytes are for one result.")


def _bandwidth(record: SimulationRecord) -> str:
    rows = []
    for link in record.links:
        if not link.label and link.published_mean_bps is None:
            continue
        cells = [esc(link.label or "–"), esc(f"{link.src} → {link.dst}")]
        cells += [number(_modelled(value), format_rate) for value in (link.mean_bps, link.std_bps)]
        published = (link.published_mean_bps, link.published_std_bps)
        cells += [number(_modelled(value, "published"), format_rate) for value in published]
        rows.append(("", cells))
    return html_table(["Link", "", "Mean", "Deviation", "Published mean", "Published deviation"], rows, left=2)


def placed_devices(tally: SchemeTally, topology: Topology) -> list[str]:
    """Those that ran something, the UEs first and as one."""
    ues = {device.id for device in topology.devices if device.role == "ue"}
    order = [device.id for device in topology.devices if device.id not in ues]
    ran = {id for span in tally.spans for id in span.operators}
    return [*([UES] if ran & ues else []), *(id for id in order if id in ran)]


def placed_counts(span: Span, topology: Topology) -> dict[str, float]:
    ues = {device.id for device in topology.devices if device.role == "ue"}
    counts: dict[str, float] = {}
    for id, count in span.operators.items():
        name = UES if id in ues else id
        counts[name] = counts.get(name, 0.0) + count
    return counts


def _legend(tally: SchemeTally, topology: Topology) -> str:
    entries = "".join(
        f'<li><span class="swatch" style="background:{colour(k)}"></span>{esc(device)}</li>'
        for k, device in enumerate(placed_devices(tally, topology))
    )
    return f'<ul class="legend">{entries}</ul>'


def _placement(tally: SchemeTally, topology: Topology) -> str:
    devices, spans = placed_devices(tally, topology), tally.spans
    end_s = max(span.end_s for span in spans)
    top_s = max((span.mean_s or 0.0 for span in spans), default=0.0) * 1.1 or 1.0
    svg = Svg(
        WIDTH, 2 * HEIGHT + 60, f"Where {tally.title} ran the model over {format_seconds(end_s)}, and its latency."
    )

    def x(at_s: float) -> float:
        return LEFT + at_s / end_s * (WIDTH - LEFT - 10)

    for span in spans:
        counts = placed_counts(span, topology)
        whole = sum(counts.values())
        y = TOP
        for k, device in enumerate(devices):
            share = counts.get(device, 0.0) / whole * HEIGHT if whole else 0.0
            if share > 0.0:
                title = f"{device}: {counts[device]:.1f} operators at {format_seconds(span.start_s)}"
                svg.rect(x(span.start_s), y, x(span.end_s) - x(span.start_s) + 0.3, share, fill=colour(k), title=title)
            y += share
        for _ in range(min(span.handovers, 1)):
            svg.line(x(span.start_s), TOP - 12, x(span.start_s), TOP - 2, "changed")
    base = TOP + HEIGHT + 20
    for tick in ticks(top_s, 4):
        level = base + HEIGHT - tick / top_s * HEIGHT
        svg.line(LEFT, level, WIDTH - 10, level, "grid")
        svg.text(LEFT - 8, level + 4, format_seconds(tick) if tick else "0", "small soft end")
    _curve(svg, [(x((s.start_s + s.end_s) / 2), base + HEIGHT * (1 - s.mean_s / top_s)) for s in spans if s.mean_s])
    for tick in ticks(end_s, 8):
        svg.text(x(tick), base + HEIGHT + 18, format_seconds(tick) if tick else "0", "small soft mid")
    return svg.render()


def _curve(svg: Svg, points: Sequence[tuple[float, float]]) -> None:
    if len(points) > 1:
        svg.curve(list(points), "curve", "var(--accent)")
    elif points:
        svg.dot(*points[0], 2.5, "dot")
