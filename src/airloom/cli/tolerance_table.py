"""A tolerance profile as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.core.tolerance import CutTolerance, Tolerance


def describe(profile: Tolerance, *, floor: float | None = None) -> str:
    """A profile as text: a table a cut, the accuracy at a few error rates, and what a floor lets be lost."""
    from airloom.cli.terminal import table
    from airloom.units import format_percent

    lines = [
        f"{profile.model}: {profile.metric} {format_percent(profile.clean)} whole; "
        f"{profile.samples} samples of {profile.data}"
    ]
    if profile.cuts:
        kinds = {"burst": "blocks", "random": "elements"}
        units = " or ".join(dict.fromkeys(kinds[entry.pattern] for entry in profile.cuts))
        lines.append(f"{profile.metric} in per cent at each share of {units} lost")
    unsure = False
    for cut in dict.fromkeys(entry.cut for entry in profile.cuts):
        entries = [entry for entry in profile.cuts if entry.cut == cut]
        rates = _shown_rates(entries)
        header = ["coding", "errors", "bytes", "blocks", *(f"at {100 * rate:.3g} %" for rate in rates)]
        if floor is not None:
            header.append(f"bears at {100 * floor:.3g} %")
            unsure |= any(_bears(entry, floor) == _UNSURE for entry in entries)
        rows = [_row(entry, rates, floor) for entry in entries]
        lines += ["", f"cut {cut}", table(rows, header, "llr")]
    if unsure and floor is not None:
        lines += [
            "",
            f"{_UNSURE}: the curve is too uncertain to promise {format_percent(floor)} even with nothing lost; "
            "more samples, draws or rates make it surer",
        ]
    if profile.layers:
        lines += ["", f"{profile.metric} in per cent with errors in the weights of one layer", _layers(profile)]
    return "\n".join(lines)


def _shown_rates(entries: list[CutTolerance]) -> list[float]:
    """At most six of the rates, the least and the greatest among them."""
    rates = sorted({point.error_rate for entry in entries for point in entry.points})
    if len(rates) <= _MAX_RATES:
        return rates
    return sorted({rates[round(k * (len(rates) - 1) / (_MAX_RATES - 1))] for k in range(_MAX_RATES)})


_MAX_RATES = 6


def _row(entry: CutTolerance, rates: list[float], floor: float | None) -> list[object]:
    from airloom.units import format_bytes

    accuracy = {point.error_rate: point.accuracy for point in entry.points}
    of = "elements" if entry.pattern == "random" else f"{entry.block_bytes} B"
    row: list[object] = [entry.coding.name, of, format_bytes(entry.nbytes), entry.num_blocks]
    row += [f"{100 * accuracy[rate]:.1f}" if rate in accuracy else "–" for rate in rates]
    if floor is not None:
        row.append(_bears(entry, floor))
    return row


_UNSURE = "unsure"


def _bears(entry: CutTolerance, floor: float) -> str:
    """The error rate that the controller would allow at `floor`, its margin taken off."""
    from airloom.planner.accuracy import tolerable

    bears = tolerable(entry.curves[0], floor) if entry.curves else -1.0
    if bears >= 0.0:
        most = max(point.error_rate for point in entry.points)
        return f"{'at least ' if most <= bears < 1.0 else ''}{100 * bears:.0f} %"
    return "none" if entry.clean < floor else _UNSURE


def _layers(profile: Tolerance) -> str:
    """Each layer's mean and range at the error rate nearest to that of the paper's Fig. 6, one in ten."""
    from airloom.cli.terminal import table
    from airloom.units import format_bytes

    rows: list[list[object]] = []
    for layer in profile.layers:
        inner = [p for p in layer.points if 0 < p.error_rate < 1] or list(layer.points)
        rate = min((p.error_rate for p in inner), key=lambda r: abs(r - 0.1))
        found = [100 * p.accuracy for p in inner if p.error_rate == rate]
        rows.append([
            layer.layer, layer.kind, layer.pattern, format_bytes(layer.nbytes), f"{100 * rate:.3g} %",
            f"{sum(found) / len(found):.1f}", f"{min(found):.1f} to {max(found):.1f}",
        ])  # fmt: skip
    return table(rows, ["layer", "kind", "errors", "bytes", "rate", "mean", "range"], "lllr")
