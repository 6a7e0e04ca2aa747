"""airloom elastic pack: a trained elastic model as a signed folder that any web server can host."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.cli.elastic_model import add_elastic_arguments, load_chosen, short_name

if TYPE_CHECKING:
    from torch import Tensor

    from airloom.core.progressive import DepthTable, Manifest
    from airloom.nn.elastic.files import ElasticRecord

HELP = "pack an elastic model into a signed folder, ready to be served"
EPILOG = """\
examples:
  airloom elastic pack resnet20 --key publisher.key
  airloom elastic pack resnet20 --weights elastic.safetensors --table table.json --key publisher.key --out public
  airloom elastic pack package.module:net --weights net.safetensors --key publisher.key --precisions bits-4,bits-8

The table (`airloom elastic table`) says what each configuration is worth: without it a server can promise bytes and
times, but no accuracy. A network of the zoo goes by its name, any other as a graph, for a batch of one. Serve the
folder with `airloom serve-model`, or put it on any web server or CDN.

A folder with a packed model in it is packed anew while it is served: those who fetch the old one get it to its end.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_elastic_arguments(parser)
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="private key of `airloom elastic keys`")
    parser.add_argument("--table", type=Path, metavar="FILE", help="of `airloom elastic table`")
    parser.add_argument("--name", metavar="NAME", help="what the model is called in addresses (MODEL)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the artifact goes (NAME)")
    parser.add_argument("--depths", metavar="LIST", help="numbers of blocks: 3,6,9 (those of the table, or all)")
    parser.add_argument(
        "--precisions", metavar="LIST",
        help="of fp32, fp16, int8, bits-4, -6, -8, -12, -16 (those of the table, or fp32 and all bits)",
    )  # fmt: skip
    parser.add_argument("--as-graph", action="store_true", help="pack a network of the zoo as a graph, too")
    parser.add_argument("--json", action="store_true", help="print what was packed as JSON")


def run(args: argparse.Namespace) -> int:
    from airloom.cli.terminal import Progress, emit_json
    from airloom.cli.tolerance_options import parts, whole
    from airloom.deliver.manifest import check_name
    from airloom.deliver.signing import public_text, read_private_key

    key = read_private_key(args.key)
    name = check_name(args.name or short_name(args.model), where="--name")
    depths = None if args.depths is None else [whole(part, "--depths") for part in parts(args.depths, "--depths")]
    precisions = None if args.precisions is None else parts(args.precisions, "--precisions")
    table = None if args.table is None else _table(args.table)
    folder: Path = args.out or Path(name)

    from airloom import zoo
    from airloom.deliver.packing import pack

    with Progress(f"loading {args.model}"):
        elastic, record = load_chosen(args)
        example, options = _example(args, record)
    with Progress(f"packing {name}") as progress:
        manifest = pack(
            elastic, folder, name=name, key=key, example_inputs=example,
            zoo=args.model if args.model in zoo.MODELS and not args.as_graph else "", options=options,
            table=table, precisions=precisions, depths=depths, advance=progress.advance,
        )  # fmt: skip
    if args.json:
        emit_json(as_json(manifest) | {"folder": str(folder), "public_key": public_text(key.public_key())})
    else:
        print(describe(manifest))
        print(f"wrote {folder}, signed by {public_text(key.public_key())}")
    return 0


def describe(manifest: Manifest) -> str:
    """What was packed, in a few lines."""
    from airloom.units import format_bytes, format_percent

    first, last = manifest.configurations[0], manifest.configurations[-1]
    share = f", {format_percent(first.nbytes / last.nbytes)} of the bytes of the last" if last is not first else ""
    lines = [
        f"{manifest.model}: {len(manifest.configurations)} configurations of {len(manifest.chunks)} chunks",
        f"first answer with {first.name}, {format_bytes(first.nbytes)}{share}",
        f"largest {last.name}, {format_bytes(last.nbytes)}",
    ]
    if all(row.accuracy is None for row in manifest.configurations):
        lines.append("no accuracies: measure them with `airloom elastic table`, and pack with --table")
    return "\n".join(lines)


def as_json(manifest: Manifest) -> dict[str, object]:
    """What was packed as JSON values."""
    return {
        "model": manifest.model,
        "architecture": manifest.architecture.kind,
        "chunks": len(manifest.chunks),
        "chunk_nbytes": sum(chunk.nbytes for chunk in manifest.chunks),
        "configurations": manifest.configurations,
    }


def _table(path: Path) -> DepthTable:
    from airloom.core.progressive import DepthTable
    from airloom.files import read_value

    return read_value(path, DepthTable)


def _example(args: argparse.Namespace, record: ElasticRecord) -> tuple[tuple[Tensor, ...], dict[str, int]]:
    """One sample, and the options that the network was built with."""
    from airloom import zoo
    from airloom.cli.capture import parse_options
    from airloom.nn.models import load_model

    options = parse_options(args.option) if args.option else record.options
    if args.model in zoo.MODELS:
        return zoo.example_inputs(args.model, 1, **options), options
    return load_model(args.model, batch=1, inputs=args.input, options=options).example_inputs, options
