"""The figures of the page as PNGs, by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from airloom.core.run import Phase
from airloom.core.simulated import SimulationRecord
from airloom.core.topology import Topology
from airloom.report.draw_topology import stage_spans
from airloom.report.folder import Run
from airloom.report.scenario import placed_counts, placed_devices
from airloom.report.scheme_summary import phase_of
from airloom.report.series import RESULT
from airloom.report.summary import Summary
from airloom.units import format_rate, format_seconds

# The colours of the page in light mode, by place in the chain.
COLOURS = ("#b5640f", "#1f7f5f", "#2f69c4", "#8a4bb8", "#b83d72", "#4e6e7c", "#76681f", "#646464")
DPI = 150


def write_plots(run: Run, folder: Path, summary: Summary | None = None) -> list[Path]:
    """Write `latency.png`, `plan.png` and, of a run over a chain with a record, `topology.png`; returns the paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    summary = summary or run.summary()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    drawings = [("latency.png", _latency, (9.0, 4.6)), ("plan.png", _plan, (9.0, 6.0))]
    if run.record is not None and run.simulation is None:  # a scenario's hosts are no chain, and its links move
        drawings.append(("topology.png", _topology, (9.0, 3.6)))
    for name, draw, size in drawings:
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, run, summary)
        path = folder / name
        figure.savefig(path, dpi=DPI)
        written.append(path)
    return written


def _latency(figure: Any, run: Run, summary: Summary) -> None:
    """Box plots in milliseconds of each scheme and phase; diamonds are predictions."""
    axes = figure.add_subplot()
    labels, boxes, predicted = [], [], []
    for scheme, s in zip(run.schemes, summary.schemes, strict=True):
        served = [x for x in scheme.series.served if x.outcome == RESULT]
        for k, phase in enumerate(s.phases or (None,)):
            phases = scheme.record.phases
            took = [1e3 * x.took_s for x in served if phase is None or phase_of(phases, x.index) == k]
            labels.append(f"{s.title}\n{phase.name}" if phase is not None and len(s.phases) > 1 else s.title)
            boxes.append(took or [np.nan])
            known = phase is not None and phase.predicted_s is not None
            predicted.append(1e3 * phase.predicted_s.value if known else np.nan)  # type: ignore[union-attr]
    places = np.arange(len(boxes))[::-1]
    axes.boxplot(boxes, positions=places, orientation="horizontal", widths=0.5, whis=(5, 95), showfliers=False,
                 medianprops={"color": "#0b6bcb", "linewidth": 2})  # fmt: skip
    axes.plot(predicted, places, "D", markerfacecolor="none", markeredgecolor="#b42318", label="predicted (modelled)")
    axes.set_yticks(places, labels, fontsize=8)
    axes.set_xlim(left=0)
    axes.set_xlabel("latency, ms: quartiles, p5 to p95" + (" (simulated)" if summary.simulated else " (measured)"))
    axes.set_title(summary.headline, fontsize=9, loc="left", wrap=True)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)


def _plan(figure: Any, run: Run, summary: Summary) -> None:
    """Operators by host, and latency, over the time of the judged scheme."""
    scheme = next(s for s in run.schemes if s.record.name == summary.judged)
    judged = next(s for s in summary.schemes if s.name == summary.judged)
    series = scheme.series
    above, below = figure.subplots(2, 1, sharex=True)
    if run.simulation is not None and run.record is not None:
        _shares(above, run.simulation, run.record.topology, summary.judged)
        judged = msgspec.structs.replace(judged, moves=())
    end = max([series.seconds, *(s.submitted_s + s.took_s for s in series.served), 1e-9])
    named: set[str] = set()
    for k, move in enumerate(judged.moves):
        until = judged.moves[k + 1].at_s if k + 1 < len(judged.moves) else end
        for device, (start, stop) in stage_spans(series.chain, move.stops).items():
            colour = COLOURS[series.chain.index(device) % len(COLOURS)]
            label = None if device in named else device
            named.add(device)
            above.bar(move.at_s, stop - start, until - move.at_s, bottom=start, align="edge", color=colour, label=label)
    above.set_ylabel("operators")
    above.set_title(f"Where {judged.title} ran the operators", fontsize=9, loc="left")
    if run.simulation is None:
        above.invert_yaxis()
    above.margins(x=0)
    if named:
        above.legend(fontsize=8, loc="upper right")
    served = [s for s in series.served if s.outcome == RESULT]
    below.plot([s.submitted_s for s in served], [1e3 * s.took_s for s in served], ".", color="#0b6bcb", markersize=3)
    below.set_ylabel("latency, ms")
    below.set_xlabel("seconds since the first request")
    below.set_ylim(bottom=0)
    below.grid(alpha=0.3)
    starts = {s.index: s.submitted_s for s in series.served}
    for change in run.record.changes if run.record is not None else ():
        if change.request in starts:
            for axes in (above, below):
                axes.axvline(starts[change.request], color="#b42318", linestyle="--", linewidth=1)
            below.annotate(change.title, (starts[change.request], 0), xytext=(4, 4), textcoords="offset points",
                           color="#b42318", fontsize=8)  # fmt: skip


def _shares(axes: Any, simulation: SimulationRecord, topology: Topology, judged: str) -> None:
    """Operators that each host ran for a result in the mean, stretch by stretch, UEs as one."""
    tally = next((tally for tally in simulation.schemes if tally.name == judged), None)
    if tally is None:
        return
    levels = [0.0] * len(tally.spans)
    for k, device in enumerate(placed_devices(tally, topology)):
        counts = [placed_counts(span, topology).get(device, 0.0) for span in tally.spans]
        axes.bar([span.start_s for span in tally.spans], counts, [span.end_s - span.start_s for span in tally.spans],
                 bottom=levels, align="edge", color=COLOURS[k % len(COLOURS)], label=device)  # fmt: skip
        levels = [level + count for level, count in zip(levels, counts, strict=True)]
    axes.legend(fontsize=8, loc="upper right")


def _topology(figure: Any, run: Run, summary: Summary) -> None:
    """The chain once a phase: hosts as boxes with the operators they ran, links with their rates."""
    from matplotlib.patches import FancyBboxPatch

    record = run.record
    assert record is not None
    judged = next(s for s in summary.schemes if s.name == summary.judged)
    scheme = next(s for s in run.schemes if s.record.name == summary.judged)
    phases = scheme.record.phases or (Phase(name="whole run"),)
    chain, topology = record.chain, record.topology
    grid = figure.subplots(len(phases), 1, squeeze=False)
    for k, (phase, axes) in enumerate(zip(phases, grid[:, 0], strict=True)):
        seen = judged.phases[k].stops if k < len(judged.phases) else ()
        spans = stage_spans(chain, seen or phase.stops)
        changed = {(s.src, s.dst): s.rate_bps for s in phase.conditions.links if s.rate_bps is not None}
        axes.set_title(phase.name, fontsize=9, loc="left")
        axes.set_xlim(-0.35, len(chain) - 0.65)
        axes.set_ylim(-0.6, 0.6)
        axes.axis("off")
        for place, device in enumerate(chain):
            colour = COLOURS[place % len(COLOURS)] if device in spans else "#eef0f3"
            box = FancyBboxPatch((place - 0.24, -0.4), 0.48, 0.8, boxstyle="round,pad=0.02", fc=colour, ec="#5b6470")
            axes.add_patch(box)
            said = f"operators\n{spans[device][0]} to {spans[device][1] - 1}" if device in spans else "runs none"
            ink = "white" if device in spans else "#16191d"
            axes.text(place, 0, f"{device}\n{said}", ha="center", va="center", color=ink, fontsize=8)
            if place + 1 == len(chain):
                continue
            link = (device, chain[place + 1])
            rate = changed.get(link, topology.link(*link).rate_bps)
            red = "#b42318" if link in changed else "#5b6470"
            axes.annotate("", (place + 0.73, 0), (place + 0.27, 0), arrowprops={"arrowstyle": "->", "color": red})
            axes.text(place + 0.5, 0.1, format_rate(rate), ha="center", color=red, fontsize=8)
            axes.text(place + 0.5, -0.22, format_seconds(topology.link(*link).delay_s), ha="center", fontsize=8)
