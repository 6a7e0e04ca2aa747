"""The caller's tensors as a parcel, and a parcel as what the model returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.core.graph import ModelGraph
from airloom.core.messages import Parcel
from airloom.errors import ConfigError

if TYPE_CHECKING:
    from airloom.nn.captured import Captured


def parcel_of(graph: ModelGraph, inputs: tuple[Any, ...]) -> Parcel:
    """A copy of the inputs' bytes (torch tensors or numpy arrays).

    Raises:
        ConfigError: the inputs are not those the model was captured with.
    """
    from airloom.nn.executor import tensor_to_bytes

    if len(inputs) != len(graph.inputs):
        raise ConfigError(f"{graph.model} takes {len(graph.inputs)} inputs, got {len(inputs)}")
    data: dict[int, bytes] = {}
    for place, (tensor, given) in enumerate(zip(graph.inputs, inputs, strict=True)):
        spec = graph.tensors[tensor]
        if not hasattr(given, "shape") or not hasattr(given, "dtype"):
            raise ConfigError(
                f"input {place} is a {type(given).__name__}; {graph.model} takes torch tensors or numpy arrays"
            )
        shape, dtype = tuple(given.shape), str(given.dtype).removeprefix("torch.")
        if (shape, dtype) != (spec.shape, spec.dtype):
            raise ConfigError(
                f"input {place} is {list(shape)} of {dtype}; {graph.model} was captured with "
                f"{list(spec.shape)} of {spec.dtype}"
            )
        # A copy: the caller may write to its array while the request, or another try at it, is under way.
        data[tensor] = given.tobytes() if isinstance(given, np.ndarray) else bytes(tensor_to_bytes(given))
    live = graph.live_set(0)
    return Parcel(live, tuple(memoryview(data[tensor]) for tensor in live))


def value_of(captured: Captured, parcel: Parcel) -> Any:
    """The model's own form of result; None where the result stayed where it was made."""
    from airloom.nn.executor import tensor_from_bytes

    if not parcel.tensors:
        return None
    specs = captured.graph.tensors
    made = zip(parcel.tensors, parcel.data, strict=True)
    return captured.result({tensor: tensor_from_bytes(data, specs[tensor]) for tensor, data in made})
