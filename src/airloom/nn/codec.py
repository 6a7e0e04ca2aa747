"""The live set of a cut as one blob, and back, whatever part of the blob came.

Both ends make the same codec from graph, cut, coding and framing; nothing but the blob travels. A
tensor goes through: mask of what the operators behind the cut drop (`nn.redundancy`), precision,
order of elements (`wire.interleave`), units that each stand alone in a block (`wire.units`), and on
the other side back again; what never came is concealed (`nn.conceal`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airloom.core.coding import Coding
from airloom.core.framing import Framing
from airloom.core.tolerance import MapOrder
from airloom.errors import ConfigError, StageFailed
from airloom.nn.branch import Branch
from airloom.nn.captured import Captured
from airloom.nn.codec_plan import TensorPlan, plan_cut
from airloom.nn.conceal import conceal
from airloom.nn.executor import Buffer, tensor_from_bytes, tensor_to_bytes
from airloom.nn.quantise import LEFT_OUT, dequantise, quantise
from airloom.wire.interleave import Order
from airloom.wire.units import MIN_ROOM, Sparse, Stream, StreamSpec, pack, side_nbytes, unpack_sparse

_NOT_FINITE = "holds NaN or infinity: send it raw"
# A coded message carries the blob and the list of its bytes that earlier hops lost.
_PSEUDO_TENSORS = 2


class Coded(NamedTuple):
    """A blob; of its bytes, `side_nbytes` say where elements belong and how they are scaled."""

    blob: memoryview
    side_nbytes: int


class Decoded(NamedTuple):
    """Raw bytes of a live set by tensor id; `lost` is the share of its entries of which nothing
    came, the protected copies counted. Where a pooling follows, an entry is one of its windows."""

    data: dict[int, memoryview]
    lost: float


class Codec:
    """Codes live sets of `cut`; safe to use from several threads.

    Attributes:
        plans: one a tensor of the live set, ascending.
        first_room, room: payload bytes of the wire's first block and of the others.

    Raises:
        ConfigError: this cut cannot be carried so; the line says why.
    """

    def __init__(
        self,
        captured: Captured,
        cut: int,
        coding: Coding,
        framing: Framing | None = None,
        maps: Mapping[int, MapOrder] | None = None,
    ) -> None:
        framing = framing or Framing()
        graph = captured.graph
        if coding.is_raw:
            raise ConfigError("raw is no coding of elements: the live set travels as it is")
        if not 0 <= cut <= graph.num_operators:
            raise ConfigError(f"no cut {cut} in {graph.model}: cuts are 0 to {graph.num_operators}")
        self.cut, self.coding = cut, coding
        self.room = framing.block_bytes - framing.block_overhead
        self.first_room = self.room - framing.message_overhead - _PSEUDO_TENSORS * framing.tensor_overhead
        if self.room < MIN_ROOM or self.first_room < 0:
            raise ConfigError(f"coded cuts need blocks of {MIN_ROOM} bytes and more, got {self.room}")
        self.plans = plan_cut(captured, cut, coding, maps or {})
        self.specs: list[StreamSpec] = []
        for plan in self.plans:
            self.specs.append(StreamSpec(plan.num_entries, plan.wire_dtype))
            if plan.copies is not None:
                self.specs.append(StreamSpec(len(plan.copies), plan.wire_dtype))

    def encode(self, data: Mapping[int, Buffer]) -> memoryview:
        """The blob of a live set in raw bytes by tensor id.

        Raises:
            StageFailed: a tensor is missing, has the wrong size, or holds NaN or infinity.
        """
        streams: list[Stream] = []
        for plan in self.plans:
            if plan.tensor not in data:
                raise StageFailed(f"cut {self.cut}: tensor {plan.tensor} of its live set is missing")
            try:
                streams += self._streams(plan, data[plan.tensor])
            except ValueError as error:
                raise StageFailed(f"cut {self.cut}: tensor {plan.tensor} {error}") from None
        return memoryview(pack(streams, first_room=self.first_room, room=self.room))

    def encode_sized(self, data: Mapping[int, Buffer]) -> Coded:
        """`encode`, and how much of it is side information.

        Raises:
            StageFailed: as `encode`.
        """
        blob = self.encode(data)
        return Coded(blob, side_nbytes(blob, self.specs, first_room=self.first_room, room=self.room))

    def decode(self, blob: Buffer, missing: Sequence[tuple[int, int]] = ()) -> Decoded:
        """The live set, with what never came concealed.

        Args:
            missing: byte ranges (start, stop) of the blob that never came; a block counts as a whole.

        Raises:
            WireError: the bytes are no blob of this codec.
        """
        found = iter(unpack_sparse(blob, missing, self.specs, first_room=self.first_room, room=self.room))
        data: dict[int, memoryview] = {}
        lost = 0
        for plan in self.plans:
            main, copy = next(found), next(found) if plan.copies is not None else None
            data[plan.tensor], gone = self._restored(plan, main, copy)
            lost += gone
        return Decoded(data, lost / max(1, sum(plan.num_entries for plan in self.plans)))

    # --- one tensor out -----------------------------------------------------------------------

    def _streams(self, plan: TensorPlan, data: Buffer) -> list[Stream]:
        """Raises ValueError: the bytes are not the tensor's, or hold what cannot be coded."""
        keep: NDArray[np.bool_] | None = None
        if plan.branch is not None and (plan.sites is not None or plan.branch.pool is None) and plan.in_numpy:
            x, keep = self._entries(plan, plan.branch, data)
        else:
            x = tensor_from_bytes(data, plan.spec)
            if x.is_floating_point() and not _finite(x):
                raise ValueError(_NOT_FINITE)
            if plan.branch is not None:
                keep = plan.branch.keep(x, "int8" if self.coding.prune == "int8" else "exact").reshape(-1).numpy()
        values, scale, zero = quantise(x, plan.wire, keep)
        flat = _numpy(values)
        streams = [Stream(flat, keep, scale, zero, plan.order)]
        if plan.copies is not None:
            chosen = self._largest(plan, x, keep) if self.coding.protect == "value" else keep
            streams.append(Stream(flat, chosen, scale, zero, plan.copies))
        return streams

    def _entries(self, plan: TensorPlan, branch: Branch, data: Buffer) -> tuple[Tensor, NDArray[np.bool_]]:
        """The entries of a tensor, and in a row whether to send them."""
        nbytes = memoryview(data).nbytes
        if nbytes != plan.spec.nbytes:
            raise ValueError(f"has {nbytes} bytes, not {plan.spec.nbytes}")
        x = np.frombuffer(data, plan.spec.dtype).reshape(plan.spec.shape)
        low, high = float(x.min()), float(x.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(_NOT_FINITE)
        step = None
        if self.coding.prune == "int8":
            step = max(-low, high) / 127 or 1.0
        value, keep = branch.entries(x, step)
        return torch.from_numpy(value if value.flags.writeable else value.copy()), keep.reshape(-1)

    def _largest(self, plan: TensorPlan, x: Tensor, keep: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Of the entries that are sent, the share that lies farthest from where its map begins to pass."""
        size = x.float()
        if plan.branch is not None:
            size = size - plan.branch.along(plan.branch.edge, x).float()
        size = size.abs()
        sizes = size.reshape(-1).numpy()
        places = np.arange(len(sizes)) if keep is None else np.flatnonzero(keep)
        count = round(self.coding.protect_share * len(places))
        chosen = np.zeros(len(sizes), np.bool_)
        if count:
            chosen[places[np.argpartition(sizes.take(places), len(places) - count)[len(places) - count :]]] = True
        return chosen

    # --- one tensor in ------------------------------------------------------------------------

    def _restored(self, plan: TensorPlan, main: Sparse, copy: Sparse | None) -> tuple[memoryview, int]:
        """The tensor's bytes, and how many of its entries never came."""
        x = plan.blank.clone()
        flat = _numpy(x)
        where = _put(plan, flat, plan.places, main)
        if not main.missing:
            return flat.view(np.uint8).data, 0
        state = _State(np.zeros(plan.count, np.bool_), np.zeros(plan.count, np.bool_))
        for start, stop in main.missing:
            state.missing[slice(start, stop) if plan.places is None else plan.places[start:stop]] = True
        state.present[where] = True
        if copy is not None:
            self._merge(plan, flat, copy, state)
        gone = int(np.count_nonzero(state.missing))
        return tensor_to_bytes(self._concealed(plan, x, state) if gone else x), gone

    def _merge(self, plan: TensorPlan, flat: NDArray[Any], copy: Sparse, state: _State) -> None:
        """Take from the copies what the main stream lacks."""
        assert plan.copy_places is not None
        where = _put(plan, flat, plan.copy_places, copy, state.missing)
        state.present[where] = True
        state.missing[where] = False
        if self.coding.protect == "maps" and plan.branch is not None:
            # Of the maps that are sent twice, what a copy's mask leaves out was left out.
            state.missing[plan.copy_places[_known(copy.missing, len(plan.copy_places))]] = False

    def _concealed(self, plan: TensorPlan, x: Tensor, state: _State) -> Tensor:
        shape = plan.spec.shape
        missing = torch.from_numpy(state.missing).reshape(shape)
        left_out = None
        if plan.branch is not None:
            left_out = torch.from_numpy(~(state.missing | state.present)).reshape(shape)
        with torch.inference_mode():
            return conceal(
                x, missing, self.coding.conceal, means=plan.means, left_out=left_out, branch=plan.branch, axis=plan.axis
            )


class _State(NamedTuple):
    """What is known of the elements of a tensor, bool, in C order: neither means left out by the mask."""

    missing: NDArray[np.bool_]
    present: NDArray[np.bool_]


def _put(
    plan: TensorPlan, flat: NDArray[Any], order: Order | None, stream: Sparse, only: NDArray[np.bool_] | None = None
) -> NDArray[np.intp] | slice:
    """Write what came of a stream into a tensor's `_numpy`, of that what lies where `only` is; the places written."""
    places, came = stream.places, stream.values
    where: NDArray[np.intp] | slice
    if places is None and stream.missing:
        places = _known(stream.missing, len(came))
        came = came[places]
    if places is None:
        where = slice(None) if order is None else order
    else:
        where = places if order is None else order[places]
    marked = plan.branch is not None and plan.wire == torch.int8
    if only is not None or marked:
        wanted = np.ones(len(came), np.bool_) if only is None else only[where]
        if marked:
            wanted &= came != LEFT_OUT
        if not wanted.all():
            where = (np.arange(len(flat)) if isinstance(where, slice) else where)[wanted]
            came = came[wanted]
    flat[where] = dequantise(came, stream.scale, stream.zero, plan.blank.dtype)
    return where


def _known(missing: Sequence[tuple[int, int]], count: int) -> NDArray[np.intp]:
    """Places of a stream of `count` elements outside the spans `missing`."""
    known = np.ones(count, np.bool_)
    for start, stop in missing:
        known[start:stop] = False
    return np.flatnonzero(known)


def _finite(x: Tensor) -> bool:
    """Whether x holds neither NaN nor infinity: they would be in its sum, which may also run over."""
    return math.isfinite(x.sum().item()) or bool(torch.isfinite(x).all())


def _numpy(x: Tensor) -> NDArray[Any]:
    """All elements in a row; bfloat16, which numpy lacks, as its bits."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).reshape(-1).numpy()
