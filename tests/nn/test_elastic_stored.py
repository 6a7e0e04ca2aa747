"""architecture.json: read back as it was, and refused where blocks, shortcuts or the graph cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from airloom.errors import ConfigError
from airloom.nn.capture import capture
from airloom.nn.elastic import ElasticModel, find_blocks
from airloom.nn.elastic.stored import StoredArchitecture, read_architecture, write_architecture


class Block(nn.Module):
    """With the shortcut of ResNet's option A where it halves the picture: no weight in it."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride=after // before, padding=1)
        self.extra = after - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        way = x if not self.extra else F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.extra))
        return F.relu(way + self.conv(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.blocks = nn.Sequential(Block(4, 4), Block(4, 4), Block(4, 8), Block(8, 8))
        self.last = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.blocks(self.first(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def stored() -> StoredArchitecture:
    net, x = Net().eval(), (torch.zeros(1, 3, 8, 8),)
    captured = capture(net, x, name="net")
    return StoredArchitecture(find_blocks(net, x, captured=captured), captured.graph, captured.structure)


def test_it_reads_back_and_runs(stored: StoredArchitecture) -> None:
    for given in (stored, StoredArchitecture(stored.blocks)):
        data = write_architecture(given)
        again = read_architecture(data, where="a")
        assert (again.graph, again.structure) == (given.graph, given.structure)
        assert (again.blocks.blocks, again.blocks.graph) == (given.blocks.blocks, given.blocks.graph)
        assert write_architecture(again) == data
    found = ElasticModel(Net().eval(), again.blocks).eval()
    with found.at(1), torch.no_grad():
        assert found(torch.zeros(3, 3, 8, 8)).shape == (3, 10)


def changed(stored: StoredArchitecture, path: str, value: Any) -> bytes:
    tree = json.loads(write_architecture(stored))
    *way, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    node = tree
    for key in way:
        node = node[key]
    node[last] = value
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("kind", "pickle", "kind"),
        ("blocks", [], "0 blocks, 4 places"),
        ("keywords", [], "4 blocks, 4 places and 0 keywords"),
        ("blocks/1/name", "blocks.0", "two blocks have one name"),
        ("places/blocks/0/name", "other", "stands at the place of 'other'"),
        ("structure", None, "go together"),
        ("places/graph", "sha256:" + "0" * 64, "another graph"),
        ("places/blocks/0/start", 10**6, "$.blocks[0]"),
        ("places/blocks/0/output", 0, "$.blocks[0]"),
        ("places/blocks/2/skip/operators/0/target", "os.system", "$.places.blocks[2].skip"),
        ("places/blocks/2/skip/result", 99, "$.places.blocks[2].skip"),
        ("places/blocks/2/skip/kind", "identity", "$.places.blocks[2].skip"),
        ("places/blocks/2/skip/tensors/0/shape", [1, 2, 3], "$.places.blocks[2].skip"),
        ("graph/operators/0/target", "os.system", "$.graph.operators[0]"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    stored: StoredArchitecture, path: str, value: object, reason: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_architecture(changed(stored, path, value), where="a.json")
    assert str(refused.value).startswith("a.json")
    assert reason in str(refused.value)


def test_a_shortcut_is_checked_without_a_graph_too(stored: StoredArchitecture) -> None:
    data = changed(StoredArchitecture(stored.blocks), "places/blocks/2/skip/operators/0/target", "os.system")
    with pytest.raises(ConfigError, match=r"blocks\[2\]\.skip"):
        read_architecture(data, where="a.json")
