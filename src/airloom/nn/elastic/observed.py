"""What each module of a network is called with, seen in one run, and where it lies in the captured graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from airloom.nn.captured import Captured


@dataclass
class Seen:
    """One module.

    Attributes:
        calls: how often it ran.
        shape_in, shape_out: of its first argument and of its result; None where that is no single tensor.
        keyword: of its first argument where it was not passed by position.
        start, stop: its operators in the graph, `start` to `stop - 1`; empty where it has none.
        whole: nobody else's operators are among them.
    """

    module: nn.Module
    calls: int = 0
    shape_in: tuple[int, ...] | None = None
    shape_out: tuple[int, ...] | None = None
    keyword: str = ""
    start: int = 0
    stop: int = 0
    whole: bool = True
    children: list[str] = field(default_factory=list)


def observe(model: nn.Module, example_inputs: tuple[Tensor, ...], captured: Captured | None) -> dict[str, Seen]:
    """Every module by its path, as it ran in eval mode; `children` are the nearest modules in it that ran, in order.

    Args:
        captured: of the same model; None leaves the operators out.
    """
    seen = {path: Seen(module) for path, module in model.named_modules()}
    _run(model, example_inputs, seen)
    if captured is not None:
        _place(seen, captured.modules)
    for path, one in seen.items():
        if path and one.calls:
            parent = path
            while parent:
                parent = parent.rpartition(".")[0]
                if seen[parent].calls:
                    seen[parent].children.append(path)
                    break
    for one in seen.values():
        one.children.sort(key=lambda child: seen[child].start)
    return seen


def _run(model: nn.Module, example_inputs: tuple[Tensor, ...], seen: Mapping[str, Seen]) -> None:
    handles, modes = [], [(module, module.training) for module in model.modules()]

    def watcher(one: Seen) -> Any:
        def watch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
            one.calls += 1
            named = [k for k, v in kwargs.items() if isinstance(v, Tensor)]
            one.keyword = "" if args or not named else named[0]
            first = args[0] if args else kwargs.get(one.keyword)
            one.shape_in = tuple(first.shape) if isinstance(first, Tensor) else None
            one.shape_out = tuple(result.shape) if isinstance(result, Tensor) else None

        return watch

    try:
        model.eval()
        for one in seen.values():
            handles.append(one.module.register_forward_hook(watcher(one), with_kwargs=True))
        with torch.no_grad():
            model(*example_inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training


def _place(seen: Mapping[str, Seen], modules: tuple[str, ...]) -> None:
    places: dict[str, list[int]] = {}
    for index, path in enumerate(modules):
        while True:
            places.setdefault(path, []).append(index)
            if not path:
                break
            path = path.rpartition(".")[0]
    for path, indices in places.items():
        if path in seen:
            one = seen[path]
            one.start, one.stop = indices[0], indices[-1] + 1
            one.whole = len(indices) == one.stop - one.start
