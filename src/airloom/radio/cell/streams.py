"""A random stream for each thing, named by what it is: one more of them changes nothing for the others."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: str) -> np.random.Generator:
    """The generator of the thing of these names; the same for the same seed and names, on any machine."""
    word = hashlib.sha256("\0".join(names).encode()).digest()
    key = tuple(int.from_bytes(word[i : i + 4], "little") for i in range(0, 16, 4))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
