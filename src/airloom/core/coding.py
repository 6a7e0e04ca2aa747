"""How the live set of a cut becomes bytes, and what stands in for those that never come.

A coding is named by text, so that plans, traces and options stay readable: `raw`, `int8`,
`pruned+structured+neighbours`. `parse_coding` is the inverse of `Coding.name`.
"""

from __future__ import annotations

from typing import Literal

from airloom.core.value import Value
from airloom.errors import ConfigError

Precision = Literal["native", "float16", "int8"]
Prune = Literal["none", "exact", "int8"]
Interleave = Literal["none", "random", "structured"]
Protect = Literal["none", "value", "maps"]
Conceal = Literal["zeros", "mean", "neighbours"]


class Coding(Value, frozen=True):
    """One way to carry a live set.

    Attributes:
        precision: of floating-point elements on the wire; `native` is the tensor's own.
        prune: leave out what the operators after the cut drop anyway (Sec. V-B, Fig. 13 of
            NeuroMessenger), found by the branch in its own precision (`exact`: the output does not
            change) or in int8 (cheaper, nearly exact).
        interleave: order of the elements over blocks: as they lie, a seeded permutation (Sec. V-A),
            or one that keeps neighbours in space and feature maps in different blocks.
        protect: which part is sent twice, in another order: the largest values (side information on
            the wire) or the most important feature maps (known from calibration, no side information).
        protect_share: the share of the elements, 0 to 1, that `protect` sends twice.
        conceal: what stands in for an element that never came: zero, the mean of its feature map as
            calibrated, or the mean of its surviving neighbours in space.
        tuned: the receiving half runs weights that were fine-tuned under this coding with losses.
        seed: of the order of the elements; the only thing both ends must share.
    """

    precision: Precision = "native"
    prune: Prune = "none"
    interleave: Interleave = "none"
    protect: Protect = "none"
    protect_share: float = 0.0
    conceal: Conceal = "zeros"
    tuned: bool = False
    seed: int = 0

    @property
    def is_raw(self) -> bool:
        """The tensors' own bytes, in their order; what is missing is zero."""
        return self == RAW

    @property
    def name(self) -> str:
        parts = [_PRECISIONS[self.precision], _PRUNES[self.prune], _INTERLEAVES[self.interleave]]
        if self.protect != "none":
            parts.append(f"twice-{self.protect}-{repr(self.protect_share).removesuffix('.0')}")
        parts += [_CONCEALS[self.conceal], "tuned" if self.tuned else "", f"seed-{self.seed}" if self.seed else ""]
        return "+".join(part for part in parts if part) or "raw"


_PRECISIONS: dict[Precision, str] = {"native": "", "float16": "fp16", "int8": "int8"}
_PRUNES: dict[Prune, str] = {"none": "", "exact": "pruned", "int8": "pruned-int8"}
_INTERLEAVES: dict[Interleave, str] = {"none": "", "random": "random", "structured": "structured"}
_CONCEALS: dict[Conceal, str] = {"zeros": "", "mean": "mean", "neighbours": "neighbours"}

RAW = Coding()


def parse_coding(text: str) -> Coding:
    """The coding that `text` names.

    Raises:
        ConfigError: a part is not known, or stands twice.
    """
    if text == "raw":
        return RAW
    found: dict[str, object] = {}
    words: dict[str, tuple[str, object]] = {"tuned": ("tuned", True)}
    for key, table in (
        ("precision", _PRECISIONS), ("prune", _PRUNES), ("interleave", _INTERLEAVES), ("conceal", _CONCEALS),
    ):  # fmt: skip
        words |= {word: (key, value) for value, word in table.items() if word}
    for part in text.split("+"):
        if part in words:
            parsed = [words[part]]
        else:
            parsed = _with_number(part)
        if not parsed or any(key in found for key, _ in parsed):
            known = ", ".join([*words, "twice-value-SHARE", "twice-maps-SHARE", "seed-N"])
            raise ConfigError(f"{text!r} is no coding: `raw`, or some of {known} joined by `+`, each kind once")
        found.update(parsed)
    return Coding(**found)  # type: ignore[arg-type]


def _with_number(part: str) -> list[tuple[str, object]]:
    """`twice-KIND-SHARE` and `seed-N`; empty where it is neither."""
    word, _, rest = part.partition("-")
    try:
        if word == "seed" and int(rest) > 0:
            return [("seed", int(rest))]
        kind, _, share = rest.partition("-")
        if word == "twice" and kind in ("value", "maps") and 0.0 < float(share) <= 1.0:
            return [("protect", kind), ("protect_share", float(share))]
    except ValueError:
        pass
    return []
