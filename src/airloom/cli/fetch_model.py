"""`airloom fetch-model`: a progressive model from a host, as much of it as is wanted."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError

if TYPE_CHECKING:
    from airloom.core.progressive import Configuration
    from airloom.deliver.client.events import FetchEvent
    from airloom.deliver.client.options import FetchOptions
    from airloom.deliver.model import ProgressiveModel

HELP = "fetch a progressive model: the part that arrives by a deadline, the rest when it pays"
EPILOG = """\
examples:
  airloom fetch-model https://host/v1/models/resnet56 --public-key publisher.pub --deadline 200ms
  airloom fetch-model https://host/models/resnet56 --public-key publisher.pub --accuracy 90% --out resnet56-fetched
  airloom fetch-model ./resnet56 --public-key publisher.pub --depth 9 --precision bits-8 --check samples.npz

URL is a folder of `airloom elastic pack` on any web server, a model of `airloom serve-model`, or a folder here. Every
byte is verified against the manifest that its publisher signed. What has arrived stays in the cache: after Ctrl-C, a
broken connection or a killed process the same command goes on where it was, and asking for more fetches what is
missing alone. --out writes a captured model that `airloom profile`, `plan` and `run` take, and the weights beside it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="http(s)://host/folder of the model, or a folder")
    wanted = parser.add_argument_group("what is wanted; without any of these, the best")
    wanted.add_argument("--deadline", metavar="TIME", help="the part that arrives within: 200ms")
    wanted.add_argument("--rate", metavar="RATE", help="of the link: 20 Mbit/s (the server's estimate, or measured)")
    wanted.add_argument("--accuracy", metavar="SHARE", help="the fewest bytes that are as accurate: 90%%")
    wanted.add_argument("--max-size", metavar="SIZE", help="the best within so many bytes: 500 KiB")
    wanted.add_argument("--max-macs", type=float, metavar="NUMBER", help="of one answer, multiply-accumulates: 40e6")
    wanted.add_argument("--depth", type=int, metavar="N", help="this number of blocks, or of groups of trees")
    wanted.add_argument("--precision", metavar="NAME", help="fp32, fp16, int8, bits-4, -6, -8, -12, -16")
    trust = parser.add_argument_group("trust")
    trust.add_argument("--public-key", metavar="KEY", help="the publisher's: a file, or ed25519:...")
    trust.add_argument(
        "--trust-first", action="store_true", help="take the key that is there, and only that one ever after"
    )
    trust.add_argument("--allow-rollback", action="store_true", help="take a manifest older than one seen before")
    trust.add_argument("--token-file", type=Path, metavar="FILE", help="the host's bearer token, on one line")
    trust.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust, in place of the system's")
    cache = parser.add_argument_group("cache and patience")
    cache.add_argument("--cache", type=Path, metavar="FOLDER", help="(~/.cache/airloom/models)")
    cache.add_argument("--cache-size", metavar="SIZE", help="what the cache may hold (4 GiB)")
    cache.add_argument("--stall", metavar="TIME", help="without a byte before a transfer is begun anew (10 s)")
    cache.add_argument("--patience", metavar="TIME", help="without a byte before giving up (60 s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write what arrived as a captured model")
    parser.add_argument("--check", type=Path, metavar="FILE", help="measure accuracy on an .npz of inputs and labels")
    parser.add_argument("--json", action="store_true", help="print what happened as JSON")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    from airloom.deliver.model import ProgressiveModel
    from airloom.units import parse_bytes, parse_probability, parse_rate, parse_seconds

    # What may be wrong on the line is found before anything is fetched.
    limits: dict[str, Any] = {}
    if args.accuracy is not None:
        limits["accuracy"] = parse_probability(args.accuracy, where="--accuracy")
    if args.max_size is not None:
        limits["max_nbytes"] = parse_bytes(args.max_size, where="--max-size")
    if args.max_macs is not None:
        if not 0 <= args.max_macs < 2**63:
            raise ConfigError(f"expected multiply-accumulates, 40e6, got {args.max_macs}", where="--max-macs")
        limits["max_macs"] = int(args.max_macs)
    deadline_s = None if args.deadline is None else parse_seconds(args.deadline, where="--deadline")
    rate_bps = None if args.rate is None else parse_rate(args.rate, where="--rate")
    options, token = _options(args), _token(args.token_file)
    if args.out is not None:
        _check_out(args.out)
    samples = None
    if args.check is not None:
        from airloom.cli.inputs import read_labelled

        samples = read_labelled(args.check)
    with contextlib.suppress(ModuleNotFoundError):  # an ensemble needs no torch
        import airloom.deliver.network  # noqa: F401  # before the deadline begins to run
    shown = _Shown(quiet=args.quiet or args.json)
    try:
        with ProgressiveModel.open(
            args.url, key=args.public_key, trust_first=args.trust_first, token=token, deadline_s=deadline_s,
            rate_bps=rate_bps, depth=args.depth, precision=args.precision, on_event=shown.event, options=options,
            **limits,
        ) as model:  # fmt: skip
            try:
                reached = _waited(model)
            finally:
                shown.clear()
            measured = None if samples is None else _accuracy(model, *samples)
            if args.out is not None:
                _write(model, args.out)
            if args.json:
                _print_json(model, reached, measured)
            elif not args.quiet:
                _print(model, reached, measured, deadline_s, args.out)
    except KeyboardInterrupt:
        shown.clear()
        shown.interrupted()
        raise
    return 0


def _waited(model: ProgressiveModel) -> Configuration:
    """The target; in steps, so that Ctrl-C is heard."""
    while not model.done:
        model.settled(0.2)
    return model.wait()


def _options(args: argparse.Namespace) -> FetchOptions:
    from airloom.deliver.client.options import FetchOptions
    from airloom.files import read_bytes
    from airloom.units import parse_bytes, parse_seconds

    if args.ca is not None:
        read_bytes(args.ca)  # also where the address is http://, and nobody would miss it
    given: dict[str, Any] = {"cache": args.cache, "ca": args.ca, "allow_rollback": args.allow_rollback}
    if args.cache_size is not None:
        given["cache_nbytes"] = parse_bytes(args.cache_size, where="--cache-size")
    if args.stall is not None:
        given["stall_timeout_s"] = parse_seconds(args.stall, where="--stall")
        if not given["stall_timeout_s"]:
            raise ConfigError("a time without a byte is above 0", where="--stall")
    if args.patience is not None:
        given["patience_s"] = parse_seconds(args.patience, where="--patience")
    return FetchOptions(**given)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    from airloom.files import read_bytes

    try:
        return read_bytes(path).decode("ascii").strip()
    except UnicodeDecodeError:
        raise ConfigError("a token is one line of printable ASCII", where=str(path)) from None


def _accuracy(model: ProgressiveModel, inputs: Any, labels: Any) -> float:
    from airloom.deliver.checking import accuracy

    # A graph runs for the batch that it was captured with.
    batch = 1 if model.manifest.architecture.kind == "graph" else 64
    if model.manifest.architecture.kind == "trees":
        return accuracy(model, inputs, labels, batch=batch)
    import torch

    def call(*rows: Any) -> Any:
        with torch.no_grad():
            found = model(*map(torch.from_numpy, rows))
        return (found[0] if isinstance(found, tuple | list) else found).numpy()

    return accuracy(call, inputs, labels, batch=batch)


def _check_out(folder: Path) -> None:
    """Refuse what cannot be written to before anything is fetched.

    Raises:
        ConfigError: a file, or a folder with something else in it.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a folder", where="--out")
    if (folder / "manifest.json").exists():
        raise ConfigError(f"{folder} has a packed model in it: name another folder", where="--out")


def _write(model: ProgressiveModel, folder: Path) -> None:
    from airloom.deliver.export import write_captured

    try:
        write_captured(model, folder)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}: name another folder (--out)", where=str(folder)) from None


class _Shown:
    """What a person sees while it goes on: a line that moves on a terminal, nothing in a pipe."""

    def __init__(self, *, quiet: bool) -> None:
        import sys

        self._stream = sys.stderr
        self._quiet, self._live = quiet, self._stream.isatty() and not quiet
        self._at_s = -1.0
        self._before_nbytes = 0  # the manifest's, which the target does not count

    def event(self, event: FetchEvent) -> None:
        """Show it, at most ten times a second."""
        from airloom.units import format_bytes

        if event.kind == "manifest" and event.text and not self._quiet:
            print(event.text, file=self._stream, flush=True)
        if event.kind == "retry" and self._live:
            self.clear()
            print(event.text, file=self._stream, flush=True)
        if not self._live or (event.kind == "bytes" and event.at_s - self._at_s < 0.1):
            return
        self._at_s = event.at_s
        if event.kind == "target":
            self._before_nbytes = event.fetched_nbytes
        arrived = format_bytes(event.fetched_nbytes)
        whole = format_bytes(max(event.fetched_nbytes, self._before_nbytes + event.needed_nbytes))
        runs = (
            "nothing runs yet" if event.configuration is None or event.kind == "target" else _row(event.configuration)
        )
        if event.kind in ("bytes", "usable", "done"):
            self._stream.write(f"\r\x1b[2K{arrived} of {whole}  {runs}"[:200])
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._live:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def interrupted(self) -> None:
        """Say how to go on."""
        print("airloom: what has arrived is kept: the same command goes on from there", file=self._stream)


def _row(configuration: Configuration, part: str = "block") -> str:
    from airloom.units import format_percent

    known = "" if configuration.accuracy is None else f", {format_percent(configuration.accuracy)} accurate"
    parts = f"{part}{'s' * (configuration.depth != 1)}{' of trees' * (part == 'group')}"
    return f"{configuration.depth} {parts} in {configuration.precision}{known}"


def _ready_s(model: ProgressiveModel, last: bool) -> float | None:
    times = [event.at_s for event in model.history if event.kind == "usable"]
    return None if not times else times[-1] if last else times[0]


def _print(
    model: ProgressiveModel, reached: Configuration, measured: float | None, deadline_s: float | None, out: Path | None
) -> None:
    from airloom.units import format_bytes, format_percent, format_rate, format_seconds

    best = max(model.manifest.configurations, key=lambda c: c.nbytes)
    row = _row(reached, "group" if model.manifest.architecture.kind == "trees" else "block")
    share = format_percent(reached.nbytes / best.nbytes)
    print(f"{model.manifest.model}: {row}, {format_bytes(reached.nbytes)} ({share} of the whole)")
    at = f" at {format_rate(model.rate_bps)}" if model.rate_bps else ""
    first_s, last_s = _ready_s(model, last=False), _ready_s(model, last=True)
    line = f"fetched {format_bytes(model.fetched_nbytes)}{at}"
    if first_s is not None and last_s is not None:
        line += f"; first answer after {format_seconds(first_s)}, this one after {format_seconds(last_s)}"
        if deadline_s is not None and last_s > deadline_s:
            line += f", {format_seconds(last_s - deadline_s)} late"
    print(line)
    if measured is not None:
        print(f"{format_percent(measured)} accurate on the samples")
    if out is not None:
        print(f"wrote {out}")


def _print_json(model: ProgressiveModel, reached: Configuration, measured: float | None) -> None:
    import msgspec

    from airloom.cli.terminal import emit_json

    emit_json(
        {
            "model": model.manifest.model,
            "configuration": msgspec.to_builtins(reached),
            "fetched_nbytes": model.fetched_nbytes,
            "rate_bps": model.rate_bps,
            "first_s": _ready_s(model, last=False),
            "usable_s": _ready_s(model, last=True),
            "measured_accuracy": measured,
            "events": [msgspec.to_builtins(event) for event in model.history],
        }
    )
