"""results.json as Markdown: Table I with the paper's numbers, and what was to be reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paper import TABLE_I, num_blocks
from schemes import FLOOR_POINTS, OPERATING_BLER
from subjects import SUBJECTS

TITLES = {
    "raw": "Raw", "pruned": "Pruned", "pruned_harq": "Pruned-HARQ", "neuromessenger": "NeuroMessenger",
    "airloom": "Airloom", "airloom_any_precision": "Airloom, any precision",
}  # fmt: skip
IN_PAPER = {"raw": "Raw", "pruned": "Pruned", "pruned_harq": "Pruned-HARQ", "neuromessenger": "Ours"}
LEAST_BLOCKS = 8
FLAT = 1.1  # times the time at BLER 0


def write_tables(results: dict[str, Any], path: Path) -> None:
    cuts = results["cuts"]
    sections = (table_one, floors, flat_ranges, savings, against_raw, bearable, predictions)
    path.write_text("\n\n".join(section(cuts) for section in sections) + "\n")


def point(scheme: dict[str, Any], bler: float) -> dict[str, Any]:
    """Accuracy at the measured BLER nearest to `bler`."""
    return min(scheme["points"], key=lambda p: abs(p["bler"] - bler))


def time_at(scheme: dict[str, Any], bler: float) -> dict[str, float]:
    return min(scheme["times"], key=lambda t: abs(t["bler"] - bler))


def place_in_paper(cut: dict[str, Any]) -> int:
    """Which of the model's four cuts of Table I this is."""
    return [c.title for c in SUBJECTS[cut["model"]].cuts if c.in_table].index(cut["title"])


def table_one(cuts: list[dict[str, Any]]) -> str:
    lines = [
        f"## Table I: BLER {OPERATING_BLER:g}, floor {100 * FLOOR_POINTS:g} points under the clean model",
        "",
        "| model, cut | blocks raw (paper) | scheme | time ms (paper) | against Raw (paper) | top-1 or word accuracy"
        " | lost, points | paper: accuracy or WER |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cut in (c for c in cuts if c["in_table"]):
        model, place = cut["model"], place_in_paper(cut)
        raw = time_at(cut["schemes"]["raw"], OPERATING_BLER)["total_s"]
        for name, title in TITLES.items():
            scheme = cut["schemes"][name]
            at, seconds = point(scheme, OPERATING_BLER), time_at(scheme, OPERATING_BLER)["total_s"]
            paper = TABLE_I[model][IN_PAPER[name]][place] if name in IN_PAPER else None
            paper_raw = TABLE_I[model]["Raw"][place].time_ms
            gain = f" ({100 * (paper.time_ms / paper_raw - 1):+.0f} %)" if paper else ""
            lines.append(
                f"| {model}, {cut['title']} | {cut['raw_blocks']:.0f} ({num_blocks(model, place):.0f}) | {title} "
                f"| {1e3 * seconds:.1f}{f' ({paper.time_ms:g})' if paper else ''} "
                f"| {100 * (seconds / raw - 1):+.0f} %{gain} "
                f"| {100 * at['accuracy']:.1f} | {100 * at['drop']:.1f} | {f'{paper.score:g}' if paper else ''} |"
            )
    return "\n".join(lines)


def floors(cuts: list[dict[str, Any]]) -> str:
    lines = [
        "## The floor: most points lost at any BLER from 0 to 0.95",
        "",
        f"Allowed are {100 * FLOOR_POINTS:g}; cuts of fewer than {LEAST_BLOCKS} blocks as coded are marked.",
        "",
        "| model, cut | blocks coded | Airloom, mean of seeds | at BLER | worst seed | any precision, mean of seeds"
        " | NeuroMessenger, mean of seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for cut in cuts:
        scheme = cut["schemes"]["airloom"]
        worst = max(scheme["points"], key=lambda p: p["drop"])
        seed = max(max(p["drop_by_seed"]) for p in scheme["points"])
        short, paper = (
            max(p["drop"] for p in cut["schemes"][name]["points"])
            for name in ("airloom_any_precision", "neuromessenger")
        )
        lines.append(
            f"| {cut['model']}, {cut['title']} | {scheme['blocks']:.0f}{small(scheme)} | {100 * worst['drop']:.1f} "
            f"| {worst['bler']:g} | {100 * seed:.1f} | {100 * short:.1f} | {100 * paper:.1f} |"
        )
    return "\n".join(lines)


def small(scheme: dict[str, Any]) -> str:
    return " (few)" if scheme["blocks"] < LEAST_BLOCKS else ""


def flat_until(scheme: dict[str, Any]) -> float:
    """The BLER up to which a message takes at most `FLAT` times as long as with no loss."""
    limit = FLAT * scheme["times"][0]["total_s"]
    flat = 0.0
    for at in scheme["times"]:
        if at["total_s"] > limit:
            break
        flat = at["bler"]
    return flat


def flat_ranges(cuts: list[dict[str, Any]]) -> str:
    lines = [
        f"## Flat range: the BLER up to which a message takes at most {FLAT:g} times its time without loss",
        "",
        "| model, cut | Airloom | Airloom, any precision | NeuroMessenger | Pruned-HARQ |",
        "|---|---|---|---|---|",
    ]
    names = ("airloom", "airloom_any_precision", "neuromessenger", "pruned_harq")
    for cut in cuts:
        flat = " | ".join(f"{flat_until(cut['schemes'][name]):.2f}" for name in names)
        lines.append(f"| {cut['model']}, {cut['title']} | {flat} |")
    return "\n".join(lines)


def saved(cut: dict[str, Any], name: str, bler: float, key: str) -> float:
    ours, harq = (time_at(cut["schemes"][s], bler)[key] for s in (name, "pruned_harq"))
    return 1.0 - ours / harq


def savings(cuts: list[dict[str, Any]]) -> str:
    blers = (0.3, 0.5, 0.7, 0.9, 0.95)
    lines = [
        "## Less time than Pruned-HARQ, percent, at the same floor",
        "",
        "Sending nothing again saves p/(1+p) where the second attempt always succeeds and p where attempts are"
        " independent; waiting for feedback at the end adds to both.",
        "",
        "| model, cut | attempts | " + " | ".join(f"BLER {b:g}" for b in blers) + " |",
        "|---|---|" + "---|" * len(blers),
        "| bound, transmissions alone | combined, p/(1+p) | "
        + " | ".join(f"{100 * b / (1 + b):.0f}" for b in blers)
        + " |",
        "| | independent, p | " + " | ".join(f"{100 * b:.0f}" for b in blers) + " |",
    ]
    for cut in cuts:
        for title, name, key in (
            ("combined", "airloom", "total_s"),
            ("combined, any precision", "airloom_any_precision", "total_s"),
            ("independent", "airloom", "total_s_independent"),
        ):
            values = " | ".join(f"{100 * saved(cut, name, bler, key):.0f}" for bler in blers)
            lines.append(f"| {cut['model']}, {cut['title']} | {title} | {values} |")
    return "\n".join(lines)


def against_raw(cuts: list[dict[str, Any]]) -> str:
    blers = (0.2, 0.5, 0.95)
    lines = [
        "## Less time than Raw, percent",
        "",
        "Raw is sent once, whatever is lost of it.",
        "",
        "| model, cut | " + " | ".join(f"BLER {b:g}" for b in blers) + " | "
        + " | ".join(f"any precision, {b:g}" for b in blers) + " |",
        "|---|" + "---|" * (2 * len(blers)),
    ]  # fmt: skip
    for cut in cuts:
        raw = cut["schemes"]["raw"]
        values = [
            100 * (1 - time_at(cut["schemes"][name], b)["total_s"] / time_at(raw, b)["total_s"])
            for name in ("airloom", "airloom_any_precision")
            for b in blers
        ]
        lines.append(f"| {cut['model']}, {cut['title']} | " + " | ".join(f"{v:.0f}" for v in values) + " |")
    return "\n".join(lines)


KINDS = {
    "raw": "raw, as it lies", "random": "random order, zeros", "structured+neighbours": "structured, neighbours",
    "structured+neighbours+tuned": "the same, tuned", "fp16": "the chosen in float16",
}  # fmt: skip


def kind_of(profile: dict[str, Any]) -> str:
    """Which of `KINDS` a profile is; what is pruned is left out of the name."""
    name = profile["coding"]
    if profile["pattern"] == "random":
        return "single elements"
    return "fp16" if "fp16" in name else "+".join(part for part in name.split("+") if part != "pruned")


def bearable(cuts: list[dict[str, Any]]) -> str:
    lines = [
        f"## BLER bearable without repair at the floor of {100 * FLOOR_POINTS:g} points (G^-1 with its margin)",
        "",
        "Pruned first, all but raw, where there is something to prune.",
        "",
        "| model, cut | " + " | ".join(KINDS.values()) + " | chosen |",
        "|---|" + "---|" * (len(KINDS) + 1),
    ]
    for cut in cuts:
        known = {kind_of(p): p["tolerable"] for p in cut["profiles"]}
        values = " | ".join(f"{known[kind]:.2f}" if kind in known else "" for kind in KINDS)
        lines.append(f"| {cut['model']}, {cut['title']} | {values} | {cut['chosen']} |")
    return "\n".join(lines)


def predictions(cuts: list[dict[str, Any]]) -> str:
    lines = [
        "## G against fresh samples and draws: mean absolute distance, points",
        "",
        "Of accuracies, and of points lost (the fresh samples may be easier or harder as such).",
        "",
        "| model, cut | coding | exponential | exponential, lost | better curve | better, accuracy | better, lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for cut in cuts:
        fresh = cut["fresh"]
        kind = fresh["better"]
        lines.append(
            f"| {cut['model']}, {cut['title']} | {fresh['coding']} | {100 * fresh['mae_exponential']:.1f} "
            f"| {100 * fresh['mae_exponential_drop']:.1f} | {kind} | {100 * fresh[f'mae_{kind}']:.1f} "
            f"| {100 * fresh[f'mae_{kind}_drop']:.1f} |"
        )
    return "\n".join(lines)
