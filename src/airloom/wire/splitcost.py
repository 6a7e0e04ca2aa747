"""A split cost message as bytes: a header with version and kind, and exactly 4(L+1) bytes of costs.

0 u8 version   4 u16 host   8 u32 update   16 8s graph digest
1 u8 kind      6 u16 sink  12 u32 cuts     24 u64 wave       32 float32 per cut, little-endian
2 2x
"""

from __future__ import annotations

import struct

import numpy as np

from airloom.core.messages import SplitCost
from airloom.errors import WireError

VERSION = 1
SCALAR = 1  # one float32 of seconds per cut
_HEAD = struct.Struct("<BB2xHHII8sQ")
HEADER_NBYTES = _HEAD.size
_GRAPH_BYTES = 8
_MAX_WAVE = (1 << 63) - 1


def encode_split_cost(message: SplitCost) -> bytes:
    """Header and costs; ValueError where a field does not fit."""
    costs = np.ascontiguousarray(message.cost_s, dtype="<f4")
    if costs.ndim != 1 or len(message.graph) != _GRAPH_BYTES:
        raise ValueError(f"a split cost message needs costs [L+1] and 8 digest bytes, got {message!r}")
    try:
        head = _HEAD.pack(
            VERSION, SCALAR, message.host, message.sink, message.update, len(costs), message.graph, message.wave
        )
    except struct.error as error:
        raise ValueError(f"a split cost message that does not fit: {error}: {message!r}") from None
    return head + costs.tobytes()


def decode_split_cost(data: bytes | bytearray | memoryview, num_cuts: int) -> SplitCost:
    """The message; WireError unless it holds exactly `num_cuts` = L + 1 costs, each at least 0, the last one 0."""
    size = HEADER_NBYTES + 4 * num_cuts
    if len(data) != size:
        raise WireError(f"a split cost message of {len(data)} bytes, {num_cuts} cuts take {size}")
    version, kind, host, sink, update, cuts, graph, wave = _HEAD.unpack_from(data)
    if (version, kind, cuts) != (VERSION, SCALAR, num_cuts) or bytes(data[2:4]) != b"\0\0" or wave > _MAX_WAVE:
        raise WireError(f"not a split cost message of version {VERSION}: {bytes(data[:HEADER_NBYTES]).hex()}")
    costs = np.frombuffer(bytes(data[HEADER_NBYTES:]), dtype="<f4")
    # NaN fails the comparison too.
    if not bool(np.all(costs >= 0)) or (num_cuts and costs[-1] != 0):
        raise WireError("split costs must be at least 0, and 0 at the last cut")
    return SplitCost(host=host, sink=sink, wave=wave, graph=graph, cost_s=costs, update=update)
