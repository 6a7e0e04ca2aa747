"""What has arrived of a model, decoded: parts by encoding, statistics by depth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from airloom.core.progressive import STATISTICS, Configuration, Manifest, encodings_of
from airloom.deliver.chunks import decode_chunk
from airloom.wire.weights import PartArrays


class Arrived:
    """The arrays of one manifest's chunks.

    A part that gains bits is a new array beside the one that runs. `trim` lets go of what neither runs nor is on the
    way, so there are two sets of weights for as long as one of them is on its way, and one else.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._parts: dict[tuple[int, str], PartArrays] = {}
        self._statistics: dict[int, PartArrays] = {}
        self._running_encoding = ""

    def add(self, index: int, data: bytearray) -> None:
        """Decode a chunk whose digest was verified.

        Raises:
            ChunkError: it is not what the manifest says it is.
        """
        chunk = self._manifest.chunks[index]
        if chunk.encoding == STATISTICS:
            assert chunk.depth is not None  # the manifest was checked
            self._statistics[chunk.depth] = decode_chunk(data, self._manifest, index, verified=True)
            return
        lineage = encodings_of(chunk.encoding)
        before = lineage[-2] if len(lineage) > 1 else ""
        previous = self._parts.get((chunk.part, before))
        # What runs is left as it is; what was only on the way takes the new bits itself.
        in_place = previous is not None and before != self._running_encoding
        decoded = decode_chunk(data, self._manifest, index, previous=previous, in_place=in_place, verified=True)
        if in_place:
            del self._parts[chunk.part, before]
        self._parts[chunk.part, chunk.encoding] = decoded

    def loaded(self, path: Iterable[Configuration]) -> frozenset[int]:
        """Indices of the chunks that no configuration of `path` needs any more."""
        needs: dict[int, list[str]] = {}
        for configuration in path:
            for index in self._manifest.chunks_of(configuration):
                needs.setdefault(index, []).append(configuration.precision)
        return frozenset(k for k, precisions in needs.items() if all(self._covers(k, p) for p in precisions))

    def _covers(self, index: int, precision: str) -> bool:
        chunk = self._manifest.chunks[index]
        if chunk.encoding == STATISTICS:
            return chunk.depth in self._statistics
        encodings = encodings_of(precision)
        return any((chunk.part, e) in self._parts for e in encodings[encodings.index(chunk.encoding) :])

    def has(self, configuration: Configuration) -> bool:
        """Whether all of it is here."""
        last = encodings_of(configuration.precision)[-1]
        return all((part, last) in self._parts for part in self._running(configuration)) and (
            not self._needs_statistics(configuration) or configuration.depth in self._statistics
        )

    def arrays(self, configuration: Configuration) -> dict[str, NDArray[Any]]:
        """The weights and statistics of a configuration that is here, by name."""
        last = encodings_of(configuration.precision)[-1]
        found: dict[str, NDArray[Any]] = {}
        for part in self._running(configuration):
            found |= self._parts[part, last].arrays
        if configuration.depth in self._statistics:
            found |= self._statistics[configuration.depth].arrays
        return found

    def weights(self, depth: int, precision: str) -> dict[str, NDArray[Any]]:
        """Weights of the parts of a network of `depth` that are here in `precision`, by name, and its statistics.

        Nothing where statistics are needed and not here: no layer's output would be right.
        """
        last = encodings_of(precision)[-1]
        chunks = self._manifest.chunks
        needed = any(chunk.encoding == STATISTICS and chunk.depth == depth for chunk in chunks)
        if needed and depth not in self._statistics:
            return {}
        found: dict[str, NDArray[Any]] = {}
        for part in (0, *(1 + k for k in self._manifest.order.kept(depth))):
            if (part, last) in self._parts:
                found |= self._parts[part, last].arrays
        if depth in self._statistics:
            found |= self._statistics[depth].arrays
        return found

    def trim(self, running: Configuration, path: Iterable[Configuration]) -> None:
        """`running` runs from now on: let go of what neither it nor a configuration of `path` needs."""
        self._running_encoding = encodings_of(running.precision)[-1]
        coming = {configuration.precision for configuration in path}
        kept: dict[tuple[int, str], PartArrays] = {}
        for (part, encoding), arrays in self._parts.items():
            wanted = encoding == self._running_encoding
            for precision in coming:
                # Of bits that add to each other, the furthest.
                here = [e for e in encodings_of(precision) if (part, e) in self._parts]
                wanted = wanted or (bool(here) and here[-1] == encoding)
            if wanted:
                kept[part, encoding] = arrays
        self._parts = kept

    def _running(self, configuration: Configuration) -> tuple[int, ...]:
        return (0, *(1 + k for k in self._manifest.order.kept(configuration.depth)))

    def _needs_statistics(self, configuration: Configuration) -> bool:
        return any(self._manifest.chunks[k].encoding == STATISTICS for k in self._manifest.chunks_of(configuration))
