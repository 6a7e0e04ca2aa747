"""What a caller may hand to a deployed model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from airloom.core.graph import TensorSpec
from airloom.deployment.tensors import parcel_of
from airloom.errors import ConfigError

GRAPH: Any = SimpleNamespace(
    model="m", inputs=(0,), tensors={0: TensorSpec(shape=(2,), dtype="float32")}, live_set=lambda cut: (0,)
)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (("foo",), "input 0 is a str; m takes torch tensors or numpy arrays"),
        ((None,), "input 0 is a NoneType"),
        (([1.0, 2.0],), "input 0 is a list"),
        ((), "m takes 1 inputs, got 0"),
        ((np.zeros(3, np.float32),), r"input 0 is \[3\] of float32; m was captured with \[2\] of float32"),
    ],
)
def test_what_is_no_tensor_of_the_model_is_refused(inputs: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parcel_of(GRAPH, inputs)


def test_the_bytes_are_a_copy() -> None:
    given = np.ones(2, np.float32)
    parcel = parcel_of(GRAPH, (given,))
    given[:] = 0
    assert bytes(parcel.data[0]) == np.ones(2, np.float32).tobytes()
