"""A network that runs at any of its depths."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from airloom.core.depth import Block, DepthOrder, Order, block_modules, depth_order
from airloom.errors import ConfigError
from airloom.nn.elastic.blocks import Blocks, adapter_key, find_blocks
from airloom.nn.elastic.skip import Adapter, Path, Skip
from airloom.nn.elastic.statistics import Slot, checked, slots_of

_ADAPTERS = "adapters."


class ElasticModel(nn.Module):
    """A module of which only some blocks run.

    A block that is left out has something else in place of its `forward`, on the module itself; all else is as it was.
    So the whole model runs exactly as the module alone does, a left-out block costs nothing and is in no gradient, and
    `torch.export` sees a network without it. `module` itself runs at the depth too: capture that one.

    One thread runs it or changes its depth at a time. `twin` gives another that shares the weights and has a depth of
    its own.

    State dicts have the keys of `module`, with `adapters.BLOCK.` beside them where there are adapters; they hold the
    statistics of the whole model, whatever the depth. Those of other depths are apart (`statistics`).

    Attributes:
        module: the network.
        blocks: what may be left out, in order of execution.
        order: of arrival, with the depths to choose from.
        depth: number of blocks that run.
    """

    def __init__(self, module: nn.Module, blocks: Blocks | tuple[Tensor, ...], order: DepthOrder | None = None) -> None:
        """Of `blocks`, or of those found for example inputs; `order` None takes every depth from the back.

        Raises:
            ConfigError: an order of another number of blocks, or blocks that `module` does not have.
        """
        super().__init__()
        if not isinstance(blocks, Blocks):
            blocks = find_blocks(module, blocks)
        self.module = module
        self.found = blocks
        self.blocks: tuple[Block, ...] = blocks.blocks
        self.order = order or depth_order("back", blocks.groups)
        if self.order.num_blocks != len(self.blocks):
            raise ConfigError(f"an order of {self.order.num_blocks} blocks for a network of {len(self.blocks)}")
        self.adapters = nn.ModuleDict(
            {
                adapter_key(block.name): Adapter(block.skip)
                for block in blocks.graph.blocks
                if block.skip.kind == "adapter"
            }
        )
        if len(self.adapters) and hasattr(module, "adapters"):
            raise ConfigError("a network with a module `adapters` of its own takes none: rename it")
        self._skips = self._made_skips()
        self._slots = slots_of(module)
        self._statistics: dict[int, dict[str, Tensor]] = {}
        self._whole: dict[str, Tensor] = {}  # those of the whole model while another depth has its own
        self._depth = len(self.blocks)

    # --- depth --------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        return self._depth

    def set_depth(self, depth: int) -> None:
        """Run the blocks of `depth` from now on.

        Raises:
            ConfigError: `depth` is not one of `order.depths`.
        """
        kept = frozenset(self.order.kept(depth))
        if depth == self._depth:
            return
        for index, skips in enumerate(self._skips):
            for module, skip in skips:
                # An instance's own attribute, not nn.Module's: neither a hook nor a part.
                if index in kept:
                    module.__dict__.pop("forward", None)
                else:
                    module.__dict__["forward"] = skip
        self._use_statistics(depth)
        self._depth = depth

    @contextlib.contextmanager
    def at(self, depth: int) -> Iterator[ElasticModel]:
        """With `depth` inside, and the depth that it had afterwards."""
        before = self._depth
        self.set_depth(depth)
        try:
            yield self
        finally:
            self.set_depth(before)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def running(self, depth: int | None = None) -> tuple[Block, ...]:
        """The blocks that run at `depth`, in order of execution."""
        return tuple(self.blocks[k] for k in self.order.kept(self._depth if depth is None else depth))

    # --- weights ------------------------------------------------------------------------------

    def part_keys(self) -> tuple[tuple[str, ...], ...]:
        """State-dict keys of the base and of each block in order of execution; every key is in one of them."""
        owner = {m: 1 + k for k, block in enumerate(self.blocks) for m in block_modules(block.name)}
        parts: list[list[str]] = [[] for _ in range(1 + len(self.blocks))]
        for key in self.state_dict():
            path, part = key, 0
            while path and not part:
                path = path.rpartition(".")[0]
                part = owner.get(path, 0)
            parts[part].append(key)
        return tuple(tuple(keys) for keys in parts)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As of `module`, with the whole model's statistics."""
        state: dict[str, Any] = self.module.state_dict(*args, **kwargs)
        prefix, keep_vars = kwargs.get("prefix", ""), kwargs.get("keep_vars", False)
        for key, tensor in self._whole.items():
            state[f"{prefix}{key}"] = tensor if keep_vars else tensor.detach()
        if len(self.adapters):
            self.adapters.state_dict(destination=state, prefix=f"{prefix}{_ADAPTERS}", keep_vars=keep_vars)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of `module`; depths that have statistics of their own keep them."""
        beside: dict[str, Any] = {}
        if len(self.adapters):
            beside = {k.removeprefix(_ADAPTERS): v for k, v in state_dict.items() if k.startswith(_ADAPTERS)}
        inner = {k: v for k, v in state_dict.items() if not beside or not k.startswith(_ADAPTERS)}
        with self.at(self.order.num_blocks):
            result = self.module.load_state_dict(inner, strict=strict, assign=assign)
            if len(self.adapters):
                self.adapters.load_state_dict(beside, strict=strict, assign=assign)
        return result

    def twin(self) -> ElasticModel:
        """Another model with the same tensors for weights, and a depth of its own.

        Statistics are shared as well until one of the two loads or recalibrates its own.
        """
        tensors = {id(t): t for t in (*self.parameters(), *self.buffers(), *self._whole.values())}
        tensors.update((id(t), t) for own in self._statistics.values() for t in own.values())
        memo: dict[int, Any] = {**tensors, id(self.blocks): self.blocks, id(self.order): self.order}
        return copy.deepcopy(self, memo)

    def _apply(self, fn: Any, recurse: bool = True) -> ElasticModel:
        with self.at(self.order.num_blocks):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            self._statistics = {d: {k: fn(t) for k, t in own.items()} for d, own in self._statistics.items()}
        return self

    # --- statistics ---------------------------------------------------------------------------

    @property
    def statistics_depths(self) -> tuple[int, ...]:
        """The depths that have statistics of their own."""
        return tuple(sorted(self._statistics))

    def statistics(self, depth: int) -> dict[str, Tensor]:
        """Batch norm's running statistics of the layers that run at `depth`, by their key in the state dict.

        The tensors themselves: copy what should not change with further training.
        """
        own = self._statistics.get(depth, {})
        return {
            slot.key: own[slot.key] if own else self._whole.get(slot.key, slot.tensor) for slot in self.slots_at(depth)
        }

    def load_statistics(self, depth: int, statistics: Mapping[str, Tensor]) -> None:
        """Give `depth` statistics of its own; those of all blocks are the module's own buffers.

        Args:
            statistics: as `statistics` gives; what counts batches may be missing, and is then as it was.

        Raises:
            ConfigError: other keys or shapes than `statistics(depth)` has.
        """
        found = checked(statistics, self.statistics(depth))
        with self.at(self.order.num_blocks):
            if depth != self.order.num_blocks:
                self._statistics[depth] = found
                return
            for slot in self._slots:
                slot.put(found[slot.key])

    def share_statistics(self, depth: int | None = None) -> None:
        """`depth`, or every one, uses the whole model's statistics again."""
        with self.at(self.order.num_blocks):
            if depth is None:
                self._statistics.clear()
            else:
                self._statistics.pop(depth, None)

    def slots_at(self, depth: int) -> tuple[Slot, ...]:
        kept = self.order.kept(depth)
        out = [m for k, block in enumerate(self.blocks) if k not in kept for m in block_modules(block.name)]
        prefixes = tuple(f"{m}." for m in out)
        return tuple(slot for slot in self._slots if not slot.key.startswith(prefixes))

    def _made_skips(self) -> list[list[tuple[nn.Module, Skip]]]:
        """For each block its modules, with what each runs in place of its `forward`."""
        skips: list[list[tuple[nn.Module, Skip]]] = []
        for block, place, keyword in zip(self.blocks, self.found.graph.blocks, self.found.keywords, strict=True):
            try:
                first, *rest = [self.module.get_submodule(m) for m in block_modules(block.name)]
            except AttributeError:
                raise ConfigError(f"{type(self.module).__name__} has no module {block.name!r}") from None
            way: Any = None if place.skip.kind == "identity" else Path(place.skip)
            if place.skip.kind == "adapter":
                way = self.adapters[adapter_key(block.name)]
            skips.append([(first, Skip(way, keyword)), *((m, Skip()) for m in rest)])
        return skips

    def _use_statistics(self, depth: int) -> None:
        own = self._statistics.get(depth, {})
        if not own and not self._whole:
            return
        for slot in self._slots:
            if slot.key in self._whole:
                slot.put(self._whole.pop(slot.key))
        for slot in self._slots:
            if slot.key in own:
                self._whole[slot.key] = slot.tensor
                slot.put(own[slot.key])


def elastic(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    order: Order = "back",
    depths: Iterable[int] | None = None,
    adapters: bool = False,
) -> ElasticModel:
    """`module` as an elastic model, its blocks found from its graph.

    Args:
        order, depths: as of `core.depth.depth_order`.

    Raises:
        UserError: it has no blocks, or not these depths.
    """
    blocks = find_blocks(module, example_inputs, adapters=adapters)
    return ElasticModel(module, blocks, depth_order(order, blocks.groups, depths=depths))
