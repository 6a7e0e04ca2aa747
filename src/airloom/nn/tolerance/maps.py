"""What calibration samples say of feature maps: which matter most, and what stands in for them on average."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from airloom.core.tolerance import MapOrder
from airloom.nn.conceal import map_axis
from airloom.nn.program import DTYPES
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.receiver import Receiver
from airloom.nn.tolerance.samples import Samples

#: Samples that are enough to order maps.
CALIBRATION_SAMPLES = 128


def calibrate(halves: Halves, samples: Samples, cuts: Collection[int]) -> tuple[MapOrder, ...]:
    """Mean and importance of the feature maps of every floating-point tensor that crosses one of `cuts`.

    The importance of a map is what losing its elements changes, to first order (Molchanov et al. 2017): the
    mean over samples of the sum of (element x gradient)^2, the gradient being that of the entropy between the
    model's answer and itself. Losses are independent, so squares add. Where no gradient comes back (the
    answer is a class number), it is the mean square of the elements.
    """
    found: dict[int, MapOrder] = {}
    for cut in sorted(cuts):
        wanted = [
            t for t in halves.graph.live_set(cut)
            if t not in found and len(halves.graph.tensors[t].shape) >= 2
            and DTYPES[halves.graph.tensors[t].dtype].is_floating_point
        ]  # fmt: skip
        if wanted:
            found |= _calibrate(halves, samples, cut, wanted)
    return tuple(found[t] for t in sorted(found))


def _calibrate(halves: Halves, samples: Samples, cut: int, wanted: list[int]) -> dict[int, MapOrder]:
    # Messages come first, so each axis is one further on.
    axis = {t: map_axis(halves.host, t) + 1 for t in wanted}
    maps = {t: halves.graph.tensors[t].shape[axis[t] - 1] for t in wanted}
    mean = {t: torch.zeros(n, dtype=torch.float64) for t, n in maps.items()}
    importance = {t: torch.zeros(n, dtype=torch.float64) for t, n in maps.items()}
    power = {t: torch.zeros(n, dtype=torch.float64) for t, n in maps.items()}
    receiver = Receiver(halves, cut)
    total = 0
    for live, _ in halves.front(cut, samples):
        count = len(next(iter(live.values())))
        total += count
        gradients = _gradients(halves, receiver, live, wanted, count)
        for t in wanted:
            value = live[t].double()
            axes = [k for k in range(value.ndim) if k != axis[t]]
            per_map = float(value.numel() / (count * maps[t]))
            mean[t] += value.sum(axes).cpu() / per_map
            power[t] += value.square().sum(axes).cpu() / per_map
            if t in gradients:
                importance[t] += (value * gradients[t][:count].double()).square().sum(axes).cpu()
    orders = {}
    for t in wanted:
        key = importance[t] if bool((importance[t] > 0).any()) else power[t]
        order = torch.argsort(key, descending=True, stable=True)
        orders[t] = MapOrder(tensor=t, order=tuple(order.tolist()), means=tuple((mean[t] / total).tolist()))
    return orders


def _gradients(
    halves: Halves, receiver: Receiver, live: Mapping[int, Tensor], wanted: list[int], count: int
) -> dict[int, Tensor]:
    """Of the model's answer with respect to each wanted tensor, message by message."""
    inputs = {t: halves.join(t, halves.padded(parts)).clone() for t, parts in live.items()}
    for t in wanted:
        inputs[t].requires_grad_()
    outputs = receiver(inputs) if halves.graph.num_operators > receiver.cut else inputs
    answers = [outputs[t] for t in halves.graph.outputs if outputs[t].is_floating_point() and outputs[t].requires_grad]
    if not answers:
        return {}
    total = torch.stack([_surprise(answer) for answer in answers]).sum()
    found = torch.autograd.grad(total, [inputs[t] for t in wanted], allow_unused=True)
    return {t: halves.split(t, g) for t, g in zip(wanted, found, strict=True) if g is not None}


def _surprise(answer: Tensor) -> Tensor:
    """Entropy against the most likely class where rows are scores of classes, else half the sum of squares."""
    if answer.ndim < 2 or answer.shape[-1] < 2:
        return answer.square().sum() / 2
    rows = answer.reshape(-1, answer.shape[-1])
    return F.cross_entropy(rows, rows.detach().argmax(1), reduction="sum")
