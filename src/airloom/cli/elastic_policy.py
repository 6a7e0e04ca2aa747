"""Which policy `airloom elastic train` draws depths by: its options, and the figures of the informed ones."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airloom.core.depth import Block, DepthOrder, Order
    from airloom.core.progressive import DepthTable
    from airloom.planner.depths import Lognormal, Policy, Samples


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how often each depth is trained")
    group.add_argument(
        "--policy", default="uniform", metavar="NAME",
        help="full, coml-P, block-coml-P (P: probability of the full model), uniform, sandwich, throughput or demand "
        "(default: uniform)",
    )  # fmt: skip
    group.add_argument(
        "--order", choices=("back", "groups"),
        help="which blocks are left out first: the last ones, or the last ones of every group (default: the policy's)",
    )  # fmt: skip
    group.add_argument("--depths", metavar="N,N,...", help="to train and serve: 3,9,18 or 3-18 (default: all)")
    group.add_argument(
        "--rates", type=Path, metavar="FILE", help="throughput: rows `second Mbit/s`, as a link's trace has them"
    )
    group.add_argument("--rate", metavar="RATE", help="throughput: median of a lognormal distribution, 50Mbit/s")
    group.add_argument("--sigma", type=float, metavar="S", help="... deviation of its logarithm (default: 0.8)")
    group.add_argument("--deadline", metavar="TIME", help="throughput: by when a depth is there, 300ms")
    group.add_argument("--before", metavar="TIME", help="throughput: passes before the first byte comes (default: 0)")
    group.add_argument(
        "--served-as", default="fp32", metavar="PRECISION",
        help="throughput, demand: in which precision depths are sent (default: fp32)",
    )  # fmt: skip
    group.add_argument("--demands", metavar="FILE|A,A,...", help="demand: accuracies that users ask for, 0.5,0.8,0.9")
    group.add_argument(
        "--table", type=Path, metavar="FILE",
        help="what `airloom elastic table` wrote of such a model: accuracy and bytes of each depth",
    )  # fmt: skip
    group.add_argument("--even", type=float, metavar="P", help="... share of steps spread over all depths (0.05)")


def order_of(args: argparse.Namespace, kind: Order | None) -> Order:
    """The order of blocks that options and policy ask for.

    Raises:
        ConfigError: they contradict each other.
    """
    given: Order | None = args.order
    if given is not None and kind is not None and given != kind:
        raise ConfigError(f"{args.policy} leaves out blocks by {kind!r}, not {given!r}", where="--order")
    return given or kind or "back"


def depths_of(text: str | None) -> list[int] | None:
    """`3,9,18` or `3-18`; None for all.

    Raises:
        ConfigError: it is neither.
    """
    if text is None:
        return None
    depths: set[int] = set()
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            depths |= set(range(int(first), int(last) + 1)) if dash else {int(first)}
    except ValueError:
        raise ConfigError(
            f"expected numbers of blocks such as 3,9,18 or 3-18, got {text!r}", where="--depths"
        ) from None
    if not depths:
        raise ConfigError(f"{text!r} names no depth", where="--depths")
    return sorted(depths)


def check_policy_options(args: argparse.Namespace) -> None:
    """Refuse, before a model is made, what a policy lacks and what it has no use for."""
    from airloom.core.progressive import encodings_of

    try:
        encodings_of(args.served_as)
    except ConfigError as error:
        raise ConfigError(str(error), where="--served-as") from None
    needs = {
        "throughput": ("rates", "rate", "sigma", "deadline", "before"),
        "demand": ("demands",),
    }
    for policy, options in needs.items():
        for option in options:
            if getattr(args, option) is not None and args.policy != policy:
                raise ConfigError(f"is of --policy {policy}, not of {args.policy}", where=f"--{option}")
    if args.policy not in needs and (args.table is not None or args.even is not None):
        where = "--table" if args.table is not None else "--even"
        raise ConfigError(f"is of --policy throughput or demand, not of {args.policy}", where=where)
    if args.policy == "throughput":
        if (args.rates is None) == (args.rate is None):
            raise ConfigError("name the link's rates: either --rates FILE or --rate MEDIAN", where="--policy")
        if args.deadline is None:
            raise ConfigError("name the --deadline by which a depth is there", where="--policy")
    if args.policy == "demand":
        if args.demands is None:
            raise ConfigError("name the accuracies that users ask for: --demands", where="--policy")
        if args.table is None:
            raise ConfigError(
                "needs to know how accurate depths are: train once, measure with `airloom elastic table`, then --table",
                where="--policy",
            )


def policy_of(
    args: argparse.Namespace, order: DepthOrder, blocks: Sequence[Block], base_parameters: int, table: DepthTable | None
) -> Policy:
    """The policy with its figures for the model's depths.

    Raises:
        ConfigError: the options do not make one, or the table is of other depths.
    """
    from airloom.planner.depths import EVEN, Demand, Throughput, accuracies_in, named_policy, sizes_in, sizes_of
    from airloom.units import parse_duration

    if args.policy not in ("throughput", "demand"):
        return named_policy(args.policy)[0]
    if table is not None and table.order != order:
        raise ConfigError(
            f"its depths are {_shown(table.order)}, those to train {_shown(order)}", where=str(args.table)
        )
    even = EVEN if args.even is None else args.even
    if args.policy == "throughput":
        sizes = (
            sizes_of(order, blocks, base_parameters, precision=args.served_as)
            if table is None
            else sizes_in(table, args.served_as)
        )
        return Throughput(
            rates=_rates(args), deadline_s=parse_duration(args.deadline, where="--deadline"), nbytes=sizes,
            before_s=parse_duration(args.before or "0s", where="--before"), even=even,
        )  # fmt: skip
    assert table is not None  # check_policy_options
    return Demand(demands=_demands(args.demands), accuracies=accuracies_in(table, args.served_as), even=even)


def _rates(args: argparse.Namespace) -> Samples | Lognormal:
    from airloom.config.rate_trace import read_rate_rows
    from airloom.planner.depths import Lognormal, Samples
    from airloom.units import parse_rate

    if args.rate is not None:
        sigma = 0.8 if args.sigma is None else args.sigma
        return Lognormal(median_bps=parse_rate(args.rate, where="--rate"), sigma=sigma)
    seconds, rates = read_rate_rows(args.rates)
    # A rate counts as long as it holds; the last as long as those before it on average.
    lasts = [b - a for a, b in itertools.pairwise(seconds)]
    lasts.append(sum(lasts) / len(lasts) if lasts else 1.0)
    return Samples(values=tuple(rates), weights=tuple(lasts))


def _demands(text: str) -> Samples:
    """Of a file, an accuracy a line and optionally its weight; or of a list."""
    from airloom.planner.depths import Samples

    where, path = "--demands", Path(text)
    if path.is_file():
        where = text
        lines = [line.partition("#")[0].replace(",", " ").split() for line in path.read_text("utf-8").splitlines()]
    else:
        lines = [[part] for part in text.split(",")]
    try:
        rows = [[float(field) for field in line] for line in lines if line]
    except ValueError:
        rows = []
    if not rows or any(len(row) > 2 for row in rows) or len({len(row) for row in rows}) > 1:
        raise ConfigError(
            "expected accuracies such as 0.5,0.8, or a file with one a line, each with its weight or none", where=where
        )
    return Samples(values=tuple(row[0] for row in rows), weights=tuple(row[1] for row in rows if len(row) > 1))


def _shown(order: DepthOrder) -> str:
    return f"{','.join(map(str, order.depths))} by {order.kind}"
