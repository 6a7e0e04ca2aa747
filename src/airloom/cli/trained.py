"""What `airloom train` prints of a training."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.training import Trained

#: What of `--json` comes of the run itself.
_MEASURED = ("measured_s", "moved_s", "moved_nbytes", "first_loss", "last_loss", "losses", "wire_nbytes")


def show(args: argparse.Namespace, trained: Trained, same: bool | None) -> None:
    """A row for each plan that was followed, or all of it as JSON.

    Args:
        same: whether weights are those of training in one piece; None where nobody asked.
    """
    from airloom.cli.terminal import emit_json, table
    from airloom.units import format_bytes, format_seconds

    spans = list(zip(trained.plans, [*(one.step for one in trained.plans[1:]), trained.step], strict=True))
    rows, found = [], []
    for one, end in spans:
        took = sorted(step.took_s for step in trained.steps if one.step <= step.number < end)
        losses = [step.loss for step in trained.steps if one.step <= step.number < end]
        measured = took[len(took) // 2] if took else None
        where = ", ".join(f"{s.device} {s.start}..{s.stop - 1}" for s in one.plan.stages)
        found.append(
            {
                "first_step": one.step, "steps": len(took), "stages": where, "predicted_s": one.predicted_s,
                "measured_s": measured, "moved_nbytes": one.moved_nbytes, "moved_s": one.moved_s,
                "first_loss": losses[0] if losses else None, "last_loss": losses[-1] if losses else None,
            }
        )  # fmt: skip
        made = f"{one.step}..{end - 1}" if end > one.step else "none"
        rows.append(
            (
                where, made, None if one.predicted_s is None else format_seconds(one.predicted_s),
                None if measured is None else format_seconds(measured), format_bytes(one.moved_nbytes),
                format_seconds(one.moved_s), *(f"{losses[k]:.4f}" if losses else None for k in (0, -1)),
            )
        )  # fmt: skip
    sent = {
        "forward": trained.sent("forward"), "backward": trained.sent("backward"), "values": trained.sent("values"),
        "parameters": trained.sent("parameters"),
    }  # fmt: skip
    if args.json:
        emit_json(
            {
                "plans": found, "losses": list(trained.losses), "step": trained.step, "wire_nbytes": sent,
                "same_as_in_one_piece": same, "notes": list(trained.notes),
                "basis": {"predicted_s": "modelled"} | dict.fromkeys(_MEASURED, "measured"),
            }
        )  # fmt: skip
        return
    header = ("stages", "steps", "predicted/step", "measured/step", "moved", "in", "first loss", "last loss")
    print(table(rows, header, align="lrrrrrrr"))
    steps = max(1, len(trained.steps))
    on, back, moved = sent["forward"] // steps, sent["backward"] // steps, sent["parameters"]
    print(
        f"\non the wire: {format_bytes(on)} forward and {format_bytes(back)} back a step, {format_bytes(moved)} of "
        "weights moved and brought home, every hop counted"
    )
    if same is not None:
        print("weights and losses are those of training in one piece, bit for bit" if same else "weights DIFFER")
    for note in trained.notes:
        print(f"emulated: {note}")
    for path, what in ((args.save, "weights"), (args.checkpoint, "checkpoint")):
        if path is not None:
            print(f"wrote {path}: {what} {f'after step {trained.step - 1}' if trained.step else 'as they were'}")
    print(f"wrote {args.out}: `airloom report {args.out}` shows it")
