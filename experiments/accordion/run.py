"""Accordion's experiments: Fig. 4, the examples, what is saved, training time, baselines, energy.

    python experiments/accordion/run.py --quick --cifar10 DIR --published DIR      minutes, a look at the pipeline
    python experiments/accordion/run.py --work W                                  results of what train.py has done
    python experiments/accordion/run.py --work W --full --torch-device cuda ...   the paper's recipe, then its results

What takes long is trained by train.py, whose queue goes on where it stopped; this makes results.json, tables.md and
figures/ of whatever there is: a table says how many seeds it has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import train
import work
from artifact import delivered, paper_example
from energy import energy
from figures import draw_all
from paper import EPOCHS
from settings import FULL, QUICK, SETTINGS, Setting
from summary import figures, read
from tables import write_tables

#: Errors that energy is compared at: the ordinary network's times this.
ENERGY_LEVEL = 1.75


def results_of(settings: Mapping[str, Setting], places: work.Places) -> dict[str, Any]:
    """Everything that the finished jobs say."""
    found = read(settings, places.work)
    out: dict[str, Any] = {
        "example": paper_example(),
        "settings": found,
        "figures": {name: figures(each) for name, each in found.items()},
        "delivered": {},
        "energy": {},
    }
    for name, each in found.items():
        setting = settings[name]
        for seed in setting.seeds:
            packed = delivered(setting, seed, places)
            if packed is not None:
                out["delivered"][name] = packed
                break
        level = out["figures"][name]["levels"].get("relative")
        if level is not None:
            out["energy"][name] = {
                "trained": energy(each, level, setting.epochs),
                "paper": energy(each, level, EPOCHS),
            }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    train.add_places(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="train a ResNet-20 with a few pictures, then all of it")
    kind.add_argument("--full", action="store_true", help="train by the paper's recipe, then all of it")
    parser.add_argument("--out", type=Path, help="results (WORK/results.json); tables and pictures go beside it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = QUICK if args.quick else FULL if args.full else SETTINGS
    places = train.places_of(args)
    if args.quick or args.full:
        train.work_through(train.wanted(settings, [], []), places, stop=train.Signals())
    results = short(results_of(settings, places))
    if not results["settings"]:
        parser.error(f"nothing is trained in {args.work}: `python {Path(__file__).parent / 'train.py'} --help`")
    report(results, args.out or args.work / "results.json")


def report(results: dict[str, Any], out: Path) -> None:
    """results.json with tables and pictures beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    work.write_text(out, readable(results))
    write_tables(results, out.with_name("tables.md"))
    draw_all(results, out.parent / "figures")
    print(f"{out} and {out.with_name('tables.md')}, pictures in {out.parent / 'figures'}")


def readable(results: dict[str, Any]) -> str:
    """JSON with a line for each method and figure."""
    lines = json.dumps(results, indent=1).splitlines()
    text, depth = [], 0
    for line in lines:
        bare = line.strip()
        closes = bare[0] in "]}"
        depth -= closes
        if depth >= 4 or (depth >= 3 and closes and text):
            text[-1] += ("" if text[-1].endswith(("[", "{")) or closes else " ") + bare
        else:
            text.append(" " * depth + bare)
        depth += bare[-1] in "[{"
    return "\n".join(text) + "\n"


def short(value: Any) -> Any:
    """The same with numbers of six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {str(key): short(v) for key, v in value.items()}
    return [short(v) for v in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
