"""A model in parts that arrive one after another, each of which makes it better.

A *configuration* is a depth and a precision. The *base* (first and last layers, whatever is in no block) and the
blocks are *parts*; a part in one encoding is a *chunk*, a safetensors file of its own. Which chunks a configuration
needs follows from its depth and precision alone (`Manifest.chunks_of`), so a manifest stays small. Nothing in a
manifest is a program: the architecture is a name with numbers, or a graph of allow-listed operators as data.

Encodings: `fp32`, `fp16` and `int8` stand alone. `bits-K` holds the next bits of weights that were quantised to
16, the most significant first: precision `bits-6` is every `bits-` chunk up to 6, so a model gains precision without
anything being sent twice. `statistics` is batch norm's running means and variances as they are at one depth.
"""

from __future__ import annotations

import functools
import re
from typing import Literal

import msgspec

from airloom.core.depth import Block, DepthOrder
from airloom.core.value import SCHEMA_VERSION, Basis, Value
from airloom.errors import ConfigError

#: Bits that `bits-K` chunks end at; a part's chunks are the differences: 4, then 2, 2, 4 and 4 more.
BIT_PLANES = (4, 6, 8, 12, 16)
ALONE = ("fp32", "fp16", "int8")
STATISTICS = "statistics"
PRECISIONS = (*ALONE, *(f"bits-{k}" for k in BIT_PLANES))

_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def encodings_of(precision: str) -> tuple[str, ...]:
    """The encodings whose chunks make a part in `precision`, in order of arrival."""
    if precision in ALONE:
        return (precision,)
    if precision in PRECISIONS:
        end = int(precision.removeprefix("bits-"))
        return tuple(f"bits-{k}" for k in BIT_PLANES if k <= end)
    raise ConfigError(f"no precision {precision!r}: it is one of {', '.join(PRECISIONS)}")


class Part(Value, frozen=True):
    """What arrives together: `base` is part 0, and part `1 + k` is block k in order of execution."""

    name: str
    parameters: int


class Chunk(Value, frozen=True):
    """A file with one part in one encoding.

    Attributes:
        file: path below the artifact's folder, `chunks/base-int8.safetensors`.
        nbytes: of the file.
        sha256: of the file, 64 hex digits.
        part: index into `Manifest.parts`.
        encoding: see the module.
        depth: of `statistics`: the depth they hold at; else None.
    """

    file: str
    nbytes: int
    sha256: str
    part: int
    encoding: str
    depth: int | None = None

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.file) or ".." in self.file:
            raise ConfigError(f"chunk file {self.file!r} is no path below the artifact's folder")
        if not _DIGEST.fullmatch(self.sha256):
            raise ConfigError(f"chunk {self.file}: sha256 is not 64 hex digits")
        if self.nbytes < 0 or self.part < 0:
            raise ConfigError(f"chunk {self.file}: negative size or part")


class Architecture(Value, frozen=True):
    """What the weights are of.

    Attributes:
        kind: `zoo`: a network of the zoo, by name and options; `file` says what stands in place of its blocks.
            `graph`: all its operators as data in `file`, for a batch of one. `trees`: an ensemble of decision trees,
            described by its base.
        name: of the zoo's network; for people elsewhere.
        options: of the zoo's network, `{"num_classes": 100}`.
        blocks: paths of the blocks, in order of execution; empty for trees.
        file, nbytes, sha256: `architecture.json`, as of a chunk; trees have none.
    """

    kind: Literal["zoo", "graph", "trees"]
    name: str
    options: dict[str, int] = msgspec.field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    file: str = ""
    nbytes: int = 0
    sha256: str = ""


class Configuration(Value, frozen=True):
    """A row of the table that a server looks up (Accordion, Step 2).

    Attributes:
        depth: number of blocks, or of trees.
        precision: of weights, one of `PRECISIONS`.
        nbytes: of all its chunks, what goes over the link from nothing.
        parameters: in the parts that it runs.
        macs: multiply-accumulates for one sample.
        accuracy: in the manifest's metric, 0 to 1; None where nobody measured it.
        latency_s: of one sample on the manifest's device; None where nobody measured it.
    """

    depth: int
    precision: str
    nbytes: int
    parameters: int
    macs: int = 0
    accuracy: float | None = None
    latency_s: float | None = None

    @property
    def name(self) -> str:
        return f"{self.depth}/{self.precision}"


class DepthTable(Value, frozen=True):
    """What `airloom elastic table` measures: every configuration, and which of them are on the Pareto front.

    Attributes:
        device: on which latency was measured, for people.
        samples: on how many accuracy was measured.
        front: indices of the configurations that none other beats in accuracy, bytes and MACs at once.
    """

    model: str
    blocks: tuple[Block, ...]
    order: DepthOrder
    configurations: tuple[Configuration, ...]
    front: tuple[int, ...] = ()
    metric: str = "top-1"
    device: str = ""
    samples: int = 0
    accuracy_basis: Basis = "measured"
    latency_basis: Basis = "measured"
    schema: int = SCHEMA_VERSION


class Manifest(Value, frozen=True, dict=True):
    """`manifest.json` of a progressive model; `manifest.sig` beside it is its Ed25519 signature.

    Attributes:
        model: a name, for people and in URLs: letters, digits, `.`, `_` and `-`.
        inputs: `1x3x32x32:uint8`, one for each input, a batch of one.
        base, blocks: part 0 and the rest of `parts`.
        configurations: those that are served, ascending in bytes.
        released: seconds since 1970, 0 where nobody says: who has seen one manifest takes none released before it.
    """

    model: str
    architecture: Architecture
    inputs: tuple[str, ...]
    parts: tuple[Part, ...]
    order: DepthOrder
    chunks: tuple[Chunk, ...]
    configurations: tuple[Configuration, ...]
    metric: str = "top-1"
    device: str = ""
    samples: int = 0
    released: int = 0
    schema: int = SCHEMA_VERSION

    def chunks_of(self, configuration: Configuration) -> tuple[int, ...]:
        """Indices of the chunks that `configuration` needs, in order of arrival: base, statistics, blocks."""
        self.order.check(configuration.depth)
        parts = (0, *(1 + k for k in self.order.arrival[: configuration.depth]))
        encodings = encodings_of(configuration.precision)
        found = [self._chunk(part, encoding) for encoding in encodings for part in parts]
        statistics = self._chunks.get((0, STATISTICS, configuration.depth))
        if statistics is not None:
            found.insert(1, statistics)
        return tuple(found)

    def nbytes_of(self, configuration: Configuration, have: frozenset[int] = frozenset()) -> int:
        """Bytes that `configuration` needs besides the chunks that are there already."""
        return sum(self.chunks[k].nbytes for k in self.chunks_of(configuration) if k not in have)

    def _chunk(self, part: int, encoding: str) -> int:
        try:
            return self._chunks[part, encoding, None]
        except KeyError:
            name = self.parts[part].name if part < len(self.parts) else str(part)
            raise ConfigError(f"{self.model}: part {name} has no chunk in {encoding}") from None

    @functools.cached_property
    def _chunks(self) -> dict[tuple[int, str, int | None], int]:
        return {(c.part, c.encoding, c.depth): k for k, c in enumerate(self.chunks)}
