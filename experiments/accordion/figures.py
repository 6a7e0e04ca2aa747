"""Fig. 4 in bits and in multiply-accumulates, what comes first, and energy, as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import paper
from matplotlib.axes import Axes
from settings import METHODS
from summary import policies, whole

COLOURS = {
    "resnet": "#8c8c8c", "coml-05": "#3b6fb6", "coml-03": "#7fa8d9", "blockcoml-05": "#c9762b",
    "blockcoml-03": "#e3ae78", "ours": "#1a8f5a", "ours-taught": "#0b4f30", "ours-groups": "#7cc7a2",
}  # fmt: skip
PHASES = {"training": "#8c8c8c", "download": "#3b6fb6", "answers": "#c9762b"}


def draw_all(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, setting in results["settings"].items():
        draw_fig4(name, setting, folder / f"fig4-{name}.png")
    for name, found in results.get("delivered", {}).items():
        draw_arrival(found, results["settings"][name]["title"], folder / f"arrival-{name}.png")
    for name, found in results.get("energy", {}).items():
        if found["trained"]["methods"]:
            draw_energy(found, results["settings"][name]["title"], folder / f"energy-{name}.png")


def save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)


def plain(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def draw_fig4(name: str, setting: dict[str, Any], path: Path) -> None:
    """Error against what is sent and against what is computed; the paper's points at the same share of its network."""
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.9), sharey=True)
    ladders = [m for m in policies(setting["methods"]) if m in COLOURS]
    for axes, key, scale in ((panels[0], "parameters", 32e-6), (panels[1], "macs", 1e-6)):
        total = None
        for method in ladders:
            found = setting["methods"][method]
            points = sorted(found["points"], key=lambda p: p[key])
            x = np.array([scale * p[key] for p in points])
            y = np.array([p["error"] for p in points])
            label = f"{METHODS[method].title} ({found['seeds']})"
            axes.plot(x, y, ".-", color=COLOURS[method], label=label, linewidth=1.4, markersize=4)
            spread = np.array([p["deviation"] or 0.0 for p in points])
            if spread.any():
                axes.fill_between(x, y - spread, y + spread, color=COLOURS[method], alpha=0.18, linewidth=0)
            total = scale * whole(points)[key]
        published = (paper.read_off if key == "parameters" else paper.read_off_macs)(setting["like"] and name)
        for method, at in published.items():
            for share, error in at if total else ():
                axes.plot(share * total, error, "D", color=COLOURS[method], markersize=6, markeredgecolor="black")
        axes.set_ylim(0, 100)
        axes.set_xlim(0, None)
    exits = setting["methods"].get("exits")
    if exits:
        for axes, key, scale in ((panels[0], "parameters", 32e-6), (panels[1], "macs", 1e-6)):
            points = exits["points"]
            axes.plot(
                [scale * p[key] for p in points], [p["error"] for p in points], "s:", color="#7b4ea3", markersize=5,
                label=f"early exits ({exits['seeds']})",
            )  # fmt: skip
    for method, colour in (("int8", "#b03060"), ("pruned", "#5c4033")):
        found = setting["methods"].get(method)
        if found:
            label = f"{METHODS[method].title} ({found['seeds']})"
            panels[0].plot(
                1e-6 * found["bits"], found["points"][0]["error"], "*", color=colour, markersize=11, label=label
            )
    plain(panels[0], "model sent, Mbit (32 bits a parameter)", "error on the test set, %")
    plain(panels[1], "MACs of an answer, millions", "")
    panels[0].plot([], [], "D", color="white", markeredgecolor="black", label="the paper's text, same share")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(0.91, 0.5), frameon=False, fontsize=8)
    figure.suptitle(f"{setting['title']} (seeds)", fontsize=11)
    save(figure, path)


def draw_arrival(found: dict[str, Any], title: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5.2, 3.4))
    shares = [100 * step["share"] for step in found["steps"]]
    errors = [100 * (1 - step["accuracy"]) for step in found["steps"]]
    axes.step([*shares, 100], [*errors, errors[-1]], where="post", color=COLOURS["ours"])
    axes.plot(shares, errors, "o", color=COLOURS["ours"], markersize=4)
    axes.axvline(15, color="black", linewidth=0.7, linestyle=":")
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 100)
    plain(axes, "share of the packed model's bytes that has arrived, %", "error of answers, %")
    axes.set_title(title, fontsize=10)
    save(figure, path)


def draw_energy(found: dict[str, Any], title: str, path: Path) -> None:
    kinds = [kind for kind in ("trained", "paper") if found[kind]["methods"]]
    figure, panels = plt.subplots(1, len(kinds), figsize=(5.0 * len(kinds), 3.2), squeeze=False)
    for axes, kind in zip(panels[0], kinds, strict=True):
        rows = found[kind]["methods"]
        names = policies(rows)
        left = np.zeros(len(names))
        for phase, colour in PHASES.items():
            joules = np.array([rows[n][phase] for n in names])
            axes.barh([METHODS[n].title for n in names], joules, left=left, color=colour, label=phase)
            left += joules
        axes.invert_yaxis()
        plain(axes, "J a UE (modelled)", "")
        axes.set_title(
            f"{title}\nepochs: {found[kind]['epochs']}, error up to {found[kind]['level']:.1f} %", fontsize=9
        )
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    save(figure, path)
