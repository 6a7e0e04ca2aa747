"""NeuroMessenger's experiments with Airloom: Table I, Figs. 4, 5, 10 to 12, 14a, 15a and 16.

    python experiments/neuromessenger/run.py --quick --data DIR       some minutes on a laptop, rough figures
    python experiments/neuromessenger/run.py --full --data DIR        what results.json holds; resumes where it stopped

DIR holds `cifar100/` and `an4/`; without --data it is $AIRLOOM_DATA. Every cut is a file in the work folder: what is
there already is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cutwork import QUICK, CutWork, Effort, Failures
from extras import bursts_and_singles, damaged_maps, every_layer
from figures import draw_all, draw_maps
from harq import attempt_failures
from safetensors.torch import load_file, save_file
from subjects import SUBJECTS, Data, Subject, cut_index, halves, image_data, load_weights, speech_data
from tables import write_tables
from torch import nn

from airloom.nn.tolerance import Halves

SPEECH_EFFORT = Effort(
    rates=(0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.95), calibration=99, samples=65, tune_steps=40, blers=(0.3, 0.5, 0.7, 0.95)
)
SPEECH_QUICK = dataclasses.replace(QUICK, calibration=26, samples=26)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--quick", action="store_true", help="few samples, seeds and rates")
    kind.add_argument("--full", action="store_true", help="what the README shows")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("AIRLOOM_DATA"), help="folder of cifar100/ and an4/"
    )
    parser.add_argument("--only", choices=sorted(SUBJECTS), nargs="+", default=list(SUBJECTS), help="models (all)")
    parser.add_argument("--work", type=Path, default=Path("neuromessenger-work"), help="folder of what is measured")
    parser.add_argument("--out", type=Path, help="results (WORK/results.json); tables and pictures go beside it")
    args = parser.parse_args()
    if args.data is None or not args.data.is_dir():
        parser.error("give the folder of cifar100/ and an4/ with --data, or in AIRLOOM_DATA")
    torch.set_num_threads(1)
    work = args.work / ("quick" if args.quick else "full")
    work.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        subject = SUBJECTS[name]
        model, record = load_weights(subject)
        data = speech_data(args.data / "an4") if subject.speech else image_data(args.data / "cifar100")
        effort = (
            (SPEECH_QUICK if args.quick else SPEECH_EFFORT) if subject.speech else (QUICK if args.quick else Effort())
        )
        write(work / f"{name}-training.json", record)
        measure(subject, model, data, effort, work, failures=attempt_failures(subject.prbs))
    report(work, args.out or work / "results.json")


def measure(subject: Subject, model: nn.Module, data: Data, effort: Effort, work: Path, *, failures: Failures) -> None:
    """Every cut of a model to its own file."""
    started = time.monotonic()

    def note(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {subject.name}: {text}", flush=True)

    both = halves(subject, model)
    # The quickest first.
    for place, cut in sorted(enumerate(subject.cuts), key=lambda at: -cut_index(both.graph, at[1].after)):
        file, weights = work / f"{subject.name}-{place}.json", work / f"{subject.name}-{place}.tuned.safetensors"
        if file.exists():
            continue
        note(cut.title)
        job = CutWork(subject, both, data, place, effort, failures=failures)
        if weights.exists():
            job.tune(load_file(weights))
        else:
            save_file({name: tensor.contiguous() for name, tensor in job.tune().items()}, weights)
            note("tuned")
        write(file, {**job.run(note), "in_table": cut.in_table})
    for name, make in extras(subject, both, data, effort, failures, note).items():
        if not (work / name).exists():
            write(work / name, make())


def extras(
    subject: Subject, both: Halves, data: Data, effort: Effort, failures: Failures, note: Callable[[str], None]
) -> dict[str, Callable[[], Any]]:
    """Files that figures need of this model, and how each is made."""
    found: dict[str, Callable[[], Any]] = {
        f"fig4-{layer}.json": lambda after=after: bursts_and_singles(subject, both, data, effort, after)
        for layer, after in subject.patterns
    }
    if subject.maps_of is not None:
        found["fig5.json"] = lambda: damaged_maps(subject, both, data.test.first(1), *subject.maps_of)
    if subject.every_layer:
        found["fig16.json"] = lambda: every_layer(subject, both, data, effort, failures, note)
    return found


def write(path: Path, value: Any) -> None:
    aside = path.with_suffix(path.suffix + ".part")
    aside.write_text(json.dumps(value, indent=1) + "\n")
    aside.replace(path)


def short(value: Any) -> Any:
    """The same with numbers of six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: short(v) for key, v in value.items()}
    return [short(v) for v in value] if isinstance(value, list | tuple) else value


def report(work: Path, out: Path) -> None:
    """Join what the work folder holds; tables and pictures beside it."""

    def read(name: str) -> Any:
        return json.loads((work / name).read_text()) if (work / name).exists() else None

    cuts = [
        found
        for name, subject in SUBJECTS.items()
        for place in range(len(subject.cuts))
        if (found := read(f"{name}-{place}.json")) is not None
    ]
    results = {
        "training": {name: record for name in SUBJECTS if (record := read(f"{name}-training.json")) is not None},
        "cuts": cuts,
        "fig4": {layer: found for layer in ("4", "26") if (found := read(f"fig4-{layer}.json")) is not None},
        "fig16": read("fig16.json") or [],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(short(value))}" for key, value in results.items())
    out.write_text(f"{{\n{lines}\n}}\n")
    write_tables(results, out.with_name("tables.md"))
    draw_all(results, out.parent / "figures")
    maps = read("fig5.json")
    if maps:
        draw_maps(maps, out.parent / "figures")
    print(f"{out} and {out.with_name('tables.md')}, pictures in {out.parent / 'figures'}")


if __name__ == "__main__":
    main()
