"""An elastic model made into the folder that is served.

    manifest = pack(elastic, Path("resnet56-model"), name="resnet56", zoo="resnet56", key=key, table=table)

Chunks lie in the order in which a new client wants them: of the first precision the base, then statistics, then blocks
as they arrive; then what the next precision adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from airloom.core.depth import Block, DepthOrder
from airloom.core.progressive import (
    PRECISIONS,
    STATISTICS,
    Architecture,
    Chunk,
    Configuration,
    DepthTable,
    Manifest,
    Part,
    encodings_of,
)
from airloom.deliver.artifact import EncodedChunk, describe_chunks, describe_file, write_artifact
from airloom.errors import ConfigError, ProfileMismatch
from airloom.nn.capture import capture
from airloom.nn.elastic.blocks import find_blocks
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.parts import Array, graph_constants, part_arrays, part_names, statistics_arrays
from airloom.nn.elastic.stored import StoredArchitecture, write_architecture
from airloom.wire.weights import chunk_labels, encode_part

#: What is packed where nobody says anything: exact weights, and bits that add to each other.
DEFAULT_PRECISIONS = ("fp32", "bits-4", "bits-6", "bits-8", "bits-12", "bits-16")
_ORDER = (*(p for p in PRECISIONS if p.startswith("bits-")), "int8", "fp16", "fp32")


def pack(
    elastic: ElasticModel,
    folder: Path,
    *,
    name: str,
    key: Ed25519PrivateKey,
    example_inputs: tuple[Tensor, ...],
    zoo: str = "",
    options: Mapping[str, int] | None = None,
    table: DepthTable | None = None,
    precisions: Sequence[str] | None = None,
    depths: Iterable[int] | None = None,
    released: int | None = None,
    advance: Callable[[], None] | None = None,
) -> Manifest:
    """Write the artifact of `elastic` into `folder` and sign it.

    Args:
        name: of the model in URLs and on disks.
        example_inputs: one sample; only form and type matter.
        zoo, options: the zoo's name of the network; "" packs its graph, which runs for a batch of one.
        table: what configurations are worth; those that it lacks are packed without an accuracy.
        precisions: None takes those of the table, or `DEFAULT_PRECISIONS`.
        depths: None takes those of the table, or of the model.
        released: seconds since 1970 (now); a client that has seen a manifest takes no earlier one.
        advance: called after each chunk.

    Returns:
        the manifest as it was written.

    Raises:
        ConfigError: no such depth or precision, a folder with something else in it, weights that are not finite.
        ProfileMismatch: the table is of another model.
        CaptureError: torch cannot export the model.
    """
    if table is not None and (
        _paths(table.blocks) != _paths(elastic.blocks) or table.order.arrival != elastic.order.arrival
    ):
        raise ProfileMismatch(f"the table is of {table.model} with other blocks, or in another order: measure it again")
    chosen, order = _precisions(precisions, table), _order(elastic, depths, table)
    names = part_names(elastic)
    example = tuple(x[:1].detach() for x in example_inputs)
    # A network of the zoo is captured only where nothing else says how much each depth computes.
    known = set() if table is None else {row.depth for row in table.configurations}
    whole = None if zoo and known >= set(order.depths) else capture(elastic.module, example, name=name)
    if zoo or whole is None:
        architecture = Architecture(kind="zoo", name=zoo, options=dict(options or {}), blocks=names[1:])
        stored = StoredArchitecture(elastic.found)
    else:
        architecture = Architecture(kind="graph", name=name, blocks=names[1:])
        blocks = find_blocks(elastic.module, example, adapters=len(elastic.adapters) > 0, captured=whole)
        stored = StoredArchitecture(blocks, whole.graph, whole.structure)
    arrays = part_arrays(elastic)
    if not zoo and whole is not None:
        arrays = (arrays[0] | graph_constants(elastic, whole), *arrays[1:])
    architecture_file = write_architecture(stored)
    chunks = list(_encoded(elastic, arrays, name, order, chosen, advance))
    described = describe_chunks(chunks, names)
    in_blocks = sum(block.parameters for block in elastic.blocks)
    parts = (
        Part(name=names[0], parameters=sum(weight.numel() for weight in elastic.parameters()) - in_blocks),
        *(Part(name=block.name, parameters=block.parameters) for block in elastic.blocks),
    )
    manifest = Manifest(
        model=name,
        architecture=describe_file(architecture, architecture_file),
        inputs=tuple(f"{'x'.join(map(str, x.shape))}:{str(x.dtype).removeprefix('torch.')}" for x in example),
        parts=parts,
        order=order,
        chunks=described,
        configurations=configurations_of(
            described,
            parts,
            order,
            chosen,
            table,
            macs=0 if whole is None else sum(op.macs for op in whole.graph.operators),
            blocks=elastic.blocks,
        ),
        metric="top-1" if table is None else table.metric,
        device="" if table is None else table.device,
        samples=0 if table is None else table.samples,
        released=int(time.time()) if released is None else released,
    )
    write_artifact(folder, manifest, chunks, key, architecture_file=architecture_file)
    return manifest


def configurations_of(
    chunks: Sequence[Chunk],
    parts: Sequence[Part],
    order: DepthOrder,
    precisions: Sequence[str],
    table: DepthTable | None,
    *,
    macs: int = 0,
    blocks: Sequence[Block] = (),
) -> tuple[Configuration, ...]:
    """Every depth in every precision, ascending in bytes; worth what `table` says.

    Args:
        macs: of the whole model, of which the blocks' own are taken where the table has no better figure.
    """
    sizes = {(c.part, c.encoding, c.depth): c.nbytes for c in chunks}
    known = {} if table is None else {(row.depth, row.precision): row for row in table.configurations}
    by_depth = {depth: row for (depth, _), row in known.items()}
    rows: list[Configuration] = []
    for depth in order.depths:
        running = (0, *(1 + k for k in order.kept(depth)))
        left_out = sum(block.macs for k, block in enumerate(blocks) if 1 + k not in running)
        of_depth = by_depth.get(depth)
        for precision in precisions:
            row = known.get((depth, precision))
            nbytes = sum(sizes[part, encoding, None] for part in running for encoding in encodings_of(precision))
            rows.append(
                Configuration(
                    depth=depth,
                    precision=precision,
                    nbytes=nbytes + sizes.get((0, STATISTICS, depth), 0),
                    parameters=sum(parts[part].parameters for part in running),
                    macs=macs - left_out if of_depth is None else of_depth.macs,
                    accuracy=None if row is None else row.accuracy,
                    latency_s=None if of_depth is None else of_depth.latency_s,
                )
            )
    return tuple(sorted(rows, key=lambda row: (row.nbytes, row.depth)))


def _encoded(
    elastic: ElasticModel,
    arrays: Sequence[dict[str, Array]],
    name: str,
    order: DepthOrder,
    precisions: Sequence[str],
    advance: Callable[[], None] | None,
) -> Iterator[EncodedChunk]:
    names, statistics = part_names(elastic), statistics_arrays(elastic)
    arrival = (0, *(1 + k for k in order.arrival))
    encodings = dict.fromkeys(encoding for precision in precisions for encoding in encodings_of(precision))
    for k, encoding in enumerate(encodings):
        for part in arrival:
            labels = chunk_labels(name, names[part], encoding)
            yield EncodedChunk(encode_part(arrays[part], encoding, labels=labels), part, encoding)
            if advance is not None:
                advance()
            if part or k:
                continue
            for depth in order.depths if statistics else ():
                labels = chunk_labels(name, names[0], STATISTICS, depth)
                yield EncodedChunk(encode_part(statistics[depth], STATISTICS, labels=labels), 0, STATISTICS, depth)


def _paths(blocks: Sequence[Block]) -> list[str]:
    return [block.name for block in blocks]


def _precisions(precisions: Sequence[str] | None, table: DepthTable | None) -> tuple[str, ...]:
    if precisions is None:
        precisions = DEFAULT_PRECISIONS if table is None else [row.precision for row in table.configurations]
    wrong = [precision for precision in precisions if precision not in PRECISIONS]
    if wrong or not precisions:
        raise ConfigError(f"no precision {wrong[0] if wrong else ''!r}: it is one of {', '.join(PRECISIONS)}")
    # Those with the smallest chunks first: that is what a new client waits for.
    return tuple(sorted(set(precisions), key=_ORDER.index))


def _order(elastic: ElasticModel, depths: Iterable[int] | None, table: DepthTable | None) -> DepthOrder:
    if depths is None:
        depths = elastic.order.depths if table is None else [row.depth for row in table.configurations]
    chosen = {*depths, elastic.order.num_blocks}
    for depth in sorted(chosen):
        elastic.order.check(depth)
    return DepthOrder(kind=elastic.order.kind, arrival=elastic.order.arrival, depths=tuple(sorted(chosen)))
