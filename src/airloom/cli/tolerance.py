"""`airloom tolerance`: how much loss each cut of a model may bear."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cli.capture import add_model_arguments, parse_options
from airloom.cli.contract import accuracy

if TYPE_CHECKING:
    from airloom.cli.tolerance_options import Asked
    from airloom.core.tolerance import CutTolerance, LayerTolerance, Tolerance, TunedWeights
    from airloom.nn.captured import Captured
    from airloom.nn.tolerance import Halves, Samples, Score
    from airloom.nn.tolerance.partial import Ledger

HELP = "measure how much loss each cut of a model may bear, and train a receiver to bear more"
EPILOG = """\
examples:
  airloom tolerance resnet20
  airloom tolerance resnet20 --cuts 6,27 --codings raw,structured+neighbours --floor 0.86
  airloom tolerance mine.py_module:net --data test.npz --score judge:word_accuracy --out mine.json
  airloom tolerance resnet20 --cuts 27 --fine-tune 170 --train train.npz --plots plots
  airloom tolerance resnet20 --federated --pattern random --rates 0.1 --draws 10

A .npz file holds one array an input of the model, row k of each is sample k, and `labels`. A network
of the zoo with bundled weights brings test images of its own. `airloom plan --tolerance FILE
--min-accuracy A` uses what is written. Stopped with Ctrl-C, the same command goes on where it was.
"""

DEFAULT_CODINGS = "raw,random,structured+neighbours,int8+structured+neighbours,pruned+structured+neighbours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--data", type=Path, metavar="FILE", help=".npz of test samples and their `labels`")
    parser.add_argument("--samples", type=int, metavar="N", help="measure with the first N of them (all)")
    parser.add_argument("--cuts", default="auto", metavar="LIST", help="3,7 or all or auto: a handful (auto)")
    parser.add_argument("--codings", default=DEFAULT_CODINGS, metavar="LIST", help=f"({DEFAULT_CODINGS})")
    parser.add_argument(
        "--pattern", default="burst", metavar="LIST", help="burst: whole blocks; random: elements (burst)"
    )
    parser.add_argument("--rates", metavar="LIST", help="error rates, 0 to 1 (0,0.05,0.1,0.2 ... 0.95,1)")
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="of errors at each rate (3)")
    parser.add_argument(
        "--block-bytes", default="1152", metavar="LIST",
        help="payload of a block: 1152 on Airloom's wire, 3777 in the radio's transport block (1152)",
    )  # fmt: skip
    parser.add_argument("--floor", type=accuracy, metavar="A", help="show the block error rate that keeps accuracy A")
    parser.add_argument("--federated", action="store_true", help="errors in each layer's weights on their way, too")
    parser.add_argument(
        "--fine-tune", type=float, metavar="SECONDS",
        help="train the receiving half of each cut for as long, under the codings that are `+tuned` (or the last one)",
    )  # fmt: skip
    parser.add_argument(
        "--train", type=Path, metavar="FILE", help=".npz to train with; no sample of --data may be in it"
    )
    parser.add_argument("--lr", type=float, default=0.003, metavar="R", help="learning rate of --fine-tune (0.003)")
    parser.add_argument(
        "--score", metavar="MODULE:FUNCTION",
        help="how right an answer is: takes the model's outputs and labels, gives 0 to 1 a sample (top-1)",
    )  # fmt: skip
    parser.add_argument("--at-once", type=int, metavar="N", help="samples in one pass (what fits well, at most 125)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch's threads (1)")
    parser.add_argument("--torch-device", default="cpu", metavar="DEVICE", help="cpu, cuda, cuda:1 (cpu)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the errors (0)")
    parser.add_argument("--out", type=Path, default=Path("tolerance.json"), metavar="FILE", help="(tolerance.json)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write PNGs of accuracy against error rate here")
    parser.add_argument("--json", action="store_true", help="print the profile as JSON")


def run(args: argparse.Namespace) -> int:
    from airloom.cli.tolerance_options import Asked

    asked = Asked(args)
    from airloom.cli.terminal import Progress, emit_json
    from airloom.files import write_value
    from airloom.nn.models import load_captured
    from airloom.nn.tolerance import Halves, check_samples, load_score, top1
    from airloom.nn.tolerance.partial import Ledger
    from airloom.nn.tolerance.profile import settings_digest

    score = load_score(args.score) if args.score else top1
    classes = args.score is None
    test, data = _samples(args.data, args)
    train = None if args.train is None else _samples(args.train, args)[0]
    options = {"weights": args.weights, "inputs": args.input, "options": parse_options(args.option)}
    with Progress(f"capturing {args.model}") as progress:
        host = load_captured(args.model, batch=args.batch, **options)
        test = check_samples(test, host.graph, classes=classes, where=data)
        if train is not None:
            train = check_samples(train, host.graph, classes=classes, where=str(args.train))
            _apart(test, train, str(args.train))
        test = test if args.samples is None else test.first(args.samples)
        cuts = _cuts(args.cuts, host)
        progress.advance(note="at a larger batch")
        large = _large(args, host, len(test), options)
    halves = Halves(host, large, torch_device=args.torch_device, threads=args.threads)
    ledger = Ledger(args.out, settings_digest(
        host, test, train, score=args.score or "top-1", error_rates=asked.rates, draws=args.draws, seed=args.seed,
        training=(args.fine_tune, args.lr) if args.fine_tune else None,
    ))  # fmt: skip
    profile = _measure(args, asked, halves, test, train, cuts, score, data, ledger)
    write_value(args.out, profile)
    ledger.close()
    if args.plots is not None:
        from airloom.report.plot_tolerance import write_tolerance_plots

        written = write_tolerance_plots(profile, args.plots)
    if args.json:
        emit_json(profile)
        return 0
    from airloom.cli.tolerance_table import describe

    print(describe(profile, floor=args.floor))
    many = "" if args.plots is None else f" and {len(written)} plot{'s' * (len(written) != 1)} in {args.plots}"
    print(f"wrote {args.out}{many}")
    return 0


# --- model and samples ---------------------------------------------------------------------------


def _cuts(text: str, host: Captured) -> tuple[int, ...]:
    from airloom.cli.tolerance_options import parts, whole
    from airloom.errors import ConfigError
    from airloom.nn.tolerance.profile import chosen_cuts

    graph = host.graph
    if text == "auto":
        return chosen_cuts(graph)
    if text == "all":
        return tuple(range(graph.num_operators + 1))
    cuts = tuple(whole(part, "--cuts") for part in parts(text, "--cuts"))
    for cut in cuts:
        if not 0 <= cut <= graph.num_operators:
            raise ConfigError(f"no cut {cut} in {graph.model}: its cuts are 0 to {graph.num_operators}", where="--cuts")
    return cuts


def _samples(file: Path | None, args: argparse.Namespace) -> tuple[Samples, str]:
    """The samples of `file`, or the test images of a network with bundled weights; and whose they are."""
    from airloom import zoo
    from airloom.cli.inputs import read_labelled
    from airloom.errors import ConfigError
    from airloom.nn.models import load_model
    from airloom.nn.tolerance import Samples

    if file is not None:
        inputs, labels = read_labelled(file)
        return Samples(tuple(inputs), labels), str(file)
    bundled = args.model in zoo.IMAGE_MODELS and zoo.bundled_weights(args.model) is not None and not args.option
    if not bundled or args.weights == "random":
        if args.model not in zoo.MODELS and not args.model.endswith(".pt2") and not Path(args.model).is_dir():
            load_model(args.model)  # a name that is none is the first thing to mend
        raise ConfigError(
            f"measured with which samples? {args.model} brings none: --data FILE.npz with inputs and `labels`"
        )
    images, labels = zoo.test_images()
    return Samples((images,), labels), "the zoo's test images"


def _apart(test: Samples, train: Samples, where: str) -> None:
    """ConfigError where a test sample is trained with."""
    from airloom.errors import ConfigError

    seen = set(train.row_digests())
    shared = sum(row in seen for row in test.row_digests())
    if shared:
        raise ConfigError(f"{shared} of the test samples are in it: a figure would flatter", where=where)


def _large(args: argparse.Namespace, host: Captured, samples: int, options: dict[str, Any]) -> Captured:
    """The model at a batch to measure with; an artifact has only its own."""
    from airloom.nn.artifact import GRAPH_FILE
    from airloom.nn.models import load_captured

    if (Path(args.model) / GRAPH_FILE).is_file():
        return host
    graph = host.graph
    each = graph.tensors[graph.inputs[0]].shape[0]
    largest = max(graph.cut_nbytes(cut) for cut in range(graph.num_operators + 1)) // max(each, 1)
    fits = max(1, min(_AT_ONCE, samples, _LIVE_BYTES // max(largest, 1)))
    batch = max(each, (args.at_once or fits) // each * each)
    return host if batch == each else load_captured(args.model, batch=batch, **options)


#: Samples in one pass, unless their largest live set takes more than so many bytes.
_AT_ONCE = 125
_LIVE_BYTES = 64 << 20


# --- measuring -----------------------------------------------------------------------------------


def _measure(
    args: argparse.Namespace,
    asked: Asked,
    halves: Halves,
    test: Samples,
    train: Samples | None,
    cuts: tuple[int, ...],
    score: Score,
    data: str,
    ledger: Ledger,
) -> Tolerance:
    from airloom.cli.terminal import Progress
    from airloom.nn.tolerance.layers import measure_layers
    from airloom.nn.tolerance.maps import CALIBRATION_SAMPLES, calibrate
    from airloom.nn.tolerance.measuring import num_evaluations
    from airloom.nn.tolerance.profile import Case, cases, measure

    work = cases(halves.host, cuts, asked.codings, asked.patterns, asked.block_bytes)
    with Progress("calibrating feature maps"):
        calibration = (train or test).first(CALIBRATION_SAMPLES)
        maps = calibrate(halves, calibration, {case.cut for case in work})
    tuned: dict[int, Halves] = {}
    files: list[TunedWeights] = []
    for cut in sorted({case.cut for case in work if case.coding.tuned}):
        assert train is not None
        coding = next(case.coding for case in work if case.cut == cut and case.coding.tuned)
        weights, record = _tuned(args, halves, cut, coding, train, asked, maps, ledger)
        tuned[cut] = halves.tuned(weights)
        files.append(record)
    known = {Case.of(entry) for entry in ledger.kept.cuts}
    each = num_evaluations(halves, test, asked.rates, args.draws)
    total = each * sum(case not in known for case in work)
    if known & set(work):
        _note(f"{len(known & set(work))} of {len(work)} curves were measured before: {ledger.path} has them")
    with Progress(f"measuring {halves.graph.model}", total=total) as progress:

        def finished(entry: CutTolerance) -> None:
            ledger.add(entry)
            progress.advance(0, note=f"cut {entry.cut} {entry.coding.name}")

        layers: tuple[LayerTolerance, ...] = ()
        if args.federated:
            layers = measure_layers(
                halves, test, patterns=asked.patterns, error_rates=asked.rates, draws=args.draws,
                block_bytes=asked.block_bytes[0], score=score, seed=args.seed, known=ledger.kept.layers,
                finished=ledger.add,
            )  # fmt: skip
        return measure(
            halves, test, cuts=cuts, codings=asked.codings, patterns=asked.patterns, error_rates=asked.rates,
            draws=args.draws, block_bytes=asked.block_bytes, score=score, metric=args.score or "top-1",
            seed=args.seed, maps=maps, tuned=tuned, tuned_files=files, layers=layers, data=data,
            known=ledger.kept.cuts, finished=finished, advance=progress.advance,
        )  # fmt: skip


def _tuned(
    args: argparse.Namespace,
    halves: Halves,
    cut: int,
    coding: Any,
    train: Samples,
    asked: Asked,
    maps: Any,
    ledger: Ledger,
) -> tuple[dict[str, Any], TunedWeights]:
    """Weights for `cut`: those of the ledger, or new ones."""
    import numpy as np

    from airloom.cli.terminal import Progress
    from airloom.nn.tolerance.tuning import fine_tune
    from airloom.nn.tolerance.weights import read_tuned, write_tuned

    for record in ledger.kept.tuned:
        weights = read_tuned(args.out.parent, record) if record.cut == cut else None
        if weights is not None:
            return weights, record
    with Progress(f"training behind cut {cut}", total=round(args.fine_tune)) as progress:

        def stepped(step: int, loss: float, seconds: float) -> None:
            progress.advance(int(seconds) - progress.done, note=f"{step} steps, loss {loss:.3f}")

        weights = fine_tune(
            halves, cut, coding, train, rng=np.random.default_rng([args.seed, cut]), seconds=args.fine_tune,
            block_bytes=asked.block_bytes[0], lr=args.lr, classes=args.score is None,
            maps={order.tensor: order for order in maps}, progress=stepped,
        )  # fmt: skip
    path = args.out.with_name(f"{args.out.stem}.cut{cut}.safetensors")
    record = write_tuned(path, cut, weights)
    ledger.add(record)
    stored = read_tuned(args.out.parent, record)
    assert stored is not None
    return stored, record


def _note(text: str) -> None:
    import sys

    print(text, file=sys.stderr)
