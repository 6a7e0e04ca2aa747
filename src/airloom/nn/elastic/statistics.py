"""Batch norm's running statistics, one set for each depth.

What a layer sees depends on which blocks run before it, so means and variances that fit one depth fit another badly
(Yu et al., "Slimmable Neural Networks", ICLR 2019, section 3.3). A depth that has statistics of its own keeps them
here while another one runs; one that has none shares those of the whole model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from airloom.core.depth import block_modules
from airloom.errors import ConfigError
from airloom.planner.depth_draws import in_common

if TYPE_CHECKING:
    from airloom.nn.elastic.model import ElasticModel

#: The buffers of a batch norm, as they stand in a state dict behind its path.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class Slot(NamedTuple):
    """One buffer: its key in the state dict, and where it lives."""

    key: str
    module: nn.Module
    name: str

    @property
    def tensor(self) -> Tensor:
        found = self.module._buffers[self.name]
        assert found is not None
        return found

    def put(self, tensor: Tensor) -> None:
        """Point the buffer at `tensor`: nothing is copied."""
        self.module._buffers[self.name] = tensor


def slots_of(module: nn.Module) -> tuple[Slot, ...]:
    """Every running statistic in `module`, in the order of its state dict."""
    return tuple(
        Slot(f"{path}.{name}" if path else name, norm, name)
        for path, norm in module.named_modules()
        if isinstance(norm, _NormBase)
        for name in BUFFERS
        if norm._buffers.get(name) is not None
    )


def checked(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`given`, copied to the form of `expected`; batch counters that it lacks are those of `expected`.

    Raises:
        ConfigError: a key that is missing or unknown, or another shape.
    """
    counters = {key: tensor for key, tensor in expected.items() if key.endswith(BUFFERS[-1])}
    given = {**counters, **given}
    unknown = sorted(set(given) - set(expected))
    missing = sorted(set(expected) - set(given))
    if unknown or missing:
        what = f"unknown {unknown[0]!r}" if unknown else f"{missing[0]!r} is missing"
        raise ConfigError(f"these are no statistics of this depth: {what}")
    for key, tensor in expected.items():
        if given[key].shape != tensor.shape:
            raise ConfigError(f"statistics {key!r}: shape {list(given[key].shape)}, not {list(tensor.shape)}")
    return {key: given[key].detach().to(device=old.device, dtype=old.dtype, copy=True) for key, old in expected.items()}


class Averaging:
    """While entered, the batch norms of the slots start anew and take the plain mean over all batches.

    Only they are in train mode: dropout stays off. Modes and momenta are put back as they were.
    """

    def __init__(self, module: nn.Module, slots: tuple[Slot, ...]) -> None:
        self.module = module
        self.norms: list[Any] = list({id(slot.module): slot.module for slot in slots}.values())

    def __enter__(self) -> None:
        self.modes = [(m, m.training) for m in self.module.modules()]
        self.momenta = [norm.momentum for norm in self.norms]
        self.module.eval()
        for norm in self.norms:
            norm.train()
            norm.momentum = None  # a cumulative average
            norm.reset_running_stats()

    def __exit__(self, *reason: object) -> None:
        for norm, momentum in zip(self.norms, self.momenta, strict=True):
            norm.momentum = momentum
        for m, training in self.modes:
            m.training = training


class _Times:
    """While entered, notes when the norms and the blocks of a model run.

    A norm that has run before a block begins does not depend on whether that block is left out.
    """

    def __init__(self, model: ElasticModel) -> None:
        self._count = 0
        self._ended: dict[int, int] = {}
        self._began: dict[int, int] = {}
        self._norms = {id(slot.module): slot.module for slot in slots_of(model.module)}
        self._blocks = [model.module.get_submodule(block_modules(block.name)[0]) for block in model.blocks]

    def __enter__(self) -> None:
        def norm_ran(module: nn.Module, *_: Any) -> None:
            self._count += 1
            self._ended[id(module)] = self._count

        def block_began(index: int) -> Any:
            def began(*_: Any) -> None:
                self._began[index] = self._count

            return began

        self._hooks = [norm.register_forward_hook(norm_ran) for norm in self._norms.values()]
        self._hooks += [block.register_forward_pre_hook(block_began(k)) for k, block in enumerate(self._blocks)]

    def __exit__(self, *reason: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def is_before(self, slot: Slot, block: int) -> bool:
        """Whether the norm of `slot` was done when block `block` began; all are before one that there is not."""
        if block == len(self._blocks):
            return True
        return self._ended.get(id(slot.module), 0) <= self._began.get(block, -1)


def recalibrate(model: ElasticModel, batches: Iterable[Sequence[Tensor] | Tensor], depths: Sequence[int]) -> None:
    """Batch norm's statistics of `depths` anew: means over `batches`.

    What runs before the first block that a depth leaves out sees the same at every depth that goes that far: its
    statistics are taken once. A depth of which that is all is not run, and shares the whole model's statistics where
    these are taken as well. Depth, modes and momenta are left as they were; depths without batch norm are left alone.

    Args:
        batches: inputs; something that can be gone through again and again, such as a list.
    """
    times = _Times(model)
    known: dict[str, Tensor] = {}
    # The one that goes furthest first: what others have in common with it, it has.
    for depth in sorted(set(depths), key=lambda depth: (-in_common(model.order, depth), depth)):
        slots = model.slots_at(depth)
        if not slots:
            continue
        first_out = in_common(model.order, depth)
        same = {s.key: known[s.key] for s in slots if s.key in known and times.is_before(s, first_out)}
        if len(same) == len(slots):
            if model.order.num_blocks in depths:
                model.share_statistics(depth)
            else:
                model.load_statistics(depth, same)
            continue
        _run(model, batches, depth, contextlib.nullcontext() if known else times)
        if not known:
            known = dict(model.statistics(depth))
        model.load_statistics(depth, model.statistics(depth) | same)


def _run(
    model: ElasticModel,
    batches: Iterable[Sequence[Tensor] | Tensor],
    depth: int,
    first: contextlib.AbstractContextManager[object],
) -> None:
    """Means over `batches` for all the norms of `depth`, which then has its own; `first` is around one batch."""
    current = {key: tensor.clone() for key, tensor in model.statistics(depth).items()}
    model.load_statistics(depth, current)
    count = 0
    try:
        with model.at(depth), Averaging(model.module, model.slots_at(depth)), torch.no_grad():
            for batch in batches:
                with contextlib.nullcontext() if count else first:
                    model(*((batch,) if isinstance(batch, Tensor) else batch))
                count += 1
        if not count:
            raise ConfigError("there is no batch to recalibrate with: give a list, which can be gone through again")
    except BaseException:  # also Ctrl-C: half a mean is worse than what was there
        model.load_statistics(depth, current)
        raise
