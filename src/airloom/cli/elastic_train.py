"""airloom elastic train: train a network so that any number of its blocks answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cli.capture import parse_options
from airloom.cli.elastic_policy import add_policy_arguments

if TYPE_CHECKING:
    from airloom.core.depth import Order
    from airloom.nn.elastic.progress import Epoch
    from airloom.nn.elastic.recipe import Recipe
    from airloom.nn.elastic.training import TrainingStep

HELP = "train a network so that any number of its blocks answers"
EPILOG = """\
examples:
  airloom elastic train resnet20 --data train.npz --policy coml-0.5 --out coml.safetensors
  airloom elastic train resnet20 --data train.npz --test test.npz --policy sandwich --depths 3,6,9 --precision bf16
  airloom elastic train resnet20 --data train.npz --policy throughput --rates link.txt --deadline 300ms
  airloom elastic train resnet20 --data train.npz --policy demand --demands 0.6,0.8,0.9 --table table.json
  airloom elastic train package.module:factory --input 1x16:float32 --data samples.npz --loss mse --epochs 20

Blocks are found in the network's graph; the first and last layers train in every step. After each epoch a checkpoint
is written beside --out, and --resume goes on from it: the weights are those of a training that was never interrupted.
Ctrl-C ends after the step at hand with a checkpoint; a second one ends at once. --out takes the weights of the
ordinary network, which every --weights takes, and batch-norm statistics of each depth beside them. docs/elastic.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a zoo name, or package.module:factory")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help=".npz with one array an input, and one called `labels`"
    )
    parser.add_argument("--test", type=Path, metavar="FILE", help="the like, to score each depth with")
    parser.add_argument(
        "--test-every", type=int, default=0, metavar="N", help="... every N epochs too (default: in the end)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the weights (default: MODEL-elastic.safetensors)")
    parser.add_argument("--weights", metavar="FILE", help="to begin with; `bundled` or `random` for the zoo")
    parser.add_argument(
        "--input", action="append", default=[], metavar="SHAPE:TYPE", help="an input of a factory that names none"
    )
    parser.add_argument("--option", action="append", default=[], metavar="NAME=NUMBER", help="of the network: width=8")
    parser.add_argument(
        "--adapters", action="store_true", help="a small trained layer where blocks left out change the shape"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="(default: beside --out, until training ends)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument("--torch-device", default="cpu", metavar="NAME", help="cpu or cuda (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    add_policy_arguments(parser)
    steps = parser.add_argument_group("what a step trains")
    steps.add_argument(
        "--sandwich", type=int, metavar="K",
        help="the full model, the smallest and K between, with the policy's probabilities (--policy sandwich: 7, by "
        "groups 1)",
    )  # fmt: skip
    steps.add_argument(
        "--others", type=float, metavar="W", help="... weight of the loss of each but the full one (0.15, by groups 1)"
    )
    steps.add_argument(
        "--distill-from", metavar="FILE", help="weights of the ordinary network; every depth learns from its answers"
    )
    steps.add_argument(
        "--soft", type=float, metavar="P",
        help="share of the loss that is by answers of the teacher, or of a sandwich's full model (default: 1)",
    )  # fmt: skip
    steps.add_argument("--temperature", type=float, metavar="T", help="... at this temperature (default: 1)")
    recipe = parser.add_argument_group("recipe (default: the paper's)")
    for name, type_, metavar, text in _RECIPE:
        recipe.add_argument(f"--{name}", type=type_, metavar=metavar, help=text)
    recipe.add_argument("--loss", choices=("cross_entropy", "mse"), help="(default: cross_entropy)")
    recipe.add_argument("--optimizer", choices=("sgd", "adam", "adamw"), help="(default: sgd)")
    recipe.add_argument("--shape", choices=("steps", "cosine"), help="how the learning rate falls (default: steps)")
    recipe.add_argument("--augment", choices=("none", "crop-flip"), help="uint8 pictures (default: none)")
    recipe.add_argument("--precision", choices=("fp32", "bf16"), help="of the network's arithmetic (default: fp32)")
    recipe.add_argument("--nesterov", action="store_true", default=None, help="momentum in Nesterov's form")
    recipe.add_argument(
        "--decay-all", action=argparse.BooleanOptionalAction, default=None, help="weight decay on norms and biases too"
    )
    recipe.add_argument("--channels-last", action="store_true", default=None, help="memory format of pictures")


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


_RECIPE: tuple[tuple[str, Any, str, str], ...] = (
    ("epochs", int, "N", "passes over the samples (164)"),
    ("batch", int, "B", "samples a step (128)"),
    ("lr", float, "R", "learning rate (0.1)"),
    ("milestones", _shares, "P,P,...", "shares of all epochs after which the rate is multiplied by gamma (0.5,0.75)"),
    ("gamma", float, "G", "(0.1)"),
    ("warmup", float, "N", "epochs in which the rate rises (0)"),
    ("momentum", float, "M", "of sgd (0.9)"),
    ("weight-decay", float, "W", "(0.0001)"),
    ("ema", float, "D", "keep the weights' mean with this decay a step, 0.999 say (0: not)"),
    ("clip", float, "N", "greatest norm of the gradients (0: none)"),
    ("recalibrate", int, "N", "batches for the batch-norm statistics of each depth; 0 lets depths share them (50)"),
    ("threads", int, "N", "torch's (1)"),
    ("seed", int, "N", "of samples' order, pictures, depths, dropout (0)"),
)


def run(args: argparse.Namespace) -> int:
    import os
    import signal
    import sys

    from airloom.cli.elastic_policy import check_policy_options, depths_of, order_of, policy_of
    from airloom.cli.inputs import read_labelled
    from airloom.core.progressive import DepthTable
    from airloom.errors import ConfigError
    from airloom.files import read_value
    from airloom.planner.depths import named_policy

    # What can be refused at once is refused before torch is imported.
    check_policy_options(args)
    kind = None if args.policy in ("throughput", "demand") else named_policy(args.policy)[1]
    order, depths = order_of(args, kind), depths_of(args.depths)
    out = args.out or Path(f"{_short(args.model)}-elastic.safetensors")
    # Not `with_name`: a folder such as `.` has none.
    checkpoint = args.checkpoint or out.parent / f"{out.stem}.checkpoint.safetensors"
    for option, path in (("--out", out), ("--checkpoint", checkpoint)):
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: name a file", where=option)
    if checkpoint.exists() and not args.resume and args.checkpoint is None:
        raise ConfigError(
            f"{checkpoint} is of a training that did not end: go on with --resume, or remove it", where="--out"
        )
    table = None if args.table is None else read_value(args.table, DepthTable)
    arrays, labels = read_labelled(args.data)
    test = None if args.test is None else read_labelled(args.test)
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads or 1))

    import torch

    from airloom import zoo
    from airloom.cli.elastic_trained import epoch_line, line, show
    from airloom.cli.terminal import Progress
    from airloom.nn.elastic.files import ElasticRecord, save_elastic
    from airloom.nn.elastic.model import elastic
    from airloom.nn.elastic.training import train_elastic
    from airloom.nn.models import load_model

    options = parse_options(args.option)
    with Progress(f"finding the blocks of {args.model}"):
        torch.manual_seed(args.seed or 0)
        # Two samples: what trains with one is seldom what was meant. Weights are drawn from the seed.
        first = args.weights or ("random" if args.model in zoo.MODELS else None)
        drawn = {**options, "seed": args.seed} if first == "random" and args.seed else options
        loaded = load_model(args.model, batch=2, weights=first, inputs=args.input, options=drawn)
        try:
            model = elastic(loaded.module, loaded.example_inputs, order=order, depths=depths, adapters=args.adapters)
        except ConfigError as error:
            raise ConfigError(str(error), where="" if depths is None else "--depths") from None
        teacher = None
        if args.distill_from is not None:
            teacher = load_model(
                args.model, batch=2, weights=args.distill_from, inputs=args.input, options=options
            ).module
    _check_arrays(arrays, loaded.example_inputs, str(args.data))
    if test is not None:
        _check_arrays(test[0], loaded.example_inputs, str(args.test))
    base = sum(w.numel() for w in model.parameters()) - sum(block.parameters for block in model.blocks)
    recipe = _recipe(args, policy_of(args, model.order, model.blocks, base, table), model.order.kind)
    asked = False

    def interrupted(*_: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("airloom: ending after this step; Ctrl-C again ends at once", file=sys.stderr)

    def ended(number: int, epoch: Epoch) -> None:
        # What took long enough to be read leaves a line; a terminal's moving line shows the rest.
        if epoch.seconds >= 10 and not args.json:
            print(epoch_line(number, recipe.epochs, epoch), file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, interrupted)
    before_term = signal.signal(signal.SIGTERM, interrupted)
    try:
        with Progress("training") as progress:

            def tell(step: TrainingStep) -> None:
                progress.total = step.steps
                progress.advance(step.step + 1 - progress.done, note=line(step))

            trained = train_elastic(
                model, arrays, labels, recipe, teacher=teacher, test=test, test_every=args.test_every,
                checkpoint=checkpoint, resume=args.resume, stop=lambda: asked, progress=tell,
                after_epoch=ended, torch_device=args.torch_device, where=str(args.data),
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, before_term)
    if not trained.is_finished:
        print(f"airloom: {checkpoint} has the training as it is: go on with --resume", file=sys.stderr)
        return 130
    record = ElasticRecord(model=args.model, options=options, recipe=recipe, history=trained.history)
    save_elastic(out, model, record)
    if args.checkpoint is None:
        checkpoint.unlink(missing_ok=True)
    show(args, model, trained, recipe, out)
    return 0


def _recipe(args: argparse.Namespace, policy: Any, order: Order) -> Recipe:
    """What the options say, the paper's where they say nothing.

    Raises:
        ConfigError: naming the option.
    """
    from airloom.core.value import Value
    from airloom.errors import ConfigError
    from airloom.nn.elastic.recipe import Recipe, Sandwich, Soft

    given: dict[str, Any] = {name: getattr(args, name, None) for name in Recipe.__struct_fields__}
    given = {name: value for name, value in given.items() if value is not None and not isinstance(value, Value)}
    for name in ("policy", "sandwich", "soft"):
        given.pop(name, None)
    usual = Sandwich.usual(order)
    between = args.sandwich if args.sandwich is not None else usual.between if args.policy == "sandwich" else None
    if args.others is not None and between is None:
        raise ConfigError("is of a sandwich: --policy sandwich, or --sandwich K", where="--others")
    if between is None and args.distill_from is None and (args.soft is not None or args.temperature is not None):
        where = "--soft" if args.soft is not None else "--temperature"
        raise ConfigError("learn from whose answers? --distill-from, or a sandwich", where=where)
    weight = usual.weight if args.others is None else args.others
    recipe = Recipe(
        policy=policy,
        sandwich=None if between is None else Sandwich(between=between, weight=weight),
        soft=Soft(
            share=1.0 if args.soft is None else args.soft,
            temperature=1.0 if args.temperature is None else args.temperature,
        ),
        **given,
    )
    try:
        recipe.check()
    except ConfigError as error:
        named = {"soft.share": "soft", "soft.temperature": "temperature"}.get(error.where, error.where)
        raise ConfigError(str(error).removeprefix(f"{error.where}: "), where="--" + named.replace("_", "-")) from None
    return recipe


def _check_arrays(arrays: list[Any], examples: tuple[Any, ...], where: str) -> None:
    """ConfigError where samples have another form than the network's example inputs."""
    from airloom.errors import ConfigError

    if len(arrays) != len(examples):
        raise ConfigError(f"{len(arrays)} arrays of inputs for a model of {len(examples)}", where=where)
    for array, example in zip(arrays, examples, strict=True):
        wanted = list(example.shape[1:]), str(example.dtype).removeprefix("torch.")
        found = list(array.shape[1:]), str(array.dtype)
        if found != wanted:
            raise ConfigError(
                f"samples of {found[0]} of {found[1]}; the model takes {wanted[0]} of {wanted[1]}", where=where
            )


def _short(model: str) -> str:
    """What a file is called after a model."""
    return Path(model).stem if model.endswith(".pt2") else model.rpartition(":")[2].rpartition(".")[2]
