"""results.json as tables in Markdown, the paper's number beside ours where the paper prints one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import paper
from settings import METHODS
from summary import at_most, policies, whole

INTRO = (
    "Made by `run.py` from results.json. Errors are measured on the whole test set in float32 and are the mean over "
    "seeds ± their deviation; seeds are how many have finished. The paper's numbers are published, those of its text."
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def error(point: dict[str, Any] | None) -> str:
    if point is None:
        return ""
    spread = "" if point["deviation"] is None else f" ± {point['deviation']:.2f}"
    return f"{point['error']:.2f}{spread}"


def number(value: float | None, form: str = ".1f") -> str:
    return "" if value is None else format(value, form)


def ladders(setting: dict[str, Any]) -> list[str]:
    return [name for name in policies(setting["methods"]) if METHODS[name].kind == "elastic"]


def write_tables(results: dict[str, Any], path: Path) -> None:
    parts = ["# Accordion's experiments: tables", "", INTRO, ""]
    for name, setting in results["settings"].items():
        parts += [f"## {setting['title']}", "", sizes(setting), ""]
        for make in (by_size, at_sizes, savings, training, over_coml, others):
            if text := make(name, setting, results["figures"][name]):
                parts += [text, ""]
        if name in results.get("delivered", {}):
            parts += [delivered(results["delivered"][name]), ""]
        if name in results.get("energy", {}):
            parts += [energy(results["energy"][name]), ""]
    if "example" in results:
        found = results["example"]
        parts += [
            "## 10 MB, 200 ms, 240 Mbit/s", "",
            f"The server sends {100 * found['share']:.0f} % of the model (paper: {100 * found['paper']:.0f} %).", "",
        ]  # fmt: skip
    path.write_text("\n".join(parts).rstrip() + "\n")


def sizes(setting: dict[str, Any]) -> str:
    curve = next(m["points"] for n, m in setting["methods"].items() if METHODS[n].kind == "elastic")
    total = whole(curve)
    text = (
        f"Whole network: {total['parameters']:,} parameters, {32e-6 * total['parameters']:.2f} Mbit at 32 bits each "
        f"({64e-6 * total['parameters']:.2f} Mbit as the paper counts), {total['macs'] / 1e6:.1f} million MACs."
    )
    if setting["like"]:
        like = paper.NETWORKS[setting["like"]]
        text += f" The paper's {setting['like']}: {like.mbit:g} Mbit, {like.macs / 1e6:g} million MACs."
    if setting["published_error"] is not None:
        text += f" Published weights: {setting['published_error']:.2f} % wrong."
    return text


def by_size(name: str, setting: dict[str, Any], figures: dict[str, Any]) -> str:
    """Every size of every method."""
    rows = []
    for method in ladders(setting):
        found = setting["methods"][method]
        total = whole(found["points"])
        for point in found["points"]:
            rows.append((
                METHODS[method].title, str(found["seeds"]), str(point["depth"]), f"{32e-6 * point['parameters']:.2f}",
                f"{100 * point['parameters'] / total['parameters']:.1f}", f"{100 * point['macs'] / total['macs']:.1f}",
                error(point),
            ))  # fmt: skip
    head = ("method", "seeds", "blocks", "Mbit (32 bits)", "bits, %", "MACs, %", "error, %")
    return (
        "<details><summary>Fig. 4: error at every size</summary>\n\n" + table(head, rows) + "\n\n</details>"
    )  # fmt: skip


def at_sizes(name: str, setting: dict[str, Any], figures: dict[str, Any]) -> str:
    """Errors at the sizes that the paper speaks of."""
    rows = []
    cifar100 = setting["dataset"] == "cifar100"
    for method in ladders(setting):
        curve = setting["methods"][method]["points"]
        link = paper.LINK_ERROR.get(method) if cifar100 else None
        rows.append((
            METHODS[method].title, str(setting["methods"][method]["seeds"]), error(whole(curve)),
            number(figures["full_loss"][method], "+.2f"), number(paper.FULL_LOSS.get(method), "+.0f"),
            error(at_most(curve, 0.5)), error(figures["at_quarter"][method]), error(figures["at_link"][method]),
            number(link, ".0f"), error(at_most(curve, 0.25, "macs")),
        ))  # fmt: skip
    head = (
        "error, %", "seeds", "whole", "over ordinary, points", "paper", "≤ 50 % of bits", "≤ 25 % of bits",
        f"100 Mbit/s, 0.3 s (≤ {100 * figures['link_share']:.0f} %)", "paper", "≤ 25 % of MACs",
    )  # fmt: skip
    return "### Error at the sizes that the paper speaks of\n\n" + table(head, rows)


def savings(name: str, setting: dict[str, Any], figures: dict[str, Any]) -> str:
    rows = []
    levels = figures["levels"]
    for method in ladders(setting):
        found = figures["saved"][method]
        cells: list[str] = []
        for level in levels:
            cells += [number(found[level]["bits"]), number(found[level]["macs"])]
        cifar100 = setting["dataset"] == "cifar100"
        rows.append((
            METHODS[method].title, *cells, number(paper.BITS_SAVED.get(method) if cifar100 else None, "g"),
            number(paper.MACS_SAVED.get(method) if cifar100 else None, "g"),
        ))  # fmt: skip
    heads: list[str] = []
    for value in levels.values():
        heads += [f"bits at {value:.1f} % error", f"MACs at {value:.1f} %"]
    note = (
        "Of the cheapest configuration with at most that error, whichever it is for bits and for MACs; empty where no "
        "size is as good. The second level is 1.75 times the ordinary network's error, as 50 % is in the paper."
    )
    return f"### Saved, %\n\n{note}\n\n" + table(("", *heads, "paper, bits", "paper, MACs"), rows)


def training(name: str, setting: dict[str, Any], figures: dict[str, Any]) -> str:
    rows = [
        (METHODS[method].title, str(setting["methods"][method]["seeds"]), number(row["cpu_s"], ".0f"),
         number(row.get("relative"), ".2f"), number(row["share_of_blocks"], ".2f"))
        for method, row in figures["training"].items() if not METHODS[method].of
    ]  # fmt: skip
    note = (
        "CPU seconds of one core (measured while the machine did other things too), the same over the ordinary "
        "training's on the same seeds, and the mean share of blocks that a step computed (exact; blocks have nearly "
        "the same MACs). What the depths of a step have in common is computed once."
    )
    return f"### Training\n\n{note}\n\n" + table(("", "seeds", "CPU s", "over ordinary", "share of blocks"), rows)


def over_coml(name: str, setting: dict[str, Any], figures: dict[str, Any]) -> str:
    rows = [
        (pair, f"{found['better']} of {found['of']}", number(found["least"], "+.2f"), number(found["mean"], "+.2f"))
        for pair, found in figures["above_coml"].items()
    ]
    return "### Airloom over the paper's policies, size by size\n\n" + table(
        ("", "sizes at which it is better", "least gap, points", "mean gap"), rows
    ) if rows else ""  # fmt: skip


def others(name: str, setting: dict[str, Any], figures: dict[str, Any]) -> str:
    """What has one size, or exits."""
    rows = []
    published = {"int8": paper.INT8_ERROR, "pruned": paper.PRUNED_ERROR}
    total = whole(next(m["points"] for n, m in setting["methods"].items() if METHODS[n].kind == "elastic"))
    for method in ("int8", "pruned", "exits"):
        found = setting["methods"].get(method)
        for point in found["points"] if found else ():
            bits = found.get("bits", 32 * point["parameters"])
            label = METHODS[method].title + (f", exit {point['depth'] + 1}" if method == "exits" else "")
            about = published.get(method) if setting["dataset"] == "cifar10" else None
            rows.append((
                label, str(found["seeds"]), f"{1e-6 * bits:.2f}", f"{100 * bits / 32 / total['parameters']:.1f}",
                error(point), number(about, "g"),
            ))  # fmt: skip
            if "bits_with_places" in found:
                places = found["bits_with_places"]
                rows.append((f"{label}, with a bit for each place", str(found["seeds"]), f"{1e-6 * places:.2f}",
                             f"{100 * places / 32 / total['parameters']:.1f}", error(point), ""))  # fmt: skip
    head = ("", "seeds", "Mbit", "bits, %", "error, %", "paper, at 75 % less")
    return "### Others\n\n" + table(head, rows) if rows else ""


def delivered(found: dict[str, Any]) -> str:
    rows = [
        (str(step["depth"]), f"{step['nbytes']:,}", f"{100 * step['share']:.1f}", f"{100 * (1 - step['accuracy']):.2f}")
        for step in found["steps"]
    ]
    return (
        f"### What answers while the packed model arrives ({found['whole_nbytes']:,} bytes on disk)\n\n"
        "The path that `upgrade_path` takes to the whole model in float32, files with their headers.\n\n"
        + table(("blocks", "bytes so far", "% of all", "error, %"), rows)
    )


def energy(found: dict[str, Any]) -> str:
    parts = []
    for kind in ("trained", "paper"):
        each = found[kind]
        rows = [
            (METHODS[n].title, str(row["depth"]), *(number(row[p], ".1f") for p in ("training", "download", "answers")),
             number(row["total"], ".1f"))
            for n in policies(each["methods"]) for row in (each["methods"][n],)
        ]  # fmt: skip
        if rows:
            head = ("", "blocks", "training", "download", "answers", "total")
            parts.append(f"Epochs: {each['epochs']}; error of at most {each['level']:.1f} %:\n\n" + table(head, rows))
    if not parts:
        return ""
    use = found["trained"]["use"]
    head = (
        f"### Energy, J a UE (modelled)\n\n{use['ues']} UEs share a training on a {use['trainer']}, each downloads "
        f"once over {use['radio']} at {use['rate_bps'] / 1e6:g} Mbit/s and computes {use['answers']} answers on a "
        f"{use['ue']}, "
        "with the configuration of least energy that is good enough."
    )
    return "\n\n".join([head, *parts])
