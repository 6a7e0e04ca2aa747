"""Split training from start to end: plan, hosts, steps, changes of plan, weights home, a run folder."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.core.training import TrainingSpec
from airloom.deployment import DeployOptions
from airloom.deployment.training import State
from airloom.errors import ConfigError
from airloom.files import made_folder
from airloom.training.course import Course
from airloom.training.record import write_run
from airloom.training.result import Followed, Interrupted, Trained

if TYPE_CHECKING:
    from airloom.nn.captured import Captured
    from airloom.nn.training.batches import Batches

__all__ = ["Followed", "Interrupted", "Trained", "train_split"]


def train_split(
    captured: Captured,
    topology: Topology,
    batches: Batches,
    spec: TrainingSpec,
    steps: int,
    *,
    profiles: Mapping[str, Profile],
    plan: Plan | None = None,
    replan: Mapping[int, Plan | None] | None = None,
    changes: Sequence[Conditions] = (),
    options: DeployOptions | None = None,
    resume: tuple[int, State, tuple[float, ...]] | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 0,
    folder: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Trained:
    """Train `captured` for `steps` steps over the hosts of `topology`.

    Args:
        batches: inputs and labels of step k.
        profiles: of the model in train mode, by device id, with times of the way back.
        options: `private_operators` of them is a limit on every plan.
        plan: where stages run; None plans the cheapest step.
        replan: from which step on another plan holds; None in it plans anew from where weights lie then.
        changes: of the emulated network, `at_s` from the first step; each is followed by planning anew.
        resume: step, state and losses of a checkpoint: weights begin at the source and travel to their hosts.
        checkpoint: file that the state is written to at the end, every `checkpoint_every` steps, when it is stopped,
            and when a step fails that took no host with it.
        folder: a run folder for `airloom report`.
        stop: asked between two steps; true ends the training there.
        progress: called with what is at work, steps done and steps to do.

    Raises:
        UserError: what was given does not fit together.
        RequestError: a step failed: a host went down, an operator raised. The last checkpoint holds.
        Interrupted: `stop` said so.
    """
    first, state, losses = resume or (0, None, ())
    if steps < 1:
        raise ConfigError(f"at least 1 step, got {steps}", where="steps")
    if checkpoint_every and checkpoint is None:
        raise ConfigError("say where checkpoints go: checkpoint=PATH", where="checkpoint_every")
    if any(not first < step < first + steps for step in replan or {}):
        raise ConfigError(f"plans change between two steps from {first} to {first + steps - 1}", where="replan")
    base = dataclasses.replace(options or DeployOptions(), training=spec, private_operators=0, contract=None)
    run = Course(captured, topology, batches, spec, dict(profiles), steps, first, list(losses), progress)
    run.replan, run.changes = dict(replan or {}), list(changes)
    run.checkpoint, run.every, run.stop = checkpoint, checkpoint_every, stop
    run.priced = base.priced(topology)
    # Hosts of requests are told what is private; hosts that train follow plans alone.
    run.private = 0 if options is None else options.private_operators
    started = datetime.now(UTC)
    plan = plan or run.decided(None, None)
    for one in (plan, *run.replan.values()):
        if one is not None:
            run.check_private(one)
    if folder is None:
        return run.over(base, plan, state)
    with made_folder(folder), tempfile.TemporaryDirectory(prefix=".run-", dir=folder) as scratch:
        try:
            trained = run.over(dataclasses.replace(base, folder=Path(scratch)), plan, state)
        except Interrupted as error:
            write_run(folder, Path(scratch), run, error.trained, started)
            raise
        write_run(folder, Path(scratch), run, trained, started)
        return trained
