"""airloom train: train a model split over the hosts of a topology."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airloom.cli.capture import parse_options

if TYPE_CHECKING:
    from airloom.core.plan import Plan
    from airloom.core.topology import Conditions
    from airloom.core.training import TrainingSpec

HELP = "train a model split over the hosts of a topology"
EPILOG = """\
examples:
  airloom train resnet20 examples/line4.yaml --steps 20 --lr 0.05 --momentum 0.9 --keep-on-ue relu --check
  airloom train resnet20 examples/line4.yaml --data samples.npz --optimizer adam --lr 0.001 --steps 100
  airloom train resnet20 line4.yaml --plan a.json --replan-at 10 --plan2 b.json --checkpoint run.safetensors
  airloom train resnet20 line4.yaml --resume run.safetensors --steps 100
  airloom train run.yaml --steps 50

Each host is a process and holds a stage: weights, their gradients and what the optimiser keeps. Without --data a
network of the zoo trains on the pictures that come with Airloom. Plans are of the model in train mode: make one with
`airloom profile --train sgd` and `airloom plan --train`. Ctrl-C ends training after the step at hand and brings the
weights home; a second one ends it at once. --check trains in one piece here too, and compares bit for bit.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a zoo name, package.module:factory, an artifact, or RUN.yaml")
    parser.add_argument(
        "topology", metavar="TOPOLOGY", type=Path, nargs="?", help="its file (a run file names its own)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help=".npz with one array an input, and one called `labels` unless --labels",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help=".npy with a label for each row of --data")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="how many (default: 20)")
    parser.add_argument("--batch", type=int, metavar="B", help="samples a step (default: 8)")
    parser.add_argument("--optimizer", choices=("sgd", "adam", "adamw"), help="(default: sgd)")
    parser.add_argument("--lr", type=float, metavar="R", help="learning rate (default: 0.01)")
    parser.add_argument("--momentum", type=float, metavar="M", help="of sgd (default: 0)")
    parser.add_argument("--weight-decay", type=float, metavar="W", help="(default: 0)")
    parser.add_argument("--loss", choices=("cross_entropy", "mse"), help="(default: cross_entropy)")
    parser.add_argument("--weights", metavar="FILE", help="to begin with; `bundled` or `random` for the zoo")
    parser.add_argument(
        "--input", action="append", default=[], metavar="SHAPE:TYPE", help="an input of a factory that names none"
    )
    parser.add_argument("--option", action="append", default=[], metavar="NAME=NUMBER", help="of the network: width=8")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="of `airloom profile --train` (default: measured now)"
    )
    parser.add_argument("--plan", type=Path, metavar="FILE", help="where stages run (default: the cheapest step)")
    parser.add_argument(
        "--replan-at", action="append", type=int, default=[], metavar="STEP", help="another plan from this step on"
    )
    parser.add_argument(
        "--plan2", action="append", type=Path, default=[], metavar="FILE",
        help="the plan of the --replan-at before it, in order (default: the cheapest then)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-on-ue", metavar="K", help="keep the first K operators, or all up to the one of this name, on the source"
    )
    parser.add_argument("--transport", choices=("udp", "tcp"), help="for tensors (default: udp)")
    parser.add_argument("--seed", type=int, help="of samples' order, dropout and the links' losses (default: 0)")
    parser.add_argument("--threads", type=int, metavar="N", help="torch's, on every host (default: the profile's)")
    parser.add_argument(
        "--patience", type=float, default=30.0, metavar="S", help="wait this long for a try at a step (default: 30)"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="write weights and optimiser state here")
    parser.add_argument("--every", type=int, default=0, metavar="N", help="... every N steps, not at the end alone")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from a checkpoint")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the trained weights (safetensors)")
    parser.add_argument("--check", action="store_true", help="also train in one piece here, and compare bit for bit")
    parser.add_argument("--out", type=Path, default=Path("airloom-training"), metavar="DIR", help="the run folder")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")


def run(args: argparse.Namespace) -> int:
    import os
    import signal
    import sys

    import msgspec

    from airloom.cli.inputs import read_labelled
    from airloom.config import load_run, load_topology
    from airloom.errors import ConfigError
    from airloom.planner.inputs import check_model, load_profile, load_profiles

    # Files first: capturing and measuring take seconds.
    model, known, transport, seed = args.model, args.profile, args.transport, args.seed
    changes: tuple[Conditions, ...] = ()
    private = args.keep_on_ue
    if args.topology is None:
        if not model.endswith((".yaml", ".yml")):
            raise ConfigError("name the topology's file after the model, or a run file alone", where="TOPOLOGY")
        config = load_run(Path(model))
        if config.changes and not config.emulate:
            raise ConfigError("changes need `emulate: true`: nothing else can change a link", where=model)
        where, model, changes = Path(config.topology), config.model, config.changes
        transport, seed = transport or config.transport, config.seed if seed is None else seed
        private = str(config.private_operators) if private is None else private
    else:
        where = args.topology
    carrier: Literal["udp", "tcp"] = transport or "udp"
    seed = seed or 0
    _check_options(args)
    spec = _spec(args, seed)
    if len(args.plan2) > len(args.replan_at):
        raise ConfigError("a plan for each --replan-at at most: say from which step on", where="--plan2")
    topology = load_topology(where)
    plan = None if args.plan is None else _read_plan(args.plan)
    second = [_read_plan(path) for path in args.plan2] + [None] * (len(args.replan_at) - len(args.plan2))
    replan = dict(zip(args.replan_at, second, strict=True))
    profile = None if known is None else load_profile(known)
    arrays, labels, options = None, None, parse_options(args.option)
    if args.data is not None:
        arrays, labels = _samples(args) if args.labels is not None else read_labelled(args.data)
    elif args.labels is not None:
        raise ConfigError("labels of what? give --data", where="--labels")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from airloom import zoo
    from airloom.cli.network_options import kept_operators
    from airloom.cli.terminal import Progress
    from airloom.cli.trained import show
    from airloom.deployment import DeployOptions
    from airloom.nn.models import load_model
    from airloom.nn.training.batches import Batches
    from airloom.nn.training.checkpoint import differing, load_checkpoint
    from airloom.nn.training.loss import label_form
    from airloom.nn.training.measure import measure_training
    from airloom.nn.training.models import capture_for_training
    from airloom.nn.training.sizes import with_training
    from airloom.nn.training.whole import train_whole
    from airloom.training import Interrupted, train_split

    if arrays is None or labels is None:
        if model not in zoo.IMAGE_MODELS or options.get("size"):
            if not _is_artifact(model):
                load_model(model, batch=1, weights="random" if model in zoo.MODELS else None, inputs=args.input)
            raise ConfigError(
                f"no samples come with Airloom for {model}: numpy.savez them and name --data", where="--data"
            )
        images, labels = zoo.test_images()
        arrays = [images]
    with Progress(f"capturing {model}"):
        captured = capture_for_training(
            model, arrays, batch=args.batch or (None if _is_artifact(model) else 8), weights=args.weights,
            inputs=args.input, options=options,
        )  # fmt: skip
    shape, dtype = label_form(captured.graph, spec.loss)
    spec = msgspec.structs.replace(spec, label_shape=shape, label_dtype=dtype)
    batches = Batches(captured.graph, spec, arrays, labels, seed=seed, where=str(args.data or "the pictures"))
    resume = None
    if args.resume is not None:
        held, state = load_checkpoint(args.resume, captured.graph, spec)
        resume = held.step, state, held.losses
    first = 0 if resume is None else resume[0]
    for step in args.replan_at:
        if not first < step < first + args.steps:
            between = f"from {first + 1} to {first + args.steps - 1}" if args.steps > 1 else "of two steps or more"
            raise ConfigError(
                f"steps that begin with another plan are those {between}, not {step}", where="--replan-at"
            )
    if profile is None:
        with Progress(f"measuring {model}") as progress:

            def measured(done: int, total: int) -> None:
                progress.total = total
                progress.advance(done - progress.done)

            profile = measure_training(captured, spec, threads=args.threads or 1, seconds_budget=5.0, progress=measured)
    profiles = load_profiles(topology, profile)
    check_model(profiles, captured.graph)
    profiles = {id: with_training(one, captured.graph, spec) for id, one in profiles.items()}
    kept = kept_operators(private or "0", profile)
    deploy = DeployOptions(transport=carrier, seed=seed, threads=args.threads, private_operators=kept)
    with Progress("measuring what a message costs here"):
        deploy = deploy.calibrated()
    # The first Ctrl-C ends after the step at hand, the second at once.
    asked = False

    def interrupted(*_: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("airloom: ending after this step; Ctrl-C again ends at once", file=sys.stderr)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    before = signal.signal(signal.SIGINT, interrupted)
    ended_early = False
    try:
        with Progress("training") as progress:

            def tell(what: str, done: int, total: int) -> None:
                progress.total = total or None
                progress.advance(done - progress.done, note=what)

            try:
                trained = train_split(
                    captured, topology, batches, spec, args.steps, profiles=profiles, plan=plan, replan=replan,
                    changes=changes, options=deploy,
                    resume=resume, checkpoint=args.checkpoint, checkpoint_every=args.every, folder=args.out,
                    stop=lambda: asked, progress=tell,
                )  # fmt: skip
            except Interrupted as error:
                trained, ended_early = error.trained, True
    finally:
        signal.signal(signal.SIGINT, before)
    if args.save is not None:
        trained.save(args.save)
    same: bool | None = None
    if args.check:
        with Progress("training in one piece", total=len(trained.steps)) as progress:
            began_with = None if resume is None else resume[1]
            whole = train_whole(
                captured, batches, len(trained.steps), spec, first_step=first, state=began_with,
                threads=args.threads or profile.machine.threads or 1,
                progress=lambda step, loss: progress.advance(note=f"loss {loss:.4g}"),
            )  # fmt: skip
        wrong = differing(trained.weights, whole.weights)
        same = not wrong and whole.losses == tuple(step.loss for step in trained.steps)
        if wrong:
            print(f"airloom: {len(wrong)} weights differ from training in one piece: {wrong[0]}, ...", file=sys.stderr)
    show(args, trained, same)
    if ended_early:
        return 130
    return 1 if same is False else 0


def _check_options(args: argparse.Namespace) -> None:
    """Refuse what would come to nothing only after minutes."""
    from airloom.errors import ConfigError

    if args.steps < 1:
        raise ConfigError(f"at least 1 step, got {args.steps}", where="--steps")
    if args.batch is not None and args.batch < 1:
        raise ConfigError(f"at least 1 sample, got {args.batch}", where="--batch")
    if args.every < 0:
        raise ConfigError(f"0 or more steps, got {args.every}", where="--every")
    if args.every and args.checkpoint is None:
        raise ConfigError("say where checkpoints go: --checkpoint FILE", where="--every")
    for option, path in (("--save", args.save), ("--checkpoint", args.checkpoint)):
        if path is not None and path.is_dir():
            raise ConfigError(f"{path} is a folder: name a file", where=option)


def _spec(args: argparse.Namespace, seed: int) -> TrainingSpec:
    """What the options say, but for the labels."""
    from airloom.core.training import TrainingSpec
    from airloom.errors import ConfigError

    spec = TrainingSpec(
        optimizer=args.optimizer or "sgd", lr=0.01 if args.lr is None else args.lr, momentum=args.momentum or 0.0,
        weight_decay=args.weight_decay or 0.0, loss=args.loss or "cross_entropy", seed=seed, patience_s=args.patience,
    )  # fmt: skip
    try:
        spec.check()
    except ConfigError as error:
        option = "--" + error.where.removesuffix("_s").replace("_", "-")
        raise ConfigError(str(error).removeprefix(f"{error.where}: "), where=option) from None
    return spec


def _read_plan(path: Path) -> Plan:
    from airloom.core.plan import Plan
    from airloom.files import read_value

    return read_value(path, Plan)


def _is_artifact(model: str) -> bool:
    return (Path(model) / "graph.json").is_file()


def _samples(args: argparse.Namespace) -> tuple[list[Any], Any]:
    from airloom.cli.inputs import read_arrays
    from airloom.errors import ConfigError

    arrays, labels = read_arrays(args.data), read_arrays(args.labels)
    if len(labels) != 1 or len(labels[0]) != len(arrays[0]):
        raise ConfigError(f"expected one array with {len(arrays[0])} labels", where=str(args.labels))
    return arrays, labels[0]
