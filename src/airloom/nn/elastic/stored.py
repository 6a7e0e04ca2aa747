"""What a progressive model's receiver knows of its architecture besides a name: `architecture.json`.

Its blocks and what takes their place, found from the graph once, where the model was packed: finding them again would
take the receiver longer than the first chunks take to arrive. Of a network that is not of the zoo, the whole graph.
Data, not a program: every operator is on the list that graphs may name, and everything is checked as `nn.check` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from airloom.core.depth import Block, GraphBlocks, SkipPath, block_modules
from airloom.core.graph import ModelGraph
from airloom.core.value import SCHEMA_VERSION, Value, canonical_json
from airloom.errors import ConfigError
from airloom.files import decode_value
from airloom.nn.artifact import check_structure
from airloom.nn.captured import Structure
from airloom.nn.check import check_graph
from airloom.nn.elastic.blocks import Blocks
from airloom.nn.elastic.graphs import check_blocks

MAX_BLOCKS = 4096


@dataclass(frozen=True)
class StoredArchitecture:
    """The content of `architecture.json`, checked.

    Attributes:
        blocks: as `find_blocks` gave them.
        graph, structure: of the whole network for a batch of one, which `blocks.graph` lies in; None of the zoo's.
    """

    blocks: Blocks
    graph: ModelGraph | None = None
    structure: Structure | None = None


class _File(Value, frozen=True):
    blocks: tuple[Block, ...]
    places: GraphBlocks
    keywords: tuple[str, ...]
    graph: ModelGraph | None = None
    structure: Structure | None = None
    kind: Literal["airloom-progressive-architecture"] = "airloom-progressive-architecture"
    schema: int = SCHEMA_VERSION


def write_architecture(stored: StoredArchitecture) -> bytes:
    """The file's bytes: the same for equal architectures."""
    file = _File(
        blocks=stored.blocks.blocks, places=stored.blocks.graph, keywords=stored.blocks.keywords,
        graph=stored.graph, structure=stored.structure,
    )  # fmt: skip
    return canonical_json(file)


def read_architecture(data: bytes, *, where: str) -> StoredArchitecture:
    """What `write_architecture` wrote.

    Raises:
        ConfigError: something in it cannot be; names the place.
    """
    file = decode_value(data, _File, where=where)
    places = file.places.blocks
    if not 1 <= len(file.blocks) <= MAX_BLOCKS or not len(file.blocks) == len(places) == len(file.keywords):
        raise ConfigError(
            f"{len(file.blocks)} blocks, {len(places)} places and {len(file.keywords)} keywords", where=where
        )
    if len({block.name for block in file.blocks}) != len(file.blocks):
        raise ConfigError("two blocks have one name", where=f"{where}: $.blocks")
    checked: set[bytes] = set()
    for k, (block, place) in enumerate(zip(file.blocks, places, strict=True)):
        here = f"{where}: $.places.blocks[{k}]"
        if block.name != place.name:
            raise ConfigError(f"block {block.name[:80]!r} stands at the place of {place.name[:80]!r}", where=here)
        block_modules(block.name)
        _check_skip(place.skip, checked, f"{here}.skip")
    if (file.graph is None) != (file.structure is None):
        raise ConfigError("a graph and the form of its result go together", where=where)
    if file.graph is not None and file.structure is not None:
        check_graph(file.graph, where=where)
        check_structure(file.structure, len(file.graph.outputs), where)
        check_blocks(file.places, file.graph, where=f"{where}: $.places")
    blocks = Blocks(blocks=file.blocks, graph=file.places, keywords=file.keywords)
    return StoredArchitecture(blocks, file.graph, file.structure)


def _check_skip(skip: SkipPath, checked: set[bytes], where: str) -> None:
    """A shortcut is a graph of its own; blocks of a group have the same one, which is looked at once."""
    graph = ModelGraph(
        model="skip", tensors=skip.tensors, inputs=(0,), outputs=(skip.result,), operators=skip.operators,
        parameters=skip.parameters,
    )  # fmt: skip
    if skip.kind == "identity" and (skip.operators or skip.result or len(skip.tensors) != 1):
        raise ConfigError("nothing stands in place of the block, and yet there are operators", where=where)
    key = msgspec.json.encode(graph)
    if key not in checked:
        check_graph(graph, where=where, quick=True)
        checked.add(key)
