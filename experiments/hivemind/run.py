"""HiveMind's experiments with Airloom: Table I, Figs. 2, 6 and 11 to 19, split cost updates.

    python experiments/hivemind/run.py --quick        minutes on a laptop, rough figures
    python experiments/hivemind/run.py --full         what results.json holds; resumes where it stopped

Every section is a file in the work folder: what is there already is not computed again (`--again` does). Nothing is
measured here: profiles are those of profiles/, and torch is not needed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dynamics
import figure2
import nonlinear
import setting
import still
import tradeoffs
import waves
from figures import draw_all
from tables import write_tables

Section = Callable[[bool], Any]
#: Of networks that move: a quarter of an hour of one core.
FULL = replace(dynamics.FULL, seeds=4, tasks=500)
#: Recorded 5G mmWave rates, a file each (`second Mbit/s`), in the folder of --data.
RECORDED = "traces/lumos5g-5g"


def sections(data: Path | None) -> dict[str, Section]:
    """What computes each section, given whether all of it is wanted."""

    def effort(full: bool) -> dynamics.Effort:
        return FULL if full else dynamics.QUICK

    return {
        "figure_2": lambda full: figure2.figure_2(),
        "bandwidths": lambda full: {
            name: setting.bandwidths(name, "mid", 300.0 if full else 30.0, 5 if full else 2)
            for name in ("mmwave_iab", "sub6")
        },
        "updates": lambda full: waves.updates(120.0 if full else 10.0),
        "figures_11_and_12": lambda full: still.figures_11_and_12(500 if full else 30),
        "by_speed": lambda full: still.by_speed(200 if full else 20),
        "figure_13": lambda full: still.figure_13(100 if full else 10),
        "figure_14": lambda full: still.figure_14(200 if full else 20),
        "figure_18": lambda full: tradeoffs.figure_18(100 if full else 8),
        "random_chains": lambda full: tradeoffs.random_chains(100 if full else 5),
        "figure_19": lambda full: nonlinear.figure_19(40 if full else 4),
        "recurrent_sensitivity": lambda full: nonlinear.recurrent_sensitivity(40 if full else 4),
        "collaborative_sensitivity": lambda full: nonlinear.collaborative_sensitivity(10 if full else 2),
        "figure_6": lambda full: dynamics.figure_6(effort(full), data),
        "figure_15": lambda full: dynamics.figure_15(effort(full)),
        "figure_16": lambda full: dynamics.figure_16(replace(FULL, seeds=2, tasks=300) if full else effort(full), data),
        "figure_17": lambda full: dynamics.figure_17(effort(full), data),
        "under_dynamics": lambda full: dynamics.under_dynamics(effort(full)),
        "many_ues": lambda full: dynamics.many_ues(replace(FULL, seeds=2, seconds=30.0) if full else dynamics.QUICK),
    }


def main() -> None:
    names = list(sections(None))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--quick", action="store_true", help="few draws and seeds")
    kind.add_argument("--full", action="store_true", help="what the README shows")
    parser.add_argument("--only", nargs="+", metavar="SECTION", default=names, help=f"of {', '.join(names)} (all)")
    parser.add_argument("--again", action="store_true", help="compute what is there, too")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("AIRLOOM_DATA"),
        help=f"folder of {RECORDED}, for recorded links (none)",
    )
    parser.add_argument("--work", type=Path, default=Path("hivemind-work"), help="folder of what is computed")
    parser.add_argument("--out", type=Path, help="results (WORK/results.json); tables and pictures go beside it")
    args = parser.parse_args()
    if unknown := set(args.only) - set(names):
        parser.error(f"no section {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    data = None if args.data is None else Path(args.data) / RECORDED
    if data is not None and not data.is_dir():
        parser.error(f"no folder {data}: give the one that holds {RECORDED}, or no --data")
    work = args.work / ("full" if args.full else "quick")
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for name, compute in sections(data).items():
        file = work / f"{name}.json"
        if name not in args.only or (file.exists() and not args.again):
            continue
        print(f"{time.monotonic() - began:6.0f} s  {name}", flush=True)
        if found := compute(args.full):
            write(file, short(found))
    files = {name: work / f"{name}.json" for name in names}
    results = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    report(results, args.out or work / "results.json")
    print(f"{time.monotonic() - began:6.0f} s  done")


def write(path: Path, value: Any) -> None:
    aside = path.with_suffix(path.suffix + ".part")
    aside.write_text(json.dumps(value, indent=1) + "\n")
    aside.replace(path)


def short(value: Any) -> Any:
    """The same with numbers of six digits, and no infinities, which JSON has not."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: short(v) for key, v in value.items()}
    return [short(v) for v in value] if isinstance(value, list | tuple) else value


def report(results: dict[str, Any], out: Path) -> None:
    """All sections in one file; tables and pictures beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(found)}" for name, found in results.items())
    out.write_text(f"{{\n{lines}\n}}\n")
    write_tables(results, out.with_name("tables.md"))
    draw_all(results, out.parent / "figures")
    print(f"{out} and {out.with_name('tables.md')}, pictures in {out.parent / 'figures'}")


if __name__ == "__main__":
    main()
