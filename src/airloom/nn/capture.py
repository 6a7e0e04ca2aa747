"""Any `nn.Module` and example inputs -> a graph with its cuts, through `torch.export`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from airloom.errors import CaptureError
from airloom.nn.captured import Captured
from airloom.nn.lower import lower, spec_of
from airloom.nn.quiet import quiet
from airloom.nn.source import error_line, first_line, forward_line

# What torch raises where a Python `if` or `while` asks a tensor.
_DATA_DEPENDENT = frozenset({"GuardOnDataDependentSymNode", "DataDependentOutputException"})


def capture(
    model: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    name: str,
    mode: Literal["eval", "train"] = "eval",
) -> Captured:
    """Capture `model` as it treats inputs of the shapes and types of `example_inputs`.

    Shapes are fixed, the batch among them: capture again for another batch.

    Args:
        example_inputs: what `model(*example_inputs)` takes; their values do not matter.
        name: for people; not part of the graph's identity.
        mode: `train` keeps batch norm's statistics as buffers that operators write.

    Raises:
        CaptureError: torch cannot export the model, or it does what a stage cannot; one line with
            the reason and the line of the model's source.
    """
    if not isinstance(model, nn.Module):
        raise CaptureError(f"{name}: expected an nn.Module, got a {type(model).__name__}")
    if isinstance(example_inputs, Tensor):
        example_inputs = (example_inputs,)
    for k, value in enumerate(example_inputs):
        spec_of(value, f"{name}: example input {k}")
    modes = [(module, module.training) for module in model.modules()]
    try:
        if not isinstance(model, torch.fx.GraphModule):  # an exported one refuses, and has its mode for good
            model.train(mode == "train")
        captured = lower(_export(model, tuple(example_inputs), name), name=name, mode=mode)
    finally:
        for module, training in modes:
            module.training = training
    example = tuple(x.detach().cpu().clone(memory_format=torch.contiguous_format) for x in example_inputs)
    return replace(captured, example=example)


def _export(model: nn.Module, example_inputs: tuple[Tensor, ...], name: str) -> torch.export.ExportedProgram:
    with torch.no_grad(), quiet():
        try:
            program = torch.export.export(model, example_inputs)
            # Without this, in-place operators stay and live sets are wrong.
            decomposed: torch.export.ExportedProgram = program.run_decompositions({})
            return decomposed
        except Exception as error:  # torch raises what it likes, and so does the user's forward
            # Inputs that `forward` does not take fail before it is reached.
            line = error_line(error.__traceback__) or forward_line(model)
            raise CaptureError(f"{name} cannot be exported: {_reason(error)}{line}") from error


def _reason(error: BaseException) -> str:
    """The first line of torch's message that says something."""
    if type(error).__name__ in _DATA_DEPENDENT:
        return f"its control flow depends on the data ({type(error).__name__})"
    return f"{type(error).__name__}: {first_line(error)}".rstrip(": ")[:400]
