"""How each tensor of a coded cut is carried: worked out from graph and coding alone, so that both ends agree."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from airloom.core.coding import Coding
from airloom.core.graph import TensorSpec
from airloom.core.tolerance import MapOrder
from airloom.errors import ConfigError
from airloom.nn.branch import Branch
from airloom.nn.captured import Captured
from airloom.nn.conceal import map_axis
from airloom.nn.program import DTYPES
from airloom.nn.redundancy import find_branch
from airloom.wire.interleave import Order, random_order, structured_order

# What numpy takes for a type on the wire; it has no bfloat16.
_NUMPY = {torch.bfloat16: "uint16"}


@dataclass(frozen=True, eq=False)
class TensorPlan:
    """How one tensor of the live set is carried: its entries, each an element or what comes through a pooling window.

    Attributes:
        entries: shape of the entries.
        sites: the element where each entry goes, in C order; None: the entries are the elements.
        order: number k of the stream is entry `order[k]`; None: as they lie.
        copies: the same for what is sent twice; with protection by value, the order of the candidates.
        places, copy_places: `order` and `copies` as elements of the tensor.
        branch: what is left out; None: nothing.
        axis: of the feature maps.
        means: `[C]` calibrated means of the feature maps, where they are known.
        wire: type of the numbers on the wire.
    """

    tensor: int
    spec: TensorSpec
    entries: tuple[int, ...]
    sites: Order | None
    order: Order | None
    copies: Order | None
    branch: Branch | None
    axis: int
    means: Tensor | None
    wire: torch.dtype

    @property
    def count(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.spec.shape)

    @property
    def in_numpy(self) -> bool:
        """Whether numpy has the tensor's type."""
        return self.spec.dtype != "bfloat16"

    @property
    def num_entries(self) -> int:
        return math.prod(self.entries)

    @functools.cached_property
    def blank(self) -> Tensor:
        """The tensor before anything came: what stands where the mask left something out, else zeros."""
        x = torch.zeros(self.spec.shape, dtype=DTYPES[self.spec.dtype])
        return x if self.branch is None else x.copy_(self.branch.along(self.branch.refill, x).expand_as(x))

    @functools.cached_property
    def places(self) -> Order | None:
        if self.sites is None or self.order is None:
            return self.order if self.sites is None else self.sites
        return self.sites[self.order]

    @functools.cached_property
    def copy_places(self) -> Order | None:
        return self.copies if self.sites is None or self.copies is None else self.sites[self.copies]

    @property
    def wire_dtype(self) -> str:
        """Name of the type on the wire, as numpy has it."""
        return _NUMPY.get(self.wire) or str(self.wire).removeprefix("torch.")


def plan_cut(captured: Captured, cut: int, coding: Coding, maps: Mapping[int, MapOrder]) -> tuple[TensorPlan, ...]:
    """One plan for each tensor of the live set of `cut`, ascending.

    Raises:
        ConfigError: a tensor cannot be carried so.
    """
    return tuple(_plan(captured, cut, t, coding, maps.get(t)) for t in captured.graph.live_set(cut))


def _plan(captured: Captured, cut: int, tensor: int, coding: Coding, maps: MapOrder | None) -> TensorPlan:
    spec = captured.graph.tensors[tensor]
    dtype = DTYPES[spec.dtype]
    if not dtype.is_floating_point and dtype != torch.uint8:
        raise ConfigError(f"cut {cut} carries {spec.dtype} (tensor {tensor}), which bears no loss: send it raw")
    wire = dtype
    if dtype.is_floating_point and coding.precision != "native":
        wire = torch.float16 if coding.precision == "float16" else torch.int8
    axis = map_axis(captured, tensor)
    num_maps = spec.shape[axis] if len(spec.shape) > axis else 1
    if maps is not None and (len(maps.means) != num_maps or sorted(maps.order) != list(range(num_maps))):
        raise ConfigError(
            f"cut {cut}: calibration of tensor {tensor} is of {len(maps.means)} feature maps, not {num_maps}"
        )
    branch = None if coding.prune == "none" else find_branch(captured, cut, tensor)
    entries, sites = spec.shape, None
    if branch is not None and branch.by_window:
        firsts = branch.window_firsts(np.arange(math.prod(spec.shape)).reshape(spec.shape))
        entries, sites = firsts.shape, firsts.ravel()
    return TensorPlan(
        tensor=tensor,
        spec=spec,
        entries=entries,
        sites=sites,
        order=_order(coding, entries),
        copies=_copies(coding, cut, entries, axis, maps),
        branch=branch,
        axis=axis,
        means=None if maps is None else torch.tensor(maps.means),
        wire=wire,
    )


def _order(coding: Coding, shape: tuple[int, ...]) -> Order | None:
    if coding.interleave == "none":
        return None
    if coding.interleave == "random":
        return random_order(math.prod(shape), coding.seed)
    return structured_order(shape, coding.seed)


def _copies(coding: Coding, cut: int, shape: tuple[int, ...], axis: int, maps: MapOrder | None) -> Order | None:
    """Entries that may be sent twice, in an order of their own: a copy must not lie beside its original."""
    count = math.prod(shape)
    if coding.protect == "none" or not count:
        return None
    order = random_order(count, coding.seed + 1)
    if coding.protect == "value":
        return order
    if len(shape) <= axis:
        return None
    if maps is None:
        raise ConfigError(f"cut {cut}: protecting feature maps needs their order, from a tolerance profile")
    chosen = np.zeros(shape[axis], np.bool_)
    chosen[list(maps.order[: math.ceil(coding.protect_share * len(maps.order))])] = True
    along = chosen.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return order[np.broadcast_to(along, shape).reshape(-1)[order]]
