"""How near the captured graph is to the module it was captured from.

Law 2 compares a split graph with the whole graph, bit for bit. This is the other comparison: the
graph keeps every tensor in C order, and the module may not, so that kernels may round otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from airloom.nn.captured import Captured
from airloom.nn.executor import StageExecutor


def eager_difference(captured: Captured, module: nn.Module, inputs: Sequence[Tensor]) -> float:
    """Largest difference between the outputs of graph and module, relative to the module's largest value.

    0 is bit-exact; infinity means that an output of integers or truth values, or a NaN, differs.
    """
    outputs = StageExecutor(captured).whole(inputs)
    expected = _leaves(_eager(module, inputs))
    found = _leaves(captured.structure.build(outputs))
    return max((_difference(f, e) for f, e in zip(found, expected, strict=True)), default=0.0)


def _eager(module: nn.Module, inputs: Sequence[Tensor]) -> Any:
    modes = [(m, m.training) for m in module.modules()]
    try:
        if not isinstance(module, torch.fx.GraphModule):
            module.eval()
        with torch.no_grad():
            return module(*inputs)
    finally:
        for m, training in modes:
            m.training = training


def _leaves(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value.detach().cpu()
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)


def _difference(found: Tensor, expected: Tensor) -> float:
    if torch.equal(found, expected):
        return 0.0
    if not (found.is_floating_point() or found.is_complex()):
        return float("inf")
    scale = float(expected.abs().max()) or 1.0
    difference = float((found - expected).abs().max()) / scale
    return difference if difference == difference else float("inf")
