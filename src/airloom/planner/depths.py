"""How often a network is trained at each of its depths (Accordion, "Practical Implementation of Accordion").

A policy is a value; `probabilities(order)` are those of `order.depths`, one for each. The paper's simple ones are
`FullOrLess` (CoML-05 trains all blocks in half of the iterations, else a number drawn evenly) and `Uniform`. Its two
informed ones train a depth as often as it will be asked for: `Throughput` from the rate of the link and a deadline,
`Demand` from the accuracy that users want.

    policy = Throughput(rates=Lognormal(median_bps=50e6, sigma=0.8), deadline_s=0.3, nbytes=sizes_in(table, "int8"))
    policy.probabilities(order)            # array([0.02, 0.11, ...]), which sum to 1
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from airloom.core.depth import Block, DepthOrder, Order
from airloom.core.progressive import DepthTable, encodings_of
from airloom.core.value import Value
from airloom.errors import ConfigError

Floats = NDArray[np.float64]
T = TypeVar("T")
#: Policies that a name alone says, and what the informed ones are called.
NAMES = ("full", "coml-P", "block-coml-P", "uniform", "sandwich", "throughput", "demand")
_BITS = {"fp32": 32, "fp16": 16, "int8": 8}
#: Share of iterations that an informed policy spreads evenly over all depths.
EVEN = 0.05


class DepthPolicy(Value, frozen=True):
    """What says how often each depth is trained."""

    @abstractmethod
    def probabilities(self, order: DepthOrder) -> Floats:
        """Of each of `order.depths`, `[num_depths]`, in their order; they sum to 1.

        Raises:
            ConfigError: the policy has figures for other depths than these.
        """


class Full(DepthPolicy, frozen=True, tag="full"):
    """Ordinary training: all blocks, always."""

    def probabilities(self, order: DepthOrder) -> Floats:
        result = np.zeros(len(order.depths))
        result[-1] = 1.0
        return result


class Uniform(DepthPolicy, frozen=True, tag="uniform"):
    """Every depth as often."""

    def probabilities(self, order: DepthOrder) -> Floats:
        return np.full(len(order.depths), 1 / len(order.depths))


class FullOrLess(DepthPolicy, frozen=True, tag="full-or-less"):
    """All blocks with probability `full`, else one of the other depths, each as likely.

    Accordion's CoML-05 and BlockCoML-05 have 0.5, CoML-03 and BlockCoML-03 0.3 ("Performance Evaluation").
    """

    full: float

    def __post_init__(self) -> None:
        if not 0 <= self.full <= 1:
            raise ConfigError(f"the probability of the full model is from 0 to 1, got {self.full:g}")

    def probabilities(self, order: DepthOrder) -> Floats:
        others = len(order.depths) - 1
        if not others:
            return np.ones(1)
        return np.array([(1 - self.full) / others] * others + [self.full])


class Samples(Value, frozen=True, tag="samples"):
    """A distribution as numbers seen, each with a weight; without weights each counts as much."""

    values: tuple[float, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.values or not all(math.isfinite(v) and v >= 0 for v in self.values):
            raise ConfigError("a distribution has one sample or more, each a number from 0 on")
        if self.weights and len(self.weights) != len(self.values):
            raise ConfigError(f"{len(self.weights)} weights for {len(self.values)} samples")
        if self.weights and not (all(w >= 0 for w in self.weights) and 0 < sum(self.weights) < math.inf):
            raise ConfigError("weights are 0 or more, and not all 0")

    def shares(self) -> Floats:
        """Of each sample, which sum to 1."""
        weights = np.array(self.weights or [1.0] * len(self.values), dtype=np.float64)
        return cast(Floats, weights / weights.sum())

    def at_least(self, value: float) -> float:
        """Probability of `value` or more."""
        return float(self.shares()[np.array(self.values) >= value].sum())


class Lognormal(Value, frozen=True, tag="lognormal"):
    """A distribution of rates: their logarithm is normal around that of `median_bps`, with deviation `sigma`."""

    median_bps: float
    sigma: float

    def __post_init__(self) -> None:
        if not (0 < self.median_bps < math.inf and 0 < self.sigma < math.inf):
            raise ConfigError("a lognormal distribution has a median and a sigma above 0")

    def at_least(self, value: float) -> float:
        """Probability of `value` bit/s or more."""
        if value <= 0:
            return 1.0
        if value == math.inf:
            return 0.0
        return 0.5 * math.erfc(math.log(value / self.median_bps) / self.sigma / math.sqrt(2))


class Throughput(DepthPolicy, frozen=True, tag="throughput"):
    """As often as a link of random rate brings just that depth by the deadline (the communication-related criterion).

    A depth answers requests at the rates at which it arrives in time and the next does not. Where not even the
    smallest would be in time, that is what a server sends: it counts for those too.

    Attributes:
        rates: of the link, bit/s.
        deadline_s: from the request to the model's last byte.
        nbytes: of each depth, ascending: `sizes_in` a table, or `sizes_of` blocks.
        before_s: passes before the first byte comes, a round trip say.
        even: share of iterations that is spread evenly over all depths: none that is served goes untrained.
    """

    rates: Samples | Lognormal
    deadline_s: float
    nbytes: tuple[int, ...]
    before_s: float = 0.0
    even: float = EVEN

    def __post_init__(self) -> None:
        _check_even(self.even)
        if not 0 < self.deadline_s < math.inf or not 0 <= self.before_s < math.inf:
            raise ConfigError("a deadline is above 0 s, and what passes before the first byte 0 s or more")
        if not self.nbytes or list(self.nbytes) != sorted(self.nbytes) or self.nbytes[0] < 0:
            raise ConfigError("bytes of the depths ascend from 0 on")

    def needed_bps(self) -> Floats:
        """The least rate at which each depth is there by the deadline; infinite where none is enough."""
        left = self.deadline_s - self.before_s
        sizes = 8.0 * np.array(self.nbytes, dtype=np.float64)
        return sizes / left if left > 0 else np.full(len(sizes), np.inf)

    def frequencies(self) -> Floats:
        """How often each depth is what arrives in time, before anything is spread evenly."""
        reached = [1.0, *(self.rates.at_least(rate) for rate in self.needed_bps()[1:]), 0.0]
        return np.maximum(-np.diff(reached), 0.0)

    def probabilities(self, order: DepthOrder) -> Floats:
        if len(self.nbytes) != len(order.depths):
            raise ConfigError(f"bytes of {len(self.nbytes)} depths for a model of {len(order.depths)}")
        return _spread(self.frequencies(), self.even)


class Demand(DepthPolicy, frozen=True, tag="demand"):
    """As often as users need just that depth (the performance-related criterion).

    A demand is answered by the smallest depth that is accurate enough, and by all blocks where none is.

    Attributes:
        demands: accuracies that users ask for, 0 to 1.
        accuracies: of each depth: `accuracies_in` a table. They need not ascend.
        even: share of iterations that is spread evenly over all depths: none that is served goes untrained.
    """

    demands: Samples
    accuracies: tuple[float, ...]
    even: float = EVEN

    def __post_init__(self) -> None:
        _check_even(self.even)
        if not self.accuracies or not all(0 <= a <= 1 for a in (*self.accuracies, *self.demands.values)):
            raise ConfigError("accuracies go from 0 to 1")

    def frequencies(self) -> Floats:
        """How often each depth is the smallest that is good enough, before anything is spread evenly."""
        best = np.maximum.accumulate(np.array(self.accuracies))
        answers = np.minimum(np.searchsorted(best, np.array(self.demands.values)), len(best) - 1)
        result = np.zeros(len(best))
        np.add.at(result, answers, self.demands.shares())
        return result

    def probabilities(self, order: DepthOrder) -> Floats:
        if len(self.accuracies) != len(order.depths):
            raise ConfigError(f"accuracies of {len(self.accuracies)} depths for a model of {len(order.depths)}")
        return _spread(self.frequencies(), self.even)


Policy = Full | Uniform | FullOrLess | Throughput | Demand


def named_policy(name: str) -> tuple[Policy, Order | None]:
    """A policy that its name says, and the order of blocks that the name says with it: `coml-0.5`, `uniform`, `full`.

    Raises:
        ConfigError: no such name, or one that says too little: an informed policy has figures.
    """
    if name in ("uniform", "sandwich"):
        return Uniform(), None
    if name == "full":
        return Full(), None
    match = re.fullmatch(r"(block-)?coml-(\d*\.?\d+)", name)
    if match is None:
        raise ConfigError(f"no policy {name!r}: it is one of {', '.join(NAMES)}")
    # The paper writes 05 and 03 for 0.5 and 0.3.
    share = f"0.{match[2][1:]}" if re.fullmatch(r"0\d+", match[2]) else match[2]
    order: Order = "groups" if match[1] else "back"
    return FullOrLess(full=float(share)), order


def sizes_of(
    order: DepthOrder, blocks: Sequence[Block], base_parameters: int, *, precision: str = "fp32", part_nbytes: int = 0
) -> tuple[int, ...]:
    """Bytes of each depth, ascending.

    Args:
        base_parameters: outside of all blocks.
        part_nbytes: overhead of each part that is sent: its header, names, frames.

    Raises:
        ConfigError: no such precision.
    """
    encodings_of(precision)
    bits = _BITS.get(precision) or int(precision.removeprefix("bits-"))
    sizes = []
    for depth in order.depths:
        parameters = base_parameters + sum(blocks[k].parameters for k in order.kept(depth))
        sizes.append(-(-parameters * bits // 8) + (1 + depth) * part_nbytes)
    return tuple(sizes)


def sizes_in(table: DepthTable, precision: str) -> tuple[int, ...]:
    """Bytes of each depth as a table has them.

    Raises:
        ConfigError: it lacks a depth in this precision.
    """
    found = {c.depth: c.nbytes for c in table.configurations if c.precision == precision}
    return tuple(_of(found, depth, table, precision) for depth in table.order.depths)


def accuracies_in(table: DepthTable, precision: str) -> tuple[float, ...]:
    """Accuracy of each depth as a table has it.

    Raises:
        ConfigError: it lacks a depth in this precision, or nobody measured it.
    """
    found = {
        c.depth: c.accuracy for c in table.configurations if c.precision == precision and c.accuracy is not None
    }  # fmt: skip
    return tuple(_of(found, depth, table, precision) for depth in table.order.depths)


def _of(found: dict[int, T], depth: int, table: DepthTable, precision: str) -> T:
    try:
        return found[depth]
    except KeyError:
        raise ConfigError(f"the table of {table.model} says nothing of depth {depth} in {precision}") from None


def _spread(frequencies: Floats, even: float) -> Floats:
    return (1 - even) * normal(frequencies) + even / len(frequencies)


def normal(weights: Floats) -> Floats:
    """`weights` divided by their sum."""
    return cast(Floats, weights / weights.sum())


def _check_even(even: float) -> None:
    if not 0 <= even <= 1:
        raise ConfigError(f"the share that is spread evenly is from 0 to 1, got {even:g}")
