"""Packing: what comes out of the folder is the model that went in, at every depth and precision."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import nn

from airloom.core.progressive import STATISTICS, Configuration, DepthTable, Manifest
from airloom.deliver.artifact import read_artifact
from airloom.deliver.chunks import decode_chunk, verify_chunk
from airloom.deliver.manifest import open_manifest
from airloom.deliver.packing import DEFAULT_PRECISIONS, pack
from airloom.errors import ChunkError, ConfigError, ManifestError, ProfileMismatch
from airloom.nn.captured import Captured
from airloom.nn.elastic import ElasticModel, elastic, recalibrate
from airloom.nn.elastic.graphs import skip_blocks
from airloom.nn.elastic.stored import read_architecture
from airloom.nn.executor import StageExecutor
from airloom.wire.weights import PartArrays

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.norm(self.conv(x)))


class Tiny(nn.Module):
    """Norms in its blocks see the same at every depth, the one behind them does not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(8) for _ in range(4)))
        self.after, self.last = nn.BatchNorm2d(8), nn.Linear(8, 5)
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).reshape(3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.first(x - self.mean))
        return self.last(self.after(x).mean((2, 3)))


@pytest.fixture(scope="module")
def model() -> ElasticModel:
    torch.manual_seed(0)
    found = elastic(Tiny().eval(), (torch.zeros(2, 3, 8, 8),)).eval()
    data = [torch.randn(16, 3, 8, 8) for _ in range(3)]
    recalibrate(found, data, [1, 2, 3, 4])
    return found


EXAMPLE = (torch.zeros(2, 3, 8, 8),)


def packed(model: ElasticModel, folder: Path, **options: object) -> Manifest:
    return pack(model, folder, name="tiny", key=KEY, example_inputs=EXAMPLE, **options)


def arrived(folder: Path, manifest: Manifest, row: Configuration) -> dict[str, np.ndarray]:
    """The state of a configuration, from its chunks in order."""
    parts: dict[int, PartArrays] = {}
    state: dict[str, np.ndarray] = {}
    for index in manifest.chunks_of(row):
        chunk = manifest.chunks[index]
        data = (folder / chunk.file).read_bytes()
        if chunk.encoding == STATISTICS:
            state |= decode_chunk(data, manifest, index).arrays
        else:
            parts[chunk.part] = decode_chunk(data, manifest, index, previous=parts.get(chunk.part))
    for part in parts.values():
        state |= part.arrays
    return state


def test_every_configuration_arrives_as_it_was(model: ElasticModel, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    manifest = packed(model, folder, released=1_700_000_000)
    assert manifest.released == 1_700_000_000
    x = torch.randn(1, 3, 8, 8)
    data = (folder / "manifest.json").read_bytes()
    assert open_manifest(data, (folder / "manifest.sig").read_bytes(), KEY.public_key(), model="tiny") == manifest
    assert read_artifact(folder) == manifest
    stored = read_architecture((folder / manifest.architecture.file).read_bytes(), where="a")
    assert {row.name for row in manifest.configurations} == {
        f"{d}/{p}" for d in (1, 2, 3, 4) for p in DEFAULT_PRECISIONS
    }
    for row in manifest.configurations:
        assert row.nbytes == sum(manifest.chunks[k].nbytes for k in manifest.chunks_of(row))
        # The receiver has nothing but the folder: the graph as data, and weights by name.
        state = {name: torch.from_numpy(np.array(array)) for name, array in arrived(folder, manifest, row).items()}
        assert stored.graph is not None
        assert stored.structure is not None
        specs = {p.name: p.spec for p in stored.graph.parameters}
        full = {n: state.get(n, torch.zeros(specs[n].shape, dtype=getattr(torch, specs[n].dtype))) for n in specs}
        whole = Captured(graph=stored.graph, state=full, structure=stored.structure)
        smaller = skip_blocks(whole, stored.blocks.graph, manifest.order.kept(row.depth))
        assert {p.name for p in smaller.graph.parameters} <= state.keys()
        executor = StageExecutor(smaller, "cpu", 1)
        with torch.no_grad():
            result = executor.whole((x,))[0].numpy().reshape(-1)
        with model.at(row.depth), torch.no_grad():
            wanted = model(x).numpy().reshape(-1)
        if row.precision == "fp32":
            np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-6)
        error = {"fp32": 1e-5, "bits-16": 1e-3, "bits-12": 1e-2, "bits-8": 0.1}.get(row.precision, 1.0)
        assert np.abs(result - wanted).max() <= error * np.abs(wanted).max()


def test_the_base_comes_first_and_the_first_answer_before_the_rest(model: ElasticModel, tmp_path: Path) -> None:
    manifest = packed(model, tmp_path / "tiny", precisions=["bits-16"])
    assert [c.part for c in manifest.chunks[:10]] == [0, 0, 0, 0, 0, 1, 2, 3, 4, 0]
    assert [c.encoding for c in manifest.chunks[:6]] == ["bits-4", *[STATISTICS] * 4, "bits-4"]
    names = [chunk.file for chunk in manifest.chunks]
    assert names == sorted(names)
    order = manifest.chunks_of(manifest.configurations[-1])
    assert order[:2] == (0, 4)
    assert [manifest.chunks[k].part for k in order[2:8]] == [1, 2, 3, 4, 0, 1]


def test_a_network_of_the_zoo_is_packed_by_name(tmp_path: Path) -> None:
    from airloom import zoo

    net = elastic(zoo.build("resnet20", "random", width=4), zoo.example_inputs("resnet20", 2, width=4)).eval()
    rows = tuple(
        Configuration(depth=d, precision=p, nbytes=1, parameters=1, macs=d * 100, accuracy=d / 10)
        for d in (3, 6, 9)
        for p in ("bits-4", "bits-8")
    )
    table = DepthTable(model="r20", blocks=net.blocks, order=net.order, configurations=rows)
    folder = tmp_path / "model"
    manifest = pack(
        net, folder, name="r20", key=KEY, example_inputs=zoo.example_inputs("resnet20", 2, width=4), zoo="resnet20",
        options={"width": 4}, table=table,
    )  # fmt: skip
    assert (manifest.architecture.kind, manifest.architecture.options) == ("zoo", {"width": 4})
    assert manifest.inputs == ("1x3x32x32:uint8",)
    assert manifest.order.depths == (3, 6, 9)
    stored = read_architecture((folder / manifest.architecture.file).read_bytes(), where="a")
    assert stored.graph is None
    # Nothing is captured again: the blocks come from the file.
    again = ElasticModel(zoo.build("resnet20", "random", width=4), stored.blocks, manifest.order).eval()
    first, last = manifest.configurations[0], manifest.configurations[-1]
    assert (first.name, last.name) == ("3/bits-4", "9/bits-8")
    assert first.nbytes < 0.15 * last.nbytes
    assert first.macs < last.macs
    state = {name: torch.from_numpy(np.array(a)) for name, a in arrived(folder, manifest, last).items()}
    again.load_state_dict(again.state_dict() | state)
    x = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(again(x), net(x), atol=0.05 * float(net(x).abs().max()))


def test_the_table_says_what_configurations_are_worth(model: ElasticModel, tmp_path: Path) -> None:
    rows = tuple(
        Configuration(depth=d, precision=p, nbytes=1, parameters=1, macs=d * 10, accuracy=d / 10, latency_s=d * 1e-3)
        for d in (2, 4)
        for p in ("bits-4", "fp32")
    )
    table = DepthTable(
        model="tiny", blocks=model.blocks, order=model.order, configurations=rows[:-1], metric="top-5", samples=9
    )
    manifest = packed(model, tmp_path / "a", table=table)
    found = {row.name: (row.accuracy, row.macs, row.latency_s) for row in manifest.configurations}
    assert found == {
        "2/bits-4": (0.2, 20, 2e-3), "2/fp32": (0.2, 20, 2e-3), "4/bits-4": (0.4, 40, 4e-3), "4/fp32": (None, 40, 4e-3)
    }  # fmt: skip
    assert (manifest.metric, manifest.samples) == ("top-5", 9)
    other = msgspec.structs.replace(table, blocks=tuple(reversed(model.blocks)))
    with pytest.raises(ProfileMismatch, match="measure it again"):
        packed(model, tmp_path / "b", table=other)
    assert not (tmp_path / "b").exists()


def test_what_is_asked_wrongly_is_refused_before_anything_is_written(model: ElasticModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no precision 'bits-5'"):
        packed(model, tmp_path / "a", precisions=["bits-5"])
    with pytest.raises(ConfigError, match="no depth 7"):
        packed(model, tmp_path / "a", depths=[7])
    with pytest.raises(ManifestError, match="no name"):
        pack(model, tmp_path / "a", name="a b", key=KEY, example_inputs=EXAMPLE)
    assert not (tmp_path / "a").exists()


def test_weights_that_are_no_numbers_are_refused_by_name(model: ElasticModel, tmp_path: Path) -> None:
    bad = ElasticModel(Tiny().eval(), model.found, model.order).eval()
    with torch.no_grad():
        bad.module.get_submodule("blocks.2.conv").weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ConfigError, match=r"blocks\.2\.conv\.weight.*not finite"):
        packed(bad, tmp_path / "a")


def test_a_chunk_that_is_not_the_manifests_is_refused(model: ElasticModel, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    manifest = packed(model, folder)
    data = (folder / manifest.chunks[0].file).read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    with pytest.raises(ChunkError, match="SHA-256 is not the manifest's"):
        verify_chunk(bytes(flipped), manifest, 0)
    with pytest.raises(ChunkError, match=f"cut short, {len(data) - 1} bytes of {len(data)}"):
        decode_chunk(data[:-1], manifest, 0)
    with pytest.raises(ChunkError, match="too long"):
        decode_chunk(data + b" ", manifest, 0)
    # A chunk of another part, under a manifest that says so: its own label tells.
    swapped = msgspec.structs.replace(manifest.chunks[0], part=2)
    wrong = msgspec.structs.replace(manifest, chunks=(swapped, *manifest.chunks[1:]))
    with pytest.raises(ChunkError, match=r"part 'base' where 'blocks\.1' was expected"):
        decode_chunk(data, wrong, 0)
    with pytest.raises(ChunkError, match="model 'tiny' where 'huge' was expected"):
        decode_chunk(data, msgspec.structs.replace(manifest, model="huge"), 0)


def test_arrays_are_held_against_the_models_shapes(model: ElasticModel, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    manifest = packed(model, folder)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} | {"mean": (3, 1, 1)}
    data = (folder / manifest.chunks[0].file).read_bytes()
    assert decode_chunk(data, manifest, 0, shapes=shapes).shapes["last.weight"] == (5, 8)
    with pytest.raises(ChunkError, match=r"'last.weight' is \[5, 8\], the model's is \[6, 8\]"):
        decode_chunk(data, manifest, 0, shapes=shapes | {"last.weight": (6, 8)})
    with pytest.raises(ChunkError, match="which the model does not have"):
        decode_chunk(data, manifest, 0, shapes={"last.weight": (5, 8)})
