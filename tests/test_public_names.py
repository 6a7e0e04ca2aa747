"""`import airloom` is quick, light, and has the names it promises."""

from __future__ import annotations

import importlib
import subprocess
import sys

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


def test_import_is_light() -> None:
    code = "import airloom, sys; print([m for m in ('torch', 'numpy', 'msgspec') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
