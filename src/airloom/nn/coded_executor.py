"""What a host's compute thread calls: decode what came, run a stage, code what goes on."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import safetensors
import safetensors.torch
from torch import Tensor

from airloom.core.coding import RAW, Coding
from airloom.core.framing import Framing
from airloom.core.messages import BLOB, Gap, Parcel
from airloom.core.tolerance import Contract, MapOrder
from airloom.errors import ConfigError, ProfileMismatch, StageFailed
from airloom.nn.captured import Captured
from airloom.nn.codec import Codec
from airloom.nn.executor import StageExecutor

_MAX_CODECS = 32
# Each holds a copy of the weights that were tuned.
_MAX_TUNED = 4

K = TypeVar("K")
V = TypeVar("V")


class CodedExecutor:
    """A `StageExecutor` with codecs around it; safe to use from several threads.

    Args:
        contract: whose tolerance profile has the feature maps' order and the tuned weights.
        framing: as on the link; both ends must have the same.
        folder: where the files of tuned weights lie, beside the profile.
    """

    def __init__(
        self,
        executor: StageExecutor,
        contract: Contract | None = None,
        framing: Framing | None = None,
        folder: Path | None = None,
    ) -> None:
        self.executor, self.framing, self.folder = executor, framing or Framing(), folder
        self._tolerance = None if contract is None else contract.tolerance
        self._maps: dict[int, MapOrder] = {m.tensor: m for m in (self._tolerance.maps if self._tolerance else ())}
        self._codecs: OrderedDict[tuple[int, Coding], Codec] = OrderedDict()
        self._tuned: OrderedDict[int, StageExecutor] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_single_threaded(self) -> bool:
        """As of the executor."""
        return self.executor.is_single_threaded

    def load(self, start: int, stop: int) -> object:
        """Make a stage ready; see `StageExecutor.load`."""
        return self.executor.load(start, stop)

    def prepare(self, cut: int, coding: Coding) -> None:
        """Make the codec of a cut ready, so that its first use takes no longer than the next.

        Raises:
            ConfigError, ProfileMismatch: as `codec`; the tuned weights are not there or not the profile's.
        """
        if not coding.is_raw:
            self.codec(cut, coding)
        if coding.tuned:
            self._tuned_executor(cut)

    def codec(self, cut: int, coding: Coding) -> Codec:
        """The codec of a cut; the latest few are kept.

        Raises:
            ConfigError: this cut cannot be carried so.
        """
        return self._kept(
            self._codecs, (cut, coding), _MAX_CODECS,
            lambda: Codec(self.executor.captured, cut, coding, self.framing, self._maps),
        )  # fmt: skip

    def run(
        self,
        start: int,
        stop: int,
        parcel: Parcel,
        outputs: tuple[int, ...],
        decode: Coding = RAW,
        encode: Coding = RAW,
    ) -> Parcel:
        """Run operators `start..stop-1`; none where they are equal.

        Args:
            parcel: the live set of cut `start`: its tensors, or with `decode` the tensor `BLOB`, whose
                missing ranges are listed in `parcel.missing`.
            outputs: tensors of the live set of `stop` to give back; with `encode` there is `BLOB` alone.
            decode: how the parcel was coded; with `tuned`, the stage runs the weights tuned for `start`.
            encode: how to code what goes on.

        Raises:
            StageFailed: what came is not what the stage reads, an operator raised, or a tensor cannot be coded.
            WireError: the blob is not of this coding.
            ConfigError, ProfileMismatch: as `prepare`.
        """
        data = dict(zip(parcel.tensors, parcel.data, strict=True))
        executor = self.executor
        if not decode.is_raw:
            if BLOB not in data:
                raise StageFailed(f"cut {start} came without its blob")
            gaps = [(gap.start, gap.stop) for gap in parcel.missing if gap.tensor == BLOB]
            data = self.codec(start, decode).decode(data[BLOB], gaps).data
            if decode.tuned and stop > start:
                executor = self._tuned_executor(start)
        if stop > start:
            data = executor.run(start, stop, data)
        if not encode.is_raw:
            return Parcel((BLOB,), (self.codec(stop, encode).encode(data),))
        try:
            made = tuple(data[t] for t in outputs)
        except KeyError as error:
            raise StageFailed(f"tensor {error.args[0]} of cut {stop} is missing") from None
        missing: tuple[Gap, ...] = ()
        if stop == start and decode.is_raw:
            missing = tuple(gap for gap in parcel.missing if gap.tensor in outputs)
        return Parcel(outputs, made, missing)

    def _tuned_executor(self, cut: int) -> StageExecutor:
        return self._kept(self._tuned, cut, _MAX_TUNED, lambda: self._read_tuned(cut))

    def _read_tuned(self, cut: int) -> StageExecutor:
        found = next((t for t in (self._tolerance.tuned if self._tolerance else ()) if t.cut == cut), None)
        if found is None or self.folder is None:
            raise ConfigError(f"cut {cut} has no tuned weights in the tolerance profile at hand")
        file = (self.folder / found.file).resolve()
        if not file.is_relative_to(self.folder.resolve()):
            raise ConfigError(f"tuned weights of cut {cut} lie outside the folder of their profile", where=found.file)
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read: {error.strerror or error}", where=str(file)) from None
        if hashlib.sha256(data).hexdigest() != found.sha256.removeprefix("sha256:"):
            raise ProfileMismatch(f"{file}: not the weights that the tolerance profile was measured with")
        try:
            weights = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise ConfigError(f"not safetensors: {error}", where=str(file)) from None
        tuned = with_weights(self.executor.captured, weights)
        return StageExecutor(tuned, str(self.executor.torch_device), self.executor.threads)

    def _kept(self, cache: OrderedDict[K, V], key: K, most: int, make: Callable[[], V]) -> V:
        """The entry of `cache`, made if it is not there; the `most` used lately are kept."""
        with self._lock:
            if key in cache:
                cache.move_to_end(key)
                return cache[key]
        made = make()
        with self._lock:
            cache.setdefault(key, made)
            if len(cache) > most:
                cache.popitem(last=False)
            return cache.get(key, made)


def with_weights(captured: Captured, weights: dict[str, Tensor]) -> Captured:
    """`captured` with the weights of these names in place of its own, in its own precision.

    Raises:
        ConfigError: it has no weight of that name, or one of another shape.
    """
    state = dict(captured.state)
    for name, tensor in weights.items():
        if name not in state or state[name].shape != tensor.shape:
            raise ConfigError(f"{captured.graph.model} has no weight {name!r} of shape {list(tensor.shape)}")
        state[name] = tensor.to(state[name].dtype)
    return replace(captured, state=state)
