"""A deployment that trains: one step after the other over real hosts, plans that change, weights that come home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from airloom.core.messages import Parcel
from airloom.core.plan import Plan
from airloom.core.training import LABELS, LOSS, TrainingSpec
from airloom.deployment.deployment import Deployment
from airloom.deployment.tensors import parcel_of
from airloom.engine.config import HostConfig
from airloom.engine.events import GatherState, TrainingOutcome, TrainingPinned, TrainStep
from airloom.errors import Cancelled, ConfigError, DeploymentError, RequestError
from airloom.runtime.commands import TrainBy

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The state of a training: tensors by `core.training.state_id`, raw.
State = Mapping[int, memoryview]


@dataclass(frozen=True)
class Step:
    """What came of a step: its number, the loss before its update, and seconds from its beginning to its end."""

    number: int
    loss: float
    took_s: float


class TrainingDeployment(Deployment):
    """A deployment whose options have `training`; requests are refused.

    Call `follow` first. One thing is under way at a time.

    Attributes:
        followed: the plan in force; None before the first.
        step: number of the next step.
    """

    # Before the hosts start, which may call back.
    _waits: Future[TrainingOutcome] | None = None
    followed: Plan | None = None
    step: int = 0

    @property
    def spec(self) -> TrainingSpec:
        """What is trained and how.

        Raises:
            ConfigError: this deployment answers requests.
        """
        if self.options.training is None:
            raise ConfigError("this deployment answers requests: give its options `training`")
        return self.options.training

    @property
    def source_config(self) -> HostConfig:
        """What the engine of the source is told."""
        return self._setup.source_config()

    def follow(
        self, plan: Plan, *, step: int | None = None, before: Plan | None = None, state: State | None = None
    ) -> float:
        """Train by `plan` from the next step on; weights and optimiser state travel to their new hosts first.

        Args:
            step: where to begin, with the first plan: that of a checkpoint.
            before, state: with the first plan: where weights lie (the source's stage in `before` takes
                `state` in place of its own). None: every host has those of the model's file, at step 0.

        Returns:
            Seconds until every host was ready.

        Raises:
            UserError: a host could not follow it; the line names the place in the plan.
            RequestError: weights did not arrive, or a host went down.
            DeploymentError: a host did not take the plan.
        """
        spec, began = self.spec, self.motion.now_s()
        if step is not None:
            self.step = step
        with self._pinning:
            self._epoch += 1
            plan = msgspec.structs.replace(plan, epoch=self._epoch)
        old = self.followed if before is None else before
        command = TrainBy(plan=plan, step=self.step, before=old)
        down = [host for host in self._setup.others if host not in self.up]
        needed = {stage.device for one in (plan, old) if one is not None for stage in one.stages}
        if needed.intersection(down):
            raise DeploymentError(f"{', '.join(sorted(needed.intersection(down)))} is down: plan without it")
        asked = {host: self._commander.command(host, command) for host in self._setup.others if host in self.up}
        acks = {host: ack.result() for host, ack in asked.items()}
        failed = [f"{host} did not take the plan: {ack.error}" for host, ack in acks.items() if not ack.ok]
        if failed:
            raise DeploymentError("; ".join(failed))
        parcel = None if state is None else Parcel(tuple(state), tuple(state.values()))
        event = TrainingPinned(plan, self.step, old, parcel)
        self._ask("plan", lambda: self._hosts.node.train_by(event), spec)
        self.followed = plan
        return self.motion.now_s() - began

    def train_step(self, inputs: Sequence[Any], labels: Any) -> Step:
        """One step on a batch (torch tensors or numpy arrays as the graph was captured with).

        A step that fails changes nothing that a later try, or `state`, would see.

        Raises:
            ConfigError: the inputs or labels are not what the model and the loss take.
            RequestError: the step's one error.
        """
        began = self.motion.now_s()
        parcel = parcel_of(self.graph, tuple(inputs))
        labels = _array(labels)
        spec = self.spec
        if (labels.shape, str(labels.dtype)) != (spec.label_shape, spec.label_dtype):
            raise ConfigError(
                f"labels are {list(labels.shape)} of {labels.dtype}; a step takes {list(spec.label_shape)} of "
                f"{spec.label_dtype}"
            )
        whole = Parcel((*parcel.tensors, LABELS), (*parcel.data, memoryview(labels.tobytes())))
        number = self.step
        outcome = self._ask("step", lambda: self._hosts.node.handle(TrainStep(number, whole)), spec)
        assert outcome.tensors == (LOSS,)  # the engine lets no other result through
        self.step = number + 1
        return Step(number, float(np.frombuffer(outcome.data[0], dtype="<f8")[0]), self.motion.now_s() - began)

    def state(self) -> State:
        """All weights, buffers and optimiser state as they are now, brought to the source.

        Raises:
            RequestError: a host went down, or its weights did not arrive.
        """
        step = self.step
        outcome = self._ask("state", lambda: self._hosts.node.handle(GatherState(step)), self.spec)
        return dict(zip(outcome.tensors, outcome.data, strict=True))

    def _ask(self, what: str, ask: Any, spec: TrainingSpec) -> Parcel:
        waits: Future[TrainingOutcome] = Future()
        with self._pinning:
            self._waits = waits
            try:
                self._loop.call(ask)
                found = waits.result(2.0 * spec.patience_s * (spec.attempts + 1))
            except TimeoutError:
                raise DeploymentError(f"nothing came of the {what} that was asked for") from None
            finally:
                self._waits = None
        if isinstance(found.outcome, RequestError):
            raise found.outcome
        return found.outcome

    def _on_training(self, outcome: TrainingOutcome) -> None:
        waits = self._waits
        if waits is not None and not waits.done():
            waits.set_result(outcome)

    def close(self) -> None:
        waits = self._waits
        if waits is not None and not waits.done():
            waits.set_exception(Cancelled("the deployment was closed"))
        super().close()


def _array(values: Any) -> NDArray[Any]:
    return np.ascontiguousarray(values.numpy() if hasattr(values, "numpy") else values)
