"""How far a training of an elastic network is, and its checkpoints: tensors by name and a few words, no program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from airloom.core.depth import DepthOrder
from airloom.core.value import SCHEMA_VERSION, Value
from airloom.errors import ConfigError, ProfileMismatch
from airloom.files import write_aside
from airloom.nn.elastic.recipe import Recipe
from airloom.nn.training.checkpoint_file import read_checkpoint
from airloom.nn.training.optimiser import put_slots, slot_names

_KEY = "airloom.elastic.training"
# Before the names of tensors: no module path has a colon.
_STATE, _EMA, _SLOT = "state:", "ema:", "slot:"


class Epoch(Value, frozen=True):
    """What came of a pass over the samples.

    Attributes:
        loss: mean over its steps and the depths that they trained.
        full_loss: of the full model alone; None where no step trained it.
        lr: of its last step.
        share: mean share of the blocks that a step computed, above 1 where it trained several depths: what the epoch
            cost beside one of ordinary training.
        seconds: that its steps took.
        scores: on the test samples, of each depth tested after it: accuracy, or for `mse` the loss.
    """

    loss: float
    full_loss: float | None
    lr: float
    share: float
    seconds: float
    scores: dict[int, float] = msgspec.field(default_factory=dict)


class TrainingProgress(Value, frozen=True):
    """Where a training is.

    Attributes:
        epoch, step: the next step, in its epoch.
        history: of finished epochs.
        sums: of the epoch under way: losses and their number, losses of the full model and their number, share.
        seconds: of the epoch under way.
        samples: how many it trains with.
        teacher: whether there is one.
    """

    recipe: Recipe
    order: DepthOrder
    samples: int
    teacher: bool = False
    epoch: int = 0
    step: int = 0
    history: tuple[Epoch, ...] = ()
    sums: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    seconds: float = 0.0
    schema: int = SCHEMA_VERSION


def save_progress(
    path: Path,
    progress: TrainingProgress,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    ema: Mapping[str, Tensor],
) -> None:
    """Write all that it takes to go on, whole or not at all. Random numbers follow from the seed and the step."""
    tensors = {_STATE + name: tensor for name, tensor in module.state_dict().items()}
    tensors |= {_EMA + name: tensor for name, tensor in ema.items()}
    for name, weight in module.named_parameters():
        state = optimiser.state.get(weight, {})
        tensors |= {
            f"{_SLOT}{name}:{slot}": torch.as_tensor(state[slot])
            for slot in slot_names(progress.recipe.spec())
            if state.get(slot) is not None
        }
    # Weights that share memory are written apart; a copy of contiguous ones costs nothing here.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_aside(path, safetensors.torch.save(own, {_KEY: msgspec.json.encode(progress).decode()}))


def load_progress(
    path: Path, wanted: TrainingProgress, module: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[TrainingProgress, dict[str, Tensor]]:
    """Put a checkpoint's weights and optimiser state into `module` and `optimiser`.

    Args:
        wanted: the training that is to go on, at its beginning.

    Returns:
        Where the training was, and the mean of weights if there is one.

    Raises:
        ConfigError: no such file, no checkpoint, or one of another recipe.
        ProfileMismatch: it is of another model; nothing is changed then.
    """
    where = str(path)
    progress, found = read_checkpoint(path, _KEY, TrainingProgress, "airloom elastic train")
    recipe = wanted.recipe
    differ = differing_fields(progress.recipe, recipe)
    if differ:
        field = differ[0]
        raise ConfigError(
            f"trained with {field} {getattr(progress.recipe, field)!s:.80}, asked for {getattr(recipe, field)!s:.80}: "
            "go on with the same, or leave the checkpoint out",
            where=where,
        )
    if progress.samples != wanted.samples or progress.teacher != wanted.teacher:
        taught = " and a teacher" if progress.teacher else ""
        raise ConfigError(f"trained with {progress.samples} samples{taught}: go on with the same", where=where)
    if progress.order != wanted.order:
        raise ProfileMismatch(f"{where}: the checkpoint is of other depths or another order of blocks")
    state = {name.removeprefix(_STATE): t for name, t in found.items() if name.startswith(_STATE)}
    own = module.state_dict()
    wrong = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise ProfileMismatch(f"{where}: the checkpoint is of another model: weight {wrong[0][:80]!r} differs")
    ema = {name.removeprefix(_EMA): t for name, t in found.items() if name.startswith(_EMA)}
    slots = {
        name: [found[key] for slot in slot_names(recipe.spec()) if (key := f"{_SLOT}{name}:{slot}") in found]
        for name, _ in module.named_parameters()
    }
    for name, weight in module.named_parameters():
        beside = [tensor for tensor in (*slots[name], ema.get(name)) if tensor is not None and tensor.ndim]
        if any(tensor.shape != weight.shape for tensor in beside) or (recipe.ema and name not in ema):
            raise ConfigError(f"no checkpoint of this training: what goes with {name[:80]!r} does not fit", where=where)
    module.load_state_dict(state)
    for name, weight in module.named_parameters():
        # A counter of steps stays where it is, what goes with a weight goes to its device.
        placed = [slot.to(weight.device) if slot.ndim else slot for slot in slots[name]]
        put_slots(optimiser, weight, slot_names(recipe.spec()), placed)
    return progress, ema


def differing_fields(found: Recipe, wanted: Recipe) -> list[str]:
    """Fields in which a checkpoint's recipe differs, but for threads, which change the speed and last bits alone."""
    return [
        name for name in Recipe.__struct_fields__ if name != "threads" and getattr(found, name) != getattr(wanted, name)
    ]
