"""airloom elastic table: what every depth and precision of an elastic model is worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.cli.elastic_model import add_elastic_arguments

if TYPE_CHECKING:
    from airloom.core.progressive import DepthTable
    from airloom.nn.elastic.files import ElasticRecord
    from airloom.nn.elastic.model import ElasticModel
    from airloom.nn.tolerance import Samples

HELP = "measure accuracy, bytes, MACs and latency of every depth and precision of an elastic model"
EPILOG = """\
examples:
  airloom elastic table resnet20
  airloom elastic table resnet20 --depths 3,6,9 --precisions int8,bits-4,bits-6 --plot table.png
  airloom elastic table resnet20 --weights elastic.safetensors --data test.npz --out mine.json
  airloom elastic table package.module:net --weights net.safetensors --data test.npz --score judge:word_accuracy

Every configuration, a depth and a precision, is measured with the weights that would arrive, decoded from the bytes
that would be sent. The receiver makes fp32 of them, so a precision costs bytes and accuracy and no time: latency is
measured once a depth, one sample at a time. A star marks what no other beats in accuracy, bytes and MACs at once.

A .npz file holds one array an input of the model, row k of each is sample k, and `labels`; a network with bundled
elastic weights brings test images of its own. `airloom elastic pack --table FILE` takes what is written. Stopped with
Ctrl-C, the same command goes on where it was.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_elastic_arguments(parser)
    parser.add_argument("--data", type=Path, metavar="FILE", help=".npz of test samples and their `labels`")
    parser.add_argument("--samples", type=int, metavar="N", help="measure with the first N of them (all)")
    parser.add_argument("--depths", metavar="LIST", help="numbers of blocks: 3,6,9 (all that it was trained for)")
    parser.add_argument("--precisions", metavar="LIST", help="of fp32, fp16, int8, bits-4, -6, -8, -12, -16 (all)")
    parser.add_argument(
        "--score", metavar="MODULE:FUNCTION",
        help="how right an answer is: takes the model's outputs and labels, gives 0 to 1 a sample (top-1)",
    )  # fmt: skip
    parser.add_argument("--at-once", type=int, default=125, metavar="N", help="samples in one pass (125)")
    parser.add_argument(
        "--latency-seconds", type=float, default=1.0, metavar="S", help="for how long each depth is timed; 0: not (1)"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch's threads (1)")
    parser.add_argument("--torch-device", default="cpu", metavar="DEVICE", help="cpu, cuda, cuda:1 (cpu)")
    parser.add_argument("--name", metavar="NAME", help="what the model is called (MODEL)")
    parser.add_argument("--as-graph", action="store_true", help="a network of the zoo will be packed as a graph, too")
    parser.add_argument("--out", type=Path, default=Path("table.json"), metavar="FILE", help="(table.json)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG of error against bytes and MACs here")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(args: argparse.Namespace) -> int:
    import os

    depths = _depths(args.depths)
    precisions = _precisions(args.precisions)
    _check(args)
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))

    from airloom.cli.elastic_model import load_chosen, short_name
    from airloom.cli.terminal import Progress, emit_json

    name = args.name or short_name(args.model)
    given = None if args.data is None else _read(args.data)
    with Progress(f"loading {args.model}"):
        elastic, record = load_chosen(args)
    samples = _fitting(args, elastic, record, _samples(args, given))
    table = _measured(args, elastic, samples, name, depths, precisions)
    if args.plot is not None:
        from airloom.report.plot_progressive import write_table_plot

        write_table_plot(table, args.plot)
    if args.json:
        emit_json(table)
    else:
        from airloom.cli.depth_table import describe

        print(describe(table))
        print(f"wrote {args.out}" + (f" and {args.plot}" if args.plot is not None else ""))
    return 0


def _depths(text: str | None) -> tuple[int, ...] | None:
    from airloom.cli.tolerance_options import parts, whole

    return None if text is None else tuple(whole(part, "--depths") for part in parts(text, "--depths"))


def _precisions(text: str | None) -> tuple[str, ...]:
    from airloom.cli.tolerance_options import parts
    from airloom.core.progressive import PRECISIONS, encodings_of
    from airloom.errors import ConfigError

    if text is None:
        return PRECISIONS
    asked = tuple(parts(text, "--precisions"))
    for precision in asked:
        try:
            encodings_of(precision)
        except ConfigError as error:
            raise ConfigError(str(error), where="--precisions") from None
    return asked


def _check(args: argparse.Namespace) -> None:
    """What can be refused before torch is imported."""
    import math

    from airloom.errors import ConfigError

    for option, value in (("--samples", args.samples), ("--at-once", args.at_once), ("--threads", args.threads)):
        if value is not None and value < 1:
            raise ConfigError(f"at least 1, got {value}", where=option)
    if not 0 <= args.latency_seconds < math.inf:
        raise ConfigError(f"0 s or more, got {args.latency_seconds:g}", where="--latency-seconds")
    for option, path in (("--out", args.out), ("--plot", args.plot)):
        if path is not None and path.is_dir():
            raise ConfigError(f"{path} is a folder: name a file", where=option)


def _read(path: Path) -> Samples:
    from airloom.cli.inputs import read_labelled
    from airloom.nn.tolerance import Samples

    inputs, labels = read_labelled(path)
    return Samples(tuple(inputs), labels)


def _samples(args: argparse.Namespace, given: Samples | None) -> Samples:
    """Those of --data, or the test images that come with a network whose elastic weights are bundled."""
    from airloom import zoo
    from airloom.errors import ConfigError
    from airloom.nn.tolerance import Samples

    if given is None:
        if args.model not in zoo.IMAGE_MODELS or zoo.bundled_weights(args.model, elastic=True) is None or args.option:
            raise ConfigError(
                f"measured with which samples? {args.model} brings none: --data FILE.npz with inputs and `labels`"
            )
        images, labels = zoo.test_images()
        given = Samples((images,), labels)
    return given if args.samples is None else given.first(args.samples)


def _fitting(args: argparse.Namespace, elastic: ElasticModel, record: ElasticRecord, samples: Samples) -> Samples:
    """`samples`, held against what the model takes and gives."""
    from airloom.cli.capture import parse_options
    from airloom.cli.terminal import Progress
    from airloom.nn.capture import capture
    from airloom.nn.models import load_model
    from airloom.nn.tolerance import check_samples

    with Progress(f"capturing {args.model}"):
        options = parse_options(args.option) or record.options
        example = load_model(args.model, batch=1, inputs=args.input, options=options).example_inputs
        graph = capture(elastic.module, example, name=args.model).graph
    where = "the zoo's test images" if args.data is None else str(args.data)
    return check_samples(samples, graph, classes=args.score is None, where=where)


def _measured(
    args: argparse.Namespace,
    elastic: ElasticModel,
    samples: Samples,
    name: str,
    depths: tuple[int, ...] | None,
    precisions: tuple[str, ...],
) -> DepthTable:
    """The table, written to --out; what is measured goes to the ledger at once."""
    import sys
    import time

    from airloom import zoo
    from airloom.cli.terminal import Progress
    from airloom.core.progressive import Configuration
    from airloom.errors import ConfigError
    from airloom.files import write_value
    from airloom.nn.elastic.table import (
        chosen_depths,
        chosen_precisions,
        measure_table,
        num_evaluations,
        settings_digest,
    )
    from airloom.nn.elastic.table_ledger import TableLedger
    from airloom.nn.tolerance import load_score, top1
    from airloom.units import format_seconds

    try:
        chosen = chosen_depths(elastic, depths)
    except ConfigError as error:
        raise ConfigError(str(error), where="--depths") from None
    score = load_score(args.score) if args.score else top1
    metric = args.score or "top-1"
    as_graph = args.as_graph or args.model not in zoo.MODELS
    ledger = TableLedger(args.out, settings_digest(
        elastic, samples, model=name, metric=metric, batch=args.at_once, threads=args.threads,
        torch_device=args.torch_device, as_graph=as_graph,
    ))  # fmt: skip
    asked = [f"{d}/{p}" for p in chosen_precisions(precisions) for d in chosen]
    known = [c for c in ledger.configurations if c.name in asked]
    if known:
        print(f"{len(known)} of {len(asked)} configurations were measured before: {ledger.path} has them",
              file=sys.stderr)  # fmt: skip
    total = num_evaluations(samples, len(chosen), len(set(precisions)), len(known))
    with Progress(f"measuring {name}", total=total) as progress:
        began = time.monotonic()

        def finished(configuration: Configuration) -> None:
            ledger.add(configuration)
            rest = (time.monotonic() - began) / max(progress.done, 1) * (total - progress.done)
            progress.advance(0, note=f"{configuration.name}, {format_seconds(rest)} left")

        table = measure_table(
            elastic, samples, model=name, depths=chosen, precisions=precisions, score=score, metric=metric,
            batch=args.at_once, threads=args.threads, torch_device=args.torch_device,
            latency_seconds=args.latency_seconds, as_graph=as_graph, known=known, finished=finished,
            advance=progress.advance,
        )  # fmt: skip
    write_value(args.out, table)
    ledger.close()
    return table
