"""The paper's figures from results.json, as PNG: ours modelled, what the paper prints as dotted lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import figures_moving
import matplotlib.pyplot as plt
import numpy as np
import paper
from drawing import COLOURS, ECHO, plain, save
from still import LABELS, SCHEMES

LOADS = ("low", "mid", "high")


def draw_all(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for section, (name, draw) in {**FIGURES, **figures_moving.FIGURES}.items():
        if results.get(section):
            save(draw(results[section]), folder / f"{name}.png")


def draw_2(found: dict[str, Any]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(5.2, 3.4))
    for scheme in SCHEMES:
        axes.plot(found["slowdown"], found[scheme], color=COLOURS[scheme], label=LABELS[scheme])
    plain(axes, "MEC-cloud capacity, 1/x units", "overhead, units")
    axes.set_title("Fig. 2: the paper's example, worked exactly", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


def draw_11_12(found: dict[str, Any]) -> plt.Figure:
    figure, panels = plt.subplots(2, 2, figsize=(10, 6.6))
    for row, (name, title) in zip(panels, (("mmwave_iab", "Fig. 11: mmWave IAB"), ("sub6", "Fig. 12: sub-6 GHz")),
                                  strict=True):  # fmt: skip
        for axes, (task, y, scale) in zip(
            row,
            (("inference_s", "latency of inference, ms", 1e3), ("training_j", "energy of a training step, J", 1.0)),
            strict=True,
        ):
            _boxes(axes, found[name], task, scale)
            plain(axes, "load", f"{y} (modelled)")
            axes.set_ylim(0, None)
            axes.set_title(title, fontsize=10)
    panels[0][0].axhline(
        paper.FIG11_HIVEMIND_MS, **ECHO, label=f"paper: HiveMind at most {paper.FIG11_HIVEMIND_MS:g} ms"
    )
    panels[0][0].legend(frameon=False, fontsize=8, loc="upper left")
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[scheme]) for scheme in SCHEMES]
    figure.legend(handles, [LABELS[s] for s in SCHEMES], loc="lower center", ncol=4, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    return figure


def _boxes(axes: plt.Axes, loads: dict[str, Any], task: str, scale: float) -> None:
    for k, scheme in enumerate(SCHEMES):
        values = [scale * np.array(loads[load][task][scheme]["values"]) for load in LOADS]
        at = np.arange(len(LOADS)) + 0.2 * (k - 1.5)
        boxes = axes.boxplot(values, positions=at, widths=0.16, patch_artist=True, showfliers=False, whis=(5, 95),
                             manage_ticks=False, medianprops={"color": "black", "linewidth": 0.8})  # fmt: skip
        for box in boxes["boxes"]:
            box.set(facecolor=COLOURS[scheme], edgecolor=COLOURS[scheme])
        for line in boxes["whiskers"] + boxes["caps"]:
            line.set(color=COLOURS[scheme], linewidth=1.0)
    axes.set_xticks(range(len(LOADS)), LOADS)


def draw_13(found: dict[str, Any]) -> plt.Figure:
    titles = {"resnet18": "ResNet-18", "vgg11": "VGG11", "rcnn": "R-CNN"}
    figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.3))
    for axes, task in zip(panels, ("inference", "training"), strict=True):
        for k, scheme in enumerate(SCHEMES[1:]):
            at = np.arange(len(found)) + 0.25 * (k - 1)
            axes.bar(at, [found[m][task][scheme] for m in found], 0.23, color=COLOURS[scheme], label=LABELS[scheme])
        axes.axhline(1.0, color=COLOURS["ue-only"], linewidth=0.9)
        axes.set_xticks(range(len(found)), [titles[m] for m in found])
        plain(axes, "", "times the UE alone (modelled)")
        axes.set_title(f"Fig. 13: {task}, {'latency' if task == 'inference' else 'energy'}", fontsize=10)
    panels[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def draw_14(found: dict[str, Any]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(5.8, 3.8))
    factors = list(found["IAB"])
    for tier, colour, width in zip(found, ("#1a8f5a", "#7cc7a2", "#7b4ea3"), (1.5, 5.0, 1.5), strict=True):
        axes.plot(range(len(factors)), [1e3 * found[tier][k]["airloom"] for k in factors], "o-", color=colour,
                  linewidth=width, markersize=4, label=f"Airloom, {tier} hosts scaled")  # fmt: skip
    for scheme in ("single-split", "cloud-only"):
        axes.plot(range(len(factors)), [1e3 * found["cloud"][k][scheme] for k in factors], "s--", color=COLOURS[scheme],
                  markersize=4, label=f"{LABELS[scheme]}, cloud scaled")  # fmt: skip
    axes.axhline(paper.FIG14_CLOUD_MS, **ECHO)
    axes.axhline(paper.FIG14_SINGLE_MS, **ECHO, label="paper: the ends of these two")
    axes.set_xticks(range(len(factors)), [f"x{float(k):g}" for k in factors])
    plain(axes, "speed of the tier's hosts", "mean latency, ms (modelled)")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    axes.set_title("Fig. 14: ResNet-18, mid load", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncol=2, loc="upper left")
    return figure


#: Ways of Fig. 18 and their marks.
WAYS = {
    "opt. latency": ("v", "#3b6fb6"), "opt. energy": ("^", "#c9762b"), "opt. money": ("^", "#c9762b"),
    "linear": ("s", "#8c8c8c"), "convex": ("D", "#7b4ea3"), "convex as printed": ("d", "#c09bd8"),
    "exact": ("o", "#9fdcbf"),
}  # fmt: skip


def draw_18(found: dict[str, Any]) -> plt.Figure:
    columns = 3
    rows = -(-len(found) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.1 * rows), squeeze=False)
    for axes, (name, setting) in zip(panels.flat, found.items(), strict=False):
        scale, unit = (1.0, "J") if setting["metric"] == "energy" else (1e6, "$ a million requests")
        for way, row in setting["ways"].items():
            if row["answers"]:
                mark, colour = WAYS[way]
                # The exact solver's lies large behind whatever agrees with it.
                axes.plot(1e3 * row["latency_s"], scale * row["cost"], mark, color=colour, label=way,
                          markersize=13 if way == "exact" else 6, zorder=1 if way == "exact" else 3,
                          markerfacecolor=colour if not row["violations"] else "none")  # fmt: skip
        kept = [row for row in setting["sweep"].values() if row["answers"]]
        axes.plot([1e3 * r["latency_s"] for r in kept], [scale * r["cost"] for r in kept], ".", color="#8c8c8c",
                  markersize=3, zorder=0, label="linear, fixed weights")  # fmt: skip
        if setting["bound_s"]:
            axes.axvline(1e3 * setting["bound_s"], **ECHO)
        plain(axes, "mean latency, ms", f"{setting['metric']}, {unit}")
        axes.set_title(_wrapped(name), fontsize=9)
        axes.margins(0.15)
    for axes in panels.flat[len(found) :]:
        axes.axis("off")
    handles = {h.get_label(): h for axes in panels.flat for h in axes.get_lines() if not h.get_label().startswith("_")}
    figure.legend([_solid(h) for h in handles.values()], handles.keys(), loc="lower center", ncol=5, frameon=False)
    figure.suptitle(
        "Fig. 18, modelled; dotted: the bound where it is one for all draws; hollow: breaks the bound on some draw",
        fontsize=11,
    )
    figure.tight_layout(rect=(0, 0.05, 1, 0.99))
    return figure


def _solid(line: plt.Line2D) -> plt.Line2D:
    return plt.Line2D([], [], marker=line.get_marker(), color=line.get_color(), linestyle="")


def _wrapped(text: str, width: int = 44) -> str:
    head, _, tail = text.partition(", ")
    lines = [head]
    for part in tail.split(", ") if tail else []:
        if len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


def draw_19(found: dict[str, Any]) -> plt.Figure:
    figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.3))
    for axes, (kind, title, published) in zip(
        panels,
        (("recurrent", "Fig. 19a: 200 GRU modules", paper.FIG19_RNN),
         ("collaborative", "Fig. 19b: QMIX's agent", paper.FIG19_QMIX)),
        strict=True,
    ):  # fmt: skip
        values = [found[kind][load]["energy_ratio"] for load in LOADS]
        bars = axes.bar(range(len(LOADS)), values, 0.5, color=COLOURS["airloom"], label="ours, modelled")
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
        at = [LOADS.index(load) for load in published]
        axes.plot(at, list(published.values()), "_", color="black", markersize=26, label="paper, published")
        axes.axhline(1.0, color="#8c8c8c", linewidth=0.8)
        axes.set_xticks(range(len(LOADS)), LOADS)
        plain(axes, "load", "energy of the standard split\nover Airloom's")
        axes.set_title(title, fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        axes.set_ylim(0, 1.3 * max([*values, *published.values()]))
    figure.tight_layout()
    return figure


def draw_19_sensitivity(found: Sequence[dict[str, Any]]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(6.4, 3.9))
    marks = {1: "o", 8: "s", 32: "^"}
    for row in found:
        if "Eq. (13)" in row["model"]:
            continue
        colour = {"QMIX, 64 hidden": "#1a8f5a", "QMIX, 256 hidden": "#7b4ea3"}.get(row["model"], "#c9762b")
        weigh = 2 * row["parameters_kb"] / row["every"] / row["input_kb"]
        mark = marks[row["batch"]] if row["model"].startswith("QMIX") else "D"
        label = f"{row['model']}, batch {row['batch']}"
        known = axes.get_legend_handles_labels()[1]
        axes.plot(weigh, row["no bound"]["energy_ratio"], mark, color=colour, markersize=6,
                  label=None if label in known else label)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(paper.FIG19_QMIX["high"], **ECHO, label="paper, high load: 1.5")
    plain(
        axes,
        "parameters both ways over a batch's input, bytes, for each step",
        "energy of the standard split\nover Airloom's",
    )
    axes.set_title("What Fig. 19b depends on: high load, no bound, modelled", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


Draw = Callable[[Any], plt.Figure]
#: By section of results.json: the file, and who draws it.
FIGURES: dict[str, tuple[str, Draw]] = {
    "figure_2": ("fig2", draw_2),
    "figures_11_and_12": ("fig11_12", draw_11_12),
    "figure_13": ("fig13", draw_13),
    "figure_14": ("fig14", draw_14),
    "figure_18": ("fig18", draw_18),
    "figure_19": ("fig19", draw_19),
    "collaborative_sensitivity": ("fig19b_sensitivity", draw_19_sensitivity),
}
