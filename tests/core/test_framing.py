"""The arithmetic of framing is the same for one message and for many."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.framing import Framing
from airloom.core.profile import CutSize, OperatorCost, Profile

SIZES = st.lists(st.integers(0, 1 << 40), max_size=3).map(tuple)
FRAMINGS = st.builds(
    Framing, block_bytes=st.integers(200, 2000), block_overhead=st.integers(0, 100), packet_overhead=st.integers(0, 60),
    message_overhead=st.sampled_from([0, 64]), tensor_overhead=st.sampled_from([0, 16]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(SIZES, min_size=2, max_size=6), FRAMINGS)
def test_many_messages_are_as_one(cuts: list[tuple[int, ...]], framing: Framing) -> None:
    profile = Profile(
        model="m",
        device="d",
        operators=tuple(OperatorCost(f"op{k}", 0.0) for k in range(len(cuts) - 1)),
        cuts=tuple(CutSize(sizes) for sizes in cuts),
    )
    nbytes, blocks, floats = profile.on_wire(framing)
    assert nbytes.tolist() == [framing.wire_nbytes(sizes) for sizes in cuts]
    assert floats.tolist() == nbytes.tolist()
    assert blocks.tolist() == [framing.num_blocks(framing.message_nbytes(sizes)) for sizes in cuts]
    assert floats.dtype == np.float64


def test_bytes_by_hand() -> None:
    # 64 + 2 x 16 + 1152 bytes in blocks of 1152, each with 48 + 28 bytes around it.
    assert Framing().message_nbytes((1000, 152)) == 1248
    assert Framing().num_blocks(1248) == 2
    assert Framing().wire_nbytes((1000, 152)) == 1248 + 2 * 76
    assert Framing().num_blocks(1152) == 1
    bare = Framing(block_overhead=0, packet_overhead=0, message_overhead=0, tensor_overhead=0)
    assert bare.num_blocks(bare.message_nbytes(())) == 1  # even nothing is sent in a packet
