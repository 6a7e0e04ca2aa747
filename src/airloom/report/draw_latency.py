"""Latency of each scheme as measured, every request a dot, with what was predicted beside it, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from airloom.report.markup import Svg, ticks
from airloom.units import format_seconds

WIDTH = 1000.0
LEFT = 230.0
RIGHT = 116.0
ROW_H = 34.0
MAX_DOTS = 160


@dataclass(frozen=True)
class Row:
    """One line of the chart: the seconds of each request, and the predicted median."""

    group: str
    name: str
    took_s: Sequence[float]
    predicted_s: float | None = None
    judged: bool = False


def draw_latency(rows: Sequence[Row]) -> str:
    """Dots for requests, a band from the first quartile to the third, bars at p50 and p95, a diamond predicted."""
    tops = [float(np.quantile(r.took_s, 0.95)) for r in rows if len(r.took_s)]
    tops += [r.predicted_s for r in rows if r.predicted_s is not None]
    top = 1.08 * max(tops, default=1.0)
    groups = len({r.group for r in rows})
    height = len(rows) * ROW_H + groups * 10 + 40
    said = "; ".join(
        f"{r.group} {r.name}: p50 {format_seconds(float(np.median(r.took_s)))}"
        + ("" if r.predicted_s is None else f", predicted {format_seconds(r.predicted_s)}")
        for r in rows
        if len(r.took_s)
    )
    svg = Svg(WIDTH, height, f"Latency by scheme. {said}.")

    def at(seconds: float) -> float:
        return LEFT + min(seconds / top, 1.0) * (WIDTH - LEFT - RIGHT)

    for tick in ticks(top, 7):
        svg.line(at(tick), 4, at(tick), height - 30, "grid")
        svg.text(at(tick), height - 12, format_seconds(tick) if tick else "0", "small soft mid")
    y, group = 6.0, None
    for row in rows:
        if row.group != group:
            y += 10 if group is not None else 0
            svg.text(0, y + ROW_H / 2 + 4, row.group, "strong" if row.judged else "")
            group = row.group
        svg.text(LEFT - 14, y + ROW_H / 2 + 4, row.name, "small soft end")
        _row(svg, row, y, at, top)
        y += ROW_H
    return svg.render()


def _row(svg: Svg, row: Row, y: float, at: Callable[[float], float], top: float) -> None:
    middle = y + ROW_H / 2
    judged = " judged" if row.judged else ""
    if not len(row.took_s):
        svg.text(LEFT + 6, middle + 4, "no result", "small soft")
        return
    took = np.asarray(row.took_s)
    q1, p50, q3, p95 = (float(q) for q in np.quantile(took, (0.25, 0.5, 0.75, 0.95)))
    svg.rect(at(q1), middle - 11, max(at(q3) - at(q1), 1), 22, cls=f"quart{judged}", r=3)
    shown = took[np.linspace(0, len(took) - 1, min(len(took), MAX_DOTS)).astype(int)]
    for k, seconds in enumerate(shown):
        # Spread over the row by the golden ratio: even, and the same in every report.
        svg.dot(at(float(seconds)), middle + 18 * ((k * 0.618034) % 1 - 0.5), 1.8, f"dot{judged}")
    svg.line(at(p50), middle - 12, at(p50), middle + 12, "median")
    svg.line(at(p95), middle - 8, at(p95), middle + 8, "p95")
    if row.predicted_s is not None:
        svg.diamond(at(row.predicted_s), middle, 6, "predicted")
    beyond = int((took > top).sum())
    more = f" (+{beyond} ›)" if beyond else ""
    svg.text(WIDTH, middle + 4, f"{format_seconds(p50)}{more}", "end strong" if row.judged else "end")
