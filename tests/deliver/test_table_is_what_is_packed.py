"""Bytes of a table are those of the files that are packed, whichever way the model is packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import nn

from airloom import zoo
from airloom.core.progressive import PRECISIONS
from airloom.deliver.packing import pack
from airloom.nn.elastic import ElasticModel, elastic, recalibrate
from airloom.nn.elastic.table import measure_table
from airloom.nn.tolerance import Samples


class Shifted(nn.Module):
    """Residual blocks, and a number that only the graph knows as a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 24)
        self.blocks = nn.ModuleList(nn.Linear(24, 24) for _ in range(3))
        self.norm = nn.LayerNorm(24)
        self.last = nn.Linear(24, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x - torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
        for block in self.blocks:
            x = torch.relu(block(x))
        return self.last(self.norm(x))


def shifted() -> tuple[ElasticModel, torch.Tensor]:
    torch.manual_seed(0)
    return elastic(Shifted().eval(), (torch.zeros(2, 6),)), torch.zeros(1, 6)


def resnet() -> tuple[ElasticModel, torch.Tensor]:
    options = {"width": 4, "seed": 1}
    made = elastic(zoo.build("resnet20", **options), zoo.example_inputs("resnet20", 2, width=4), depths=(2, 9))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    recalibrate(made, [torch.from_numpy(rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))], (2, 9))
    return made.eval(), torch.zeros((1, 3, 32, 32), dtype=torch.uint8)


@pytest.mark.parametrize("kind", ["zoo", "graph"])
def test_bytes_are_those_of_the_files(tmp_path: Path, kind: str) -> None:
    model, one = resnet() if kind == "zoo" else shifted()
    samples = Samples((np.repeat(one.numpy(), 2, axis=0),), np.zeros(2, np.int64))
    table = measure_table(model, samples, model="net", latency_seconds=0, as_graph=kind == "graph")
    assert {c.precision for c in table.configurations} == set(PRECISIONS)
    manifest = pack(
        model, tmp_path / "net", name="net", key=Ed25519PrivateKey.generate(), example_inputs=(one,),
        zoo="resnet20" if kind == "zoo" else "", options={"width": 4} if kind == "zoo" else {}, table=table,
    )  # fmt: skip
    packed = {c.name: c for c in manifest.configurations}
    assert packed.keys() == {c.name for c in table.configurations}
    for measured in table.configurations:
        files = [manifest.chunks[k].file for k in manifest.chunks_of(packed[measured.name])]
        assert measured.nbytes == sum((tmp_path / "net" / file).stat().st_size for file in files)
        assert packed[measured.name] == measured
