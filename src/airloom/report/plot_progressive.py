"""What a progressive model's configurations are worth: error against bytes and MACs, as Accordion's Fig. 4."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from airloom.core.progressive import PRECISIONS, Configuration, DepthTable
from airloom.report.plots import COLOURS, DPI

_MARKERS = "os^Dv<>X"
_INK = "#16191d"
_SOFT = "#5b6470"


def write_table_plot(table: DepthTable, path: Path) -> Path:
    """Write two panels, error against the bytes that are sent and against MACs: a line a precision, depths along it.

    Configurations on the Pareto front (accuracy, bytes and MACs at once) are filled, the others hollow; the broad
    line in each panel is the least error for as many bytes or MACs at most.

    Returns:
        `path`, a PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    lines = _lines(left, table, lambda c: float(c.nbytes))
    _lines(right, table, lambda c: c.macs / 1e6)
    left.set_xscale("log")
    _byte_ticks(left, [c.nbytes for c in table.configurations])
    left.set_xlabel("bytes over the link, from nothing")
    right.set_xlabel("million multiply-accumulates a sample")
    right.set_xlim(left=0)
    left.set_ylabel(f"{table.metric} error [%] (measured)" if table.metric == "top-1" else f"100 − {table.metric} [%]")
    left.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    _name_depths(right, table)
    figure.suptitle(_title(table), fontsize=9, x=0.01, ha="left")
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), 9), fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, format="png")
    return path


def _title(table: DepthTable) -> str:
    order = "left out from the back" if table.order.kind == "back" else "left out evenly from every group"
    many = len(table.configurations)
    return (
        f"{table.model}: {many} configurations of {table.order.num_blocks} blocks, {order}; "
        f"{table.samples} samples. Filled: on the Pareto front; broad line: least error so far"
    )


def _lines(axes: Any, table: DepthTable, place: Any) -> dict[str, Any]:
    """A line of each precision through its depths; handles of the legend by name."""
    front = {table.configurations[k].name for k in table.front}
    present = [p for p in PRECISIONS if any(c.precision == p for c in table.configurations)]
    handles: dict[str, Any] = {}
    for precision in present:
        # The same in every plot, whichever others are there.
        colour, marker = COLOURS[PRECISIONS.index(precision)], _MARKERS[PRECISIONS.index(precision)]
        rows = sorted(
            (c for c in table.configurations if c.precision == precision and c.accuracy is not None),
            key=lambda c: c.depth,
        )
        points = [(place(c), 100 * (1 - (c.accuracy or 0.0))) for c in rows]
        if not points:
            continue
        (handles[precision],) = axes.plot(
            *zip(*points, strict=True), color=colour, linewidth=1, marker=marker, markersize=4,
            markerfacecolor="white", markeredgewidth=0.8, alpha=0.75, label=precision,
        )  # fmt: skip
        best = [point for point, c in zip(points, rows, strict=True) if c.name in front]
        if best:
            axes.plot(
                *zip(*best, strict=True), color=colour, linestyle="none", marker=marker, markersize=5.5, zorder=3,
                markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
    _envelope(axes, [(place(c), 100 * (1 - c.accuracy)) for c in table.configurations if c.accuracy is not None])
    return handles


def _envelope(axes: Any, points: list[tuple[float, float]]) -> None:
    """The least error of all points so far, from left to right, as steps."""
    steps: list[tuple[float, float]] = []
    for x, error in sorted(points):
        if not steps or error < steps[-1][1]:
            steps.append((x, error))
    if steps:
        steps.append((max(x for x, _ in points), steps[-1][1]))
        axes.plot(
            *zip(*steps, strict=True), color=_SOFT, alpha=0.25, linewidth=4, drawstyle="steps-post", zorder=1,
            solid_joinstyle="miter",
        )  # fmt: skip


def _byte_ticks(axes: Any, sizes: list[int]) -> None:
    """Powers of two, named as people say them; every other one where there are many."""
    from matplotlib.ticker import NullLocator

    least, most = max(min(sizes), 1), max(max(sizes), 2)
    powers = list(range(math.ceil(math.log2(least)), math.floor(math.log2(most)) + 1))
    powers = powers[:: 2 if len(powers) > 7 else 1]
    axes.set_xticks([2.0**k for k in powers], [_size(2**k) for k in powers])
    axes.xaxis.set_minor_locator(NullLocator())


def _size(nbytes: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if nbytes >= unit:
            return f"{nbytes // unit} {name}"
    return f"{nbytes} B"


def _name_depths(axes: Any, table: DepthTable) -> None:
    """How many blocks run, above the least error of each depth, where there is room."""
    best: dict[int, Configuration] = {}
    for c in table.configurations:
        known = best.get(c.depth)
        if c.accuracy is not None and (known is None or c.accuracy > (known.accuracy or 0.0)):
            best[c.depth] = c
    shown = sorted(best)
    step = -(-len(shown) // 10)
    for depth in shown[::-1][::step]:
        c = best[depth]
        axes.annotate(
            str(depth), (c.macs / 1e6, 100 * (1 - (c.accuracy or 0.0))), xytext=(0, -11), textcoords="offset points",
            fontsize=7, color=_SOFT, ha="center",
        )  # fmt: skip
    axes.set_title("numbers: blocks that run", fontsize=8, color=_INK, loc="right")
