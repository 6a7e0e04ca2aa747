"""The paper's figures from results.json, as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from schemes import FLOOR_POINTS
from tables import TITLES

COLOURS = {
    "raw": "#8c8c8c", "pruned": "#c9762b", "pruned_harq": "#3b6fb6", "neuromessenger": "#7b4ea3",
    "airloom": "#1a8f5a", "airloom_any_precision": "#7cc7a2",
}  # fmt: skip
TABLE_CUTS = 4


def draw_all(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    by_model: dict[str, list[dict[str, Any]]] = {}
    for cut in results["cuts"]:
        by_model.setdefault(cut["model"], []).append(cut)
    if results["fig4"]:
        draw_patterns(results["fig4"], folder / "fig4.png")
    for model, name in (("resnet18", "fig10"), ("vgg11", "fig11"), ("deepspeech2", "fig12")):
        if model in by_model:
            draw_tolerance([c for c in by_model[model] if c["in_table"]], folder / f"{name}.png")
    for model, name, draw in (("vgg11", "fig14a", draw_accuracy), ("resnet18", "fig15a", draw_time)):
        found = [c for c in by_model.get(model, []) if c["title"] == "layer 15"]
        if found:
            draw(found[0], folder / f"{name}.png")
    if results["fig16"]:
        draw_layers(results["fig16"], folder / "fig16.png")


def save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)


def plain(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def draw_patterns(fig4: dict[str, Any], path: Path) -> None:
    figure, panels = plt.subplots(1, len(fig4), figsize=(4.2 * len(fig4), 3.2), squeeze=False)
    for axes, (layer, points) in zip(panels[0], fig4.items(), strict=True):
        rates, bursts, singles = zip(*points, strict=True)
        axes.plot(rates, 100 * np.array(bursts), "o-", color=COLOURS["pruned"], label="blocks lost")
        axes.plot(rates, 100 * np.array(singles), "s-", color=COLOURS["airloom"], label="single elements lost")
        plain(axes, "error rate", "top-1 accuracy, %")
        axes.set_title(f"ResNet-18, layer {layer}", fontsize=10)
        axes.set_ylim(0, None)
    panels[0][0].legend(frameon=False, fontsize=8)
    save(figure, path)


def draw_tolerance(cuts: list[dict[str, Any]], path: Path) -> None:
    """Figs. 10 to 12: accuracy against the share of blocks lost, nothing repaired."""
    figure, panels = plt.subplots(1, len(cuts), figsize=(3.3 * len(cuts), 3.1), squeeze=False, sharey=True)
    for axes, cut in zip(panels[0], cuts, strict=True):
        shown = [
            (p, label, colour)
            for p in cut["profiles"]
            for label, colour in (labelled(p, cut),)
            if label
        ]  # fmt: skip
        for entry, label, colour in shown:
            rates, accuracy, _ = zip(*entry["points"], strict=True)
            axes.plot(rates, 100 * np.array(accuracy), "o-", markersize=3, color=colour, label=label)
        if cut["ideal_importance"]:
            rates = [0.0, *(p["rate"] for p in cut["ideal_importance"])]
            accuracy = [cut["test_clean"], *(p["accuracy"] for p in cut["ideal_importance"])]
            axes.plot(
                rates, 100 * np.array(accuracy), "^--", markersize=3, color="black", label="ideal importance (test set)"
            )
        axes.axhline(100 * cut["floor"], color="black", linewidth=0.7, linestyle=":")
        axes.set_title(f"{cut['title']}, {cut['raw_blocks']:.0f} blocks", fontsize=10)
        plain(axes, "share of blocks lost", "")
    panels[0][0].set_ylabel("word accuracy, %" if cuts[0]["ideal_importance"] else "top-1 accuracy, %")
    handles = {h.get_label(): h for axes in panels[0] for h in axes.get_lines() if not h.get_label().startswith("_")}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncol=3,
        frameon=False,
        fontsize=8,
    )
    save(figure, path)


def labelled(entry: dict[str, Any], cut: dict[str, Any]) -> tuple[str, str]:
    """Label and colour of a profile; no label: not drawn."""
    name, pattern = entry["coding"], entry["pattern"]
    if pattern == "random":
        return "raw, single elements lost", "#bdbdbd"
    if name == "raw":
        return "raw", COLOURS["raw"]
    if "fp16" in name:
        return "", ""
    if "tuned" in name:
        return "structured order, neighbours, tuned", COLOURS["airloom"]
    if "structured" in name:
        return "structured order, neighbours", COLOURS["airloom_any_precision"]
    return ("random order, zeros", COLOURS["neuromessenger"]) if "random" in name else ("pruned", COLOURS["pruned"])


def draw_accuracy(cut: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5.2, 3.6))
    for name, title in TITLES.items():
        points = cut["schemes"][name]["points"]
        axes.plot([p["bler"] for p in points], [100 * p["accuracy"] for p in points], "o-", markersize=4,
                  color=COLOURS[name], label=title)  # fmt: skip
    axes.axhline(100 * (cut["test_clean"] - FLOOR_POINTS), color="black", linewidth=0.7, linestyle=":", label="floor")
    plain(axes, "BLER", "top-1 accuracy, %")
    axes.set_ylim(0, None)
    axes.set_title(f"VGG11 cut at {cut['title']} (Fig. 14a)", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)


def draw_time(cut: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5.2, 3.6))
    for name, title in TITLES.items():
        times = cut["schemes"][name]["times"]
        axes.plot([t["bler"] for t in times], [1e3 * t["total_s"] for t in times], color=COLOURS[name], label=title)
    plain(axes, "BLER", "communication and coding, ms")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    axes.set_title(f"ResNet-18 cut at {cut['title']} (Fig. 15a)", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncol=2, loc="upper left")
    save(figure, path)


def draw_layers(rows: list[dict[str, Any]], path: Path) -> None:
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 5), sharex=True)
    places = np.arange(1, len(rows) + 1)
    for name in ("raw", "pruned", "pruned_harq", "airloom"):
        upper.plot(
            places,
            [1e3 * row[name]["total_s"] for row in rows],
            "o-",
            markersize=3,
            color=COLOURS[name],
            label=TITLES[name],
        )
        lower.plot(places, [100 * row[name]["accuracy"] for row in rows], "o-", markersize=3, color=COLOURS[name])
    lower.axhline(100 * (rows[0]["clean"] - FLOOR_POINTS), color="black", linewidth=0.7, linestyle=":")
    upper.set_yscale("log")
    plain(upper, "", "time, ms")
    plain(lower, "cut behind layer", "top-1 accuracy, %")
    upper.legend(frameon=False, fontsize=8, ncol=4)
    upper.set_title("VGG11, every layer, BLER 0.2 (Fig. 16)", fontsize=10)
    save(figure, path)


def draw_maps(found: dict[str, Any], folder: Path) -> None:
    figure, panels = plt.subplots(2, len(found), figsize=(2.3 * len(found), 4.6), squeeze=False)
    for column, (name, (before, after)) in enumerate(found.items()):
        for row, maps in enumerate((before, after)):
            panels[row][column].imshow(np.array(maps), cmap="gray")
            panels[row][column].axis("off")
        panels[0][column].set_title(name.replace(", ", ",\n"), fontsize=8)
    save(figure, folder / "fig5.png")
