"""Figs. 6 and 15 to 17, and every scheme on a network that moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import paper
from drawing import COLOURS, ECHO, plain
from still import LABELS

NAMES = {**LABELS, "airloom": "Airloom, a wave for each task", "airloom-ideal": "Airloom, plans at no cost"}


def draw_6(found: dict[str, Any]) -> plt.Figure:
    figure, panels = plt.subplots(2, len(found), figsize=(6.0 * len(found), 5.2), squeeze=False)
    for (upper, lower), (network, what) in zip(panels.T, found.items(), strict=True):
        times, latencies = np.array(what["latencies"]).T
        upper.plot(times, 1e3 * latencies, color=COLOURS["airloom"], linewidth=0.8)
        plain(upper, "", "latency, ms (modelled)")
        upper.set_title(f"Fig. 6: {network} links, coherence {1e3 * what['coherence_s']:g} ms", fontsize=10)
        for link, rates in what["rates"].items():
            ticks = np.linspace(times[0], times[0] + what["seconds"], len(rates), endpoint=False)
            lower.plot(ticks, rates, linewidth=0.8, label=link)
        lower.set_yscale("log")
        plain(lower, "time, s", "rate, Mbit/s")
        lower.legend(frameon=False, fontsize=7, ncol=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.tight_layout()
    return figure


def draw_15(found: dict[str, Any]) -> plt.Figure:
    figure, panels = plt.subplots(2, len(found), figsize=(6.4 * len(found), 5.2), squeeze=False, sharex=True)
    everywhere = list(dict.fromkeys(h for what in found.values() for row in what["latencies"] for h in row[2]))
    colours = {host: f"C{k}" for k, host in enumerate(sorted(everywhere))}
    for (upper, lower), (machines, what) in zip(panels.T, found.items(), strict=True):
        times = [row[0] for row in what["latencies"]]
        upper.plot(times, [1e3 * row[1] for row in what["latencies"]], ".-", color=COLOURS["airloom"], linewidth=0.7)
        upper.set_ylim(0, None)
        plain(upper, "", "latency, ms (modelled)")
        upper.set_title(f"Fig. 15: a hop more, machines: {machines}", fontsize=10)
        hosts = [host for host in sorted(everywhere) if any(row[2].get(host) for row in what["latencies"])]
        counts = [[row[2].get(host, 0) for row in what["latencies"]] for host in hosts]
        lower.stackplot(times, counts, labels=hosts, colors=[colours[h] for h in hosts], step="mid")
        plain(lower, "time, s", "operators on each host")
        lower.legend(frameon=False, fontsize=8, ncol=6, loc="upper center", bbox_to_anchor=(0.5, -0.2))
        for axes in (upper, lower):
            axes.axvline(what["at_s"], **ECHO)
    figure.tight_layout()
    return figure


def draw_16(found: dict[str, Any]) -> plt.Figure:
    times = list(next(iter(found.values())))
    bars = 2 + sum(len(whens) for whens in next(iter(found.values()))[times[0]]["learned"].values())
    figure, panels = plt.subplots(
        len(found), len(times), figsize=(5.2 * len(times), (0.8 + 0.22 * bars) * len(found)), squeeze=False, sharey=True
    )
    for row, (network, cells) in zip(panels, found.items(), strict=True):
        for axes, (coherence, ways) in zip(row, cells.items(), strict=True):
            shown = [("none", ways["none"]), ("perfect", ways["perfect"])]
            for method, whens in ways["learned"].items():
                shown += [(f"{method}, {when}", each) for when, each in whens.items()]
            drawn = axes.barh(
                range(len(shown)), [100 * each["share"] for _, each in shown], color=[_way(n) for n, _ in shown]
            )
            left = ["" if each["left"] is None else f" {100 * each['left']:.0f} %" for _, each in shown]
            axes.bar_label(drawn, left, fontsize=7)
            axes.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=8)
            most = max(100 * each["share"] for _, each in shown)
            axes.set_xlim(0, 1.15 * most or 1.0)
            if not most:
                axes.text(0.5, 0.5, "no task over 100 ms", transform=axes.transAxes, ha="center", fontsize=9)
            plain(axes, "tasks over 100 ms, % (modelled); beside: of those without prediction", "")
            axes.xaxis.label.set_size(8)
            axes.set_title(f"Fig. 16: {network} links, coherence {coherence} ms", fontsize=10)
        row[0].invert_yaxis()
    figure.tight_layout()
    return figure


def _way(name: str) -> str:
    return {"none": "#8c8c8c", "perfect": "#3b6fb6"}.get(name, COLOURS["airloom"])


def draw_17(found: dict[str, Any]) -> plt.Figure:
    figure, panels = plt.subplots(1, len(found), figsize=(5.0 * len(found), 3.5), squeeze=False)
    for axes, (network, what) in zip(panels[0], found.items(), strict=True):
        errors = 100 * np.array(what["errors"])
        for key, title, colour in (("p50_s", "median", COLOURS["airloom"]), ("p95_s", "95th percentile", "#7b4ea3")):
            axes.plot(errors, [1e3 * row[key] for row in what["rows"]], "o-", markersize=4, color=colour, label=title)
            axes.axhline(1e3 * what["none"][key], color=colour, linewidth=0.9, linestyle="--",
                         label=f"{title}, no prediction")  # fmt: skip
        axes.axvline(paper.FIG17_BREAK_EVEN, **ECHO, label=f"paper: pays up to {paper.FIG17_BREAK_EVEN:g} %")
        plain(axes, "relative error of prediction, %", "latency, ms (modelled)")
        axes.set_ylim(0, 1.4 * axes.get_ylim()[1])
        axes.set_title(f"Fig. 17: {network} links, 50 ms", fontsize=10)
        axes.legend(frameon=False, fontsize=8, ncol=2, loc="upper left")
    figure.tight_layout()
    return figure


def draw_moving(found: dict[str, Any], x: str) -> plt.Figure:
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 3.5))
    names = [name for name in NAMES if any(name in rows for rows in found.values())]
    for axes, key, title in zip(panels, ("mean_s", "p95_s"), ("mean", "95th percentile"), strict=True):
        for k, name in enumerate(names):
            at = np.arange(len(found)) + (k - (len(names) - 1) / 2) * 0.8 / len(names)
            values = [1e3 * rows[name][key] if rows.get(name, {}).get(key) is not None else np.nan
                      for rows in found.values()]  # fmt: skip
            axes.bar(at, values, 0.75 / len(names), color=COLOURS[name], label=NAMES[name])
        axes.set_xticks(range(len(found)), list(found))
        plain(axes, x, f"{title} of latency, ms (modelled)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower center", ncol=3, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


FIGURES: dict[str, tuple[str, Callable[[Any], plt.Figure]]] = {
    "figure_6": ("fig6", draw_6),
    "figure_15": ("fig15", draw_15),
    "figure_16": ("fig16", draw_16),
    "figure_17": ("fig17", draw_17),
    "under_dynamics": ("dynamics", lambda found: draw_moving(found, "load")),
    "many_ues": ("many_ues", lambda found: draw_moving(found, "UEs, mid load")),
}
