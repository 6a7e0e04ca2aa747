"""What a progressive model is made of, as a planner sees it: chunks with sizes, and which of them a use needs."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from airloom.core.progressive import (
    STATISTICS,
    Architecture,
    Chunk,
    Configuration,
    DepthTable,
    Manifest,
    Part,
    encodings_of,
)
from airloom.errors import ConfigError
from airloom.files import encode_json

_DIGEST = "0" * 64


def manifest_of_table(table: DepthTable) -> Manifest:
    """A manifest for planning, of a model that was measured and not packed yet.

    A chunk's size is its part's share of what the full depth takes in its precision, by parameters: an artifact's own
    manifest has the real ones. Batch norm's statistics count as part of them.

    Raises:
        ConfigError: the table has no configurations, or none at full depth in a precision that it offers.
    """
    if not table.configurations:
        raise ConfigError(f"the table of {table.model} has no configurations: measure it with `airloom elastic table`")
    full = table.order.depths[-1]
    whole = {c.precision: c for c in table.configurations if c.depth == full}
    precisions = dict.fromkeys(c.precision for c in table.configurations)
    for precision in precisions:
        if precision not in whole:
            raise ConfigError(
                f"the table of {table.model} has {precision} at some depths, but not at all {full} blocks"
            )
    anyone = next(iter(whole.values()))
    base = anyone.parameters - sum(block.parameters for block in table.blocks)
    if base < 0:
        raise ConfigError(f"the table of {table.model}: its blocks have more parameters than all of it")
    parts = (Part(name="base", parameters=base), *(Part(name=b.name, parameters=b.parameters) for b in table.blocks))
    sizes: dict[str, float] = {}
    for precision in sorted(precisions, key=lambda name: len(encodings_of(name))):
        *before, last = encodings_of(precision)
        per_weight = whole[precision].nbytes / max(whole[precision].parameters, 1)
        # Planes that come before others have their own row, or share what there is by their bits.
        known = [sizes[name] for name in before if name in sizes]
        if len(known) < len(before):
            bits = {name: _bits(name) for name in (*before, last)}
            for name in before:
                sizes.setdefault(name, per_weight * bits[name] / sum(bits.values()))
            known = [sizes[name] for name in before]
        sizes[last] = max(per_weight - sum(known), 0.0)
    chunks = tuple(
        Chunk(file=f"chunks/{k}-{name}", nbytes=round(part.parameters * size), sha256=_DIGEST, part=k, encoding=name)
        for name, size in sizes.items()
        for k, part in enumerate(parts)
    )
    return Manifest(
        model=table.model,
        architecture=Architecture(kind="graph", name=table.model, blocks=tuple(b.name for b in table.blocks)),
        inputs=(),
        parts=parts,
        order=table.order,
        chunks=chunks,
        configurations=table.configurations,
        metric=table.metric,
        device=table.device,
        samples=table.samples,
    )


def _bits(encoding: str) -> int:
    """Bits of a weight in one `bits-` chunk."""
    end = int(encoding.removeprefix("bits-"))
    before = [int(name.removeprefix("bits-")) for name in encodings_of(encoding)[:-1]]
    return end - (before[-1] if before else 0)


class Pieces:
    """The chunks of a manifest, and what can be run with some of them.

    Attributes:
        nbytes: of each chunk.
        head_nbytes: what comes before the first chunk: the manifest, and the architecture's file.
        configurations: those with a place in the manifest, ascending in bytes.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.nbytes = tuple(chunk.nbytes for chunk in manifest.chunks)
        self.head_nbytes = len(encode_json(manifest)) + manifest.architecture.nbytes
        self.configurations = tuple(sorted(manifest.configurations, key=lambda c: c.nbytes))
        self._at = {(c.part, c.encoding, c.depth): k for k, c in enumerate(manifest.chunks)}
        self._rows = {(c.depth, c.precision): c for c in manifest.configurations}
        self._needs = {(c.depth, c.precision): manifest.chunks_of(c) for c in manifest.configurations}
        self._sets = {key: frozenset(chunks) for key, chunks in self._needs.items()}

    @functools.cached_property
    def precisions(self) -> tuple[str, ...]:
        """Those that occur, in order of appearance."""
        return tuple(dict.fromkeys(c.precision for c in self.configurations))

    @functools.cached_property
    def depths(self) -> tuple[int, ...]:
        return tuple(sorted({c.depth for c in self.configurations}))

    def row(self, depth: int, precision: str) -> Configuration | None:
        """The table's entry, or None."""
        return self._rows.get((depth, precision))

    def needs(self, configuration: Configuration) -> tuple[int, ...]:
        """Chunks in order of arrival."""
        return self._needs[configuration.depth, configuration.precision]

    def complete(self, held: frozenset[int]) -> tuple[Configuration, ...]:
        """The configurations of which every chunk is there."""
        return tuple(c for c in self.configurations if self._sets[c.depth, c.precision] <= held)

    def size(self, chunks: Iterable[int]) -> int:
        return sum(self.nbytes[k] for k in chunks)

    def parts_there(self, held: frozenset[int], depth: int, precision: str) -> frozenset[int]:
        """Parts whose weights are complete in `precision` for a network of `depth`: none without its statistics."""
        statistics = self._at.get((0, STATISTICS, depth))
        if statistics is not None and statistics not in held:
            return frozenset()
        encodings = encodings_of(precision)
        return frozenset(
            part
            for part in (0, *(1 + k for k in self.manifest.order.kept(depth)))
            if all(self._at.get((part, encoding, None)) in held for encoding in encodings)
        )
