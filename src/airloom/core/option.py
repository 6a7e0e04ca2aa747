"""One way to carry a cut over a hop, and all of a link that has only one; `core.problem` says what they are for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from airloom.core.value import Value

Floats = NDArray[np.float64]


class Option(Value, frozen=True):
    """One way to carry a cut over a hop.

    Attributes:
        coding: how the tensors are coded (`core.coding`); "raw" sends their bytes.
        nbytes: bytes on the wire, framing included, repairs not.
        transfer_s: sending, propagation, fixed overhead, and what is sent again.
        code_s: coding at the sender.
        decode_s: decoding at the receiver.
        energy_j: radio energy of the sender.
        receive_j: radio energy of the receiver.
        accuracy_drop: expected loss of accuracy against the model whole, modelled as additive over hops.
        coding_drop: what of it the coding costs with nothing lost; a route over several hops bears it once.
        mcs: of a radio link, the index in the link's table; None where a link has none.
        tolerable: share of the blocks that may stay missing; 0 is reliable.
        rounds: expected round trips of repair.
        missing: expected share of the blocks that stay missing.
    """

    coding: str = "raw"
    nbytes: int = 0
    transfer_s: float = 0.0
    code_s: float = 0.0
    energy_j: float = 0.0
    accuracy_drop: float = 0.0
    decode_s: float = 0.0
    coding_drop: float = 0.0
    mcs: int | None = None
    tolerable: float = 0.0
    rounds: float = 0.0
    missing: float = 0.0
    receive_j: float = 0.0

    @property
    def total_s(self) -> float:
        return self.transfer_s + self.code_s + self.decode_s


class RadioChoice(Value, frozen=True):
    """One way to run a radio link, worked out from its radio (`radio.nr`); a planner takes one of several.

    Attributes:
        mcs: index in the table of the link's radio.
        rate_bps: bit/s of IP payload, what the radio itself repeats taken off, lost blocks included.
        loss: probability that an IP packet of one wire block stays lost after what the radio repeats.
        block_bytes: of a transport block: what is lost together.
        delay_s: mean seconds that slots, decoding and the radio's repetitions add to a transfer.
    """

    mcs: int
    rate_bps: float
    loss: float
    block_bytes: int
    delay_s: float = 0.0


class PlainOptions(Sequence[tuple[Option, ...]]):
    """The one way to carry each cut over a link that has only one; an `Option` is made when it is asked for.

    Attributes:
        total_s: `[L+1]` seconds of each.
        nbytes, energy_j, receive_j: `[L+1]` as of `Option`; nothing is coded.
    """

    def __init__(
        self,
        total_s: Floats,
        nbytes: Floats,
        radio_j: Callable[[], tuple[Floats, Floats]],
        make: Callable[[int], Option],
    ) -> None:
        """`radio_j` gives `energy_j` and `receive_j`, which only some objectives ask for."""
        self.total_s, self.nbytes, self._radio_j, self._make = total_s, nbytes, radio_j, make

    @functools.cached_property
    def _both_j(self) -> tuple[Floats, Floats]:
        return self._radio_j()

    @property
    def transfer_s(self) -> Floats:
        return self.total_s

    @property
    def code_s(self) -> float:
        return 0.0

    decode_s = code_s

    @property
    def energy_j(self) -> Floats:
        return self._both_j[0]

    @property
    def receive_j(self) -> Floats:
        return self._both_j[1]

    @overload
    def __getitem__(self, cut: int) -> tuple[Option, ...]: ...
    @overload
    def __getitem__(self, cut: slice) -> tuple[tuple[Option, ...], ...]: ...
    def __getitem__(self, cut: int | slice) -> tuple[Option, ...] | tuple[tuple[Option, ...], ...]:
        if isinstance(cut, slice):
            return tuple(self[index] for index in range(len(self))[cut])
        return (self._make(range(len(self.total_s))[cut]),)

    def __len__(self) -> int:
        return len(self.total_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]
