"""What is wrong with a manifest, if anything: places and reasons, the first of which is reported."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator

from airloom.core.progressive import PRECISIONS, STATISTICS, Architecture, Manifest, encodings_of

MAX_CHUNK_BYTES = 4 * 2**30
MAX_GRAPH_BYTES = 256 * 2**20
MAX_PARTS = 4096
MAX_CHUNKS = 65_536
MAX_CONFIGURATIONS = 4096
_MAX_COUNT = 2**50
_MAX_PATH = 240
_MAX_SECONDS = 1e6

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")  # path of a module, or of a run of them: features.11-13
_OPTION = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_INPUT = re.compile(r"[1-9][0-9]{0,8}(?:x[1-9][0-9]{0,8}){0,15}:[a-z][a-z0-9]{1,15}")
_CHUNK_FILE = re.compile(r"chunks/[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors")
_GRAPH_FILE = re.compile(r"architecture(?:-[0-9a-f]{1,64})?\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Wrong = Iterator[tuple[str, str]]


def wrong(manifest: Manifest) -> Wrong:
    """Pairs of a place and what is wrong there. Whoever goes on after a pair gets nonsense: later checks rely on it."""
    if not NAME.fullmatch(manifest.model):
        yield "$.model", f"{manifest.model[:100]!r} is no name: letters, digits, '.', '_', '-', at most 100"
    for key, found, most in (
        ("parts", len(manifest.parts), MAX_PARTS),
        ("chunks", len(manifest.chunks), MAX_CHUNKS),
        ("configurations", len(manifest.configurations), MAX_CONFIGURATIONS),
        ("inputs", len(manifest.inputs), 64),
    ):
        if not 1 <= found <= most:
            yield f"$.{key}", f"{found} of them, 1 to {most} are read"
    for key, text in (("metric", manifest.metric), ("device", manifest.device)):
        if len(text) > 200 or not text.isprintable():
            yield f"$.{key}", "longer than 200 characters, or not printable"
    if not 0 <= manifest.samples <= _MAX_COUNT:
        yield "$.samples", f"{manifest.samples} samples"
    if not 0 <= manifest.released <= _MAX_COUNT:
        yield "$.released", f"{manifest.released} seconds since 1970"
    for k, text in enumerate(manifest.inputs):
        if not _INPUT.fullmatch(text):
            yield f"$.inputs[{k}]", f"{text[:80]!r} is not like 1x3x32x32:uint8"
    yield from _wrong_parts(manifest)
    yield from _wrong_architecture(manifest.architecture, manifest)
    yield from _wrong_chunks(manifest)
    yield from _wrong_configurations(manifest)


def _wrong_parts(manifest: Manifest) -> Wrong:
    names: set[str] = set()
    for k, part in enumerate(manifest.parts):
        if not _PART.fullmatch(part.name) or part.name in names:
            yield f"$.parts[{k}].name", f"{part.name[:80]!r} is there twice, or no name of a part"
        if not 0 <= part.parameters <= _MAX_COUNT:
            yield f"$.parts[{k}].parameters", f"{part.parameters} weights"
        names.add(part.name)
    if manifest.parts[0].name != "base":
        yield "$.parts[0].name", f"part 0 is the base, not {manifest.parts[0].name[:80]!r}"
    if manifest.order.num_blocks != len(manifest.parts) - 1:
        yield "$.order", f"{manifest.order.num_blocks} blocks, {len(manifest.parts) - 1} parts besides the base"


def _wrong_architecture(architecture: Architecture, manifest: Manifest) -> Wrong:
    kind, place = architecture.kind, "$.architecture"
    if not NAME.fullmatch(architecture.name):
        yield f"{place}.name", f"{architecture.name[:100]!r} is no name"
    if len(architecture.options) > 32 or (architecture.options and kind != "zoo"):
        yield f"{place}.options", f"{len(architecture.options)} options of a {kind}"
    for name, value in architecture.options.items():
        if not _OPTION.fullmatch(name) or abs(value) >= 2**31:
            yield f"{place}.options", f"no option: {name[:80]!r}"
    blocks = () if kind == "trees" else tuple(part.name for part in manifest.parts[1:])
    if architecture.blocks != blocks:
        yield f"{place}.blocks", "not the names of the parts besides the base, in order"
    if kind == "graph" or (kind == "zoo" and architecture.file):
        if not _GRAPH_FILE.fullmatch(architecture.file):
            yield f"{place}.file", f"{architecture.file[:80]!r} is no file architecture-DIGITS.json"
        if not _DIGEST.fullmatch(architecture.sha256):
            yield f"{place}.sha256", "not 64 hex digits"
        if not 2 <= architecture.nbytes <= MAX_GRAPH_BYTES:
            yield f"{place}.nbytes", f"{architecture.nbytes} bytes, 2 to {MAX_GRAPH_BYTES} are read"
    elif architecture.file or architecture.nbytes or architecture.sha256:
        yield f"{place}.file", f"{kind} has no file"


def _wrong_chunks(manifest: Manifest) -> Wrong:
    files: set[str] = set()
    kinds: set[tuple[int, str, int | None]] = set()
    for k, chunk in enumerate(manifest.chunks):
        place = f"$.chunks[{k}]"
        if not _CHUNK_FILE.fullmatch(chunk.file) or len(chunk.file) > _MAX_PATH:
            yield f"{place}.file", f"{chunk.file[:80]!r} is no safetensors file in chunks/"
        # Some file systems do not tell upper from lower case.
        if chunk.file.lower() in files:
            yield f"{place}.file", f"{chunk.file!r} is another chunk's"
        if not 10 <= chunk.nbytes <= MAX_CHUNK_BYTES:
            yield f"{place}.nbytes", f"{chunk.nbytes} bytes, 10 to {MAX_CHUNK_BYTES} are read"
        if chunk.part >= len(manifest.parts):
            yield f"{place}.part", f"part {chunk.part} of {len(manifest.parts)}"
        if chunk.encoding == STATISTICS:
            if chunk.part != 0 or chunk.depth not in manifest.order.depths:
                yield f"{place}.depth", f"statistics belong to the base and to a depth, not to {chunk.depth}"
        elif chunk.encoding not in PRECISIONS or chunk.depth is not None:
            yield f"{place}.encoding", f"no encoding {chunk.encoding[:40]!r} of a part"
        if (chunk.part, chunk.encoding, chunk.depth) in kinds:
            yield place, f"part {chunk.part} has two chunks in {chunk.encoding}"
        files.add(chunk.file.lower())
        kinds.add((chunk.part, chunk.encoding, chunk.depth))


def _wrong_configurations(manifest: Manifest) -> Wrong:
    sizes = {(c.part, c.encoding, c.depth): c.nbytes for c in manifest.chunks}
    depths = frozenset(manifest.order.depths)
    with_statistics = any(chunk.encoding == STATISTICS for chunk in manifest.chunks)
    arrival = (0, *(1 + k for k in manifest.order.arrival))
    weights = list(itertools.accumulate(manifest.parts[p].parameters for p in arrival))
    totals: dict[str, list[float]] = {}
    seen: set[tuple[int, str]] = set()
    before = 0
    for k, row in enumerate(manifest.configurations):
        place = f"$.configurations[{k}]"
        if row.depth not in depths or row.precision not in PRECISIONS:
            yield place, f"no depth {row.depth}, or no precision {row.precision[:40]!r}"
        if (row.depth, row.precision) in seen:
            yield place, f"{row.name} is there twice"
        seen.add((row.depth, row.precision))
        if row.precision not in totals:
            encodings = encodings_of(row.precision)
            # A part without its chunk makes every sum from there on infinite.
            parts = (sum(sizes.get((p, e, None), math.inf) for e in encodings) for p in arrival)
            totals[row.precision] = list(itertools.accumulate(parts))
        statistics = sizes.get((0, STATISTICS, row.depth), math.inf) if with_statistics else 0
        nbytes = totals[row.precision][row.depth] + statistics
        if math.isinf(nbytes):
            yield place, f"{row.name} needs a chunk that is not there"
        if row.nbytes != nbytes:
            yield f"{place}.nbytes", f"{row.nbytes}, its chunks have {nbytes:.0f}"
        if row.nbytes < before:
            yield f"{place}.nbytes", "configurations ascend in bytes"
        before = row.nbytes
        if row.parameters != weights[row.depth]:
            yield f"{place}.parameters", f"{row.parameters}, its parts have {weights[row.depth]}"
        if not 0 <= row.macs <= _MAX_COUNT:
            yield f"{place}.macs", f"{row.macs} multiply-accumulates"
        if row.accuracy is not None and not 0 <= row.accuracy <= 1:
            yield f"{place}.accuracy", f"{row.accuracy} is not between 0 and 1"
        if row.latency_s is not None and not 0 <= row.latency_s <= _MAX_SECONDS:
            yield f"{place}.latency_s", f"{row.latency_s} s"
