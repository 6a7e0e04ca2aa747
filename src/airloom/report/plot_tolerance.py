"""Accuracy against error rate, in the manner of Figures 4 and 6 to 12 of NeuroMessenger, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from airloom.core.tolerance import CutTolerance, LayerTolerance, Tolerance
from airloom.planner.accuracy import accuracy_at
from airloom.report.plots import COLOURS, DPI

_MARKERS = "os^Dvp*X"
_RED = "#b42318"


def write_tolerance_plots(profile: Tolerance, folder: Path) -> list[Path]:
    """Write `cut-N.png` for every cut, `cuts.png` of all, and `layers-PATTERN.png` where weights were measured.

    Returns:
        The paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    cuts = list(dict.fromkeys(entry.cut for entry in profile.cuts))
    for cut in cuts:
        entries = [entry for entry in profile.cuts if entry.cut == cut]
        figure = _figure((7.2, 4.6))
        _cut(figure.add_subplot(), profile, entries, legend=True)
        written.append(_save(figure, folder / f"cut-{cut}.png"))
    if len(cuts) > 1:
        written.append(_all_cuts(profile, cuts, folder))
    for pattern in dict.fromkeys(layer.pattern for layer in profile.layers):
        layers = [layer for layer in profile.layers if layer.pattern == pattern]
        figure = _figure((max(7.2, 0.42 * len(layers) + 2), 4.6))
        _layers(figure.add_subplot(), profile, layers)
        written.append(_save(figure, folder / f"layers-{pattern}.png"))
    return written


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=DPI)
    return path


def _all_cuts(profile: Tolerance, cuts: Sequence[int], folder: Path) -> Path:
    """A panel a cut, as Figures 10 to 12."""
    columns = min(3, len(cuts))
    rows = -(-len(cuts) // columns)
    figure = _figure((4.0 * columns, 3.2 * rows + 0.6))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    shown: dict[str, Any] = {}
    for panel, cut in zip(panels.flat, cuts, strict=False):
        shown |= _cut(panel, profile, [entry for entry in profile.cuts if entry.cut == cut])
    for panel in panels.flat:
        panel.label_outer()
    for panel in panels.flat[len(cuts) :]:
        panel.set_visible(False)
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=min(4, len(shown)), fontsize=8)
    return _save(figure, folder / "cuts.png")


def _name(entry: CutTolerance, profile: Tolerance) -> str:
    """What tells an entry from the others of its cut."""
    sizes = {other.block_bytes for other in profile.cuts if other.pattern == "burst"}
    parts = [entry.coding.name]
    if entry.pattern == "random":
        parts.append("(random errors)")
    elif len(sizes) > 1:
        parts.append(f"({entry.block_bytes} B)")
    return " ".join(parts)


def _cut(axes: Any, profile: Tolerance, entries: Sequence[CutTolerance], *, legend: bool = False) -> dict[str, Any]:
    """Points with their spread, and the better G through them; the lines by name."""
    names = list(dict.fromkeys(_name(entry, profile) for entry in profile.cuts))
    lines: dict[str, Any] = {}
    for entry in entries:
        name = _name(entry, profile)
        place = names.index(name)
        colour = COLOURS[place % len(COLOURS)]
        rates = [100 * p.error_rate for p in entry.points]
        style = "--" if entry.pattern == "random" else "-"
        spreads = [100 * p.spread for p in entry.points]
        lines[name] = axes.errorbar(
            rates, [100 * p.accuracy for p in entry.points], spreads if any(spreads) else None,
            color=colour, marker=_MARKERS[place % len(_MARKERS)], markersize=4, linestyle="none", capsize=2, label=name,
        )  # fmt: skip
        if entry.curves:
            grid = np.linspace(0, max(rates) / 100, 200)
            axes.plot(
                100 * grid, [100 * accuracy_at(entry.curves[0], r) for r in grid], style, color=colour, linewidth=1
            )
    sizes = sorted({entry.num_blocks for entry in entries})
    blocks = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    many = "block" if blocks == "1" else "blocks"
    axes.set_title(f"{profile.model} cut at {entries[0].cut} ({blocks} {many})", fontsize=9)
    blocks_only = all(entry.pattern == "burst" for entry in profile.cuts)
    axes.set_xlabel("block error rate [%]" if blocks_only else "error rate [%]")
    axes.set_ylabel(f"{profile.metric} [%]")
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.3)
    if legend:
        axes.legend(fontsize=7, loc="lower left")
    return lines


def _layers(axes: Any, profile: Tolerance, layers: Sequence[LayerTolerance]) -> None:
    """Boxes of the draws of each layer at the error rate nearest to Fig. 6's, one in ten; norms stand out."""
    rates = {p.error_rate for layer in layers for p in layer.points}
    rate = min(rates - {0.0, 1.0} or rates, key=lambda r: abs(r - 0.1))
    for place, layer in enumerate(layers):
        found = [100 * p.accuracy for p in layer.points if p.error_rate == rate]
        colour = _RED if layer.kind == "norm" else COLOURS[2]
        axes.boxplot(
            [found or [np.nan]], positions=[place], widths=0.6, whis=(0, 100), patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour}, whiskerprops={"color": colour},
            capprops={"color": colour}, medianprops={"color": colour, "linewidth": 2},
        )  # fmt: skip
    axes.axhline(100 * profile.clean, color="#5b6470", linestyle=":", linewidth=1)
    axes.set_xlim(-0.7, len(layers) - 0.3)
    axes.set_ylim(0, 102)
    axes.set_xticks(range(len(layers)), [layer.layer for layer in layers], rotation=90, fontsize=7)
    for tick, layer in zip(axes.get_xticklabels(), layers, strict=True):
        tick.set_color(_RED if layer.kind == "norm" else "#16191d")
    errors = "whole blocks" if layers[0].pattern == "burst" else "single elements"
    axes.set_title(f"{profile.model}: {100 * rate:.3g} % of one layer's {errors} lost (norms red)", fontsize=9)
    axes.set_ylabel(f"{profile.metric} [%]")
    axes.grid(alpha=0.3, axis="y")
