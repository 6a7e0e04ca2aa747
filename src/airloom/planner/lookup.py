"""A manifest's table as arrays: what `planner.delivery` and `planner.upgrades` look up, worked out once a manifest.

Source: Ayed et al., "Accordion", "Practical Implementation": the look-up table of Step 2, which Step 5 uses again.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from airloom.core.progressive import STATISTICS, Configuration, Manifest, encodings_of
from airloom.errors import ConfigError


class Lookup:
    """Arrays over the n configurations of a manifest and its m chunks.

    Attributes:
        needs: [n, m] 1 where the configuration needs the chunk, else 0.
        statistics: [n] index of the chunk of batch norm's statistics of the configuration's depth, -1 without.
        within: [n, n] whether all that configuration i needs, statistics apart, configuration j needs as well.
        accuracy: [n] as measured, NaN where it was not.
        worth: [n] for comparing: `accuracy`; where it was not measured, that of the best that was measured at no more
            bytes, since more of a model is taken as better.
        nbytes, macs, latency_s: [n]; latency NaN where it was not measured.
    """

    def __init__(self, manifest: Manifest) -> None:
        if not manifest.configurations:
            raise ConfigError(f"{manifest.model}: the manifest has no configuration")
        self.manifest = manifest
        rows, chunks = manifest.configurations, manifest.chunks
        self.index = {(row.depth, row.precision): k for k, row in enumerate(rows)}
        self.needed = tuple(manifest.chunks_of(row) for row in rows)
        self.needs = np.zeros((len(rows), len(chunks)))
        self.statistics = np.full(len(rows), -1, np.intp)
        for k, indices in enumerate(self.needed):
            self.needs[k, list(indices)] = 1.0
            self.statistics[k] = next((i for i in indices if chunks[i].encoding == STATISTICS), -1)
        self.chunk_nbytes = np.array([chunk.nbytes for chunk in chunks], np.float64)
        self.nbytes = self.needs @ self.chunk_nbytes
        self.macs = np.array([row.macs for row in rows], np.float64)
        self.depth = np.array([row.depth for row in rows])
        self.latency_s = _known(row.latency_s for row in rows)
        self.accuracy = _known(row.accuracy for row in rows)
        self.measured = ~np.isnan(self.accuracy)
        self.worth = self._worth()
        sets = [frozenset(encodings_of(row.precision)) for row in rows]
        kinds = {names: k for k, names in enumerate(dict.fromkeys(sets))}
        inside = np.array([[a <= b for b in kinds] for a in kinds])
        kind = np.array([kinds[names] for names in sets])
        self.within = (self.depth[:, None] <= self.depth[None, :]) & inside[kind[:, None], kind[None, :]]
        #: Configurations in an order in which none is `within` an earlier one.
        self.ascending = np.lexsort((np.array([len(names) for names in sets]), self.depth))

    def row(self, configuration: Configuration) -> int:
        """Raises: ConfigError where the table has no such depth and precision."""
        try:
            return self.index[configuration.depth, configuration.precision]
        except KeyError:
            raise ConfigError(f"{self.manifest.model} has no configuration {configuration.name}") from None

    def by_name(self, name: str) -> Configuration:
        """The configuration that is called `depth/precision`.

        Raises:
            ConfigError: there is none.
        """
        depth, _, precision = name.partition("/")
        # Longer than any depth: int() would take its time for nothing.
        key = (int(depth), precision) if depth.isascii() and depth.isdigit() and len(depth) < 10 else None
        if key not in self.index or not depth.isdigit():
            raise ConfigError(f"{self.manifest.model} has no configuration {name[:40]!r}")
        return self.manifest.configurations[self.index[key]]

    def lacking(self, have: Iterable[int]) -> NDArray[np.float64]:
        """[m] 1 for each chunk that is not in `have`, else 0.

        Raises:
            ConfigError: an index that no chunk has.
        """
        lacks = np.ones(len(self.chunk_nbytes))
        held = list(have)
        if held:
            if min(held) < 0 or max(held) >= len(lacks):
                bad = min(held) if min(held) < 0 else max(held)
                raise ConfigError(f"{self.manifest.model} has no chunk {bad}: they are 0 to {len(lacks) - 1}")
            lacks[held] = 0.0
        return lacks

    def _worth(self) -> NDArray[np.float64]:
        worth, best = np.zeros(len(self.accuracy)), 0.0
        for k in np.lexsort((~self.measured, self.nbytes)):
            if self.measured[k]:
                worth[k] = self.accuracy[k]
                best = max(best, worth[k])
            else:
                worth[k] = best
        return worth


def lookup(manifest: Manifest | Lookup) -> Lookup:
    """The table of `manifest`; one that was made before is taken as it is."""
    return manifest if isinstance(manifest, Lookup) else Lookup(manifest)


def _known(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)
