"""The head of a message: `Frame` to bytes and back, 64 bytes and 16 for each tensor.

    0  4s  magic "ALM1"       24  u64 request        48  u32 missing_ppm
    4  u8  kind               32  u32 attempt        52  u32 number of tensors
    5  u8  mode               36  u32 epoch          56  u64 payload bytes
    6  u16 coding             40  u32 cut
    8  u32 source             44  i32 transfer       64  per tensor: u64 id, u64 bytes
   12  8s  model
   20  u16 drop_bp
   22  u16 gone_bp

Little-endian, no padding: every value has one encoding.

A frame that follows hosts' own tables is of no plan: its epoch is 0 and its transfer -1. Where the
objective has bounds, what is left of the first and the second stands there instead, as float32 with
the sign bit set, which neither an epoch (below 2**31 where there is no transfer) nor a transfer of -1
(a NaN) can be mistaken for.
"""

from __future__ import annotations

import struct

from airloom.core.framing import Framing
from airloom.core.messages import UNKNOWN_DROP, Frame, FrameKind, Mode
from airloom.errors import WireError

MAGIC = b"ALM1"
MAX_TENSORS = 4096
MAX_PAYLOAD_BYTES = 1 << 40
MAX_BOUNDS = 2
_MAX_TENSOR_ID = (1 << 63) - 1

_HEAD = struct.Struct("<4sBBHI8sHHQIIIiIIQ")
_TENSOR = struct.Struct("<QQ")
_FLOAT = struct.Struct("<f")
_MAX_LEFT = 3.4028234663852886e38  # the largest float32
_KINDS = {int(kind): kind for kind in FrameKind}
_MODES = {int(mode): mode for mode in Mode}

assert _HEAD.size == Framing().message_overhead
assert _TENSOR.size == Framing().tensor_overhead


def encode_frame(frame: Frame) -> bytes:
    """The head's bytes; ValueError where a field does not fit (a bug of the caller, not of the wire)."""
    if len(frame.tensors) > MAX_TENSORS:
        raise ValueError(f"a message carries at most {MAX_TENSORS} tensors, got {len(frame.tensors)}")
    payload = sum(nbytes for _, nbytes in frame.tensors)
    epoch, transfer = _with_left(frame) if frame.left else (frame.epoch, frame.transfer)
    if transfer < 0 and epoch >> 31 and not frame.left:
        raise ValueError(f"the epoch of a frame without a transfer is below 2**31: {frame!r}")
    try:
        head = _HEAD.pack(
            MAGIC, frame.kind, frame.mode, frame.coding, frame.source, _exactly(frame.model), frame.drop_bp,
            frame.gone_bp, frame.request, frame.attempt, epoch, frame.cut, transfer, frame.missing_ppm,
            len(frame.tensors), payload,
        )  # fmt: skip
        return b"".join((head, *(_TENSOR.pack(id_, nbytes) for id_, nbytes in frame.tensors)))
    except struct.error as error:
        raise ValueError(f"a frame that does not fit its head: {error}: {frame!r}") from None


def head_nbytes(data: bytes | bytearray | memoryview) -> int:
    """Length of the head that begins `data`, which holds at least its first 64 bytes."""
    if len(data) < _HEAD.size:
        raise WireError(f"a message of {len(data)} bytes has no head")
    number = _HEAD.unpack_from(data)[14]
    if number > MAX_TENSORS:
        raise WireError(f"a message of {number} tensors, at most {MAX_TENSORS} are taken")
    return int(_HEAD.size + number * _TENSOR.size)


def decode_frame(data: bytes | bytearray | memoryview) -> Frame:
    """The frame that begins `data`; what follows the head is not looked at. WireError on anything malformed."""
    size = head_nbytes(data)
    if len(data) < size:
        raise WireError(f"a head of {size} bytes is cut off after {len(data)}")
    (
        magic, kind, mode, coding, source, model, drop, gone, request, attempt, epoch, cut, transfer, ppm, _, payload,
    ) = _HEAD.unpack_from(data)  # fmt: skip
    if magic != MAGIC or kind not in _KINDS or mode not in _MODES:
        raise WireError(f"not a message of this version: {bytes(data[:6])!r}")
    left: tuple[float, ...] = ()
    if transfer < 0 and epoch >> 31:
        left = _left(epoch, transfer)
        epoch, transfer = 0, -1
    if ppm > 1_000_000 or transfer < -1 or gone > 10_000 or (drop > 10_000 and drop != UNKNOWN_DROP):
        raise WireError("a head with fields out of range")
    tensors = tuple(_TENSOR.iter_unpack(data[_HEAD.size : size]))
    if any(id_ > _MAX_TENSOR_ID for id_, _ in tensors):
        raise WireError("a tensor id out of range")
    # Each size is bounded by the sum, so the sum cannot hide an overflow.
    if payload > MAX_PAYLOAD_BYTES or sum(nbytes for _, nbytes in tensors) != payload:
        raise WireError("the tensors' sizes do not add up to the payload")
    return Frame(
        kind=_KINDS[kind], source=source, request=request, attempt=attempt, epoch=epoch, cut=cut,
        transfer=transfer, missing_ppm=ppm, model=model, mode=_MODES[mode], coding=coding, drop_bp=drop,
        gone_bp=gone, left=left, tensors=tensors,
    )  # fmt: skip


def _with_left(frame: Frame) -> tuple[int, int]:
    """Epoch and transfer of a frame with bounds."""
    if len(frame.left) > MAX_BOUNDS or frame.transfer != -1 or frame.epoch:
        raise ValueError(f"only a frame of no plan says what is left, and of at most {MAX_BOUNDS} bounds: {frame!r}")
    if not all(0.0 <= value <= _MAX_LEFT for value in frame.left):
        raise ValueError(f"what is left of a bound is finite and at least 0: {frame!r}")
    epoch = int.from_bytes(_FLOAT.pack(frame.left[0]), "little") | 1 << 31
    if len(frame.left) == 1:
        return epoch, -1
    return epoch, int.from_bytes(_FLOAT.pack(-frame.left[1]), "little", signed=True)


def _left(epoch: int, transfer: int) -> tuple[float, ...]:
    """What the two fields say is left; WireError where they do not."""
    fields = [epoch & 0x7FFFFFFF] if transfer == -1 else [epoch & 0x7FFFFFFF, transfer & 0x7FFFFFFF]
    left = tuple(float(_FLOAT.unpack(field.to_bytes(4, "little"))[0]) for field in fields)
    if not all(value <= _MAX_LEFT for value in left):  # also refuses NaN
        raise WireError("a head with bounds out of range")
    return left


def _exactly(model: bytes) -> bytes:
    """`8s` would pad or cut in silence."""
    if len(model) != 8:
        raise ValueError(f"a frame's model is 8 bytes, got {len(model)}")
    return model
