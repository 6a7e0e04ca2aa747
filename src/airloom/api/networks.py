"""The network of a packed model at each of its depths, with the weights as they were trained: what other hosts run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.core.progressive import Configuration, Manifest
from airloom.deliver.arrived import Arrived
from airloom.deliver.chunks import verify_chunk
from airloom.deliver.runners import make_runner
from airloom.errors import ConfigError
from airloom.files import read_bytes

if TYPE_CHECKING:
    from airloom.nn.captured import Captured


class Networks:
    """Captured networks of an artifact's folder, for a batch of one.

    Attributes:
        names: of all weights and statistics that travel; what else a graph has comes with the architecture.

    Raises:
        ManifestError, ChunkError: the folder is not what its manifest says.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        architecture = manifest.architecture
        if architecture.kind == "trees":
            raise ConfigError("trees have no operators to split: fetch them with `airloom fetch-model`")
        data = bytes(read_bytes(folder / architecture.file)) if architecture.file else None
        self._runner = make_runner(manifest, data)
        self._captured: dict[int, Captured] = {}
        self.names = frozenset(self.arrays(self.exact(manifest.order.depths[-1])))

    def exact(self, depth: int) -> Configuration:
        """The configuration of a depth whose weights are the most precise: fp32, or what has the most bytes."""
        rows = [c for c in self.manifest.configurations if c.depth == depth]
        if not rows:
            raise ConfigError(f"{self.manifest.model} has no configuration of {depth} blocks")
        return max(rows, key=lambda c: (c.precision == "fp32", c.nbytes))

    def arrays(self, configuration: Configuration) -> dict[str, Any]:
        """Decoded weights and statistics of a configuration, by name."""
        arrived = Arrived(self.manifest)
        for index in self.manifest.chunks_of(configuration):
            data = bytearray(read_bytes(self.folder / self.manifest.chunks[index].file))
            verify_chunk(data, self.manifest, index)
            arrived.add(index, data)
        return arrived.arrays(configuration)

    def captured(self, depth: int) -> Captured:
        """The network of `depth` as a graph; made once, which takes seconds for one of the zoo."""
        if depth not in self._captured:
            self._runner.prepare(depth, self.arrays(self.exact(depth)))
            self._runner.settle()
            self._captured[depth] = self._runner.captured(depth)
        return self._captured[depth]
