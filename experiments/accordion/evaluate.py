"""What a network of some depths is worth: its error, and what has to be sent and computed, at each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from airloom.nn.elastic.model import ElasticModel

EVALUATION_BATCH = 500


class Stopped(Exception):
    """Asked to stop; what was done so far is in the checkpoint."""


@torch.inference_mode()
def count_errors(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, device: str = "cpu") -> float:
    """Percent of wrong answers, in float32."""
    wrong = 0
    for k in range(0, len(x), EVALUATION_BATCH):
        logits = model(x[k : k + EVALUATION_BATCH].to(device))
        wrong += int((logits.argmax(1).cpu() != y[k : k + EVALUATION_BATCH]).sum())
    return 100 * wrong / len(x)


def errors_by_depth(
    model: ElasticModel, x: Tensor, y: Tensor, *, device: str = "cpu", stop: Callable[[], bool] = lambda: False
) -> dict[int, float]:
    """Percent of wrong answers at each depth, statistics as the model has them there.

    Raises:
        Stopped: asked to.
    """
    model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    wrong = dict.fromkeys(model.order.depths, 0)
    together = not model.statistics_depths and model.order.kind == "back"
    for k in range(0, len(x), EVALUATION_BATCH):
        batch, wanted = x[k : k + EVALUATION_BATCH].to(device), y[k : k + EVALUATION_BATCH]
        for depth, logits in (one_pass if together else each_depth)(model, batch):
            wrong[depth] += int((logits.argmax(1).cpu() != wanted).sum())
            if stop():
                raise Stopped
    return {depth: 100 * count / len(x) for depth, count in wrong.items()}


def each_depth(model: ElasticModel, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The logits of each depth, each run by itself."""
    for depth in model.order.depths:
        with torch.inference_mode(), model.at(depth):
            yield depth, model(x)


def one_pass(model: ElasticModel, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The logits of each depth with every block run once: what a depth runs is what the full model begins with.

    Holds where blocks are left out from the back and all depths have the same statistics.
    """
    modules = [model.module.get_submodule(block.name) for block in model.blocks]
    *less, full = model.order.depths
    made: dict[int, Tensor] = {}
    hooks = [
        modules[depth - 1].register_forward_hook(lambda m, a, out, depth=depth: made.__setitem__(depth, out))
        for depth in less
        if depth
    ]
    with torch.inference_mode():
        with model.at(full):
            logits = model(x)
        for hook in hooks:
            hook.remove()
        yield full, logits
        for depth in less:
            with model.at(depth):
                # The last block that runs gives what it gave before; nothing asks what those before it give.
                for k, module in enumerate(modules[:depth]):
                    module.__dict__["forward"] = (lambda y, out=made[depth]: out) if k == depth - 1 else (lambda y: y)
                try:
                    logits = model(x)
                finally:
                    for module in modules[:depth]:
                        del module.__dict__["forward"]
            yield depth, logits


def sizes_by_depth(model: ElasticModel, whole_macs: int) -> dict[str, dict[int, int]]:
    """Parameters, batch-norm statistics (numbers that travel besides), and multiply-accumulates of each depth."""
    parameters = dict(model.module.named_parameters())
    statistics = {
        name: tensor for name, tensor in model.module.named_buffers() if name.endswith(("running_mean", "running_var"))
    }
    keys = model.part_keys()
    base = whole_macs - sum(block.macs for block in model.blocks)

    def count(depth: int, tensors: dict[str, Tensor]) -> int:
        parts = (0, *(1 + k for k in model.order.kept(depth)))
        return sum(tensors[key].numel() for part in parts for key in keys[part] if key in tensors)

    depths = model.order.depths
    return {
        "parameters": {depth: count(depth, parameters) for depth in depths},
        "statistics": {depth: count(depth, statistics) for depth in depths},
        "macs": {depth: base + sum(block.macs for block in model.running(depth)) for depth in depths},
    }


def macs_of(network: nn.Module, run: Callable[[], Any]) -> int:
    """Multiply-accumulates of the convolutions and linear layers that `run` runs, for one sample."""
    total = 0

    def count(module: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal total
        total += out[0].numel() * (module.weight[0].numel() if isinstance(module, nn.Conv2d) else module.in_features)

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.inference_mode():
        run()
    for hook in hooks:
        hook.remove()
    return total


class Stopwatch:
    """CPU seconds of this process, which other programs on the machine disturb less than time by the clock."""

    def __init__(self, before_s: float = 0.0) -> None:
        self.before_s, self.began_s = before_s, time.process_time()

    @property
    def seconds(self) -> float:
        return self.before_s + time.process_time() - self.began_s
