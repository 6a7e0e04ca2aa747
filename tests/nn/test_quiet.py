"""What torch logs stays off the terminal while it works for us, and only then."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import torch
from nn_models import Plain

from airloom.errors import CaptureError
from airloom.nn.capture import capture
from airloom.nn.quiet import quiet

# It logs a traceback of many lines about shapes that do not fit.
LOGGER = logging.getLogger("torch._subclasses.fake_tensor")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    handler = logging.StreamHandler(io.StringIO())
    LOGGER.addHandler(handler)
    yield handler.stream
    LOGGER.removeHandler(handler)


def test_torch_is_heard_before_and_after(logged: io.StringIO) -> None:
    with quiet():
        LOGGER.error("within")
    LOGGER.error("after")
    assert logged.getvalue() == "after\n"


def test_a_refused_model_logs_nothing(logged: io.StringIO) -> None:
    with pytest.raises(CaptureError, match="reduction dim"):
        capture(Plain(lambda m, x: x @ torch.ones(5, 5)).eval(), (torch.randn(1, 4),), name="m")
    assert logged.getvalue() == ""
