"""A progressive model's table as text: accuracy and bytes of every depth and precision, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airloom.core.progressive import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airloom.core.progressive import Configuration, DepthTable


def describe(table: DepthTable) -> str:
    """Two grids, a row a depth and a column a precision, and a line that says it in words."""
    by_name = {c.name: c for c in table.configurations}
    front = {table.configurations[k].name for k in table.front}
    present = [p for p in PRECISIONS if any(c.precision == p for c in table.configurations)]
    depths = [d for d in table.order.depths if any(c.depth == d for c in table.configurations)]

    def grid(cell: Callable[[Configuration], str]) -> list[list[str]]:
        return [
            [cell(by_name[name]) if (name := f"{depth}/{precision}") in by_name else "–" for precision in present]
            for depth in depths
        ]

    def accuracy(c: Configuration) -> str:
        known = "–" if c.accuracy is None else f"{100 * c.accuracy:.1f}"
        return known + ("*" if c.name in front else " ")

    order = "from the back" if table.order.kind == "back" else "evenly from every group"
    total = table.order.num_blocks
    lines = [
        f"{table.model}: {total} block{'s' * (total != 1)}, left out {order}; {table.samples} samples",
        "",
        f"{table.metric} in per cent (* on the Pareto front: none is better in accuracy, bytes and MACs at once)",
        _accuracies(table, depths, present, grid(accuracy)),
        "",
        "over the link, from nothing",
        _sizes(depths, present, grid(_nbytes)),
        "",
        in_words(table),
    ]
    return "\n".join(lines)


def _accuracies(table: DepthTable, depths: list[int], present: list[str], cells: list[list[str]]) -> str:
    from airloom.cli.terminal import table as laid_out
    from airloom.units import format_seconds

    some = {c.depth: c for c in table.configurations}
    timed = any(c.latency_s is not None for c in some.values())
    rows = []
    for depth, row in zip(depths, cells, strict=True):
        latency = some[depth].latency_s
        took = ["–" if latency is None else format_seconds(latency)] if timed else []
        rows.append([str(depth), f"{some[depth].macs / 1e6:.1f} M", *took, *row])
    # The star takes a column of its own, so that the digits stand below each other.
    header = ["blocks", "MACs", *(["latency"] if timed else []), *(f"{p} " for p in present)]
    return laid_out(rows, header, "r")


def _sizes(depths: list[int], present: list[str], cells: list[list[str]]) -> str:
    from airloom.cli.terminal import table as laid_out

    return laid_out([[str(d), *row] for d, row in zip(depths, cells, strict=True)], ["blocks", *present], "r")


def _nbytes(configuration: Configuration) -> str:
    from airloom.units import format_bytes

    return format_bytes(configuration.nbytes)


def in_words(table: DepthTable) -> str:
    """What the table means: what the first bytes give, a quarter of them, and all."""
    from airloom.units import format_bytes, format_percent

    measured = [c for c in table.configurations if c.accuracy is not None]
    if not measured:
        return "nothing was measured"
    whole = max(measured, key=lambda c: c.nbytes)
    first = min(measured, key=lambda c: c.nbytes)
    quarter = _best([c for c in measured if 4 * c.nbytes <= whole.nbytes])

    def said(c: Configuration) -> str:
        return f"{format_percent(c.accuracy or 0.0)} ({_named(c)}, {format_bytes(c.nbytes)})"

    parts = [f"the first {format_percent(first.nbytes / whole.nbytes)} of the bytes give {said(first)}"]
    if quarter is not None and quarter is not first:
        parts.append(f"a quarter gives {said(quarter)}")
    if whole is not first:
        parts.append(f"all give {said(whole)}")
    return ", ".join(parts)


def _best(configurations: list[Configuration]) -> Configuration | None:
    return max(configurations, key=lambda c: (c.accuracy or 0.0, -c.nbytes), default=None)


def _named(configuration: Configuration) -> str:
    many = configuration.depth
    return f"{many} block{'s' * (many != 1)} in {configuration.precision}"
