"""Which line of the user's program something came from."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

import torch
from torch import fx, nn

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parent)
_STANDARD = sysconfig.get_paths()["stdlib"]
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def _is_user(filename: str) -> bool:
    if filename.startswith((_TORCH, _OURS, "<")) or "importlib" in filename:
        return False
    # Installed packages lie below the standard library in some installations.
    return not filename.startswith(_STANDARD) or "-packages" in filename


def _line(filename: str, number: int) -> str:
    text = linecache.getline(filename, number).strip()
    place = f"{Path(filename).name}:{number}"
    return f"{place}: `{text}`" if text else place


def node_line(node: fx.Node) -> str:
    """` at model.py:12: ...`, or "" where torch did not record it."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    users = [(name, int(number)) for name, number in frames if _is_user(name)]
    return f" at {_line(*users[-1])}" if users else ""


def error_line(trace: TracebackType | None) -> str:
    """` at model.py:12: ...` of the innermost frame of an exception that is the user's."""
    users = [frame for frame in traceback.extract_tb(trace) if _is_user(frame.filename)]
    return f" at {_line(users[-1].filename, users[-1].lineno or 0)}" if users else ""


def forward_line(model: nn.Module) -> str:
    """` at model.py:12: ...` where the user defined what the model does, "" where it is torch's own."""
    code = getattr(type(model).forward, "__code__", None)
    if code is None or not _is_user(code.co_filename):
        return ""
    return f" at {_line(code.co_filename, code.co_firstlineno)}"


def first_line(error: object) -> str:
    """The first line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
