"""Concealment of sequences `[N, T, F]` behind a linear layer: a branch counts along T, neighbours lie along T too."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from airloom.core.coding import parse_coding
from airloom.core.framing import Framing
from airloom.nn.capture import capture
from airloom.nn.codec import Codec


def test_a_pruned_sequence_is_concealed_by_its_neighbours_in_time() -> None:
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    captured = capture(model, (torch.randn(1, 70, 6),), name="sequence")
    codec = Codec(captured, 1, parse_coding("pruned+structured+neighbours"), Framing(block_bytes=248))
    (tensor,) = captured.graph.live_set(1)
    # Every feature is a constant, so its neighbours in time say it exactly; the even ones are negative.
    row = torch.arange(1.0, 13.0) * torch.tensor([-1.0, 1.0]).repeat(6)
    x = row.repeat(70, 1).unsqueeze(0)
    blob = codec.encode({tensor: x.numpy().tobytes()})
    lost = range(codec.first_room + codec.room, len(blob), 3 * codec.room)
    decoded = codec.decode(blob, [(start, min(start + codec.room, len(blob))) for start in lost])
    found = torch.from_numpy(np.frombuffer(decoded.data[tensor], np.float32).reshape(1, 70, 12).copy())
    assert decoded.lost > 0.1
    assert torch.allclose(torch.relu(found), torch.relu(x))
