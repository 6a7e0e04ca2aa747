"""`import airloom` is quick, light, and has the names it promises."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import airloom


def test_names_resolve() -> None:
    assert set(airloom.__all__) <= set(dir(airloom))
    for name in airloom.__all__:
        assert getattr(airloom, name) is not None
    # Looked up once, then plain.
    assert airloom.Profile is importlib.import_module("airloom.core.profile").Profile
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = airloom.nonsense  # type: ignore[attr-defined]


def test_type_checkers_know_the_same_names() -> None:
    shown = re.findall(r"^    from ([\w.]+) import (\w+) as \2$", Path(airloom.__file__).read_text(), re.MULTILINE)
    assert {name: home for home, name in shown} == airloom._HOME


def test_what_a_deployment_takes_and_raises_is_public() -> None:
    raised = {"Cancelled", "DeadlineExceeded", "DeploymentError", "Overloaded", "StageFailed"}
    assert raised | {"Planned", "DeployOptions"} <= set(airloom.__all__)
    assert all(issubclass(getattr(airloom, name), airloom.AirloomError) for name in raised)


def test_what_fetches_a_model_is_public_and_needs_no_torch() -> None:
    assert {"ProgressiveModel", "fetch_model", "FetchOptions", "FetchEvent", "DeliveryError"} <= set(airloom.__all__)
    code = "import airloom, sys; airloom.ProgressiveModel.open; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_import_is_light() -> None:
    heavy = ("torch", "numpy", "msgspec", "httpx", "starlette")
    code = f"import airloom, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
