"""What `airloom elastic train` shows, while it trains and in the end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airloom.nn.elastic.progress import Epoch
    from airloom.nn.elastic.recipe import Recipe
    from airloom.nn.elastic.training import TrainedElastic, TrainingStep


def line(step: TrainingStep) -> str:
    from airloom.units import format_seconds

    first = f"epoch {step.epoch + 1}  loss {step.losses[0]:.3g}"
    return f"{first}  {format_seconds(step.rest_s)} left"


def epoch_line(number: int, epochs: int, epoch: Epoch) -> str:
    from airloom.units import format_percent, format_seconds

    parts = [f"epoch {number}/{epochs}", f"loss {epoch.loss:.4g}"]
    parts += [] if epoch.full_loss is None else [f"full {epoch.full_loss:.4g}"]
    parts += [f"rate {epoch.lr:.3g}", format_seconds(epoch.seconds)]
    if epoch.scores:
        scores = sorted(epoch.scores.items())
        parts.append("test " + " ".join(f"{depth}:{format_percent(score)}" for depth, score in scores))
    return "  ".join(parts)


def show(args: argparse.Namespace, model: Any, trained: TrainedElastic, recipe: Recipe, out: Path) -> None:
    import msgspec

    from airloom.cli.terminal import emit_json, table
    from airloom.units import format_percent

    frequencies = recipe.frequencies(model.order)
    share = sum(epoch.share for epoch in trained.history) / len(trained.history)
    if args.json:
        emit_json(
            {
                "model": args.model,
                "out": str(out),
                "order": msgspec.to_builtins(model.order),
                "trained_a_step": [float(p) for p in frequencies],
                "share_of_blocks": share,
                "seconds": trained.seconds,
                "step_s": trained.step_s,
                "scores": {str(depth): score for depth, score in trained.scores.items()},
                "history": msgspec.to_builtins(trained.history, str_keys=True),
            }
        )
        return
    rows = []
    whole = sum(weight.numel() for weight in model.parameters())
    for depth, frequency in zip(model.order.depths, frequencies, strict=True):
        left_out = whole - sum(b.parameters for b in model.blocks) + sum(b.parameters for b in model.running(depth))
        score = trained.scores.get(depth)
        shown = None if score is None else f"{score:.4g}" if recipe.loss == "mse" else format_percent(score)
        rows.append([depth, format_percent(left_out / whole), format_percent(frequency), shown])
    print(table(rows, ["blocks", "weights", "trained", "test loss" if recipe.loss == "mse" else "top-1"], "r"))
    last = trained.history[-1]
    epochs = f"{len(trained.history)} epoch{'s' * (len(trained.history) != 1)}"
    print(
        f"loss {last.loss:.4g} after {epochs}; {trained.step_s * 1e3:.0f} ms a step, "
        f"which ran {format_percent(share)} of the blocks"
    )
    print(f"wrote {out}")
