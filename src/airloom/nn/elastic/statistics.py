"""Batch norm's running statistics, one set for each depth.

What a layer sees depends on which blocks run before it, so means and variances that fit one depth fit another badly
(Yu et al., "Slimmable Neural Networks", ICLR 2019, section 3.3). A depth that has statistics of its own keeps them
here while another one runs; one that has none shares those of the whole model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from airloom.errors import ConfigError

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


def recalibrate(model: ElasticModel, batches: Iterable[Sequence[Tensor] | Tensor], depths: Sequence[int]) -> None:
    """Batch norm's statistics of `depths` anew: means over `batches`, which are gone through once for each depth.

    Depth, modes and momenta are left as they were; depths without batch norm are left alone.

    Args:
        batches: inputs; something that can be gone through again and again, such as a list.
    """
    for depth in depths:
        current = {key: tensor.clone() for key, tensor in model.statistics(depth).items()}
        if not current:
            continue
        model.load_statistics(depth, current)
        count = 0
        try:
            with model.at(depth), Averaging(model.module, model.slots_at(depth)), torch.no_grad():
                for batch in batches:
                    model(*((batch,) if isinstance(batch, Tensor) else batch))
                    count += 1
            if not count:
                raise ConfigError("there is no batch to recalibrate with: give a list, which can be gone through again")
        except BaseException:  # also Ctrl-C: half a mean is worse than what was there
            model.load_statistics(depth, current)
            raise
