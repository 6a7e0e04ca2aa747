"""What arrives of many coded live sets at once, without packing a byte.

The codec (`nn.codec`) packs one live set into blocks and takes apart what comes of it; here the same is
worked out on tensors for many live sets and many draws of errors: which block an element lies in, which
elements are lost with it, and what stands in for them. A test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from airloom.core.coding import Coding
from airloom.core.framing import Framing
from airloom.core.graph import ITEM_BYTES
from airloom.core.tolerance import MapOrder, Pattern
from airloom.errors import ConfigError
from airloom.nn.captured import Captured
from airloom.nn.codec import Codec
from airloom.nn.conceal import conceal
from airloom.nn.executor import tensor_to_bytes
from airloom.nn.program import DTYPES
from airloom.nn.redundancy import find_branch
from airloom.nn.tolerance.coded import CodedMessages
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.samples import Samples
from airloom.nn.tolerance.sent import Sent
from airloom.nn.tolerance.timing import timed

# Share of the blocks that is missing where decoding is timed.
_TIMED_LOSS = 0.2


class Channel:
    """A coding at a cut, for blocks that carry `block_bytes` bytes each.

    Raises:
        ConfigError: blocks too small, or a coding that the cut cannot have.
    """

    def __init__(
        self, host: Captured, cut: int, coding: Coding, *, block_bytes: int, maps: Mapping[int, MapOrder]
    ) -> None:
        self.graph, self.cut, self.coding = host.graph, cut, coding
        self.live = self.graph.live_set(cut)
        self.framing = Framing(block_bytes=block_bytes + Framing().block_overhead)
        self.block_bytes = block_bytes
        head = self.framing.message_nbytes((0,) * len(self.live))
        if block_bytes <= head:
            raise ConfigError(f"blocks of {block_bytes} bytes are too small: the head of a message takes {head}")
        self.codec = None if coding.is_raw else Codec(host, cut, coding, self.framing, maps)
        self._coded = None if self.codec is None else CodedMessages(self.codec)

    def send(self, live: Mapping[int, Tensor]) -> Sent:
        """Code live sets, tensors `[m, *shape]`."""
        return self._raw(live) if self._coded is None else self._coded.send(live)

    def _raw(self, live: Mapping[int, Tensor]) -> Sent:
        """The tensors' own bytes behind the message's head, cut into blocks."""
        offset = self.framing.message_nbytes((0,) * len(self.live))
        count = len(next(iter(live.values())))
        values, first, last = {}, {}, {}
        for t in self.live:
            spec = self.graph.tensors[t]
            item = ITEM_BYTES[spec.dtype]
            begins = offset + item * torch.arange(spec.nbytes // item)
            first[t] = (begins // self.block_bytes).unsqueeze(0)
            last[t] = ((begins + item - 1) // self.block_bytes).unsqueeze(0)
            values[t] = live[t].reshape(count, -1)
            offset += spec.nbytes
        blocks = torch.full((count,), -(-offset // self.block_bytes))
        size = torch.full((count,), float(self.graph.cut_nbytes(self.cut)), dtype=torch.float64)
        return Sent(values, first, last, {}, {}, blocks, size, torch.zeros(count, dtype=torch.float64))

    # --- what is lost -------------------------------------------------------------------------

    def draw(
        self, sent: Sent, message: Tensor, rates: Tensor, pattern: Pattern, rng: np.random.Generator
    ) -> dict[int, Tensor]:
        """Which elements are lost, `[k, n]` by tensor.

        Args:
            message: `[k]`, which of the messages each row is.
            rates: `[k]`, probability with which each block (`burst`) or element (`random`) is lost.
        """
        if pattern == "burst":
            draws = torch.from_numpy(rng.random((len(message), int(sent.num_blocks.max()))))
            return self.lost_with(sent, message, draws < rates[:, None])
        lost = {}
        for t in self.live:
            size = (len(message), sent.values[t].shape[1])
            lost[t] = (torch.from_numpy(rng.random(size)) < rates[:, None]) & (_rows(sent.first[t], message) >= 0)
            if t in sent.copy:
                again = torch.from_numpy(rng.random(size)) < rates[:, None]
                lost[t] &= (_rows(sent.copy[t], message) < 0) | again
        return lost

    def lost_with(self, sent: Sent, message: Tensor, blocks: Tensor) -> dict[int, Tensor]:
        """The elements that are lost with `blocks`, bool `[k, blocks]`."""
        lost = {}
        for t in self.live:
            first = _rows(sent.first[t], message)
            lost[t] = torch.gather(blocks, 1, first.clamp(min=0)) & (first >= 0)
            if sent.last[t] is not sent.first[t]:
                lost[t] |= torch.gather(blocks, 1, _rows(sent.last[t], message).clamp(min=0)) & (first >= 0)
            if t in sent.copy:
                copy = _rows(sent.copy[t], message)
                lost[t] &= (copy < 0) | torch.gather(blocks, 1, copy.clamp(min=0))
        return lost

    # --- what is made of the rest -------------------------------------------------------------

    def receive(self, sent: Sent, message: Tensor, lost: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """What the receiving half runs on: tensors `[k, *shape]`."""
        return {t: self._concealed(place, sent, message, lost[t]) for place, t in enumerate(self.live)}

    def _concealed(self, place: int, sent: Sent, message: Tensor, lost: Tensor) -> Tensor:
        t = self.live[place]
        shape, values = self.graph.tensors[t].shape, sent.values[t][message]
        if self.codec is None or len(shape) < 2:
            return values.masked_fill(lost, 0).reshape(len(values), *shape)
        plan = self.codec.plans[place]
        left_out = _rows(sent.left_out[t], message) & ~lost if t in sent.left_out else None
        # Messages side by side along the batch: nothing stands in for an element of another row.
        rows = (len(values) * shape[0], *shape[1:])
        filled = conceal(
            values.reshape(rows), lost.reshape(rows), self.coding.conceal, means=plan.means,
            left_out=None if left_out is None else left_out.reshape(rows), branch=plan.branch, axis=plan.axis,
        )  # fmt: skip
        return filled.reshape(len(values), *shape)

    def times(self, halves: Halves, samples: Samples) -> tuple[float, float]:
        """Seconds that the codec takes to code and to decode one live set of which a fifth is missing."""
        if self.codec is None:
            return 0.0, 0.0
        codec = self.codec
        live, _ = next(halves.front(self.cut, samples.first(halves.samples_each)))
        data = {t: tensor_to_bytes(parts[0]) for t, parts in live.items()}
        blob = codec.encode(data)
        missing, every = [], round(1 / _TIMED_LOSS)
        for start in range(codec.first_room + codec.room, len(blob), every * codec.room):
            missing.append((start, min(start + codec.room, len(blob))))
        return timed(lambda: codec.encode(data)), timed(lambda: codec.decode(blob, missing))


def _rows(places: Tensor, message: Tensor) -> Tensor:
    """`[k, n]` of `[m, n]`, or of `[1, n]` where all messages have the same form."""
    return places[message] if len(places) > 1 else places.expand(len(message), -1)


def can_carry(host: Captured, cut: int, coding: Coding) -> bool:
    """Whether `coding` says something of this cut that a simpler one does not.

    Raw always does. Others need a number to code; pruning something to leave out; neighbours more than
    one axis beside the batch; and tuned weights an operator to have them.
    """
    graph = host.graph
    if coding.is_raw:
        return True
    shapes = [graph.tensors[t] for t in graph.live_set(cut) if DTYPES[graph.tensors[t].dtype].is_floating_point]
    if not shapes or (coding.tuned and cut == graph.num_operators):
        return False
    if coding.conceal == "neighbours" and all(len(spec.shape) < 3 for spec in shapes):
        return False
    return coding.prune == "none" or any(find_branch(host, cut, t) is not None for t in graph.live_set(cut))
