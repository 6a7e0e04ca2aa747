"""What the jobs' results say together: curves with mean and deviation, and the figures that the paper states."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import paper
from published import PUBLISHED_ERROR
from settings import METHODS, PAPERS, Job, Setting

_HALF, _LOSS = paper.HALF_ERROR["cifar100-resnet110"]
#: CIFAR-100 in the paper: an error of 50 % is 1.75 times that of the whole ordinary network, 88 / (1 + 2.08) = 28.6 %.
RELATIVE = paper.AT_ERROR / (_HALF / (1 + _LOSS / 100))
QUARTER = 0.25
Curve = list[dict[str, Any]]


def read(settings: Mapping[str, Setting], work: Path) -> dict[str, Any]:
    """Curves of every setting and method that has results, of as many seeds as there are."""
    found = {}
    for setting in settings.values():
        methods = {}
        for name in (*setting.methods, *setting.extras):
            results = [
                json.loads(file.read_text())
                for seed in setting.seeds
                if (file := work / "jobs" / Job(setting, METHODS[name], seed).name / "result.json").exists()
            ]
            if results:
                methods[name] = curve_of(results)
        if methods:
            found[setting.name] = {
                "title": setting.title,
                "like": setting.like,
                "dataset": setting.dataset,
                "network": setting.network,
                "epochs": setting.epochs,
                "wanted_seeds": len(setting.seeds),
                "train_pictures": setting.train or 50000,
                "published_error": PUBLISHED_ERROR.get(setting.network) if setting.published else None,
                "methods": methods,
            }
    return found


def curve_of(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Results of the same job with several seeds as one."""
    first = results[0]
    points = []
    for depth in sorted(first["error"], key=int):
        errors = [r["error"][depth] for r in results]
        points.append({
            "depth": int(depth),
            "parameters": first["parameters"][depth],
            "macs": first.get("macs", {}).get(depth),
            "error": mean(errors),
            "deviation": stdev(errors) if len(errors) > 1 else None,
            "errors": errors,
        })  # fmt: skip
    found = {
        "seeds": len(results),
        "points": points,
        "cpu_s": [r["cpu_s"] if on_cpu(r) else r.get("seconds", 0.0) for r in results],
    }
    for key in ("bits", "bits_with_places", "whole_parameters", "error_before_training"):
        if key in first:
            found[key] = mean(r[key] for r in results)
    shares = [epoch["share"] for r in results for epoch in r.get("history", ())]
    if shares:
        found["share_of_blocks"] = mean(shares)
    return found


def on_cpu(result: Mapping[str, Any]) -> bool:
    """Elsewhere what counts is time by the clock."""
    return bool(result["torch_device"] == "cpu")


# --- reading curves -------------------------------------------------------------------------------


def whole(curve: Curve) -> dict[str, Any]:
    return max(curve, key=lambda point: point["parameters"])


def at_most(curve: Curve, share: float, key: str = "parameters") -> dict[str, Any] | None:
    """The largest configuration of at most this share of the whole one's bits (or MACs): what can be sent."""
    total = whole(curve)[key]
    inside = [point for point in curve if point[key] <= share * total * (1 + 1e-9)]
    return max(inside, key=lambda point: point[key]) if inside else None


def saved(curve: Curve, error: float, key: str = "parameters") -> float | None:
    """Percent of bits (or MACs) that the cheapest configuration with at most this error saves."""
    good = [point[key] for point in curve if point["error"] <= error]
    return 100 * (1 - min(good) / whole(curve)[key]) if good else None


# --- what the paper states, and what was to be reached ---------------------------------------------


def figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of one setting."""
    curves = {name: method["points"] for name, method in found["methods"].items()}
    ladders = {name: curve for name, curve in curves.items() if METHODS[name].kind == "elastic"}
    out: dict[str, Any] = {"at_quarter": {}, "at_link": {}, "saved": {}, "full_loss": {}, "training": {}}
    ordinary = whole(curves["resnet"])["error"] if "resnet" in curves else None
    levels = {"50": paper.AT_ERROR}
    if ordinary is not None:
        levels["relative"] = RELATIVE * ordinary
    out["levels"] = levels
    link = paper.LINK_BPS * paper.LINK_DEADLINE_S / (paper.NETWORKS["resnet110"].mbit * 1e6)
    out["link_share"] = link
    for name, curve in ladders.items():
        out["at_quarter"][name] = at_most(curve, QUARTER)
        out["at_link"][name] = at_most(curve, link)
        out["saved"][name] = {
            level: {"bits": saved(curve, error), "macs": saved(curve, error, "macs")} for level, error in levels.items()
        }
        out["full_loss"][name] = None if ordinary is None else whole(curve)["error"] - ordinary
        out["training"][name] = training(found["methods"], name)
    out["above_coml"] = above(ladders)
    return out


def training(methods: Mapping[str, Any], name: str) -> dict[str, Any]:
    """CPU seconds of a training, and as a share of the ordinary one's on the same seeds."""
    own = methods[name]
    row: dict[str, Any] = {"cpu_s": mean(own["cpu_s"]), "share_of_blocks": own.get("share_of_blocks")}
    ordinary = methods.get("resnet")
    if ordinary is not None and not METHODS[name].of:
        both = min(len(ordinary["cpu_s"]), len(own["cpu_s"]))
        row["relative"] = sum(own["cpu_s"][:both]) / sum(ordinary["cpu_s"][:both])
    return row


def above(ladders: Mapping[str, Curve]) -> dict[str, Any]:
    """By how many points ours is better than each CoML at each size that both have."""
    found = {}
    for ours, theirs in (
        ("ours", "coml-05"), ("ours", "coml-03"), ("ours-taught", "coml-05"), ("ours-taught", "coml-03"),
        ("ours-groups", "blockcoml-05"), ("ours-groups", "blockcoml-03")
    ):  # fmt: skip
        if ours in ladders and theirs in ladders:
            other = {point["parameters"]: point["error"] for point in ladders[theirs]}
            gaps = {p["depth"]: other[p["parameters"]] - p["error"] for p in ladders[ours] if p["parameters"] in other}
            found[f"{ours} over {theirs}"] = {
                "gaps": gaps, "better": sum(gap > 0 for gap in gaps.values()), "of": len(gaps),
                "least": min(gaps.values()), "mean": mean(gaps.values()),
            }  # fmt: skip
    return found


def policies(names: Iterable[str]) -> list[str]:
    """Names in the order of figures and tables: the paper's, ours, the rest."""
    known = [*PAPERS, "ours", "ours-taught", "ours-groups", *METHODS]
    return sorted(set(names), key=known.index)
