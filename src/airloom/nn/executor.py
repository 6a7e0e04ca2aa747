"""Runs stages of a captured graph: raw bytes in, raw bytes out.

Every tensor between two operators has one form: C order, strides that follow from the shape, data
at a multiple of 64 bytes. A tensor that has crossed a cut therefore looks to the next operator
exactly like one that has not, and a split model gives the same bits as a whole one (same batch,
threads and torch): nothing is left by which a kernel could choose differently.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from airloom.core.graph import TensorSpec
from airloom.errors import StageFailed, UserError
from airloom.nn.captured import Captured
from airloom.nn.program import DTYPES
from airloom.nn.source import first_line
from airloom.nn.stage import ALIGNMENT, StageCode, canonical, canonical_stride

# Compiled stages kept; a host whose plan moves comes back to few.
_MAX_STAGES = 64

Buffer = memoryview | bytes | bytearray


@dataclass(frozen=True)
class Stage:
    """A stage that is ready to run: tensors of `reads` in, tensors of `makes` out."""

    start: int
    stop: int
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    function: Callable[..., tuple[Any, ...]]


def tensor_from_bytes(data: Buffer, spec: TensorSpec, torch_device: torch.device | str = "cpu") -> Tensor:
    """The tensor of raw little-endian bytes in C order.

    It shares `data`'s memory where that may be written and is aligned, else it is a copy.

    Raises:
        ValueError: `data` has not the bytes of `spec`.
    """
    view = memoryview(data)
    if view.nbytes != spec.nbytes:
        raise ValueError(f"has {view.nbytes} bytes, {list(spec.shape)} of {spec.dtype} takes {spec.nbytes}")
    dtype = DTYPES[spec.dtype]
    if not view.nbytes:
        return torch.empty(spec.shape, dtype=dtype, device=torch_device)
    view = view.cast("B") if view.format != "B" or view.ndim != 1 else view
    if not view.readonly:
        shared = torch.frombuffer(view, dtype=torch.uint8)
        if shared.data_ptr() % ALIGNMENT == 0:
            return shared.view(dtype).view(spec.shape).to(torch_device)
    tensor = torch.empty(spec.shape, dtype=dtype)
    memoryview(_flat_bytes(tensor).numpy())[:] = view  # type: ignore[arg-type]
    return tensor.to(torch_device)


def tensor_to_bytes(tensor: Tensor) -> memoryview:
    """Raw little-endian bytes in C order, sharing the tensor's memory where that is on the host and in order."""
    return memoryview(_flat_bytes(tensor.detach().cpu().contiguous()).numpy())  # type: ignore[arg-type]


def _flat_bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


class StageExecutor:
    """Runs any stage of one captured graph on this host.

    `torch.set_num_threads` is process-wide: give all executors of a process the same `threads`.
    Running is safe from several threads; two runs at once only compete for the cores.

    Args:
        torch_device: `cpu`, `cuda`, `cuda:1`, ...
        threads: of torch's own, within one operator.
    """

    def __init__(self, captured: Captured, torch_device: str = "cpu", threads: int = 1) -> None:
        if threads < 1:
            raise UserError(f"threads is at least 1, got {threads}")
        try:
            self.torch_device = torch.device(torch_device)
            if self.torch_device.type == "meta":
                raise RuntimeError("it computes nothing: name cpu or cuda")
            self._parameters = tuple(canonical(p.to(self.torch_device)) for p in captured.parameters)
        except (RuntimeError, AssertionError) as error:  # no such device, or a torch built without it
            raise UserError(f"torch device {torch_device!r}: {first_line(error)}") from None
        self.captured, self.graph, self.threads = captured, captured.graph, threads
        if captured.graph.mode == "train":
            # Operators write them: each executor has its own.
            self._parameters = tuple(p.clone() for p in self._parameters)
        self._code = StageCode(self.graph, self._parameters, self.torch_device)
        self._stages: OrderedDict[tuple[int, int], Stage] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def is_single_threaded(self) -> bool:
        """Whether all that a stage computes is computed by the thread that calls `run`."""
        return self.threads == 1 and self.torch_device.type == "cpu"

    # --- stages -------------------------------------------------------------------------------

    def load(self, start: int, stop: int, *, warm_up: bool = True) -> Stage:
        """Compile the stage of operators `start..stop-1` and keep it; run it once on zeros, so that the
        first request finds kernels chosen and memory allocated."""
        known = (start, stop) in self._stages
        stage = self._stage(start, stop)
        if warm_up and not known and self.graph.mode == "eval" and stop > start:
            zeros = [self._zeros(t) for t in stage.reads]
            with torch.inference_mode():
                self._set_threads()
                stage.function(*zeros)
        return stage

    def _zeros(self, tensor: int) -> Tensor:
        spec = self.graph.tensors[tensor]
        return torch.zeros(spec.shape, dtype=DTYPES[spec.dtype], device=self.torch_device)

    def _stage(self, start: int, stop: int) -> Stage:
        if not 0 <= start <= stop <= self.graph.num_operators:
            raise ValueError(
                f"no stage {start}..{stop} in {self.graph.model}: it has {self.graph.num_operators} operators"
            )
        with self._lock:
            stage = self._stages.get((start, stop))
            if stage is None:
                stage = self.compile(start, stop)
                self._stages[start, stop] = stage
                if len(self._stages) > _MAX_STAGES:
                    self._stages.popitem(last=False)
            else:
                self._stages.move_to_end((start, stop))
            return stage

    def compile(self, start: int, stop: int, clock: Callable[[], Any] | None = None) -> Stage:
        """A stage outside the cache; with `clock`, its function returns one more value: the list of
        `clock()` before the first operator and after each."""
        reads, makes = self.stage_tensors(start, stop)
        return Stage(start, stop, reads, makes, self._code.compile(start, stop, reads, makes, clock))

    def stage_tensors(self, start: int, stop: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the stage reads of the live set of `start`, and what it makes of that of `stop`."""
        operators = self.graph.operators[start:stop]
        made = {t for op in operators for t in op.outputs}
        read = {t for op in operators for t in op.inputs} - made
        return tuple(sorted(read)), tuple(t for t in self.graph.live_set(stop) if t in made)

    # --- running ------------------------------------------------------------------------------

    def run(self, start: int, stop: int, data: Mapping[int, Buffer]) -> dict[int, memoryview]:
        """Run operators `start..stop-1`.

        Args:
            data: raw bytes of at least the live set of cut `start`, by tensor id. Memory that may be
                written and is aligned is read in place: leave it alone until the results are used.

        Returns:
            Raw bytes of the live set of cut `stop` (the model's outputs where that is the last);
            what the stage only passes on is `data`'s own.

        Raises:
            StageFailed: a tensor is missing or has the wrong size, or an operator raised.
        """
        stage = self._stage(start, stop)
        try:
            with torch.inference_mode():
                made = self.run_stage(stage, data)
                results = {t: tensor_to_bytes(x) for t, x in zip(stage.makes, made, strict=True)}
            return {t: results[t] if t in results else memoryview(data[t]) for t in self.graph.live_set(stop)}
        except KeyError as error:
            raise self._failed(start, stop, f"tensor {error.args[0]} of its live set is missing") from None
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._failed(start, stop, str(error)) from error

    def run_stage(self, stage: Stage, data: Mapping[int, Buffer]) -> tuple[Any, ...]:
        """What the function of a compiled `stage` gives for raw bytes; errors are torch's own."""
        specs = self.graph.tensors
        with torch.inference_mode():
            self._set_threads()
            return stage.function(*[tensor_from_bytes(data[t], specs[t], self.torch_device) for t in stage.reads])

    def run_tensors(self, start: int, stop: int, tensors: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """`run` on tensors of this process: the live set of `start` in, that of `stop` out.

        Raises:
            StageFailed: as `run`.
        """
        stage = self._stage(start, stop)
        try:
            with torch.inference_mode():
                self._set_threads()
                inputs = [self._checked(t, tensors[t]) for t in stage.reads]
                results = dict(zip(stage.makes, stage.function(*inputs), strict=True))
            return {t: results[t] if t in results else tensors[t] for t in self.graph.live_set(stop)}
        except KeyError as error:
            raise self._failed(start, stop, f"tensor {error.args[0]} of its live set is missing") from None
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._failed(start, stop, str(error)) from error

    def whole(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The model's outputs in the order of `ModelGraph.outputs`; `captured.result` gives them its own form."""
        outputs = self.run_tensors(0, self.graph.num_operators, dict(zip(self.graph.inputs, inputs, strict=True)))
        return tuple(outputs[t] for t in self.graph.outputs)

    def use_weights(self, state: Mapping[str, Tensor]) -> None:
        """Run with these weights, by their names in the graph, from the next stage on; others stay as they are.

        Stages that are running end with what they began with.

        Raises:
            UserError: no such weight, or another shape or type than the graph's.
        """
        place = {p.name: k for k, p in enumerate(self.graph.parameters)}
        parameters = list(self._parameters)
        for name, tensor in state.items():
            if name not in place:
                raise UserError(f"{self.graph.model} has no weight {name[:80]!r}")
            spec = self.graph.parameters[place[name]].spec
            if tuple(tensor.shape) != spec.shape or tensor.dtype != DTYPES[spec.dtype]:
                raise UserError(f"weight {name[:80]!r} is {list(tensor.shape)}, the graph has {list(spec.shape)}")
            parameters[place[name]] = canonical(tensor.to(self.torch_device))
        with self._lock:
            self._parameters = tuple(parameters)
            self._code = StageCode(self.graph, self._parameters, self.torch_device)
            self._stages.clear()

    def parameter(self, id: int) -> Tensor:
        """A weight or buffer as this executor has it; in train mode operators change buffers."""
        return self._parameters[id]

    def synchronize(self) -> None:
        """Wait until the torch device has finished what it was given."""
        if self.torch_device.type == "cuda":
            torch.cuda.synchronize(self.torch_device)

    def now_s(self) -> float:
        """Seconds on the monotonic clock, once the torch device is idle."""
        self.synchronize()
        return time.perf_counter()

    def _checked(self, id: int, tensor: Tensor) -> Tensor:
        spec = self.graph.tensors[id]
        if tuple(tensor.shape) != spec.shape or tensor.dtype != DTYPES[spec.dtype]:
            found = f"{list(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
            raise ValueError(f"tensor {id} is {found}, captured with {list(spec.shape)} of {spec.dtype}")
        return canonical(tensor.to(self.torch_device))

    def _set_threads(self) -> None:
        # Also a new thread of this process starts with torch's own idea of it.
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)

    def _failed(self, start: int, stop: int, reason: str) -> StageFailed:
        return StageFailed(
            f"operators {start}..{stop - 1} of {self.graph.model}: {first_line(reason)[:300] or 'no reason given'}"
        )


__all__ = ["Stage", "StageExecutor", "canonical_stride", "tensor_from_bytes", "tensor_to_bytes"]
