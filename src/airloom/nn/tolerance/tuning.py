"""Training the receiving half for a few minutes on what arrives, so that it bears more loss.

The receiving half learns, from samples that the user gives, to answer for damaged live sets what the
clean model answers for whole ones (distillation), and the labels where they are classes. Statistics of
batch norm stay as they are: a batch of damaged sets has others than one that came whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from airloom.core.coding import Coding
from airloom.core.tolerance import MapOrder, Pattern
from airloom.errors import ConfigError
from airloom.nn.tolerance.channel import Channel
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.measuring import WIRE_BLOCK_BYTES, check_cut
from airloom.nn.tolerance.receiver import Receiver
from airloom.nn.tolerance.samples import Samples

# Share of the loss that answers to the labels; the rest answers to the clean model.
_LABELS_SHARE = 0.5
_TEMPERATURE = 2.0
# Share of a batch at the least error rate, so that what comes whole is not forgotten.
_WHOLE_SHARE = 0.25
_WARM_UP = 20

#: Called after every step with its number, its loss and the seconds so far.
StepDone = Callable[[int, float, float], None]


def fine_tune(
    halves: Halves,
    cut: int,
    coding: Coding,
    train: Samples,
    *,
    rng: np.random.Generator,
    seconds: float | None = 120.0,
    steps: int | None = None,
    error_rates: tuple[float, float] = (0.0, 0.95),
    pattern: Pattern = "burst",
    block_bytes: int = WIRE_BLOCK_BYTES,
    lr: float = 0.003,
    classes: bool = True,
    maps: Mapping[int, MapOrder] | None = None,
    trainable: Collection[str] | None = None,
    progress: StepDone | None = None,
) -> dict[str, Tensor]:
    """Weights of the operators from `cut` on, trained under losses.

    Args:
        halves: its large graph's batch is the batch of training.
        train: samples that no figure is measured with.
        seconds, steps: whichever is reached first; one of them must be given.
        error_rates: most messages draw their own between these two, a quarter has the first.
        lr: peak of stochastic gradient descent's rate (momentum 0.9): a short rise, then half a cosine
            down to 0 at the end of the time or steps.
        classes: labels are classes, and the loss answers to them too; else to the clean model alone.
        trainable: names of the weights that may change; None: all but the statistics of batch norm.
        progress: called after every step; what it raises (KeyboardInterrupt included) ends the training.

    Returns:
        The trained weights by name, as `Halves.tuned` takes them.

    Raises:
        ConfigError: no such cut, nothing to train behind it, no samples for a batch, or no end given.
    """
    check_cut(halves, cut)
    low, high = error_rates
    if not 0.0 <= low <= high <= 1.0:
        raise ConfigError(f"error rates of training go up from 0 to 1 at most, got {low:g} to {high:g}")
    if seconds is None and steps is None:
        raise ConfigError("say how long to train: seconds or steps")
    channel = Channel(halves.host, cut, coding, block_bytes=block_bytes, maps=maps or {})
    receiver = Receiver(halves, cut, train=True, trainable=trainable)
    if not receiver.leaves:
        raise ConfigError(f"{halves.graph.model}: nothing behind cut {cut} has weights to train")
    optimiser = torch.optim.SGD(receiver.leaves.values(), lr=lr, momentum=0.9, nesterov=True)
    began = time.perf_counter()
    for step, (live, labels) in enumerate(_batches(halves, cut, train, rng)):
        spent = time.perf_counter() - began
        done = max(spent / seconds if seconds else 0.0, step / steps if steps else 0.0)
        if done >= 1.0:
            break
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + np.cos(np.pi * done))
        with torch.inference_mode():
            sent = channel.send(live)
            message = torch.arange(halves.messages)
            rates = torch.from_numpy(rng.uniform(low, high, halves.messages))
            rates[: round(_WHOLE_SHARE * halves.messages)] = low
            received = channel.receive(sent, message, channel.draw(sent, message, rates, pattern, rng))
            wanted = halves.executor.run_tensors(
                cut, halves.graph.num_operators, {t: halves.join(t, parts) for t, parts in live.items()}
            )
        # Copies that autograd takes: what inference mode makes it does not.
        damaged = {t: halves.join(t, parts).clone() for t, parts in received.items()}
        target = {t: tensor.clone() for t, tensor in wanted.items()}
        loss = _loss(halves, receiver(damaged), target, labels if classes else None)
        if not torch.isfinite(loss):
            raise ConfigError(f"training came apart after {step} steps: take a smaller rate than {lr:g}")
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(receiver.leaves.values(), 1.0)
        optimiser.step()
        if progress is not None:
            progress(step + 1, float(loss.detach()), time.perf_counter() - began)
    return {name: leaf.detach().clone() for name, leaf in receiver.leaves.items()}


def _batches(
    halves: Halves, cut: int, train: Samples, rng: np.random.Generator
) -> Iterator[tuple[dict[int, Tensor], Any]]:
    """Full passes of the first half over the samples in a new order each time, without end."""
    size = halves.messages * halves.samples_each
    if len(train) < size:
        raise ConfigError(f"{len(train)} samples to train with, and a batch has {size}: give more")
    while True:
        order = rng.permutation(len(train))
        for start in range(0, len(train) - size + 1, size):
            rows = order[start : start + size]
            batch = Samples(tuple(array[rows] for array in train.inputs), train.labels[rows])
            yield from halves.front(cut, batch)


def _loss(halves: Halves, outputs: Mapping[int, Tensor], target: Mapping[int, Tensor], labels: Any | None) -> Tensor:
    """Distance from what the clean model says (and from the labels)."""
    distances = [_distance(outputs[t], target[t]) for t in target if t in outputs and target[t].is_floating_point()]
    if not distances:
        raise ConfigError(f"{halves.graph.model} returns no floating-point tensor: there is nothing to train towards")
    loss = torch.stack(distances).mean()
    if labels is None:
        return loss
    logits = outputs[halves.large.graph.outputs[0]]
    right = torch.from_numpy(np.ascontiguousarray(labels.reshape(-1))).long().to(logits.device)
    return _LABELS_SHARE * F.cross_entropy(logits, right) + (1 - _LABELS_SHARE) * loss


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Divergence of the two as distributions over the last axis (softened, Hinton et al. 2015)."""
    if found.ndim < 2 or found.shape[-1] < 2:
        return F.mse_loss(found, wanted)
    soft = F.log_softmax(found / _TEMPERATURE, -1), F.log_softmax(wanted / _TEMPERATURE, -1)
    rows = found.numel() // found.shape[-1]
    return F.kl_div(*soft, reduction="sum", log_target=True) * (_TEMPERATURE**2 / rows)
