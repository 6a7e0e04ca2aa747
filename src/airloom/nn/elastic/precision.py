"""An elastic model's weights as they arrive: encoded, weighed and decoded again, as the receiver decodes them.

arrivals = Arrivals(elastic, "resnet20")
arrivals.put(copy, "bits-6")           # the copy's weights are what came in 6 bits
arrivals.nbytes(depth, "bits-6")       # bytes of all the chunks that this takes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from airloom.core.progressive import STATISTICS, encodings_of
from airloom.nn.elastic.parts import Array, part_arrays, part_names, statistics_arrays
from airloom.wire.weights import PartArrays, chunk_labels, decode_part, encode_part

if TYPE_CHECKING:
    from airloom.nn.elastic.model import ElasticModel


class Arrivals:
    """The chunks of a model, each made once, when it is first asked for.

    Args:
        elastic: as it is now; later changes of its weights are not seen.
        model: the name that the chunks carry.
        constants: of its graph (`parts.graph_constants`) where that is what will be packed; they go with the base.
    """

    def __init__(self, elastic: ElasticModel, model: str, *, constants: Mapping[str, Array] | None = None) -> None:
        self._elastic, self._model = elastic, model
        self._names = part_names(elastic)
        base, *blocks = part_arrays(elastic)
        self._parts = (base | dict(constants or {}), *blocks)
        self._constants = frozenset(constants or {})
        self._order = elastic.order
        self._nbytes: dict[tuple[int, str], int] = {}
        self._bits: tuple[PartArrays, ...] = ()

    def nbytes(self, depth: int, precision: str) -> int:
        """Bytes of the chunks of a configuration, what goes over the link from nothing."""
        parts = (0, *(1 + k for k in self._order.kept(depth)))
        encodings = encodings_of(precision)
        total = sum(self._size(part, encoding) for part in parts for encoding in encodings)
        return total + (len(self._statistics[depth][0]) if depth in self._statistics else 0)

    def put(self, elastic: ElasticModel, precision: str) -> None:
        """Give all parts of `elastic`, a copy of the model, the weights and statistics that come in `precision`.

        Asking for bits in ascending order is cheap: each takes only its own plane.
        """
        weights: dict[str, Array] = {}
        for part in self._decoded(precision):
            weights |= part.arrays
        # `num_batches_tracked`, which only training reads, does not travel.
        came = {name: _tensor(array) for name, array in weights.items() if name not in self._constants}
        elastic.load_state_dict(elastic.state_dict() | came)
        for depth in elastic.statistics_depths:
            with_parts = {name: came[name] for name in elastic.statistics(depth) if name in came}
            elastic.load_statistics(depth, elastic.statistics(depth) | with_parts)
        for depth, (_, arrays) in self._statistics.items():
            own = {name: _tensor(array) for name, array in arrays.items()}
            elastic.load_statistics(depth, elastic.statistics(depth) | own)

    def _decoded(self, precision: str) -> Sequence[PartArrays]:
        encodings = encodings_of(precision)
        if len(encodings) == 1 and not encodings[0].startswith("bits-"):
            return [self._decode(part, encodings[0]) for part in range(len(self._parts))]
        have = self._bits[0].encoding if self._bits else ""
        start = encodings.index(have) + 1 if have in encodings else 0
        if not start:
            self._bits = ()
        for encoding in encodings[start:]:
            before = self._bits or (None,) * len(self._parts)
            self._bits = tuple(self._decode(part, encoding, old) for part, old in enumerate(before))
        return self._bits

    def _decode(self, part: int, encoding: str, previous: PartArrays | None = None) -> PartArrays:
        labels = chunk_labels(self._model, self._names[part], encoding)
        data = encode_part(self._parts[part], encoding, labels=labels)
        self._nbytes[part, encoding] = len(data)
        return decode_part(data, encoding, labels=labels, previous=previous, where=f"{self._names[part]} in {encoding}")

    def _size(self, part: int, encoding: str) -> int:
        if (part, encoding) not in self._nbytes:
            labels = chunk_labels(self._model, self._names[part], encoding)
            self._nbytes[part, encoding] = len(encode_part(self._parts[part], encoding, labels=labels))
        return self._nbytes[part, encoding]

    @cached_property
    def _statistics(self) -> dict[int, tuple[bytes, dict[str, Array]]]:
        """The chunk of each depth, and what it decodes to."""
        found = {}
        for depth, arrays in statistics_arrays(self._elastic).items():
            labels = chunk_labels(self._model, "base", STATISTICS, depth)
            data = encode_part(arrays, STATISTICS, labels=labels)
            found[depth] = data, decode_part(data, STATISTICS, labels=labels).arrays
        return found


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array))  # what was decoded may be read-only
