"""A client whose model is trained in stages, as the hosts of a plan hold it.

Stages here follow one another in one process; over hosts the weights after k steps are the same bit for bit
(`nn.training`), so what a plan costs and what it learns can be told apart: the plan's times are modelled, the
learning is real.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor

from airloom.core.training import LABELS, LOSS, Span, TrainingSpec, state_id
from airloom.errors import ConfigError
from airloom.nn.captured import Captured
from airloom.nn.executor import tensor_to_bytes
from airloom.nn.training import StageTrainer

Batch = tuple[Sequence[Tensor], Tensor]


def spans(stops: Sequence[int]) -> tuple[Span, ...]:
    """The stages of hosts that run operators up to each of `stops`; hosts that run nothing have none."""
    starts = (0, *stops[:-1])
    return tuple((start, stop) for start, stop in zip(starts, stops, strict=True) if stop > start)


class SplitLearner:
    """Trains one captured model in the stages given.

    Args:
        captured: in train mode; its batch is that of every step.
        stages: all operators in order.

    Attributes:
        step: how many steps it has made, for all clients: dropout's masks follow from it, and none comes twice.

    Raises:
        UserError: the model cannot be trained.
        ConfigError: the stages are not all operators in order.
    """

    def __init__(self, captured: Captured, spec: TrainingSpec, stages: tuple[Span, ...]) -> None:
        self.captured, self.spec, self.stages = captured, spec, stages
        self.step = 0
        self._trainers(captured.state)

    def learn(self, state: Mapping[str, Tensor], batches: Iterable[Batch]) -> tuple[dict[str, Tensor], list[float]]:
        """Go through `batches` from the weights `state` on; the same weights after it, and the loss of each step.

        Raises:
            ConfigError: `state` is of another model.
            StageFailed: a batch is not of the captured shapes.
        """
        trainers = self._trainers(state)
        losses: list[float] = []
        for inputs, labels in batches:
            step, self.step = self.step, self.step + 1
            data = {t: tensor_to_bytes(x) for t, x in zip(self.captured.graph.inputs, inputs, strict=True)}
            for trainer in trainers:
                data = dict(trainer.forward(step, {**data, LABELS: tensor_to_bytes(labels)}))  # type: ignore[arg-type]
            losses.append(float(np.frombuffer(data[LOSS], dtype="<f8")[0]))
            self._backward(step, trainers)
        found = dict(state)
        for k, trainer in enumerate(trainers):
            own = trainer.weights()
            for weight in trainer.sharing.owned(k):
                name = self.captured.graph.parameters[weight].name
                if name in found:
                    found[name] = own[name]
        return found, losses

    def _backward(self, step: int, trainers: Sequence[StageTrainer]) -> None:
        gradients: Mapping[int, memoryview | bytes | bytearray] = {}
        for trainer in reversed(trainers):
            gradients = trainer.backward(step, gradients)
        updated = {id: data for trainer in trainers for id, data in trainer.update(step).items()}
        for k, trainer in enumerate(trainers):
            borrowed = {state_id(weight) for weight in trainer.sharing.borrowed(k)}
            trainer.install(step, {id: data for id, data in updated.items() if id in borrowed})

    def _trainers(self, state: Mapping[str, Tensor]) -> list[StageTrainer]:
        graph = self.captured.graph
        lacking = [p.name for p in graph.parameters if p.trained and p.name not in state]
        if lacking:
            raise ConfigError(f"the weights of {graph.model} lack {lacking[0]!r}: are they another model's?")
        # What a state dict leaves out (constants such as the mean of pixels) is as it was captured.
        own = {name: state.get(name, tensor) for name, tensor in self.captured.state.items()}
        captured = dataclasses.replace(self.captured, state=own)
        trainers = [StageTrainer(captured, self.spec) for _ in self.stages]
        for k, trainer in enumerate(trainers):
            trainer.place(0, self.stages, k, {})
            trainer.step = self.step
        return trainers
