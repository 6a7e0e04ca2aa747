"""Options of `airloom tolerance` that can be wrong before a model is captured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.core.coding import Coding
    from airloom.core.tolerance import Pattern


class Asked:
    """Options that can be wrong before a model is captured."""

    def __init__(self, args: argparse.Namespace) -> None:
        import msgspec

        from airloom.errors import ConfigError

        self.rates: tuple[float, ...] = _DEFAULT_RATES
        if args.rates is not None:
            self.rates = tuple(_number(text, "--rates") for text in parts(args.rates, "--rates"))
        for rate in self.rates:
            if not 0.0 <= rate <= 1.0:
                raise ConfigError(f"an error rate is from 0 to 1, got {rate:g}", where="--rates")
        self.patterns: list[Pattern] = []
        known: dict[str, Pattern] = {"burst": "burst", "random": "random"}
        for pattern in parts(args.pattern, "--pattern"):
            if pattern not in known:
                raise ConfigError(f"expected burst or random, got {pattern!r}", where="--pattern")
            self.patterns.append(known[pattern])
        self.block_bytes = tuple(whole(text, "--block-bytes") for text in parts(args.block_bytes, "--block-bytes"))
        for value, least, name in (
            (args.draws, 1, "--draws"), (args.samples, 1, "--samples"), (args.at_once, 1, "--at-once"),
            (args.seed, 0, "--seed"), (args.threads, 1, "--threads"),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ConfigError(f"at least {least}, got {value}", where=name)
        if args.floor is not None and not 0.0 <= args.floor <= 1.0:
            raise ConfigError(f"an accuracy is from 0 to 1, got {args.floor:g}", where="--floor")
        self.codings = tuple(_coding(text) for text in parts(args.codings, "--codings"))
        tuned = any(coding.tuned for coding in self.codings)
        if args.fine_tune is not None:
            if not args.fine_tune > 0 or args.train is None:
                raise ConfigError(
                    "takes seconds above 0, and samples to train with (--train FILE)", where="--fine-tune"
                )
            if not tuned:
                self.codings = (*self.codings, msgspec.structs.replace(self.codings[-1], tuned=True))
        elif tuned:
            raise ConfigError(
                "a coding that is `tuned` needs training: --fine-tune SECONDS --train FILE", where="--codings"
            )
        if args.fine_tune is None and args.train is not None:
            raise ConfigError("samples to train with, and no time to: --fine-tune SECONDS", where="--train")
        if not args.lr > 0:
            raise ConfigError(f"a learning rate is above 0, got {args.lr:g}", where="--lr")


_DEFAULT_RATES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def parts(text: str, where: str) -> tuple[str, ...]:
    from airloom.errors import ConfigError

    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ConfigError("names nothing", where=where)
    return found


def _coding(text: str) -> Coding:
    from airloom.core.coding import parse_coding
    from airloom.errors import ConfigError

    try:
        return parse_coding(text)
    except ConfigError as error:
        raise ConfigError(str(error), where="--codings") from None


def _number(text: str, where: str) -> float:
    from airloom.errors import ConfigError

    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"expected numbers such as 0,0.1,0.5, got {text!r}", where=where) from None


def whole(text: str, where: str) -> int:
    from airloom.errors import ConfigError

    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"expected whole numbers, got {text!r}", where=where) from None
