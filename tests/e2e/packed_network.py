"""A small progressive network, packed, with made-up accuracies that rise with depth: for tests of delivery plans."""

from __future__ import annotations

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from small_network import profile_of_graph
from torch import nn

from airloom.core.depth import depth_order
from airloom.core.progressive import Configuration, DepthTable
from airloom.deliver.packing import pack
from airloom.nn.capture import capture
from airloom.nn.elastic.blocks import find_blocks
from airloom.nn.elastic.model import ElasticModel

EXAMPLE = (torch.zeros(1, 3, 16, 16),)
ACCURACY = {1: 0.70, 2: 0.82, 4: 0.90}


class Block(nn.Module):
    def __init__(self, maps):
        super().__init__()
        self.conv = nn.Conv2d(maps, maps, 3, padding=1)
        self.norm = nn.BatchNorm2d(maps)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))


class Residual(nn.Module):
    """Four blocks of 9 thousand weights each."""

    def __init__(self, maps=32):
        super().__init__()
        self.stem = nn.Conv2d(3, maps, 3, padding=1)
        self.body = nn.Sequential(*(Block(maps) for _ in range(4)))
        self.head = nn.Linear(maps, 10)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def elastic_residual():
    torch.manual_seed(3)
    module = Residual().eval()
    blocks = find_blocks(module, EXAMPLE)
    return ElasticModel(module, blocks, depth_order("back", blocks.groups, depths=tuple(ACCURACY)))


def packed(folder, elastic, *, precisions=("int8", "fp32")):
    """The manifest of `elastic` in `folder`, and the profile of its full depth."""
    rows = tuple(
        Configuration(
            depth=depth, precision=precision, nbytes=0, parameters=0,
            accuracy=accuracy - (0.01 if precision == "int8" else 0.0),
        )
        for depth, accuracy in ACCURACY.items()
        for precision in precisions
    )  # fmt: skip
    table = DepthTable(model="residual", blocks=elastic.blocks, order=elastic.order, configurations=rows)
    manifest = pack(
        elastic, folder, name="residual", key=Ed25519PrivateKey.generate(), example_inputs=EXAMPLE, table=table,
        precisions=precisions,
    )  # fmt: skip
    return manifest, profile_of_graph(capture(elastic.module, EXAMPLE, name="residual").graph)
