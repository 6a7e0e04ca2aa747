"""What callers of a model see change, and wait for: what is aimed at, what runs, what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from airloom.core.progressive import Configuration
from airloom.deliver.goal import Goal
from airloom.errors import DeliveryError


class Task(NamedTuple):
    """What the background is to do; `number` tells it from what is asked for later."""

    number: int
    goal: Goal
    target: Configuration


class Status:
    """Changes under one lock, and wakes whoever waits.

    Args:
        model: its name.

    Attributes:
        configuration: what calls run in; None before the first is there.
        target: what is aimed at.
        fault: why fetching ended before the target, or None.
        over: whether the model is closed.
        stop: set when what is being fetched is not wanted any more.
    """

    def __init__(self, model: str, goal: Goal, target: Configuration, stop: threading.Event) -> None:
        self._model, self._changed = model, threading.Condition()
        self._goal: Goal | None = goal
        self._number = 1
        self.configuration: Configuration | None = None
        self.target = target
        self.fault: Exception | None = None
        self.over = False
        self.stop = stop

    @property
    def done(self) -> bool:
        """Whether nothing is being fetched."""
        return self._goal is None

    # --- by callers ---------------------------------------------------------------------------

    def aim(self, goal: Goal, target: Configuration) -> None:
        """Fetch `target` in place of what is being fetched.

        Raises:
            DeliveryError: the model is closed.
        """
        with self._changed:
            self._check_open()
            self._ask(goal, target)
            self.fault = None

    def hold(self, target: Configuration) -> None:
        """Fetch nothing more: `target` is here."""
        with self._changed:
            # The background lets go of what it does between two pieces.
            self._ask(None, target)

    def _ask(self, goal: Goal | None, target: Configuration) -> None:
        self._goal, self.target = goal, target
        self._number += 1
        self.stop.set()
        self._changed.notify_all()

    def close(self) -> None:
        """Nothing is wanted any more."""
        with self._changed:
            self.over = True
            self.stop.set()
            self._changed.notify_all()

    def wait_ready(self, timeout_s: float | None) -> Configuration:
        """As `ProgressiveModel.wait_ready`."""
        return self._wait(lambda: self.configuration is not None, timeout_s)

    def wait(self, timeout_s: float | None) -> Configuration:
        """As `ProgressiveModel.wait`."""
        return self._wait(lambda: self._goal is None and self.fault is None, timeout_s)

    def settled(self, timeout_s: float | None) -> bool:
        """As `ProgressiveModel.settled`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._goal is None or self.over, timeout_s)

    def _wait(self, reached: Callable[[], bool], timeout_s: float | None) -> Configuration:
        with self._changed:
            self._changed.wait_for(lambda: reached() or self.over or self.fault is not None, timeout_s)
            self._check_open()
            if reached() and self.configuration is not None:
                return self.configuration
            if self.fault is not None:
                raise self.fault
            runs = "nothing runs" if self.configuration is None else f"{self.configuration.name} runs"
            raise DeliveryError(f"{self._model}: {self.target.name} was not there within {timeout_s} s; {runs}")

    def _check_open(self) -> None:
        if self.over:
            raise DeliveryError(f"{self._model} is closed")

    # --- by the background --------------------------------------------------------------------

    def next(self) -> Task | None:
        """What to do, as soon as there is something; None when the model is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or self._goal is not None)
            if self.over or self._goal is None:
                return None
            self.stop.clear()
            return Task(self._number, self._goal, self.target)

    def turn_to(self, number: int, target: Configuration) -> None:
        """The task has found a better target, where nobody has asked for another meanwhile."""
        with self._changed:
            if number == self._number:
                self.target = target

    def runs(self, configuration: Configuration) -> None:
        """Calls run in it from now on."""
        with self._changed:
            self.configuration = configuration
            self._changed.notify_all()

    def ended(self, number: int, error: Exception | None = None) -> bool:
        """The task is done, or failed; False where another one has taken its place."""
        with self._changed:
            if number != self._number or (error is not None and self.over):
                return False
            self._goal, self.fault = None, error or self.fault
            self._changed.notify_all()
            return True
