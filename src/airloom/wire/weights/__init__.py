"""Weights as bytes and back: safetensors files and the encodings of a progressive model's parts. numpy only.

    data = encode_part(arrays, "bits-4", labels={"model": "resnet56", "part": "base"})
    part = decode_part(data, "bits-4", labels=...)            # part.arrays: name -> float32
    part = decode_part(more, "bits-6", labels=..., previous=part)

`tensorfile` reads and writes the file format, `planes` is the arithmetic of 16-bit weights sent in planes,
`encodings` what each encoding puts into a file, which `encode` does and `decode` takes back.
"""

from __future__ import annotations

from airloom.wire.weights.decode import PartArrays, decode_part, room_for
from airloom.wire.weights.encode import encode_part
from airloom.wire.weights.labels import chunk_labels
from airloom.wire.weights.tensorfile import TensorFile, read_tensors, write_tensors

__all__ = [
    "PartArrays",
    "TensorFile",
    "chunk_labels",
    "decode_part",
    "encode_part",
    "read_tensors",
    "room_for",
    "write_tensors",
]
