"""How much of a network runs: which of its blocks, and in which order they arrive.

A *block* is a part of a network that may be left out: its input then goes on to what follows, through what fits
the dimensions where they differ (`nn.elastic`). All that is in no block, the first and last layers with it, is the
*base* and always runs. A *depth* is a number of blocks. Depths are nested: the blocks of a depth are among those of
every greater one, so a model grows by what is added to it (Accordion, "Practical Implementation").

Blocks run in the order in which the network has them, whatever the order in which they arrive.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from itertools import groupby, zip_longest
from typing import Literal

from airloom.core.graph import Operator, Parameter, TensorSpec
from airloom.core.value import Value
from airloom.errors import ConfigError

#: `back`: blocks are left out from the last one on (the paper's CoML). `groups`: as many of every group
#: (BlockCoML), within a group from its last one on.
Order = Literal["back", "groups"]


class Block(Value, frozen=True):
    """A part of a network that may be left out.

    Attributes:
        name: its path in the module tree, `groups.0.1`; of a layer whose batch norm and activation stand beside it,
            the run of them, `features.11-13` (`block_modules`).
        group: blocks of one group stand one after another and have the same form; 0, 1, ...
        parameters: weights in it.
        macs: multiply-accumulates for one sample.
    """

    name: str
    group: int
    parameters: int
    macs: int = 0


def block_modules(name: str) -> tuple[str, ...]:
    """Paths of the modules that are the block `name`: one, or those of a run `features.11-13`.

    Raises:
        ConfigError: a run that goes backwards.
    """
    run = re.fullmatch(r"(.*\.|)(\d{1,6})-(\d{1,6})", name)
    if run is None:
        return (name,)
    head, first, last = run[1], int(run[2]), int(run[3])
    if not first < last <= first + 1000:
        raise ConfigError(f"block {name!r} is no run of modules")
    return tuple(f"{head}{k}" for k in range(first, last + 1))


class SkipPath(Value, frozen=True):
    """What a block's input goes through where the block is left out, as data; nothing at all where dimensions agree.

    Attributes:
        kind: `identity`; `own`: the block's own shortcut; `pool`: average pooling and zero-padded feature maps;
            `adapter`: a small trained layer, part of the base.
        operators: their tensor 0 is the block's input, those they make are numbered on, and their parameters are
            ids into `parameters`. Allow-listed like those of any graph.
        tensors: spec of the block's input and of what each operator makes, for the batch of the graph.
        result: id of the tensor that takes the place of the block's output.
        parameters: of an `adapter`.
    """

    kind: Literal["identity", "own", "pool", "adapter"]
    tensors: tuple[TensorSpec, ...]
    operators: tuple[Operator, ...] = ()
    result: int = 0
    parameters: tuple[Parameter, ...] = ()


class GraphBlock(Value, frozen=True):
    """Where a block lies in a captured graph (`core.graph.ModelGraph`).

    Attributes:
        name: as of `Block`.
        start, stop: it is the operators `start` to `stop - 1`.
        input, output: ids of the tensors that go in and come out.
        skip: what takes its place.
    """

    name: str
    start: int
    stop: int
    input: int
    output: int
    skip: SkipPath


class GraphBlocks(Value, frozen=True):
    """The blocks of one captured graph, in order of execution; `nn.elastic.skip_blocks` leaves some out.

    Attributes:
        graph: digest of the whole graph that the ids are of.
    """

    graph: str
    blocks: tuple[GraphBlock, ...]


class DepthOrder(Value, frozen=True, dict=True):
    """Blocks in order of arrival, and the depths that a model is trained for and served at.

    Attributes:
        arrival: indices of blocks (in order of execution), the first to arrive first.
        depths: ascending numbers of blocks, the last of which is all of them.
    """

    kind: Order
    arrival: tuple[int, ...]
    depths: tuple[int, ...]

    def __post_init__(self) -> None:
        total = len(self.arrival)
        if sorted(self.arrival) != list(range(total)):
            raise ConfigError(f"order of arrival {self.arrival} does not name each of {total} blocks once")
        if list(self.depths) != sorted(set(self.depths)) or not self.depths or self.depths[-1] != total:
            raise ConfigError(f"depths {self.depths} do not ascend to all {total} blocks")
        if self.depths[0] < 0:
            raise ConfigError(f"a depth is at least 0, got {self.depths[0]}")

    @property
    def num_blocks(self) -> int:
        return len(self.arrival)

    def kept(self, depth: int) -> tuple[int, ...]:
        """Indices of the blocks that run at `depth`, in order of execution."""
        self.check(depth)
        if depth not in self._kept:
            self._kept[depth] = tuple(sorted(self.arrival[:depth]))
        return self._kept[depth]

    def check(self, depth: int) -> None:
        """Raises: ConfigError where `depth` is not one of `depths`."""
        if depth not in self._depths:
            raise ConfigError(f"no depth {depth}: there are {', '.join(map(str, self.depths))}")

    @functools.cached_property
    def _depths(self) -> frozenset[int]:
        return frozenset(self.depths)

    @functools.cached_property
    def _kept(self) -> dict[int, tuple[int, ...]]:
        # Filled as asked for: all depths of an ensemble of thousands of trees would take more room than the trees.
        return {}


def depth_order(kind: Order, groups: Sequence[int], *, depths: Iterable[int] | None = None) -> DepthOrder:
    """The order of the paper's policies for blocks of these groups.

    Args:
        groups: of each block, in order of execution.
        depths: those to train and serve, all blocks besides; None takes every depth from 1 on (`back`), or every
            number of blocks per group from 1 on (`groups`).

    Raises:
        ConfigError: a depth that is none, or for `groups` one that does not leave as many to each group.
    """
    total = len(groups)
    if total == 0:
        raise ConfigError("there is no block to leave out")
    members = [[k for k, _ in run] for _, run in groupby(enumerate(groups), key=lambda pair: pair[1])]
    if kind == "back":
        arrival = tuple(range(total))
        natural = range(1, total + 1)
    else:
        rounds = [[k for k in ranks if k is not None] for ranks in zip_longest(*members)]
        arrival = tuple(k for ranks in rounds for k in ranks)
        ends = [0]
        for ranks in rounds:
            ends.append(ends[-1] + len(ranks))
        natural = range(0)
        allowed = tuple(ends[1:])
        if depths is None:
            return DepthOrder(kind=kind, arrival=arrival, depths=allowed)
        wrong = sorted(set(depths) - set(ends))
        if wrong:
            raise ConfigError(
                f"depth {wrong[0]} does not take as many blocks of each group: it is one of {', '.join(map(str, ends))}"
            )
        depths = set(depths)
    chosen = sorted(set(natural if depths is None else depths) | {total})
    if not 0 <= chosen[0] <= chosen[-1] <= total:
        bad = chosen[0] if chosen[0] < 0 else chosen[-1]
        raise ConfigError(f"no depth {bad}: there are {total} blocks")
    return DepthOrder(kind=kind, arrival=arrival, depths=tuple(chosen))
