"""Many live sets through the codec at once: what is in each blob, and in which block each element lies.

A live set is coded and decoded once, by the codec itself; the losses are worked out on tensors. Where
the blob's form does not depend on the values (nothing is pruned, nothing protected by value), one
blob tells the form of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airloom.errors import StageFailed
from airloom.nn.codec import Codec
from airloom.nn.codec_plan import TensorPlan
from airloom.nn.executor import tensor_from_bytes, tensor_to_bytes
from airloom.nn.quantise import dequantise, quantise
from airloom.nn.tolerance.sent import Sent
from airloom.wire.placing import blocks_of
from airloom.wire.units import side_nbytes, unpack_sparse


class _Form(NamedTuple):
    """Of one blob, by tensor id and in the order of the tensor's elements.

    Attributes:
        blocks: the block of an element, -1 where no message ever carries it.
        copies: the block of its second copy, -1 where it has none.
        left_out: elements that the mask left out; None where nothing was pruned.
    """

    blocks: dict[int, NDArray[np.int32]]
    copies: dict[int, NDArray[np.int32]]
    left_out: dict[int, NDArray[np.bool_]]
    num_blocks: int
    nbytes: int
    side_nbytes: int


class CodedMessages:
    """Codes live sets of one cut, many at a time."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        coding = codec.coding
        # numpy has no bfloat16: the codec converts it.
        self._same_form = coding.protect != "value" and all(
            plan.branch is None and plan.spec.dtype != "bfloat16" for plan in codec.plans
        )
        self._form: _Form | None = None

    def send(self, live: Mapping[int, Tensor]) -> Sent:
        """Live sets, tensors `[m, *shape]` by id."""
        count = len(next(iter(live.values())))
        if self._same_form:
            if self._form is None:
                self._form = self._form_of(self._encoded(live, 0))
            values = {plan.tensor: _through(plan, live[plan.tensor]) for plan in self.codec.plans}
            return _gathered(values, [self._form], count)
        forms, decoded = [], []
        for k in range(count):
            blob = self._encoded(live, k)
            forms.append(self._form_of(blob))
            data = self.codec.decode(blob).data
            decoded.append({
                plan.tensor: tensor_from_bytes(data[plan.tensor], plan.spec).reshape(-1) for plan in self.codec.plans
            })  # fmt: skip
        values = {plan.tensor: torch.stack([one[plan.tensor] for one in decoded]) for plan in self.codec.plans}
        return _gathered(values, forms, count)

    def _encoded(self, live: Mapping[int, Tensor], k: int) -> memoryview:
        return self.codec.encode({t: tensor_to_bytes(parts[k]) for t, parts in live.items()})

    def _form_of(self, blob: memoryview) -> _Form:
        codec = self.codec
        rooms = {"first_room": codec.first_room, "room": codec.room}
        streams = iter(blocks_of(blob, codec.specs, **rooms))
        came = iter(unpack_sparse(blob, (), codec.specs, **rooms))
        blocks, copies, left_out = {}, {}, {}
        for plan in codec.plans:
            blocks[plan.tensor] = _as_they_lie(plan, next(streams))
            main = next(came)
            if plan.branch is not None:
                out = np.ones(plan.count, np.bool_)
                out[_places(main.places, plan.places, plan.num_entries)] = False
                left_out[plan.tensor] = out
            if plan.copy_places is not None:
                of_copy, stream = next(streams), next(came)
                known = stream.places
                if known is None or codec.coding.protect == "maps":
                    # Also that an element was left out is said twice.
                    known = np.arange(len(plan.copy_places))
                place = np.full(plan.count, -1, np.int32)
                place[plan.copy_places[known]] = of_copy[known]
                copies[plan.tensor] = place
        blocks_in_all = 1 + max(0, -(-(len(blob) - codec.first_room) // codec.room))
        side = side_nbytes(blob, codec.specs, **rooms)
        return _Form(blocks, copies, left_out, blocks_in_all, len(blob), side)


def _as_they_lie(plan: TensorPlan, stream: NDArray[np.int32]) -> NDArray[np.int32]:
    if plan.places is None:
        return stream
    lying = np.full(plan.count, -1, stream.dtype)
    lying[plan.places] = stream
    return lying


def _places(places: NDArray[np.intp] | None, order: NDArray[np.intp] | None, count: int) -> NDArray[np.intp]:
    places = np.arange(count) if places is None else places
    return places if order is None else order[places]


def _through(plan: TensorPlan, parts: Tensor) -> Tensor:
    """`[m, n]`: what the numbers are after their way in the wire's precision."""
    flat = parts.reshape(len(parts), -1)
    if plan.wire == parts.dtype:
        return flat
    rows = []
    for row in flat:
        try:
            values, scale, zero = quantise(row, plan.wire)
        except ValueError as error:
            raise StageFailed(f"tensor {plan.tensor} {error}") from None
        numbers = dequantise(values.numpy(), scale, zero, row.dtype)
        rows.append(torch.from_numpy(numbers.astype(plan.spec.dtype, copy=False)))
    return torch.stack(rows)


def _gathered(values: dict[int, Tensor], forms: list[_Form], count: int) -> Sent:
    def stacked(of: str) -> dict[int, Tensor]:
        first: dict[int, NDArray[np.int32]] = getattr(forms[0], of)
        return {t: torch.from_numpy(np.stack([getattr(form, of)[t] for form in forms])) for t in first}

    def each(of: str) -> Tensor:
        found = torch.tensor([float(getattr(form, of)) for form in forms], dtype=torch.float64)
        return found.expand(count) if len(forms) == 1 else found

    blocks = {t: b.long() for t, b in stacked("blocks").items()}
    copies = {t: b.long() for t, b in stacked("copies").items()}
    return Sent(
        values, blocks, blocks, copies, stacked("left_out"), each("num_blocks").long(), each("nbytes"),
        each("side_nbytes"),
    )  # fmt: skip
