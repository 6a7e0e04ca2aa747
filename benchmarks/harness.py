"""What the benchmarks share: paired medians, one way to report a figure, and the runner of `make bench`.

A benchmark is a script that calls `report` for each figure; that prints one JSON object a line.
`python benchmarks/harness.py [NAME ...]` runs all the other scripts here (or those named), one
after the other, and prints their figures as a table. It exits with 1 when a target is missed.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_TARGET = re.compile(r"^\s*(<=|>=)\s*(\S+)\s*$")


class Paired(NamedTuple):
    """Medians of two things timed in turns, and the median of the ratios of each turn."""

    first_s: float
    second_s: float
    ratio: float


def seconds(work: Callable[[], Any], *, loops: int = 1) -> float:
    """Mean seconds of one call over `loops` calls."""
    start = time.perf_counter()
    for _ in range(loops):
        work()
    return (time.perf_counter() - start) / loops


def median_seconds(work: Callable[[], Any], *, repeats: int = 7, loops: int = 1, warm_up: int = 1) -> float:
    """Median over `repeats` of the mean seconds of `loops` calls."""
    for _ in range(warm_up):
        work()
    return statistics.median(seconds(work, loops=loops) for _ in range(repeats))


def paired(
    first: Callable[[], Any], second: Callable[[], Any], *, repeats: int = 7, loops: tuple[int, int] = (1, 1)
) -> Paired:
    """Time both in turns, so that what else the machine does falls on both; `ratio` is second over first."""
    first(), second()
    turns = [(seconds(first, loops=loops[0]), seconds(second, loops=loops[1])) for _ in range(repeats)]
    return Paired(
        statistics.median(a for a, _ in turns),
        statistics.median(b for _, b in turns),
        statistics.median(b / a for a, b in turns),
    )


def meets(value: float, target: str | None) -> bool | None:
    """Whether `value` is within a target such as `"<= 0.1"` or `">= 1000"`; None without one."""
    if target is None:
        return None
    match = _TARGET.match(target)
    if match is None:
        raise ValueError(f"a target reads '<= NUMBER' or '>= NUMBER', got {target!r}")
    bound = float(match.group(2))
    return value <= bound if match.group(1) == "<=" else value >= bound


def report(name: str, value: float, unit: str, target: str | None = None) -> None:
    """Print one figure as a JSON line; `target` reads `"<= 0.1"` or `">= 1000"`."""
    figure = {"name": name, "value": value, "unit": unit, "target": target, "met": meets(value, target)}
    print(json.dumps(figure), flush=True)


def skip(name: str, reason: str) -> None:
    """Print that a figure could not be taken on this machine, and why."""
    print(json.dumps({"name": name, "skipped": reason}), flush=True)


def table(figures: list[dict[str, Any]]) -> str:
    """The figures in aligned columns."""
    rows = [("benchmark", "value", "unit", "target", "")]
    for figure in figures:
        if "skipped" in figure:
            rows.append((figure["name"], "-", "", "", f"skipped: {figure['skipped']}"))
            continue
        verdict = {True: "met", False: "MISSED", None: ""}[figure["met"]]
        rows.append((figure["name"], f"{figure['value']:.4g}", figure["unit"], figure["target"] or "", verdict))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = []
    for name, value, unit, target, verdict in rows:
        cells = (f"{name:<{widths[0]}}", f"{value:>{widths[1]}}", f"{unit:<{widths[2]}}", f"{target:<{widths[3]}}")
        lines.append("  ".join((*cells, verdict)).rstrip())
    return "\n".join(lines)


def main(names: list[str]) -> int:
    here = Path(__file__).parent
    scripts = sorted(p for p in here.glob("*.py") if p.name != Path(__file__).name)
    unknown = set(names) - {p.stem for p in scripts}
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}: have {', '.join(p.stem for p in scripts)}", file=sys.stderr)
        return 2
    figures: list[dict[str, Any]] = []
    failed = False
    for script in scripts:
        if names and script.stem not in names:
            continue
        print(f"{script.stem} ...", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=False)
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                figures.append(json.loads(line))
        if done.returncode:
            print(f"{script.stem} failed with exit code {done.returncode}", file=sys.stderr)
            failed = True
    print(table(figures))
    return 1 if failed or any(figure.get("met") is False for figure in figures) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
