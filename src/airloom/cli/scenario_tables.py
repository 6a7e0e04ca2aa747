"""What a simulated scenario came to, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airloom.core.simulated import SchemeTally, SimulationRecord
    from airloom.core.topology import Topology


def schemes_table(record: SimulationRecord) -> str:
    """Latency, outcomes, energy and bytes of each scheme."""
    from airloom.cli.terminal import table
    from airloom.units import format_bytes, format_joules, format_percent, format_seconds

    def seconds(value: float | None) -> str:
        return "–" if value is None else format_seconds(value)

    rows = []
    for tally in record.schemes:
        energy = sum(tally.energy_j.values())
        rows.append(
            [
                tally.title,
                f"{tally.results}/{tally.requests}",
                seconds(tally.mean_s),
                *(seconds(tally.quantile_s(share)) for share in (0.5, 0.95)),
                seconds(tally.quantiles_s[-1] if tally.quantiles_s else None),
                format_percent(tally.spikes / tally.results) if tally.results else "–",
                format_joules(energy) if tally.energy_j else "–",
                "–" if tally.sent_nbytes is None else format_bytes(tally.sent_nbytes),
                str(tally.handovers),
            ]
        )
    spike = f"> {format_seconds(record.spike_s)}"
    return table(rows, ["scheme", "results", "mean", "p50", "p95", "most", spike, "energy", "bytes", "handovers"], "lr")


def placement_table(record: SimulationRecord, topology: Topology) -> str:
    """Operators that each device ran for a result in the mean; UEs are one."""
    from airloom.cli.terminal import table

    where = [placed(tally.operators, topology) for tally in record.schemes]
    devices = list(dict.fromkeys(id for found in where for id in found))
    order = {"UEs": -1, **{device.id: k for k, device in enumerate(topology.devices)}}
    devices.sort(key=lambda id: order.get(id, len(order)))
    if not devices:
        return ""
    rows = [
        [tally.title, *(f"{found[id]:.1f}" if found.get(id) else "–" for id in devices)]
        for tally, found in zip(record.schemes, where, strict=True)
    ]
    return table(rows, ["operators on", *devices], "lr")


def placed(operators: Mapping[str, float], topology: Topology) -> dict[str, float]:
    """By device; the UEs of a scenario with several are together."""
    ues = {device.id for device in topology.devices if device.role == "ue"}
    found: dict[str, float] = {}
    for id, count in operators.items():
        name = "UEs" if id in ues and len(ues) > 1 else id
        found[name] = found.get(name, 0.0) + count
    return found


def costs_table(record: SimulationRecord) -> str:
    """What each metric of the objective came to, and in how many requests its bound was kept."""
    from airloom.cli.terminal import table
    from airloom.core.objective import format_amount

    rows = []
    for tally in record.schemes:
        for k, cost in enumerate(tally.costs):
            came = ["–" if x is None else format_amount(cost.name, x) for x in (cost.mean, cost.p95, cost.worst)]
            bound = kept = ""
            if cost.limit is not None:
                bound = f"<= {format_amount(cost.name, cost.limit)}"
                kept = f"{cost.kept} of {cost.requests}" + (f", {cost.foreseen} foreseen" if cost.foreseen else "")
            rows.append([tally.title if k == 0 else "", cost.name, *came, bound, kept])
    return table(rows, ["scheme", "metric", "mean", "p95", "worst", "bound", "kept in"], "llrrrrr") if rows else ""


def bandwidth_table(record: SimulationRecord) -> str:
    """What links between nodes left to a UE, mean and deviation, beside what was published."""
    from airloom.cli.terminal import table
    from airloom.units import format_rate

    rows = []
    for link in record.links:
        if not link.label and link.published_mean_bps is None:
            continue
        published = "–"
        if link.published_mean_bps is not None:
            published = f"{format_rate(link.published_mean_bps)} ± {format_rate(link.published_std_bps or 0.0)}"
        modelled = f"{format_rate(link.mean_bps)} ± {format_rate(link.std_bps)}"
        rows.append([link.label, f"{link.src}->{link.dst}", modelled, published])
    return table(rows, ["link", "", "UE bandwidth, modelled", "published"], "llrr") if rows else ""


def errors_lines(record: SimulationRecord) -> str:
    """Requests without a result, a line a scheme."""
    return "\n".join(
        f"{tally.title}: {', '.join(f'{count} {name}' for name, count in tally.errors.items())}"
        for tally in record.schemes
        if tally.errors
    )


def speed_line(record: SimulationRecord) -> str:
    """How fast it went; the one figure that is measured."""
    from airloom.units import format_seconds

    wall_s, results = sum(t.wall_s for t in record.schemes), sum(t.requests for t in record.schemes)
    each = record.seconds * len(record.schemes)
    return (
        f"simulated {format_seconds(each)} in {format_seconds(wall_s)} (measured): "
        f"{_few(results, wall_s)} requests/s, {_few(each, wall_s)} times real time"
    )


def _few(amount: float, seconds: float) -> str:
    """A rate with two digits below ten and none after the point above."""
    rate = amount / seconds if seconds else 0.0
    return f"{rate:.0f}" if rate >= 9.95 else f"{rate:.2g}"


def gains(record: SimulationRecord) -> str:
    """The judged scheme beside the others, in a sentence."""
    *others, judged = record.schemes
    if judged.mean_s is None or not others:
        return ""
    parts = [_beside(judged.mean_s, other) for other in others if other.mean_s]
    return f"{judged.title}'s mean latency is {', '.join(parts)}." if parts else ""


def _beside(mean_s: float, other: SchemeTally) -> str:
    from airloom.units import format_percent

    assert other.mean_s is not None
    less = 1.0 - mean_s / other.mean_s
    if abs(less) < 0.0005:
        return f"that of {other.title}"
    return f"{format_percent(abs(less))} {'below' if less > 0 else 'above'} {other.title}'s"
