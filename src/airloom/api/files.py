"""What steps leave in files, read back; and the page of a run folder."""

from __future__ import annotations

from pathlib import Path

from airloom import config
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.tolerance import Tolerance
from airloom.core.topology import Topology
from airloom.files import read_value
from airloom.planner import inputs


def load_topology(path: str | Path, *, result_returns: bool = True) -> Topology:
    """Read a topology file (docs/formats.md) and check that its source reaches its sink, and back."""
    return config.load_topology(Path(path), result_returns=result_returns)


def load_profile(path: str | Path) -> Profile:
    """Read a profile that `airloom profile`, a person or another tool wrote."""
    return inputs.load_profile(Path(path))


def load_tolerance(path: str | Path) -> Tolerance:
    """Read a tolerance profile that `airloom tolerance` wrote."""
    return inputs.load_tolerance(Path(path))


def load_plan(path: str | Path) -> Plan:
    """Read a plan that `airloom plan --json` wrote."""
    return read_value(Path(path), Plan)


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Make the HTML page of the run folder (or trace files) at `folder`; returns where it is."""
    from airloom.files import write_aside
    from airloom.report.folder import read_run
    from airloom.report.page import render_page

    source = Path(folder)
    found = read_run([source])
    path = Path(out) if out is not None else (source if source.is_dir() else source.parent) / "report.html"
    write_aside(path, render_page(found, found.summary()).encode())
    return path
