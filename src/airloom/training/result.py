"""What came of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.core.plan import Plan
from airloom.core.trace import Event
from airloom.core.training import TrainingSpec
from airloom.deployment.training import State, Step
from airloom.errors import AirloomError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Followed:
    """A plan that was followed, from which step on.

    Attributes:
        predicted_s: seconds of a step under it, simulated on the topology's links; *modelled*.
        moved_s: seconds until all weights were where it has them.
        moved_nbytes: payload that had to move, each byte once.
    """

    step: int
    plan: Plan
    predicted_s: float | None
    moved_s: float
    moved_nbytes: int


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        weights: weights and buffers by name.
        losses: of every step, before its update.
        step: number of steps made, those before a checkpoint included.
        steps: what each step of this run came to.
        plans: the plans that were followed.
        state: weights, buffers and optimiser state, as a checkpoint holds them.
        trace: everything that hosts of this machine wrote down.
        notes: what of the run stands for something else.
    """

    weights: Mapping[str, Tensor]
    losses: tuple[float, ...]
    step: int
    steps: tuple[Step, ...]
    plans: tuple[Followed, ...]
    state: State
    spec: TrainingSpec
    trace: tuple[Event, ...] = field(repr=False, default=())
    notes: tuple[str, ...] = ()

    def save(self, path: str | Path) -> None:
        """Write the weights as safetensors, such as `--weights` takes."""
        from airloom.nn.training.checkpoint import save_weights

        save_weights(Path(path), self.weights)

    def sent(self, *what: str) -> int:
        """Bytes on the wire of messages of these kinds (`forward`, `backward`, `values`, `parameters`), every hop."""
        return sum(
            int(event.data.get("wire_nbytes", 0))
            for event in self.trace
            if event.kind == "send" and event.data.get("what") in what
        )


class Interrupted(AirloomError):
    """Training was ended before its last step, at a step's end; `trained` is what there is."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        super().__init__(f"ended after step {trained.step - 1}" if trained.step else "ended before the first step")
