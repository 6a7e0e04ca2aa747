"""Federated mode: what each layer's weights bear on their way (Sec. IV-C of NeuroMessenger).

Errors hit one layer's weights at a time, and what is lost is zero. Batch norms stand apart: their
statistics scale whole feature maps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from airloom.core.tolerance import ErrorPoint, LayerTolerance, Pattern
from airloom.nn.federated import through_link
from airloom.nn.layers import LayerKind, kind_of_operator, layer_of
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.measuring import (
    DEFAULT_DRAWS,
    DEFAULT_RATES,
    WIRE_BLOCK_BYTES,
    Advance,
    check_rates,
    message_scores,
    num_draws,
)
from airloom.nn.tolerance.samples import Samples
from airloom.nn.tolerance.score import Score, top1

#: The entry of all layers but the norms at once, which is what one round of federated learning sends.
ALL_LAYERS = "all but norms"


class _Target(NamedTuple):
    """What errors hit at once."""

    name: str
    kind: LayerKind
    parameters: tuple[str, ...]


def measure_layers(
    halves: Halves,
    samples: Samples,
    *,
    patterns: Sequence[Pattern] = ("burst",),
    error_rates: Sequence[float] = DEFAULT_RATES,
    draws: int = DEFAULT_DRAWS,
    block_bytes: int = WIRE_BLOCK_BYTES,
    score: Score = top1,
    seed: int = 0,
    known: Collection[LayerTolerance] = (),
    finished: Callable[[LayerTolerance], None] | None = None,
    advance: Advance | None = None,
) -> tuple[LayerTolerance, ...]:
    """Accuracy with errors in the weights of one layer at a time, and in all but the norms at once.

    Args:
        block_bytes: payload of a block; the layer's tensors lie in blocks one after the other.
        known: entries measured before with the same settings.
        finished: called with every entry as soon as it is there.

    Returns:
        One entry a layer and pattern, in the order of the graph; its points are single draws.
    """
    rates = [rate for rate in check_rates(error_rates) for _ in range(num_draws(rate, draws))]
    have = {(entry.layer, entry.pattern): entry for entry in known}
    entries = []
    for pattern in dict.fromkeys(patterns):
        for target in targets(halves):
            if (target.name, pattern) not in have:
                rng = np.random.default_rng([seed, *target.name.encode(), *pattern.encode()])
                entry = _measure(halves, samples, target, pattern, rates, block_bytes, score, rng, advance)
                have[target.name, pattern] = entry
                if finished is not None:
                    finished(entry)
            entries.append(have[target.name, pattern])
    return tuple(entries)


def targets(halves: Halves) -> list[_Target]:
    """The layers that have weights, in the order of the graph, and all but the norms."""
    graph = halves.large.graph
    found: dict[str, tuple[LayerKind, dict[str, None]]] = {}
    for op in graph.operators:
        for id in op.parameters:
            name = graph.parameters[id].name
            if not halves.large.state[name].is_floating_point():
                continue
            layer = layer_of(name)
            # A bias may be added by an operator of its own: the layer is what its first weight is.
            found.setdefault(layer, (kind_of_operator(op.target), {}))[1][name] = None
    layers = [_Target(layer or "model", kind, tuple(names)) for layer, (kind, names) in found.items()]
    rest = tuple(name for layer in layers if layer.kind != "norm" for name in layer.parameters)
    return [*layers, _Target(ALL_LAYERS, "other", rest)] if rest else layers


def _measure(
    halves: Halves,
    samples: Samples,
    target: _Target,
    pattern: Pattern,
    rates: Sequence[float],
    block_bytes: int,
    score: Score,
    rng: np.random.Generator,
    advance: Advance | None,
) -> LayerTolerance:
    graph = halves.large.graph
    ids = {id for id, parameter in enumerate(graph.parameters) if parameter.name in target.parameters}
    # What comes before the layer is the same in every draw.
    cut = min(k for k, op in enumerate(graph.operators) if ids & set(op.parameters))
    weights = {name: halves.large.state[name] for name in target.parameters}
    receivers = [halves.tuned(damaged(weights, rate, pattern, block_bytes, rng)) for rate in rates]
    sums = np.zeros(len(rates))
    for live, labels in halves.front(cut, samples):
        for place, receiver in enumerate(receivers):
            sums[place] += message_scores(receiver, score, receiver.back(cut, live), labels).sum()
            if advance is not None:
                advance(len(labels))
    accuracy = sums / halves.num_messages(samples)
    return LayerTolerance(
        layer=target.name, kind=target.kind, pattern=pattern,
        nbytes=sum(t.numel() * t.element_size() for t in weights.values()),
        points=tuple(ErrorPoint(error_rate=r, accuracy=float(a)) for r, a in zip(rates, accuracy, strict=True)),
    )  # fmt: skip


def damaged(
    weights: Mapping[str, Tensor], rate: float, pattern: Pattern, block_bytes: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """The weights as they come: what is lost is 0.

    Args:
        pattern: `burst` loses blocks of `block_bytes` of all of them one after the other, `random` elements.
    """
    if pattern == "burst":
        return through_link(weights, loss=rate, rng=rng, reliable=(), block_bytes=block_bytes).state
    came = {}
    for name, tensor in weights.items():
        lost = torch.from_numpy(rng.random(tensor.shape) < rate).to(tensor.device)
        came[name] = tensor.masked_fill(lost, 0)
    return came
