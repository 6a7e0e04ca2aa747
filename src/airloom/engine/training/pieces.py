"""State on its way: tensors in messages of bounded size, put together again where they are expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from airloom.core.training import weight_of
from airloom.engine.messages import Parcel

#: No message carries more payload; a larger tensor travels in pieces of this size, `Frame.cut` counts them.
PIECE_BYTES = 4 << 20


def pieces(parcel: Parcel) -> Iterator[tuple[int, Parcel]]:
    """`parcel` as messages, each with its number among the pieces of its one tensor (0 for whole tensors)."""
    ids: list[int] = []
    data: list[memoryview] = []
    held = 0
    for id, view in zip(parcel.tensors, parcel.data, strict=True):
        if view.nbytes > PIECE_BYTES:
            for number, at in enumerate(range(0, view.nbytes, PIECE_BYTES)):
                yield number, Parcel((id,), (view[at : at + PIECE_BYTES],))
            continue
        if held + view.nbytes > PIECE_BYTES or len(ids) >= 1024:
            yield 0, Parcel(tuple(ids), tuple(data))
            ids, data, held = [], [], 0
        ids.append(id)
        data.append(view)
        held += view.nbytes
    if ids:
        yield 0, Parcel(tuple(ids), tuple(data))


class Collector:
    """Takes the tensors that are expected, in any order, each once, and nothing else.

    Memory is bounded by what is expected: `expected` pairs ids and bytes. Optimiser state may come empty.
    """

    def __init__(self, expected: Iterable[tuple[int, int]]) -> None:
        self._expected = dict(expected)
        self._whole: dict[int, memoryview] = {}
        self._partial: dict[int, tuple[bytearray, set[int]]] = {}

    @property
    def is_complete(self) -> bool:
        return len(self._whole) == len(self._expected)

    def parcel(self) -> Parcel:
        """All that was expected, once it is complete."""
        return Parcel(tuple(self._expected), tuple(self._whole[id] for id in self._expected))

    def add(self, number: int, parcel: Parcel) -> bool:
        """Take a message; False where it holds what is not expected. What is there already changes nothing."""
        if any(id not in self._expected for id in parcel.tensors):
            return False
        if len(parcel.tensors) == 1 and self._expected[parcel.tensors[0]] > PIECE_BYTES:
            return self._add_piece(parcel.tensors[0], number, parcel.data[0])
        for id, data in zip(parcel.tensors, parcel.data, strict=True):
            if data.nbytes != self._expected[id] and (data.nbytes or not weight_of(id)[1]):
                return False
        for id, data in zip(parcel.tensors, parcel.data, strict=True):
            self._whole.setdefault(id, data)
        return True

    def _add_piece(self, id: int, number: int, data: memoryview) -> bool:
        size, at = self._expected[id], number * PIECE_BYTES
        if not data.nbytes and number == 0 and weight_of(id)[1]:
            self._whole.setdefault(id, data)
            return True
        if at >= size or data.nbytes != min(PIECE_BYTES, size - at):
            return False
        if id in self._whole:
            return True
        held, numbers = self._partial.setdefault(id, (bytearray(size), set()))
        held[at : at + data.nbytes] = data
        numbers.add(number)
        if len(numbers) * PIECE_BYTES >= size:
            self._whole[id] = memoryview(held)
            del self._partial[id]
        return True
