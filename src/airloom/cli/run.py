"""airloom run: a whole topology on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airloom.comparison import Scheme, Setting
    from airloom.deployment import Stats
    from airloom.nn.captured import Captured

HELP = "run a whole topology on this machine, links and slow devices emulated"
EPILOG = """\
examples:
  airloom run run.yaml
  airloom run run.yaml --scheme cloud-only --requests 50 --out runs/cloud --json
  airloom run run.yaml --plan plan.json --inputs pictures.npy

`airloom init` writes a run file to start from. Each host is a process; the source is this one. The
run folder holds the traces: `airloom report DIR` shows them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="RUN.yaml", help="model, topology, requests, changes")
    parser.add_argument(
        "--scheme",
        choices=("airloom", "ue-only", "cloud-only", "single-split"),
        help="who decides: the hosts' tables, or a baseline that is pinned (default: the run file's)",
    )
    parser.add_argument("--plan", type=Path, metavar="FILE", help="pin this plan, as `airloom plan --json` wrote it")
    parser.add_argument("--requests", type=int, metavar="N", help="in place of the run file's")
    parser.add_argument("--transport", choices=("udp", "tcp"), help="in place of the run file's")
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE",
        help=".npy, or .npz with one array an input; row k is request k",
    )
    parser.add_argument("--out", type=Path, default=Path("airloom-run"), metavar="DIR", help="the run folder")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    import os
    import signal
    import sys

    import msgspec

    from airloom.config import load_run, load_topology
    from airloom.errors import ConfigError

    config = load_run(args.config)
    given = {"scheme": args.scheme, "requests": args.requests, "transport": args.transport}
    config = msgspec.structs.replace(config, **{key: value for key, value in given.items() if value is not None})
    if config.requests < 1:
        raise ConfigError(f"at least one request, got {config.requests}", where="--requests")
    if args.plan is not None and args.scheme is not None:
        raise ConfigError("a scheme or a plan: give one of them", where="--plan")
    if config.changes and not config.emulate:
        raise ConfigError("changes need `emulate: true`: nothing else can change a link", where=str(args.config))
    # Ended from outside, it still takes its hosts with it and removes what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Hosts share this machine's cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from airloom import api
    from airloom.cli.terminal import Progress, emit_json
    from airloom.comparison import Setting
    from airloom.deployment import DeployOptions
    from airloom.planner.inputs import load_profile, load_profiles
    from airloom.report.folder import read_run
    from airloom.running import run_scheme

    topology = load_topology(Path(config.topology), result_returns=config.result_returns)
    with Progress(f"capturing {config.model}"):
        captured = api.capture(config.model)
    inputs, labels = _inputs(captured, args.inputs, config.seed)
    if config.profile:
        profile = load_profile(Path(config.profile))
    else:
        with Progress(f"measuring {config.model}") as progress:

            def measured(done: int, total: int) -> None:
                progress.total = total
                progress.advance(done - progress.done)

            profile = api.profile(captured, progress=measured)
    options = DeployOptions(
        transport=config.transport,
        emulate=config.emulate,
        in_flight=config.in_flight,
        deadline_s=config.deadline_s,
        private_operators=config.private_operators,
        result_returns=config.result_returns,
        repair_rounds=config.repair_rounds,
        congestion=config.congestion or "cubic",
        seed=config.seed,
    )
    with Progress("measuring what a message costs here"):
        options = options.calibrated()
    setting = Setting(captured, topology, load_profiles(topology, profile), options)
    scheme = _scheme(setting, config.scheme, args.plan)
    if config.requests > 0 and labels:
        labels = [labels[k % len(labels)] for k in range(config.requests)]
    with Progress("running") as progress:

        def tell(what: str, done: int, total: int) -> None:
            progress.total = total or None
            progress.advance(done - progress.done, note=what)

        record, stats = run_scheme(
            setting,
            scheme,
            inputs,
            config.requests,
            folder=args.out,
            changes=config.changes,
            labels=labels,
            classify=(lambda logits: int(logits.argmax())) if labels else None,
            progress=tell,
        )
    summary = read_run([args.out]).summary()
    if args.json:
        emit_json(summary)
    else:
        _print(scheme.title, summary, stats, record.emulated, args.out)
    return 0 if stats.outcomes.get("result", 0) == config.requests else 1


def _print(title: str, summary: Any, stats: Stats, notes: tuple[str, ...], folder: Path) -> None:
    from airloom.cli.report import predictions_table, summary_table
    from airloom.cli.terminal import table
    from airloom.units import format_bytes

    print(summary_table(summary))
    predicted = predictions_table(summary)
    if predicted:
        print(f"\n{predicted}")
    rows = [("throughput", f"{stats.per_s:.1f} results/s")]
    rows += [("outcomes", ", ".join(f"{count} {name}" for name, count in sorted(stats.outcomes.items())))]
    sent = sum(
        host.counters.get(f"data_sent_{kind}_bytes", 0.0)
        for host in stats.hosts.values()
        if host is not None
        for kind in ("first", "repair")
    )
    rows += [("tensors on the wire", format_bytes(sent)), ("results with missing bytes", str(stats.incomplete))]
    print(f"\n{table(rows, align='lr')}")
    for note in notes:
        print(f"emulated: {note}")
    print(f"\nwrote {folder}: `airloom report {folder}` shows it")


def _scheme(setting: Setting, name: str, plan: Path | None) -> Scheme:
    from airloom import api
    from airloom.comparison import Scheme
    from airloom.errors import ProfileMismatch

    if plan is None:
        return setting.schemes((name,))[0]
    pinned = api.load_plan(plan)
    if pinned.graph_digest != setting.captured.graph.digest:
        raise ProfileMismatch(f"{plan} is for another model than {setting.captured.graph.model}: plan again")
    return Scheme("pinned", f"plan {plan.name}", pinned, "pinned from a file")


def _inputs(captured: Captured, file: Path | None, seed: int) -> tuple[Callable[[int], tuple[Any, ...]], list[int]]:
    """The inputs of request k, and the true classes where they are known."""
    import numpy as np

    from airloom import zoo
    from airloom.errors import ConfigError

    specs = [captured.graph.tensors[t] for t in captured.graph.inputs]
    if file is None:
        if captured.graph.model in zoo.IMAGE_MODELS and specs[0].shape == (1, 3, 32, 32):
            images, classes = zoo.test_images()
            return (lambda k: (images[k % len(images)][None],)), [int(label) for label in classes]
        rng = np.random.default_rng(seed)

        def random(spec: Any) -> Any:
            if spec.dtype.startswith("float"):
                return rng.standard_normal(spec.shape).astype(spec.dtype)
            # Small enough for any embedding's index.
            return rng.integers(0, 2, spec.shape).astype(spec.dtype)

        some = [tuple(random(spec) for spec in specs) for _ in range(16)]
        return (lambda k: some[k % len(some)]), []
    try:
        loaded = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read arrays: {error}", where=str(file)) from None
    arrays = [loaded[name] for name in loaded.files] if isinstance(loaded, np.lib.npyio.NpzFile) else [loaded]
    if len(arrays) != len(specs):
        raise ConfigError(f"{len(arrays)} arrays for a model of {len(specs)} inputs", where=str(file))
    for array, spec in zip(arrays, specs, strict=True):
        # Row k is request k: the captured shape, or one without its batch of 1.
        if array.dtype != np.dtype(spec.dtype) or not len(array) or array[0].size != np.prod(spec.shape):
            raise ConfigError(
                f"rows of {list(array.shape[1:])} of {array.dtype}; {captured.graph.model} takes "
                f"{list(spec.shape)} of {spec.dtype} a request",
                where=str(file),
            )
    if len({len(array) for array in arrays}) > 1:
        raise ConfigError("the arrays have different numbers of rows", where=str(file))
    rows = len(arrays[0])
    return (lambda k: tuple(a[k % rows].reshape(s.shape) for a, s in zip(arrays, specs, strict=True))), []
