"""Networks that no elastic training makes: exits behind the groups, pruned weights, 8 bits a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from data import Pictures
from evaluate import Stopped, Stopwatch, count_errors, macs_of
from networks import EarlyExits
from settings import Job, Setting
from torch import Tensor, nn
from torch.nn import functional as F

from airloom import zoo
from airloom.nn.elastic.augment import crop_flip
from airloom.nn.elastic.recipe import Recipe
from airloom.wire.weights import decode_part, encode_part

PRUNED = 0.75
Stop = Callable[[], bool]
State = Mapping[str, Tensor]


def fit(
    model: nn.Module, loss: Callable[[nn.Module, Tensor, Tensor], Tensor], pictures: Pictures, recipe: Recipe,
    checkpoint: Path, *, stop: Stop, after_step: Callable[[], None] = lambda: None, device: str = "cpu",
) -> float:  # fmt: skip
    """Ordinary training with the schedule of `recipe`, from the checkpoint where there is one.

    Returns:
        CPU seconds that it took.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(
        model.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    first, before_s = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first, before_s = state["epoch"] + 1, state["seconds"]
    watch = Stopwatch(before_s)
    steps = len(pictures.x_train) // recipe.batch
    for epoch in range(first, recipe.epochs):
        model.train()
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(pictures.x_train))
        for step in range(steps):
            pick = order[step * recipe.batch : (step + 1) * recipe.batch]
            x = torch.from_numpy(crop_flip(pictures.x_train.numpy()[pick], rng)).to(device)
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr_at(epoch + step / steps)
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
                found = loss(model, x, pictures.y_train[torch.from_numpy(pick)].to(device))
            found.backward()
            optimiser.step()
            after_step()
            if stop():
                raise Stopped
        aside = checkpoint.with_suffix(".part")
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
        torch.save({**state, "seconds": watch.seconds}, aside)
        aside.replace(checkpoint)
    return watch.seconds


def early_exits(job: Job, start: State | None, pictures: Pictures, folder: Path, stop: Stop, device: str) -> Any:
    """All exits trained together, the sum of their losses (Teerapittayanon et al., joint training)."""
    torch.manual_seed(job.seed)
    model = EarlyExits(job.setting.network, job.setting.num_classes)
    if start is not None:
        model.body.load_state_dict(start)

    def loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([F.cross_entropy(logits.float(), y) for logits in network(x)]).sum()

    recipe = job.setting.recipe(job.method, job.seed)
    seconds = fit(model, loss, pictures, recipe, folder / "checkpoint.pt", stop=stop, device=device)
    model.eval()
    tests = (pictures.x_test, pictures.y_test)
    exits = range(len(model.exits) + 1)
    return {
        "error": {k: count_errors(partial(model.answer, exit=k), *tests, device) for k in exits},
        "parameters": {k: model.parameters_until(k) for k in exits},
        "macs": {k: macs_until(model, k) for k in exits},
        "cpu_s": seconds,
    }


def macs_until(model: EarlyExits, exit: int) -> int:
    """Of one sample up to this exit, its head alone."""
    x = torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device=next(model.parameters()).device)
    return macs_of(model, lambda: model.answer(x, exit))


def pruned(job: Job, start: State, pictures: Pictures, folder: Path, stop: Stop, device: str) -> Any:
    """The least three quarters of all weights of convolutions and linear layers set to 0, the others trained on."""
    model = ordinary(job.setting, start).to(device)
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    threshold = torch.quantile(torch.cat([w.detach().abs().flatten() for w in weights]), PRUNED)
    masks = [(w.detach().abs() > threshold).float() for w in weights]

    @torch.no_grad()
    def keep() -> None:
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask)

    keep()
    at_once = count_errors(model.eval(), pictures.x_test, pictures.y_test, device)
    seconds = fit(
        model, lambda network, x, y: F.cross_entropy(network(x).float(), y), pictures,
        job.setting.recipe(job.method, job.seed), folder / "checkpoint.pt", stop=stop, after_step=keep, device=device,
    )  # fmt: skip
    kept = int(sum(mask.sum() for mask in masks))
    total = sum(p.numel() for p in model.parameters())
    prunable = sum(w.numel() for w in weights)
    return {
        "error": {0: count_errors(model.eval(), pictures.x_test, pictures.y_test, device)},
        "error_before_training": at_once,
        "parameters": {0: total - prunable + kept},
        "bits": (total - prunable + kept) * 32,
        "bits_with_places": (total - prunable + kept) * 32 + prunable,
        "whole_parameters": total,
        "cpu_s": seconds,
    }


def int8(job: Job, weights: State, pictures: Pictures, device: str) -> Any:
    """Weights as they arrive in 8 bits each (the artifact's encoding), computed with in float32."""
    labels = {"model": job.setting.network, "part": "whole"}
    arrays = {name: tensor.cpu().numpy() for name, tensor in weights.items() if tensor.is_floating_point()}
    data = encode_part(arrays, "int8", labels=labels)
    found = decode_part(data, "int8", labels=labels, where="int8").arrays
    state = {name: torch.from_numpy(np.array(array)) for name, array in found.items()}
    model = ordinary(job.setting, {**weights, **state}).to(device)
    return {
        "error": {0: count_errors(model.eval(), pictures.x_test, pictures.y_test, device)},
        "parameters": {0: sum(p.numel() for p in model.parameters())},
        "bits": 8 * len(data),
        "cpu_s": 0.0,
    }


def ordinary(setting: Setting, weights: State) -> nn.Module:
    """The setting's network with these weights."""
    model = zoo.MODELS[setting.network](num_classes=setting.num_classes)
    model.load_state_dict(dict(weights))
    return model


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a finished job, without the statistics of depths."""
    return safetensors.torch.load_file(path)
