"""Bytes of a table are those of the files that are packed, whichever way the model is packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import nn

from airloom import zoo
from airloom.core.depth import Order
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


def resnet(order: Order, depths: tuple[int, ...]) -> tuple[ElasticModel, torch.Tensor]:
    options = {"width": 4, "seed": 1}
    made = elastic(
        zoo.build("resnet20", **options), zoo.example_inputs("resnet20", 2, width=4), order=order, depths=depths  # type: ignore[arg-type]
    )  # fmt: skip
    rng = np.random.default_rng(0)
    recalibrate(made, [torch.from_numpy(rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))], depths)
    return made.eval(), torch.zeros((1, 3, 32, 32), dtype=torch.uint8)


class Growing(nn.Module):
    """Residual blocks with batch norms, of which every second one has other maps and a projection."""

    class Block(nn.Module):
        def __init__(self, maps_in: int, maps_out: int) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(maps_in, maps_out, 3, padding=1), nn.BatchNorm2d(maps_out)
            self.project = nn.Identity() if maps_in == maps_out else nn.Conv2d(maps_in, maps_out, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.project(x) + self.norm(self.conv(x)))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(16, 4)
        self.blocks = nn.Sequential(*(Growing.Block(a, b) for a, b in ((4, 8), (8, 8), (8, 16), (16, 16))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.blocks(self.first(x)).mean((2, 3)))


def growing() -> tuple[ElasticModel, torch.Tensor]:
    torch.manual_seed(0)
    made = elastic(Growing(), (torch.zeros(2, 1, 8, 8),), order="groups", adapters=True)
    recalibrate(made, [torch.randn(8, 1, 8, 8)], made.order.depths)
    return made.eval(), torch.zeros(1, 1, 8, 8)


@pytest.mark.parametrize("kind", ["back", "groups", "graph", "adapters"])
def test_bytes_are_those_of_the_files(tmp_path: Path, kind: str) -> None:
    zoo_name = "resnet20" if kind in ("back", "groups") else ""
    model, one = {
        "back": lambda: resnet("back", (2, 9)), "groups": lambda: resnet("groups", (3, 9)), "graph": shifted,
        "adapters": growing,
    }[kind]()  # fmt: skip
    samples = Samples((np.repeat(one.numpy(), 2, axis=0),), np.zeros(2, np.int64))
    table = measure_table(model, samples, model="net", latency_seconds=0, as_graph=not zoo_name)
    assert {c.precision for c in table.configurations} == set(PRECISIONS)
    manifest = pack(
        model, tmp_path / "net", name="net", key=Ed25519PrivateKey.generate(), example_inputs=(one,),
        zoo=zoo_name, options={"width": 4} if zoo_name else {}, table=table,
    )  # fmt: skip
    # Blocks left out from the back: their norms see the same at every depth, and no depth needs a file of its own.
    of_depths = {chunk.depth for chunk in manifest.chunks if chunk.encoding == "statistics"}
    assert of_depths == (set(model.order.depths) if kind in ("groups", "adapters") else set())
    packed = {c.name: c for c in manifest.configurations}
    assert packed.keys() == {c.name for c in table.configurations}
    for measured in table.configurations:
        files = [manifest.chunks[k].file for k in manifest.chunks_of(packed[measured.name])]
        assert measured.nbytes == sum((tmp_path / "net" / file).stat().st_size for file in files)
        assert packed[measured.name] == measured
