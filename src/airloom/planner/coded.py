"""The codings that a hop may carry a cut in: each at the price of what the accuracy floor makes it repair.

A tolerance profile says for each cut and coding how accuracy falls with the share of missing
blocks. Under a hop's floor that is how many blocks may stay missing (G^-1, `planner.accuracy`), and
so what has to be sent again: cut, coding, protection and, on a radio link, MCS are chosen together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from airloom.core.coding import RAW
from airloom.core.framing import Framing
from airloom.core.problem import Option
from airloom.core.tolerance import Contract, CutTolerance
from airloom.core.topology import Power
from airloom.planner.carrying import Way, carry
from airloom.planner.contract import bearable, expected_accuracy, measured_at


class Terms(NamedTuple):
    """What a hop must keep to.

    Attributes:
        floor: the least accuracy with this hop alone, 0 to 1.
        tuned: offer codings with tuned weights (`contract.runs_rest`).
        src_factor, dst_factor: how much slower than the profile's machine the two hosts are.
    """

    contract: Contract
    floor: float
    src_factor: float = 1.0
    dst_factor: float = 1.0
    tuned: bool = True


# A host prices its hop anew whenever its link has moved; what a cut bears does not move.
_bearable = functools.lru_cache(maxsize=4096)(bearable)
_expected_accuracy = functools.lru_cache(maxsize=4096)(expected_accuracy)


def coded_options(
    cut: int,
    tensor_nbytes: tuple[int, ...],
    ways: Sequence[Way],
    framing: Framing,
    powers: tuple[Power, Power],
    terms: Terms,
) -> tuple[Option, ...]:
    """Every coding of a cut that meets the hop's floor, on every way of using the link.

    Args:
        tensor_nbytes: of the cut's live set as it is; raw sends these.
        powers: of the sender and of the receiver.
    """
    options: list[Option] = []
    for way, entry in _entries(cut, ways, framing, terms):
        share = _bearable(entry, terms.floor)
        if share < 0.0:
            continue
        options.append(_option(entry, tensor_nbytes, way, framing, powers, terms, share))
    return tuple(options)


def relayed_options(
    cut: int,
    tensor_nbytes: tuple[int, ...],
    ways: Sequence[Way],
    framing: Framing,
    powers: tuple[Power, Power],
    terms: Terms,
) -> tuple[Option, ...]:
    """Every coding of a cut carried on as it came, whole: what a host does that runs nothing."""
    return tuple(
        _option(entry, tensor_nbytes, way, framing, powers, terms, 0.0)
        for way, entry in _entries(cut, ways, framing, terms)
    )


def _entries(cut: int, ways: Sequence[Way], framing: Framing, terms: Terms) -> list[tuple[Way, CutTolerance]]:
    known = measured_at(terms.contract.tolerance, cut, framing)
    return [(way, entry) for way in ways for entry in known.values() if terms.tuned or not entry.coding.tuned]


def _option(
    entry: CutTolerance,
    tensor_nbytes: tuple[int, ...],
    way: Way,
    framing: Framing,
    powers: tuple[Power, Power],
    terms: Terms,
    share: float,
) -> Option:
    payload = tensor_nbytes if entry.coding == RAW else (math.ceil(entry.nbytes), 0)  # the blob, and no gaps of it
    nbytes = framing.wire_nbytes(payload)
    blocks = framing.num_blocks(framing.message_nbytes(payload))
    # Blocks come whole: of 10 blocks, 0.37 is 3.
    allowed = math.floor(min(share, 1.0) * blocks + 1e-9) / blocks
    option = carry(
        way,
        nbytes,
        blocks=blocks,
        power=powers[0],
        receiver=powers[1],
        tolerable=allowed,
        waits=True,
        coding=entry.coding.name,
        code_s=entry.code_s * terms.src_factor,
        decode_s=entry.decode_s * terms.dst_factor,
    )
    clean = terms.contract.tolerance.clean
    return msgspec.structs.replace(
        option,
        accuracy_drop=max(clean - _expected_accuracy(entry, option.missing), 0.0),
        coding_drop=max(clean - entry.clean, 0.0),
    )
