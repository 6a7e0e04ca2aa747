"""results.json as tables in Markdown, the paper's number beside ours where the paper prints one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import paper
import tables_moving
from cells import joules, ms, off, percent, span, table
from still import LABELS, SCHEMES

LOADS = ("low", "mid", "high")
NETWORKS = {"mmwave_iab": "mmWave IAB", "sub6": "sub-6 GHz"}
INTRO = (
    "Made by `run.py` from results.json. Every number of ours is modelled: from profiles measured on one machine, "
    "published machine classes and a simulated network; the paper's are published."
)


def write_tables(results: dict[str, Any], path: Path) -> None:
    parts = ["# HiveMind's experiments: tables", "", INTRO, ""]
    for name, make in TABLES.items():
        if results.get(name):
            parts += [make(results[name]), ""]
    path.write_text("\n".join(parts).rstrip() + "\n")


# --- a network that holds still -----------------------------------------------------------------


def table_i(found: dict[str, Any]) -> str:
    rows = []
    for name, published in (("mmwave_iab", paper.TABLE_I), ("sub6", paper.TABLE_I_SUB6)):
        for label, (capacity, mean, std) in published.items():
            # The paper has one row for links A and B of the sub-6 GHz network; B is the one of known capacity.
            ours = found[name].get(label) or found[name].get(label.split(" & ")[-1])
            rows.append((f"{NETWORKS[name]}, {label}", f"{capacity:g}", f"{mean:g} ± {std:g}",
                         f"{ours['mean']:.2f} ± {ours['std']:.2f}"))  # fmt: skip
    return "## Table I: what links leave to the UE at mid load, Mbit/s\n\n" + table(
        ("link", "capacity", "paper", "ours"), rows
    )


def figure_2(found: dict[str, Any]) -> str:
    rows = [
        (f"1/{slowdown:g}", *(f"{found[scheme][k]:.2f}" for scheme in SCHEMES), ", ".join(map(str, found["stops"][k])))
        for k, slowdown in enumerate(found["slowdown"])
        if slowdown == int(slowdown)
    ]
    head = ("MEC-cloud capacity", *(LABELS[s] for s in SCHEMES), "cuts after UE, MEC, cloud")
    return "## Fig. 2: overhead in the paper's units\n\n" + table(head, rows)


def figures_11_and_12(found: dict[str, Any]) -> str:
    parts = []
    for name, number in (("mmwave_iab", 11), ("sub6", 12)):
        for task, letter, unit, show in (
            ("inference_s", "a", "latency of inference, ms", ms),
            ("training_j", "b", "energy of UE and IAB hosts, J for a step of training on 8 pictures", joules),
        ):
            rows, cloud, single = [], [], []
            for load in LOADS:
                cell = found[name][load][task]
                means = {scheme: cell[scheme]["mean"] for scheme in SCHEMES}
                cloud.append(off(means["airloom"], means["cloud-only"]))
                single.append(off(means["airloom"], means["single-split"]))
                each = [f"{show(cell[s]['mean'])} ({show(cell[s]['p50'])})" for s in SCHEMES]
                shares = (percent(cloud[-1]), percent(single[-1]))
                worse = str(cell["worse_than_best_baseline"])
                rows.append((load, str(cell["trials"]), *each, show(cell["airloom"]["p95"]), *shares, worse))
            head = ("load", "trials", *(LABELS[s] for s in SCHEMES), "Airloom, p95", "off cloud, %", "off single, %",
                    "worse than the best baseline")  # fmt: skip
            parts.append(f"## Fig. {number}{letter}: {NETWORKS[name]}, {unit}: mean (median)\n\n{table(head, rows)}")
            if task == "inference_s":
                parts.append(
                    f"Off the cloud's mean {span(cloud, paper.OFF_CLOUD)} %, off the single split's "
                    f"{span(single, paper.OFF_SINGLE)} %."
                )
    return "\n\n".join(parts)


def by_speed(found: dict[str, Any]) -> str:
    rows = []
    for load, factors in found.items():
        for times, mean in factors.items():
            rows.append(
                (load, f"x{times}", ms(mean["airloom"]), percent(off(mean["airloom"], mean["cloud-only"])),
                 percent(off(mean["airloom"], mean["single-split"])))
            )  # fmt: skip
    head = ("load", "IAB hosts", "Airloom, ms", "off cloud, %", "off single, %")
    return (
        "## What IAB hosts that are slower than their class leave of Fig. 11a\n\n"
        f"The paper: {paper.OFF_CLOUD[0]:g} to {paper.OFF_CLOUD[1]:g} % off the cloud, {paper.OFF_SINGLE[0]:g} to "
        f"{paper.OFF_SINGLE[1]:g} % off the single split, HiveMind at most {paper.FIG11_HIVEMIND_MS:g} ms.\n\n"
        + table(head, rows)
    )


def figure_13(found: dict[str, Any]) -> str:
    rows = []
    for model, tasks in found.items():
        for task, mean in tasks.items():
            rows.append((f"{model}, {task}", *(f"{mean[s]:.2f}" for s in SCHEMES)))
    parts = ["## Fig. 13: relative efficiency, times the UE alone", table(("", *(LABELS[s] for s in SCHEMES)), rows)]
    for task in ("inference", "training"):
        ours = {model: found[model][task]["airloom"] for model in found}
        parts.append(
            f"{task.capitalize()}: R-CNN {ours['rcnn'] / ours['resnet18']:.2f} times ResNet-18 (paper: "
            f"{paper.FIG13_OVER_RESNET:g}), {ours['rcnn'] / ours['vgg11']:.2f} times VGG11 (paper: "
            f"{paper.FIG13_OVER_VGG:g})."
        )
    return "\n\n".join(parts)


def figure_14(found: dict[str, Any]) -> str:
    factors = list(found["IAB"])
    rows = [(f"{tier} hosts, {LABELS[s]}", *(ms(found[tier][k][s]) for k in factors))
            for tier in found for s in (SCHEMES if tier == "cloud" else ("airloom",))]  # fmt: skip
    last = {tier: found[tier][factors[-1]]["airloom"] for tier in found}
    return "\n\n".join(
        [
            "## Fig. 14: mean latency at mid load with hosts of one tier faster or slower, ms",
            table(("", *(f"x{float(k):g}" for k in factors)), rows),
            f"At x20, IAB hosts improved lie {percent(off(last['IAB'], last['core']))} % below core hosts improved "
            f"(paper: {paper.FIG14_BELOW_CORE:g}) and {percent(off(last['IAB'], last['cloud']))} % below the cloud "
            f"improved (paper: {paper.FIG14_BELOW_CLOUD:g}). Where the baselines end: single split "
            f"{ms(found['cloud'][factors[-1]]['single-split'])} ms (paper: {paper.FIG14_SINGLE_MS:g}), cloud only "
            f"{ms(found['cloud'][factors[-1]]['cloud-only'])} ms (paper: {paper.FIG14_CLOUD_MS:g}).",
        ]
    )


def updates(found: dict[str, Any]) -> str:
    rows = [
        (load, str(row["tasks"]), ms(row["planning_s"]), f"{row['planning_nbytes']:.0f}", ms(row["mean_s"]))
        for load, row in found.items()
    ]
    return (
        f"## Split cost updates, a wave for each task (paper: {paper.UPDATE_MS:g} ms)\n\n"
        "From the UE's question to the table that follows from the wave; the task waits for it.\n\n"
        + table(("load", "tasks", "update, ms", "bytes of a task's wave", "mean latency with it, ms"), rows)
    )


# --- objectives ---------------------------------------------------------------------------------


def cost(amount: float | None, metric: str) -> str:
    if amount is None:
        return "none"
    return f"{amount:.3f}" if metric == "energy" else f"{1e6 * amount:.3f}"


def figure_18(found: dict[str, Any]) -> str:
    parts = ["## Fig. 18: the least of one metric under a bound on latency", FIGURE_18]
    for name, setting in found.items():
        metric = setting["metric"]
        unit = "J" if metric == "energy" else "10^-6 $"
        rows = []
        best = setting["best_feasible_weight"]
        shown = dict(setting["ways"])
        if best is not None:
            shown[f"linear, best feasible weight ({best} {'J' if metric == 'energy' else '$'}/s)"] = setting["sweep"][
                best
            ]
        for way, row in shown.items():
            latency = [ms(row[key]) if row["answers"] else "" for key in ("latency_s", "latency_max_s")]
            rows.append((way, str(row["answers"]), cost(row["cost"], metric), *latency, str(row["violations"])))
        below = setting["exact_below"]
        bound = f"{1e3 * setting['bound_s']:g} ms" if setting["bound_s"] else "half-way, of each draw for itself"
        parts += [
            f"### {name[0].upper()}{name[1:]}",
            f"Bound: {bound}. Of {setting['draws']} draws no plan keeps it on {setting['impossible']} "
            f"(the exact solver says so though a plan does: {setting['impossible_though_a_plan_keeps_it']}); the two "
            f"metrics disagree on {setting['metrics_disagree']}.",
            table(("way", "answers", unit, "mean, ms", "most, ms", "violations"), rows),
            f"Exact below linear: {_below(below['linear'], setting['ways']['linear']['violations'])} (paper: "
            f"{paper.FIG18_LESS:g} %); below the best feasible weight: "
            + ("none keeps the bound." if best is None else f"{percent(below['best feasible weight'])} %."),
        ]
    return "\n\n".join(parts)


def _below(share: float | None, violations: int) -> str:
    return f"no comparison, it breaks the bound on {violations}" if violations else f"{percent(share)} %"


FIGURE_18 = (
    "Means over the draws on which some plan keeps the bound. *Opt.* is one metric alone; *convex* is the paper's Eq. "
    "(12) made free of units, *as printed* the same in s and J; *linear* is Eq. (11) with the metric over its least "
    "value and latency over its bound. The best feasible weight is the one of 25 fixed exchange rates with the least "
    "cost among those that keep the bound on every draw, picked with hindsight on the same draws."
)


def random_chains(found: dict[str, Any]) -> str:
    rows = [(way, str(row["answers"]), f"{row['cost']:.3f}" if row["answers"] else "none", str(row["violations"]),
             f"{row['worst_excess']:.3f}" if row["answers"] else "") for way, row in found["ways"].items()]  # fmt: skip
    return "\n\n".join(
        [
            f"## Energy under bounds on latency and money, {found['draws']} random chains",
            "8 hosts, 174 operators, both bounds bind (benchmarks/objectives.py). Ways that break a bound are cheap.",
            table(("way", "answers", "J", "chains with a bound broken", "largest cost over its bound"), rows),
            f"Weights of the sweep (17 factors of the even ones) that keep both bounds on every chain: "
            f"{'none' if found['best_feasible_weight'] is None else found['best_feasible_weight']}.",
        ]
    )


# --- recurrent and collaborative ----------------------------------------------------------------


def pair(row: dict[str, Any]) -> tuple[str, ...]:
    """Columns of a comparison."""
    (own, other), (own_s, other_s), kept = row["energy_j"], row["latency_s"], row["keeps_bound"]
    return (f"{own:.3g}", f"{other:.3g}", f"{row['energy_ratio']:.2f}", f"{1e3 * own_s:.0f}", f"{1e3 * other_s:.0f}",
            f"{kept[0]} / {kept[1]} of {row['draws']}")  # fmt: skip


PAIR = ("Airloom, J", "standard, J", "energy ratio", "Airloom, ms", "standard, ms", "bound kept")


def figure_19(found: dict[str, Any]) -> str:
    parts = [f"## Fig. 19: against the standard split, least energy within {1e3 * found['bound_s']:g} ms"]
    for kind, title, published in (("recurrent", "200 GRU modules", paper.FIG19_RNN),
                                   ("collaborative", "QMIX's agent", paper.FIG19_QMIX)):  # fmt: skip
        rows = [(load, *pair(row), f"{published[load]:g}" if load in published else "")
                for load, row in found[kind].items()]  # fmt: skip
        parts += [f"### {title}", table(("load", *PAIR, "paper's ratio"), rows)]
    return "\n\n".join(parts)


def recurrent_sensitivity(found: dict[str, Any]) -> str:
    rows = [(f"{name}; {load}", *pair(row)) for name, loads in found.items() for load, row in loads.items()]
    return "## What Fig. 19a depends on: 200 GRU modules, no bound\n\n" + table(("setting; load", *PAIR), rows)


def collaborative_sensitivity(found: list[dict[str, Any]]) -> str:
    rows = []
    for row in found:
        bound, free = row["120 ms"], row["no bound"]
        rows.append(
            (row["model"], str(row["batch"]), str(row["every"]), f"{row['parameters_kb']:.0f}",
             f"{row['input_kb']:.0f}", *((f"{bound['energy_ratio']:.2f}", f"{bound['keeps_bound'][0]} / "
             f"{bound['keeps_bound'][1]} of {bound['draws']}") if bound else ("", "")), *pair(free)[:5])
        )  # fmt: skip
    head = ("model", "batch", "steps a merge", "parameters, KB", "input, KB", "ratio within 120 ms", "bound kept",
            *(f"no bound: {title}" for title in PAIR[:5]))  # fmt: skip
    return "## What Fig. 19b depends on, high load\n\n" + table(head, rows)


#: By section of results.json, in the order of the page.
TABLES: dict[str, Callable[[Any], str]] = {
    "bandwidths": table_i,
    "figure_2": figure_2,
    "figures_11_and_12": figures_11_and_12,
    "by_speed": by_speed,
    "figure_13": figure_13,
    "figure_14": figure_14,
    "updates": updates,
    **tables_moving.TABLES,
    "figure_18": figure_18,
    "random_chains": random_chains,
    "figure_19": figure_19,
    "recurrent_sensitivity": recurrent_sensitivity,
    "collaborative_sensitivity": collaborative_sensitivity,
}
