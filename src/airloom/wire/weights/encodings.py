"""The encodings of a part's arrays, each a safetensors file: `encode` writes them, `decode` reads them.

| encoding | weights of two or more axes | the rest | exact to |
|---|---|---|---|
| `fp32` | float32 | float32 | every bit |
| `fp16` | float16 | float16 or float32 | half a unit in float16's last place |
| `int8` | int8, a float32 scale for each channel | float16 or float32 | half a step: max / 254 of its channel |
| `bits-K` | K of 16 bits, a bfloat16 scale for each channel | float16 or float32 | half a step: about max / 2**K |
| `statistics` | | float32 | every bit |

*The rest*: biases, normalisation, and whatever has fewer than eight weights for each channel, the first axis. It is
little, and accuracy hangs on it, so float16 is used only where each number of a tensor keeps eleven significant bits
in it; a tensor with larger or smaller numbers goes in float32, whatever the encoding. Integer and truth-value buffers
go as they are; `num_batches_tracked`, which only training reads, stays behind.

`fp32` and `fp16` are ordinary files, a tensor for each name. The others hold `:codes`, `:scales`, `:half` and `:single`
with the tensors end to end, and say in their metadata which those are (`layout`).
"""

from __future__ import annotations

from airloom.core.progressive import BIT_PLANES

CODES, SCALES, HALF, SINGLE = ":codes", ":scales", ":half", ":single"
#: The largest code of `int8`; the smallest is its negative.
INT8_MAX = 127


def planes_of(encoding: str) -> tuple[int, int]:
    """The planes of `bits-K` that its chunk has: from the first, which may be 0, up to K."""
    end = int(encoding.removeprefix("bits-"))
    ends = (0, *BIT_PLANES)
    return ends[ends.index(end) - 1], end
