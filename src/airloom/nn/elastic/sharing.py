"""Several depths of a network for little more than the work of one.

Depths begin alike: up to the first block that one of them leaves out, both compute the same of the same batch. A pass
through all blocks is remembered, and a pass at a smaller depth takes what it remembers up to there; gradients of both
meet in the one graph that they share. Where blocks are left out from the back, a smaller depth then costs its
shortcuts and the last layers alone.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from airloom.core.depth import block_modules
from airloom.nn.elastic.model import ElasticModel


class Call(NamedTuple):
    """A module that ran, what it returned, and how often that had been written to when it did."""

    module: nn.Module
    output: Tensor
    version: int


class SharedPass:
    """One pass at full depth, remembered for smaller ones.

        with shared.remembered():
            whole = model(x)
        with shared.at(3):
            small = model(x)              # of the same x, in the same mode
        (loss(whole) + loss(small)).backward()

    Remembered are the blocks' outputs, and those of modules outside of blocks that have no parts and run once.
    """

    def __init__(self, model: ElasticModel) -> None:
        self.model = model
        self._blocks = [[model.module.get_submodule(m) for m in block_modules(b.name)] for b in model.blocks]
        inside = {id(m) for modules in self._blocks for module in modules for m in module.modules()}
        outside = [m for m in model.module.modules() if id(m) not in inside and not any(True for _ in m.children())]
        self._watched = [*(module for modules in self._blocks for module in modules), *outside]
        self._calls: list[Call] = []
        self._begun: dict[int, int] = {}  # block -> how many calls had ended when it began
        self._used: set[nn.Module] = set()

    @contextlib.contextmanager
    def remembered(self) -> Iterator[None]:
        """Set the full depth; what runs inside is what later passes share."""
        self.model.set_depth(self.model.order.num_blocks)
        self._calls, self._begun = [], {}

        def ended(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self._calls.append(Call(module, output, output._version))

        def begins(index: int) -> Callable[..., None]:
            def begun(*_: Any) -> None:
                self._begun[index] = len(self._calls)

            return begun

        hooks = [module.register_forward_hook(ended) for module in self._watched]
        hooks += [modules[0].register_forward_pre_hook(begins(k)) for k, modules in enumerate(self._blocks)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextlib.contextmanager
    def at(self, depth: int) -> Iterator[None]:
        """Set `depth`; inside, what it has in common with the full depth is not computed again."""
        self.model.set_depth(depth)
        reused = self._common(depth)
        for call in reused:
            call.module.__dict__["forward"] = _Constant(call.output)
        try:
            yield
        finally:
            for call in reused:
                call.module.__dict__.pop("forward", None)

    def is_intact(self) -> bool:
        """Whether nothing has been written in place to what was shared since it was remembered.

        Else a gradient would be of other numbers than the ones that were computed with: torch refuses to take it.
        """
        return all(call.output._version == call.version for call in self._calls if call.module in self._used)

    def forget(self) -> None:
        """Let go of the tensors."""
        self._calls, self._begun, self._used = [], {}, set()

    def _common(self, depth: int) -> list[Call]:
        """Calls before the first block that `depth` leaves out."""
        kept = self.model.order.kept(depth)
        first = next((k for k in range(len(self._blocks)) if k not in kept), None)
        end = len(self._calls) if first is None else self._begun.get(first, 0)
        often = Counter(id(call.module) for call in self._calls)
        # A result that was written to after its module returned it is no longer what the module returns.
        found = [
            call for call in self._calls[:end] if often[id(call.module)] == 1 and call.output._version == call.version
        ]
        self._used |= {call.module for call in found}
        return found


class _Constant:
    """A `forward` that returns what it returned before."""

    def __init__(self, output: Tensor) -> None:
        self.output = output

    def __call__(self, *_: Any, **__: Any) -> Tensor:
        return self.output
