"""`airloom capture`: a model as a graph, and what crosses each of its cuts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError

if TYPE_CHECKING:
    from airloom.core.graph import ModelGraph

HELP = "turn a PyTorch model into a graph and show every place where it can be cut"
EPILOG = """\
examples:
  airloom capture resnet20
  airloom capture gru_tagger --option steps=10 --all
  airloom capture resnet20 --out resnet20-artifact
  airloom capture vgg11 --option width=16 --json

MODEL is a network of the zoo, package.module:factory (a function that returns the module, or the
module and a tuple of example inputs), a .pt2 file of torch.export.save, or an artifact's folder.
A factory and a .pt2 file are programs: take them from people you trust.
"""

# More cuts than this are summarised.
_MAX_ROWS = 32


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What says which model: shared by the commands that take one."""
    parser.add_argument("model", metavar="MODEL", help="a zoo name, package.module:factory, a .pt2 file or an artifact")
    parser.add_argument("--batch", type=int, metavar="N", help="size of the inputs' first axis (1)")
    parser.add_argument("--weights", metavar="FILE", help="safetensors file; `bundled` or `random` for the zoo")
    parser.add_argument(
        "--input", action="append", default=[], metavar="SHAPE:TYPE",
        help="an input of a factory that names none, 1x3x32x32:uint8; again for each input",
    )  # fmt: skip
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=NUMBER",
        help="an option of the zoo's network or the factory: width=8, num_classes=100, steps=50",
    )  # fmt: skip


def parse_options(texts: list[str]) -> dict[str, int]:
    """`["width=8"]` -> `{"width": 8}`."""
    options: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            options[name.strip()] = int(number)
        except ValueError:
            raise ConfigError(f"expected name=number, got {text!r}", where="--option") from None
    return options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the artifact (graph.json and weights) here")
    parser.add_argument("--train", action="store_true", help="in train mode, for hosts that train")
    parser.add_argument("--all", action="store_true", help="show every cut of a long model")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    from airloom.cli.terminal import Progress, emit_json
    from airloom.nn.agreement import eager_difference
    from airloom.nn.artifact import GRAPH_FILE
    from airloom.nn.capture import capture
    from airloom.nn.models import load_captured, load_model

    options = parse_options(args.option)
    difference: float | None = None
    with Progress(f"capturing {args.model}") as progress:
        if (Path(args.model) / GRAPH_FILE).is_file() or Path(args.model).is_dir():
            captured = load_captured(
                args.model, batch=args.batch, weights=args.weights, inputs=args.input, options=options
            )
        elif args.train:
            from airloom.nn.training.models import capture_for_training

            captured = capture_for_training(
                args.model, batch=args.batch, weights=args.weights, inputs=args.input, options=options
            )
        else:
            model = load_model(args.model, batch=args.batch, weights=args.weights, inputs=args.input, options=options)
            captured = capture(model.module, model.example_inputs, name=model.name)
            progress.advance(note="comparing with the module")
            difference = eager_difference(captured, model.module, model.example_inputs)
        if args.out is not None:
            captured.save(args.out)
    if args.json:
        emit_json(as_json(captured.graph) | {"weights_digest": captured.weights_digest, "eager_difference": difference})
        return 0
    print(describe(captured.graph, every_cut=args.all))
    if difference is not None:
        print("the graph and the module agree " + ("bit for bit" if difference == 0 else f"within {difference:.1e}"))
    if args.out is not None:
        print(f"wrote {args.out / GRAPH_FILE} and its weights")
    return 0


def describe(graph: ModelGraph, *, every_cut: bool = False) -> str:
    """The graph's size and its cuts as text."""
    from airloom.cli.terminal import table
    from airloom.units import format_bytes, format_percent

    macs = [op.macs for op in graph.operators]
    total = sum(macs)
    last = graph.num_operators
    weights = format_bytes(graph.parameter_nbytes(0, last))
    lines = [
        f"{graph.model}: {last} operators, {total / 1e6:.4g} M multiply-accumulates, "
        f"{len(graph.parameters)} weights and buffers ({weights}), {graph.mode} mode",
        "inputs   " + ", ".join(_form(graph, t) for t in graph.inputs),
        "outputs  " + ", ".join(_form(graph, t) for t in graph.outputs),
        f"digest   {graph.digest}",
        "",
    ]
    cuts = list(range(last + 1)) if every_cut or last < _MAX_ROWS else _chosen_cuts(graph)
    done = [0]
    for m in macs:
        done.append(done[-1] + m)
    rows: list[list[Any]] = []
    for cut in cuts:
        live = graph.live_set(cut)
        shown = ", ".join(_form(graph, t) for t in live[:3]) + (f" and {len(live) - 3} more" if len(live) > 3 else "")
        rows.append(
            [
                cut,
                format_bytes(graph.cut_nbytes(cut)),
                len(live),
                format_percent(done[cut] / total) if total else "–",
                graph.operators[cut].name if cut < last else "(result)",
                shown,
            ]
        )
    lines.append(table(rows, ["cut", "bytes", "tensors", "work before", "next operator", "live set"], "rrrrll"))
    if len(cuts) <= last:
        lines.append(
            f"{last + 1 - len(cuts)} more cuts, most of which carry no less than the cut before: --all shows them"
        )
    return "\n".join(lines)


def as_json(graph: ModelGraph) -> dict[str, Any]:
    """The graph's operators and cuts as JSON values."""
    return {
        "model": graph.model,
        "mode": graph.mode,
        "graph_digest": graph.digest,
        "inputs": [_form(graph, t) for t in graph.inputs],
        "outputs": [_form(graph, t) for t in graph.outputs],
        "macs": sum(op.macs for op in graph.operators),
        "parameter_bytes": graph.parameter_nbytes(0, graph.num_operators),
        "operators": [
            {"name": op.name, "target": op.target, "macs": op.macs, "inputs": op.inputs, "outputs": op.outputs}
            for op in graph.operators
        ],
        "cuts": [
            {"cut": cut, "bytes": graph.cut_nbytes(cut), "tensors": live} for cut, live in enumerate(graph.live_sets)
        ],
    }


def _form(graph: ModelGraph, tensor: int) -> str:
    spec = graph.tensors[tensor]
    return f"{spec.dtype} {'x'.join(map(str, spec.shape)) or 'scalar'}"


def _chosen_cuts(graph: ModelGraph) -> list[int]:
    """The first and last cut, and those that carry less than the cut before; a fair sample of many."""
    size = [graph.cut_nbytes(cut) for cut in range(graph.num_operators + 1)]
    falls = [cut for cut in range(1, graph.num_operators) if size[cut] < size[cut - 1]]
    step = max(1, -(-len(falls) // _MAX_ROWS))
    return [0, *falls[::step], graph.num_operators]
