"""Split training as values: what is optimised and how, which stage owns a weight, what tensors of a message mean.

A weight that several stages read (the cell of an unrolled recurrent network) belongs to the first of them: its
gradients are summed on their way there, that stage updates it and sends its new value to the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import IntEnum
from typing import Literal

from airloom.core.profile import Profile
from airloom.core.value import Value
from airloom.errors import ConfigError

OptimizerName = Literal["sgd", "adam", "adamw"]
LossName = Literal["cross_entropy", "mse"]

#: Tensor ids that no graph has: what the last stage compares with, and what it found (float64).
LABELS, LOSS = (1 << 62) + 2, (1 << 62) + 3
_GRADIENT, _STATE = 1 << 60, 1 << 61
#: Tensors of the state of a weight: its value, then what the optimiser keeps for it.
MOST_SLOTS = 8


def gradient_id(weight: int) -> int:
    """Id under which the gradient of a weight that several stages read travels."""
    return _GRADIENT + weight


def state_id(weight: int, slot: int = 0) -> int:
    """Id of part `slot` of a weight's state: 0 is its value, others the optimiser's, as `slot_nbytes` lists them."""
    return _STATE + MOST_SLOTS * weight + slot


def weight_of(id: int) -> tuple[int, int]:
    """Weight and slot of a `state_id`; (-1, 0) of any other id."""
    return divmod(id - _STATE, MOST_SLOTS) if _STATE <= id < 1 << 62 else (-1, 0)


def is_gradient_of_weight(id: int) -> bool:
    return _GRADIENT <= id < _STATE


class Word(IntEnum):
    """`Frame.cut` of a message that steers training (`Mode.TRAINING`)."""

    MOVE = 0  # to a host: bring the weights where the plan of this epoch has them
    STATE = 1  # to a host: send the source what you own
    DONE = 2  # to the source: the step is over here
    READY = 3  # to the source: all that this stage needs is here


class TrainingSpec(Value, frozen=True):
    """What is trained and how; the same at every host.

    Attributes:
        lr, momentum, weight_decay, betas, eps, nesterov: as `torch.optim` has them.
        loss: of the model's first output and the labels, mean over the batch.
        label_shape, label_dtype: of a step's labels.
        seed: of dropout; masks depend on it, the step and the operator, not on where operators run.
        patience_s: how long the source waits for a try at a step, or for weights on their way.
        attempts: tries at a step before it fails. Those after a lost message are of the same state.
    """

    optimizer: OptimizerName = "sgd"
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    loss: LossName = "cross_entropy"
    label_shape: tuple[int, ...] = (1,)
    label_dtype: str = "int64"
    seed: int = 0
    patience_s: float = 30.0
    attempts: int = 3

    def check(self) -> None:
        """ConfigError where a figure is not one that an optimiser takes."""
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"a learning rate is above 0, got {self.lr:g}", where="lr")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum is 0 or more and below 1, got {self.momentum:g}", where="momentum")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight decay is 0 or more, got {self.weight_decay:g}", where="weight_decay")
        if self.nesterov and not self.momentum:
            raise ConfigError("Nesterov's form needs a momentum above 0", where="nesterov")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are 0 or more and below 1, got {self.betas}", where="betas")
        if self.momentum and self.optimizer != "sgd":
            raise ConfigError(f"{self.optimizer} has betas in place of a momentum", where="momentum")
        if not self.patience_s > 0 or self.attempts < 1:
            raise ConfigError("a step has some seconds and at least 1 attempt", where="patience_s")

    def slot_nbytes(self, nbytes: int) -> tuple[int, ...]:
        """Bytes of each tensor that the optimiser keeps for a trained weight of `nbytes`."""
        if self.optimizer == "sgd":
            return (nbytes,) if self.momentum else ()
        return 4, nbytes, nbytes  # step, mean, mean square


Span = tuple[int, int]


class Sharing:
    """Who reads and who owns each weight, for a chain of stages.

    Args:
        readers: for each weight the operators that read it.
        stages: `(start, stop)` of each stage, in order; together all operators.

    Attributes:
        of_stage: for each stage the weights it reads, ascending.
        owner: for each weight the stage that owns it, -1 where no operator reads it.
    """

    def __init__(self, readers: Iterable[Iterable[int]], stages: tuple[Span, ...]) -> None:
        self.stages = stages
        self.owner: list[int] = []
        self.readers: list[tuple[int, ...]] = []
        of_stage: list[list[int]] = [[] for _ in stages]
        place = [index for index, (start, stop) in enumerate(stages) for _ in range(start, stop)]
        for weight, operators in enumerate(readers):
            found = tuple(sorted({place[op] for op in operators}))
            self.readers.append(found)
            self.owner.append(found[0] if found else -1)
            for stage in found:
                of_stage[stage].append(weight)
        self.of_stage = tuple(tuple(weights) for weights in of_stage)

    def owned(self, stage: int) -> tuple[int, ...]:
        """Weights that the stage owns, ascending."""
        return tuple(w for w in self.of_stage[stage] if self.owner[w] == stage)

    def crossing(self, stage: int) -> tuple[int, ...]:
        """Weights read before this stage and in it or after it: their gradients cross its first cut."""
        return tuple(w for w, found in enumerate(self.readers) if found and found[0] < stage <= found[-1])

    def lent(self, stage: int) -> tuple[int, ...]:
        """Weights that the stage owns and others read too."""
        return tuple(w for w in self.owned(stage) if len(self.readers[w]) > 1)

    def borrowed(self, stage: int) -> tuple[int, ...]:
        """Weights that the stage reads and another one owns."""
        return tuple(w for w in self.of_stage[stage] if self.owner[w] != stage)


def sharing_of(profile: Profile, stages: tuple[Span, ...]) -> Sharing:
    """`Sharing` of the weights that a profile lists."""
    return Sharing((w.operators for w in profile.weights), stages)
