"""Split training from a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.api.files import load_plan, load_topology
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.errors import ConfigError
from airloom.planner import inputs

if TYPE_CHECKING:
    from torch import nn

    from airloom.core.training import LossName, OptimizerName
    from airloom.deployment import DeployOptions
    from airloom.nn.captured import Captured
    from airloom.training import Trained


def train(
    model: str | nn.Module | Captured,
    topology: Topology | str | Path,
    data: Any,
    labels: Any,
    *,
    steps: int,
    batch: int | None = None,
    optimizer: OptimizerName = "sgd",
    lr: float = 0.01,
    loss: LossName = "cross_entropy",
    plan: Plan | str | Path | None = None,
    replan: Mapping[int, Plan | None] | None = None,
    profile: Profile | Mapping[str, Profile] | None = None,
    seed: int = 0,
    resume: str | Path | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 0,
    folder: str | Path | None = None,
    weights: str | Path | None = None,
    model_options: Mapping[str, int] | None = None,
    changes: Sequence[Conditions] = (),
    patience_s: float = 30.0,
    optimizer_options: Mapping[str, Any] | None = None,
    deployment: DeployOptions | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Trained:
    """Train a model over the hosts of a topology: activations go forward, gradients back, each host updates its stage.

    The weights after k steps are those of training in one piece, bit for bit (same machine, type, threads), also
    across plans that change. See docs/training.md.

    Args:
        model: a module, a zoo name, `package.module:factory`, or what was captured with mode="train" at the batch.
        data, labels: samples, one array an input of the model; row k of each is sample k.
        batch: samples a step; of a captured model it is fixed.
        optimizer: sgd, adam or adamw, with `optimizer_options` such as `{"momentum": 0.9}`.
        plan: where stages run; None plans the cheapest step from `profile`, which is measured here where None.
        replan: from which step on another plan holds; None in it plans anew.
        seed: of the order of samples, of dropout, and of the emulated links' losses.
        resume: a checkpoint to go on from, with the same model, batch and optimiser.
        checkpoint, checkpoint_every, folder, changes, stop, progress: as `airloom.training.train_split`.

    Raises:
        UserError: what was given does not fit together.
        RequestError: a step failed.
    """
    from airloom.core.training import TrainingSpec
    from airloom.deployment import DeployOptions
    from airloom.nn.captured import Captured as CapturedModel
    from airloom.nn.training.batches import Batches, as_arrays
    from airloom.nn.training.checkpoint import load_checkpoint
    from airloom.nn.training.loss import label_form
    from airloom.nn.training.measure import measure_training
    from airloom.nn.training.models import capture_for_training
    from airloom.nn.training.sizes import with_training
    from airloom.training import train_split

    arrays = as_arrays(data)
    where = topology if isinstance(topology, Topology) else load_topology(topology)
    if isinstance(model, CapturedModel):
        if batch is not None or weights is not None or model_options:
            raise ConfigError("a captured model has its batch, weights and options in it: capture it again")
        captured = model
    else:
        captured = capture_for_training(model, arrays, batch=batch, weights=weights, options=model_options or {})
    shape, dtype = label_form(captured.graph, loss)
    spec = TrainingSpec(
        optimizer=optimizer, lr=lr, loss=loss, seed=seed, label_shape=shape, label_dtype=dtype, patience_s=patience_s,
        **(optimizer_options or {}),
    )  # fmt: skip
    batches = Batches(captured.graph, spec, arrays, labels, seed=seed)
    if profile is None:
        tell = (lambda done, total: progress("measuring", done, total)) if progress else None
        profile = measure_training(captured, spec, seconds_budget=5.0, progress=tell)
    profiles = inputs.load_profiles(where, profile) if isinstance(profile, Profile) else dict(profile)
    inputs.check_model(profiles, captured.graph)
    profiles = {id: with_training(one, captured.graph, spec) for id, one in profiles.items()}
    begun = None
    if resume is not None:
        held, state = load_checkpoint(Path(resume), captured.graph, spec)
        begun = held.step, state, held.losses
    options = deployment or DeployOptions()
    return train_split(
        captured, where, batches, spec, steps,
        profiles=profiles, plan=load_plan(plan) if isinstance(plan, str | Path) else plan, replan=replan,
        changes=changes, options=dataclasses.replace(options, seed=seed), resume=begun,
        checkpoint=None if checkpoint is None else Path(checkpoint), checkpoint_every=checkpoint_every,
        folder=None if folder is None else Path(folder), stop=stop, progress=progress,
    )  # fmt: skip
