"""What the executor was asked for in training: numbers, who it is about, what is traced of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airloom.core.training import Span
from airloom.engine.config import HostConfig
from airloom.engine.events import Abandon, Train, TrainAction
from airloom.engine.messages import FrameKind, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.training.times import train_s

#: Numbers of training's jobs lie above those of stages that answer requests.
FIRST_JOB = 1 << 40
#: Actions of a step; the others are about weights that come and go.
OF_A_STEP = frozenset({"forward", "backward", "update", "install"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A `Train` under way: at which time, for which try, and where what it makes is sent."""

    train: Train
    asked_s: float
    attempt: int = 0
    dst: str = ""
    kind: FrameKind = FrameKind.TASK


class Trains:
    """The trainer as the host sees it; jobs that were forgotten are answered by nobody."""

    def __init__(self, config: HostConfig, outbox: Outbox) -> None:
        self._config, self._out = config, outbox
        self._asked: dict[int, Asked] = {}
        self._next = FIRST_JOB

    def ask(
        self, action: TrainAction, step: int, stages: tuple[Span, ...], stage: int, parcel: Parcel,
        makes: tuple[tuple[int, int], ...], *, attempt: int = 0, dst: str = "", kind: FrameKind = FrameKind.TASK,
    ) -> None:  # fmt: skip
        number, self._next = self._next, self._next + 1
        train = Train(number, action, step, stages, stage, parcel, makes)
        self._asked[number] = Asked(train, self._out.now_s, attempt, dst, kind)
        self._out.add(train)

    def is_asked(self, action: TrainAction, dst: str, step: int | None = None) -> bool:
        """Whether such a job, for `dst`, is under way: asking once more would bring the same."""
        return any(
            one.train.action == action and one.dst == dst and step in (None, one.train.step)
            for one in self._asked.values()
        )

    def over(self, number: int) -> Asked | None:
        """What ended; None where nobody waits for it any more."""
        return self._asked.pop(number, None)

    def forget(self, which: Callable[[Asked], bool] = lambda asked: True) -> None:
        """Skip what has not begun, and hear no more of the rest."""
        for number in [number for number, asked in self._asked.items() if which(asked)]:
            del self._asked[number]
            self._out.add(Abandon(number))

    def note(self, asked: Asked, compute_s: float, source: str, name: str) -> None:
        """Trace a part of a step that the executor has done; `name` is the stage's id."""
        train = asked.train
        if train.action not in OF_A_STEP:
            return
        start, stop = train.stages[train.stage]
        self._out.emit(
            "stage",
            {
                "source": source, "start": start, "stop": stop, "stage": name, "what": train.action,
                "wait_s": max(0.0, self._out.now_s - asked.asked_s - compute_s),
                "predicted_s": train_s(self._config.profile, train) * self._config.own.factor, "missing_share": 0.0,
            },
            train.step, asked.attempt, compute_s,
        )  # fmt: skip
