"""How each tensor of a coded cut is carried: worked out from graph and coding alone, so that both ends agree."""

from __future__ import annotations

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
from airloom.nn.captured import Captured
from airloom.nn.conceal import map_axis
from airloom.nn.program import DTYPES
from airloom.nn.redundancy import Branch, find_branch
from airloom.wire.interleave import Order, random_order, structured_order

# What numpy takes for a type on the wire; it has no bfloat16.
_NUMPY = {torch.bfloat16: "uint16"}


@dataclass(frozen=True, eq=False)
class TensorPlan:
    """How one tensor of the live set is carried.

    Attributes:
        order: element k of the stream is element `order[k]` of the tensor in C order; None: as they lie.
        copies: the same for what is sent twice; with protection by value, the order of the candidates.
        branch: what is left out; None: nothing.
        axis: of the feature maps.
        means: `[C]` calibrated means of the feature maps, where they are known.
        wire: type of the numbers on the wire.
    """

    tensor: int
    spec: TensorSpec
    order: Order | None
    copies: Order | None
    branch: Branch | None
    axis: int
    means: Tensor | None
    wire: torch.dtype

    @property
    def count(self) -> int:
        return math.prod(self.spec.shape)

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
    axis, count = map_axis(captured, tensor), math.prod(spec.shape)
    num_maps = spec.shape[axis] if len(spec.shape) > axis else 1
    if maps is not None and (len(maps.means) != num_maps or sorted(maps.order) != list(range(num_maps))):
        raise ConfigError(
            f"cut {cut}: calibration of tensor {tensor} is of {len(maps.means)} feature maps, not {num_maps}"
        )
    order = _order(coding.interleave, spec.shape, count, coding.seed)
    return TensorPlan(
        tensor=tensor,
        spec=spec,
        order=order,
        copies=_copies(coding, cut, spec, axis, maps),
        branch=None if coding.prune == "none" else find_branch(captured, cut, tensor),
        axis=axis,
        means=None if maps is None else torch.tensor(maps.means),
        wire=wire,
    )


def _order(kind: str, shape: tuple[int, ...], count: int, seed: int) -> Order | None:
    if kind == "none":
        return None
    return random_order(count, seed) if kind == "random" else structured_order(shape, seed)


def _copies(coding: Coding, cut: int, spec: TensorSpec, axis: int, maps: MapOrder | None) -> Order | None:
    """Elements that may be sent twice, in an order of their own: a copy must not lie beside its original."""
    count = math.prod(spec.shape)
    if coding.protect == "none" or not count:
        return None
    order = random_order(count, coding.seed + 1)
    if coding.protect == "value":
        return order
    if len(spec.shape) <= axis:
        return None
    if maps is None:
        raise ConfigError(f"cut {cut}: protecting feature maps needs their order, from a tolerance profile")
    chosen = np.zeros(spec.shape[axis], np.bool_)
    chosen[list(maps.order[: math.ceil(coding.protect_share * len(maps.order))])] = True
    along = chosen.reshape([-1 if k == axis else 1 for k in range(len(spec.shape))])
    return order[np.broadcast_to(along, spec.shape).reshape(-1)[order]]
