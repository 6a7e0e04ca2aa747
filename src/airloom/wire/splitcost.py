"""A split cost message as bytes: a header with version and kind, and exactly 4(L+1) bytes of costs.

0 u8 version   4 u16 host   8 u32 update   16 8s graph digest
1 u8 kind      6 u16 sink  12 u32 cuts     24 u64 wave       32 what the kind says
2 u16 0, or 1 + the index of the host that asked for the wave

Kinds: SCALAR carries a float32 for every cut. FRONTIER, of objectives with bounds, carries

32 f32 loss   36 u16 metrics M   38 u16 0   40 per cut: u8 labels n_c   then, cut by cut, n_c times M float32

and is at most 40 + (L+1)(1 + 4 M MAX_LABELS) bytes long. ASK is a source's question for a wave: host is
its index, wave the number that it wants, and all else 0. Little-endian; every value has one encoding.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from airloom.core.messages import Ask, SplitCost
from airloom.errors import WireError

VERSION = 1
SCALAR, FRONTIER, ASK = 1, 2, 3
_HEAD = struct.Struct("<BBHHHII8sQ")
_FRONT = struct.Struct("<fHH")
HEADER_NBYTES = _HEAD.size
#: Ways on from a cut that a message carries at most; thinned beyond (`planner.objective.thinning.thin`).
MAX_LABELS = 64
MAX_METRICS = 16
Labels = tuple[NDArray[np.float32], ...]
_GRAPH_BYTES = 8
_MAX_WAVE = (1 << 63) - 1


def split_cost_nbytes(message: SplitCost) -> int:
    """Bytes of the message on the wire."""
    if not message.labels:
        return HEADER_NBYTES + 4 * len(message.cost_s)
    return HEADER_NBYTES + _FRONT.size + len(message.labels) + 4 * sum(rows.size for rows in message.labels)


def encode_split_cost(message: SplitCost) -> bytes:
    """Header and costs, or labels; ValueError where a field does not fit."""
    costs = np.ascontiguousarray(message.cost_s, dtype="<f4")
    if costs.ndim != 1 or len(message.graph) != _GRAPH_BYTES:
        raise ValueError(f"a split cost message needs costs [L+1] and 8 digest bytes, got {message!r}")
    kind = FRONTIER if message.labels else SCALAR
    try:
        head = _HEAD.pack(
            VERSION, kind, message.source + 1, message.host, message.sink, message.update, len(costs), message.graph,
            message.wave,
        )  # fmt: skip
        return head + (_labels(message) if message.labels else costs.tobytes())
    except struct.error as error:
        raise ValueError(f"a split cost message that does not fit: {error}: {message!r}") from None


def _labels(message: SplitCost) -> bytes:
    rows = [np.ascontiguousarray(labels, dtype="<f4") for labels in message.labels]
    metrics = {labels.shape[1] for labels in rows if labels.ndim == 2}
    if len(metrics) != 1 or len(rows) != len(message.cost_s) or any(len(labels) > MAX_LABELS for labels in rows):
        raise ValueError(f"labels are [n, M] for each of L+1 cuts, n at most {MAX_LABELS}: {message!r}")
    counts = bytes(len(labels) for labels in rows)
    return _FRONT.pack(message.loss, metrics.pop(), 0) + counts + b"".join(labels.tobytes() for labels in rows)


def decode_split_cost(data: bytes | bytearray | memoryview, num_cuts: int) -> SplitCost:
    """The message; WireError unless it is well formed.

    It holds exactly `num_cuts` = L + 1 costs, each at least 0, the last one 0; or labels for as many cuts, each at
    least 0 and finite, for the last cut one of zeros.
    """
    data = bytes(data)
    if len(data) < HEADER_NBYTES:
        raise WireError(f"a split cost message of {len(data)} bytes, its header takes {HEADER_NBYTES}")
    version, kind, source, host, sink, update, cuts, graph, wave = _HEAD.unpack_from(data)
    if version != VERSION or kind not in (SCALAR, FRONTIER) or cuts != num_cuts or wave > _MAX_WAVE:
        raise WireError(f"not a split cost message of version {VERSION}: {data[:HEADER_NBYTES].hex()}")
    loss, labels = 1.0, Labels()
    if kind == FRONTIER:
        loss, labels = _decode_labels(data[HEADER_NBYTES:], num_cuts)
        costs = np.array([0.0 if len(rows) else np.inf for rows in labels], dtype="<f4")
    else:
        if len(data) != HEADER_NBYTES + 4 * num_cuts:
            raise WireError(
                f"a split cost message of {len(data)} bytes, {num_cuts} cuts take {HEADER_NBYTES + 4 * num_cuts}"
            )
        costs = np.frombuffer(data, dtype="<f4", offset=HEADER_NBYTES)
        # NaN fails the comparison too.
        if not bool(np.all(costs >= 0)) or (num_cuts and costs[-1] != 0):
            raise WireError("split costs must be at least 0, and 0 at the last cut")
    return SplitCost(host, sink, wave, graph, costs, update, source - 1, labels, loss)


def _decode_labels(data: bytes, num_cuts: int) -> tuple[float, Labels]:
    start = _FRONT.size + num_cuts
    if num_cuts == 0 or len(data) < start:
        raise WireError(f"a frontier of {len(data)} bytes has no room for {num_cuts} cuts")
    loss, metrics, zero = _FRONT.unpack_from(data)
    counts = data[_FRONT.size : start]
    if not 1.0 <= loss < math.inf or not 1 <= metrics <= MAX_METRICS or zero or max(counts) > MAX_LABELS:
        raise WireError("a frontier with fields out of range")
    if len(data) != start + 4 * metrics * sum(counts):
        raise WireError(f"a frontier of {len(data)} bytes, its labels take {start + 4 * metrics * sum(counts)}")
    rows: NDArray[np.float32] = np.frombuffer(data, dtype="<f4", offset=start).reshape(-1, metrics)
    if not bool((np.isfinite(rows) & (rows >= 0)).all()) or counts[-1] != 1 or bool(rows[-1].any()):
        raise WireError("labels must be finite and at least 0, and one of zeros at the last cut")
    if bool(np.signbit(rows).any()):
        raise WireError("a label of -0")  # every value has one encoding
    ends = np.cumsum(np.frombuffer(counts, dtype=np.uint8).astype(np.intp))
    return loss, tuple(rows[end - count : end] for end, count in zip(ends.tolist(), counts, strict=True))


def encode_ask(ask: Ask) -> bytes:
    """The question; ValueError where a field does not fit."""
    if len(ask.graph) != _GRAPH_BYTES:
        raise ValueError(f"a question needs 8 digest bytes, got {ask!r}")
    try:
        return _HEAD.pack(VERSION, ASK, 0, ask.source, 0, 0, 0, ask.graph, ask.number)
    except struct.error as error:
        raise ValueError(f"a question that does not fit: {error}: {ask!r}") from None


def is_ask(data: bytes | bytearray | memoryview) -> bool:
    """Whether this is a question and no message."""
    return len(data) >= 2 and data[1] == ASK


def decode_ask(data: bytes | bytearray | memoryview) -> Ask:
    """The question; WireError unless it is well formed."""
    if len(data) != HEADER_NBYTES:
        raise WireError(f"a question of {len(data)} bytes, it takes {HEADER_NBYTES}")
    version, kind, zero, host, sink, update, cuts, graph, wave = _HEAD.unpack_from(data)
    if (version, kind, zero, sink, update, cuts) != (VERSION, ASK, 0, 0, 0, 0) or wave > _MAX_WAVE:
        raise WireError(f"not a question of version {VERSION}: {bytes(data).hex()}")
    return Ask(host, wave, graph)
