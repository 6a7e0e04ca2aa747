"""How the plan moved over time, with latency and the measured link rates under it, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from airloom.report.draw_topology import stage_spans
from airloom.report.markup import Svg, colour, ticks
from airloom.report.scheme_summary import Move
from airloom.report.series import RESULT, Series
from airloom.units import format_rate, format_seconds

WIDTH = 1000.0
LEFT = 86.0
RIGHT = 110.0
PLAN_H = 130.0
LATENCY_H = 110.0
RATES_H = 120.0
GAP = 34.0
MAX_POINTS = 400

Link = tuple[str, str]
# [(seconds since the first submission, value)]
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A moment to point out."""

    at_s: float
    title: str


@dataclass(frozen=True)
class Expected:
    """From `at_s` on, requests were predicted to take `predicted_s`."""

    at_s: float
    predicted_s: float


def draw_timeline(
    series: Series,
    moves: Sequence[Move],
    num_operators: int,
    marks: Sequence[Mark],
    expected: Sequence[Expected],
    set_rates: Mapping[Link, Points],
    *,
    simulated: bool = False,
) -> str:
    """Three panels over one time axis: who ran which operators, latency of requests, link rates.

    `set_rates` are those of the topology and of its changes, to lie dashed under the measured ones.
    """
    end = max([series.seconds, *(s.submitted_s + s.took_s for s in series.served), 1e-9])
    rates = {link: _usable(points) for link, points in series.rates.items() if _forward(link, series.chain)}
    truth = {link: _usable(points) for link, points in set_rates.items() if _forward(link, series.chain)}
    rates, truth = {k: v for k, v in rates.items() if v}, {k: v for k, v in truth.items() if v}
    top_y = 18.0 + 14.0 * min(len(marks), 3)
    height = top_y + PLAN_H + GAP + LATENCY_H + (GAP + RATES_H if rates or truth else 0) + 34
    said = "; ".join(
        f"from {format_seconds(m.at_s)}: "
        + ", ".join(f"{d} {a} to {b - 1}" for d, (a, b) in stage_spans(series.chain, m.stops).items())
        for m in moves[:6]
    )
    svg = Svg(WIDTH, height, f"Operators on each host over time. {said}.")

    def at(seconds: float) -> float:
        return LEFT + min(max(seconds / end, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    for tick in ticks(end, 8):
        svg.line(at(tick), top_y, at(tick), height - 30, "grid")
        svg.text(at(tick), height - 12, format_seconds(tick) if tick else "0", "small soft mid")
    _plan(svg, top_y, series, moves, num_operators, at, end)
    came = "simulated" if simulated else "measured"
    _latency(svg, top_y + PLAN_H + GAP, series, expected, at, end, came)
    if rates or truth:
        _rates(svg, top_y + PLAN_H + GAP + LATENCY_H + GAP, rates, truth, series.chain, at, end)
    for k, mark in enumerate(marks):
        x, y = at(mark.at_s), 12 + 14 * (k % 3)
        svg.line(x, y + 4, x, height - 30, "mark")
        side = "end" if x > WIDTH * 0.6 else ""
        svg.text(x + (-6 if side else 6), y + 2, mark.title, f"small changed {side}".strip())
    return svg.render()


def _forward(link: tuple[str, str], chain: Sequence[str]) -> bool:
    src, dst = link
    return src in chain and dst in chain and chain.index(src) < chain.index(dst)


def _plan(
    svg: Svg,
    y: float,
    series: Series,
    moves: Sequence[Move],
    num_operators: int,
    at: Callable[[float], float],
    end: float,
) -> None:
    svg.text(LEFT - 10, y + 12, "operators", "small soft end")
    svg.rect(at(0), y, at(end) - at(0), PLAN_H, cls="track")
    scale = PLAN_H / max(1, num_operators)
    for k, move in enumerate(moves):
        until = moves[k + 1].at_s if k + 1 < len(moves) else end
        for device, (start, stop) in stage_spans(series.chain, move.stops).items():
            title = f"{device}: operators {start} to {stop - 1}, {move.count} requests from {format_seconds(move.at_s)}"
            fill = colour(series.chain.index(device))
            top, tall = y + start * scale, (stop - start) * scale
            svg.rect(at(move.at_s), top, at(until) - at(move.at_s) + 0.3, tall, fill=fill, title=title)
            if at(until) - at(move.at_s) > 60 and tall > 16:
                svg.text((at(move.at_s) + at(until)) / 2, top + tall / 2 + 4, device, "mid small on")
    svg.text(LEFT - 10, y + 28, "first", "small soft end")
    svg.text(LEFT - 10, y + PLAN_H - 2, f"last ({num_operators})", "small soft end")


def _latency(
    svg: Svg,
    y: float,
    series: Series,
    expected: Sequence[Expected],
    at: Callable[[float], float],
    end: float,
    came: str,
) -> None:
    done = [s for s in series.served if s.outcome == RESULT]
    took = sorted(s.took_s for s in done)
    top = 1.15 * max([took[int(0.99 * (len(took) - 1))] if took else 0.0, *(e.predicted_s for e in expected), 1e-9])
    svg.text(LEFT - 10, y + 12, "latency", "small soft end")
    svg.text(WIDTH - RIGHT + 10, y + 12, came, "small soft")
    for tick in ticks(top, 3):
        level = y + LATENCY_H * (1 - tick / top)
        svg.line(LEFT, level, WIDTH - RIGHT, level, "grid")
        if tick and level > y + 18:
            svg.text(LEFT - 10, level + 4, format_seconds(tick), "small soft end")
    step = max(1, len(done) // MAX_POINTS)
    for s in done[::step]:
        svg.dot(at(s.submitted_s), y + LATENCY_H * (1 - min(s.took_s / top, 1.0)), 2.2, "dot judged")
    for s in series.served:
        if s.outcome != RESULT:
            svg.text(at(s.submitted_s), y + 12, "×", "mid changed")
    for k, e in enumerate(expected):
        until = expected[k + 1].at_s if k + 1 < len(expected) else end
        level = y + LATENCY_H * (1 - e.predicted_s / top)
        svg.curve([(at(e.at_s), level), (at(until), level)], "predicted")
    if expected:
        level = y + LATENCY_H * (1 - expected[-1].predicted_s / top)
        # Kept below the caption of the panel above it.
        svg.text(WIDTH - RIGHT + 10, max(level + 4, y + 28), "predicted", "small changed")


def _usable(points: Points) -> Points:
    """Rates that a logarithmic axis can show, thinned out."""
    step = max(1, len(points) // MAX_POINTS)
    return [(s, v) for s, v in points[::step] if v > 0 and math.isfinite(v)]


def _rates(
    svg: Svg,
    y: float,
    rates: dict[Link, Points],
    truth: dict[Link, Points],
    chain: Sequence[str],
    at: Callable[[float], float],
    end: float,
) -> None:
    values = [v for points in (*rates.values(), *truth.values()) for _, v in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def level(rate: float) -> float:
        return y + RATES_H * (1 - (math.log10(rate) - low) / (high - low))

    svg.text(LEFT, y - 8, "link rates (log scale): measured by the hosts; dashed as set", "small soft")
    for power in range(low, high + 1):
        svg.line(LEFT, level(10.0**power), WIDTH - RIGHT, level(10.0**power), "grid")
        svg.text(LEFT - 10, level(10.0**power) + 4, format_rate(10.0**power), "small soft end")
    for cls, lines in (("curve set", truth), ("curve", rates)):
        for (src, _), points in lines.items():
            # A rate holds until the next is known.
            steps = [(at(s), level(v)) for s, v in points]
            stairs = [steps[0], *(p for (_, y0), (x1, y1) in pairwise(steps) for p in ((x1, y0), (x1, y1)))]
            svg.curve([*stairs, (at(end), steps[-1][1])], cls, colour(chain.index(src)))
    labels: list[float] = []
    last = {link: points[-1][1] for link, points in (truth | rates).items()}
    for (src, dst), rate in sorted(last.items(), key=lambda item: -item[1]):
        height = max(level(rate) + 4, labels[-1] + 14) if labels else level(rate) + 4
        labels.append(height)
        svg.text(WIDTH - RIGHT + 10, height, f"{src} → {dst}", "small")
