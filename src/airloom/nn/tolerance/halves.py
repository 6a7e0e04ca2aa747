"""A model cut in two, many messages at a time.

A host runs the graph at its own batch (often 1), and one message carries the live set of one such
batch. Measured is with the same model captured at a multiple of it: one pass of the large graph
evaluates that many messages.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from airloom.core.graph import ModelGraph
from airloom.errors import ConfigError
from airloom.nn.captured import Captured
from airloom.nn.executor import StageExecutor
from airloom.nn.tolerance.samples import Samples

# How far the large graph's tensors may be from the small one's, relative to their largest value: another
# batch sums in another order.
_AGREEMENT = 1e-3


class Halves:
    """The two halves of a model at any cut.

    Args:
        host: the model as hosts run it.
        large: the same model captured at a multiple of that batch.

    Raises:
        ConfigError: they are not the same model, or the batches are no multiples.

    Attributes:
        executor: runs the first half.
        receiver: runs the second; the same, or one with weights of its own.
        messages: how many messages one pass evaluates.
        samples_each: samples of one message: the first axis of the hosts' input.
    """

    def __init__(self, host: Captured, large: Captured, *, torch_device: str = "cpu", threads: int = 1) -> None:
        small, big = host.graph, large.graph
        same = [(a.target, a.inputs, a.outputs) for a in small.operators]
        if same != [(b.target, b.inputs, b.outputs) for b in big.operators]:
            raise ConfigError(f"{small.model}: another batch has other operators, so it cannot be measured in batches")
        self.host, self.large = host, large
        self.samples_each = small.tensors[small.inputs[0]].shape[0]
        self.messages, rest = divmod(big.tensors[big.inputs[0]].shape[0], self.samples_each)
        if rest or not self.messages:
            raise ConfigError(f"a batch of {self.samples_each} does not divide the one to measure with")
        self._axes = {t: _batch_axis(small, big, t, self.messages) for t in range(len(small.tensors))}
        self.executor = StageExecutor(large, torch_device=torch_device, threads=threads)
        self.receiver = self.executor
        self._checked: set[int] = set()
        self._host_executor: StageExecutor | None = None

    @property
    def graph(self) -> ModelGraph:
        """The graph that hosts run."""
        return self.host.graph

    def tuned(self, weights: Mapping[str, Tensor]) -> Halves:
        """The same model whose receiving half has these weights, by name, and its own others."""
        other = copy.copy(self)
        state = {
            name: weights[name].to(tensor.dtype) if name in weights else tensor
            for name, tensor in self.large.state.items()
        }
        large = dataclasses.replace(self.large, state=state)
        other.receiver = StageExecutor(large, str(self.executor.torch_device), self.executor.threads)
        return other

    # --- between one large tensor and the messages in it -------------------------------------

    def split(self, id: int, tensor: Tensor) -> Tensor:
        """A tensor of the large graph as one of each message: `[messages, *shape]`."""
        shape, axis = self.graph.tensors[id].shape, self._axes[id]
        if axis is None:
            return tensor.unsqueeze(0).expand(self.messages, *tensor.shape)
        parted = tensor.reshape(*shape[:axis], self.messages, *shape[axis:])
        return parted.movedim(axis, 0)

    def join(self, id: int, parts: Tensor) -> Tensor:
        """The inverse of `split`."""
        axis = self._axes[id]
        if axis is None:
            return parts[0]
        return parts.movedim(0, axis).reshape(self.large.graph.tensors[id].shape)

    def num_messages(self, samples: Samples) -> int:
        """How many whole messages the samples fill.

        Raises:
            ConfigError: not one.
        """
        count = len(samples) // self.samples_each
        if not count:
            raise ConfigError(f"{len(samples)} samples, and a message carries {self.samples_each}: give more")
        return count

    # --- running ------------------------------------------------------------------------------

    def front(self, cut: int, samples: Samples) -> Iterator[tuple[dict[int, Tensor], Any]]:
        """Live sets of `cut`, pass by pass: tensors `[m, *shape]` by id, m at most `messages`, and the
        labels `[m, samples_each, ...]`.

        Raises:
            ConfigError: a live set holds NaN.
        """
        count, each = self.num_messages(samples), self.samples_each
        for start in range(0, count, self.messages):
            stop = min(start + self.messages, count)
            rows = np.arange(start * each, stop * each)
            inputs = {
                t: self._filled(torch.from_numpy(np.ascontiguousarray(array[rows])), t)
                for t, array in zip(self.graph.inputs, samples.inputs, strict=True)
            }
            live = self.executor.run_tensors(0, cut, inputs)
            parts = {t: self.split(t, tensor)[: stop - start].contiguous() for t, tensor in live.items()}
            _refuse_nan(self.graph.model, cut, parts, start)
            if start == 0:
                self._check(cut, samples, parts)
            yield parts, samples.labels[rows].reshape(stop - start, each, *samples.labels.shape[1:])

    def back(self, cut: int, live: Mapping[int, Tensor]) -> Any:
        """What the model returns for live sets `[m, *shape]`, m at most `messages`; a short pass is filled
        up with copies, so the result has always the large graph's batch."""
        joined = {t: self.join(t, self.padded(parts)) for t, parts in live.items()}
        return self.large.result(self.receiver.run_tensors(cut, self.graph.num_operators, joined))

    def padded(self, parts: Tensor) -> Tensor:
        """`[m, *shape]` filled up with copies of the first to a whole pass."""
        short = self.messages - len(parts)
        return parts if not short else torch.cat([parts, parts[:1].expand(short, *parts.shape[1:])])

    def _filled(self, rows: Tensor, id: int) -> Tensor:
        """The rows of a pass in the shape of the large graph's input."""
        shape = self.large.graph.tensors[id].shape
        short = shape[0] - len(rows)
        return rows if not short else torch.cat([rows, rows[:1].expand(short, *rows.shape[1:])])

    def _check(self, cut: int, samples: Samples, parts: Mapping[int, Tensor]) -> None:
        """Hold the first message against what a host makes of the same samples."""
        if self.messages == 1 or cut in self._checked:
            return
        self._checked.add(cut)
        if self._host_executor is None:
            self._host_executor = StageExecutor(self.host, str(self.executor.torch_device), self.executor.threads)
        inputs = {
            t: torch.from_numpy(np.ascontiguousarray(array[: self.samples_each]))
            for t, array in zip(self.graph.inputs, samples.inputs, strict=True)
        }
        for t, tensor in self._host_executor.run_tensors(0, cut, inputs).items():
            expected, found = tensor.double(), parts[t][0].double()
            scale = float(expected.abs().max()) if expected.numel() else 0.0
            if expected.numel() and float((expected - found).abs().max()) > _AGREEMENT * max(scale, 1e-6):
                raise ConfigError(
                    f"{self.graph.model}: at cut {cut} a sample's tensors depend on the others of its batch, "
                    "so it cannot be measured in batches"
                )


def _refuse_nan(model: str, cut: int, parts: Mapping[int, Tensor], first: int) -> None:
    """ConfigError where a live set holds NaN: no host would send it, and no answer follows from it."""
    for t, tensor in parts.items():
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            message = first + int(tensor.isnan().flatten(1).any(1).nonzero()[0])
            raise ConfigError(
                f"{model}: tensor {t} at cut {cut} is NaN in places for message {message}: mend weights or input"
            )


def _batch_axis(small: ModelGraph, big: ModelGraph, id: int, times: int) -> int | None:
    """The axis of a tensor that grows with the batch; None where none does."""
    a, b = small.tensors[id].shape, big.tensors[id].shape
    grown = [k for k, (m, n) in enumerate(zip(a, b, strict=False)) if m != n]
    if len(a) == len(b) and not grown:
        return None if times > 1 else 0
    if len(a) != len(b) or len(grown) != 1 or a[grown[0]] * times != b[grown[0]]:
        raise ConfigError(f"{small.model}: tensor {id} has no axis that grows with the batch alone")
    return grown[0]
