"""What a sender has put into blocks."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Sent(NamedTuple):
    """Coded live sets of m messages, by tensor id where there is one a tensor.

    Attributes:
        values: `[m, n]`, what the receiver has where everything comes.
        first, last: blocks of an element, `[m or 1, n]`: it is lost with either; -1 where none ever carries it.
        copy: block of its second copy, -1 where it has none.
        left_out: bool, elements that the sender's mask left out.
        num_blocks: `[m]`.
        nbytes, side_nbytes: `[m]` payload, and what of it says where elements belong and how they are scaled.
    """

    values: dict[int, Tensor]
    first: dict[int, Tensor]
    last: dict[int, Tensor]
    copy: dict[int, Tensor]
    left_out: dict[int, Tensor]
    num_blocks: Tensor
    nbytes: Tensor
    side_nbytes: Tensor
