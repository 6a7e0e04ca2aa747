"""`airloom report`: a run folder or traces as a page, pictures, a Perfetto trace, JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.report.beside import Beside
    from airloom.report.figure import Figure
    from airloom.report.summary import Summary

HELP = "show what a run gained: one HTML page, PNGs, a trace for Perfetto, JSON"
EPILOG = """\
examples:
  airloom report out/ --out report.html
  airloom report out/ --png figures/ --perfetto trace.json
  airloom report out/ out/simulated/
  airloom report ue.jsonl mec.jsonl --json

The page is a single file: mail it, print it, open it offline. Every number in it says
whether it was measured, modelled or published. Open trace.json at https://ui.perfetto.dev.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "traces",
        nargs="+",
        type=Path,
        metavar="TRACE",
        help="a run folder, trace files (.jsonl), or two run folders to put side by side",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; report.html in the run folder by default")
    parser.add_argument("--png", type=Path, metavar="DIR", help="write the figures as PNGs here")
    parser.add_argument("--perfetto", type=Path, metavar="FILE", help="write a Chrome trace that Perfetto opens")
    parser.add_argument(
        "--json", action="store_true", help="print the numbers as JSON; writes the page only with --out"
    )


def summary_table(summary: Summary) -> str:
    """The schemes of a run as text."""
    from airloom.cli.terminal import table
    from airloom.units import format_bytes, format_joules, format_percent, format_seconds

    rows = []
    for s in summary.schemes:
        rows.append(
            [
                s.title,
                f"{s.results}/{s.requests}",
                "–" if s.p50_s is None else format_seconds(s.p50_s.value),
                "–" if s.p95_s is None else format_seconds(s.p95_s.value),
                "–" if s.throughput_hz is None else f"{s.throughput_hz.value:.1f} /s",
                "–" if s.accuracy is None else format_percent(s.accuracy.value),
                "–" if s.source_energy_j is None else format_joules(s.source_energy_j.value),
                "–" if s.wire_nbytes is None else format_bytes(s.wire_nbytes.value),
            ]
        )
    return table(rows, ["scheme", "results", "p50", "p95", "rate", "accuracy", "source energy", "bytes"])


def predictions_table(summary: Summary) -> str:
    """Predicted beside measured (or simulated) as text; empty where nothing was predicted."""
    from airloom.cli.terminal import table
    from airloom.units import format_deviation, format_seconds

    rows = []
    for s in summary.schemes:
        for k, phase in enumerate(s.phases):
            if phase.predicted_s is None:
                continue
            rows.append(
                [
                    s.title if k == 0 else "",
                    phase.name,
                    format_seconds(phase.predicted_s.value),
                    "–" if phase.p50_s is None else format_seconds(phase.p50_s.value),
                    "–" if phase.error is None else format_deviation(phase.error),
                ]
            )
    came = "simulated p50" if summary.simulated else "measured p50"
    return table(rows, ["scheme", "phase", "predicted", came, "off by"], "llrrr") if rows else ""


def accuracy_tables(summary: Summary) -> str:
    """Accuracy beside its floor, and how cuts travelled, as text; empty where there is nothing to say."""
    from airloom.cli.terminal import table
    from airloom.units import format_bytes, format_percent

    def share(figure: Figure | None) -> str:
        return "–" if figure is None else format_percent(figure.value)

    rows, ways, notes = [], [], dict[str, None]()
    for s in summary.schemes:
        found = s.delivered
        if found is None:
            continue
        rows.append(
            [
                s.title,
                "–" if found.min_accuracy is None else format_percent(found.min_accuracy),
                *(share(f) for f in (found.clean, found.planned, found.predicted, found.predicted_least)),
                *(share(f) for f in (found.measured, found.incomplete, found.missing_mean, found.missing_max)),
                "–" if found.repairs is None else f"{found.repairs.value:.2f}",
                "–" if found.repair_nbytes is None else format_bytes(found.repair_nbytes.value),
            ]
        )
        for k, way in enumerate(found.carried):
            mcs = "–" if way.mcs is None else str(way.mcs)
            link = f"{way.src}->{way.dst}"
            ways.append(
                [s.title if k == 0 else "", link, way.coding, mcs, str(way.messages), share(way.missing_mean),
                 share(way.missing_max)]
            )  # fmt: skip
        notes |= dict.fromkeys(found.notes)
    if not rows:
        return ""
    header = ["accuracy", "floor", "clean", "planned", "predicted", "least", "measured", "with gaps", "missing", "most"]
    parts = [table(rows, [*header, "repairs", "sent again"])]
    if ways:
        parts.append(table(ways, ["carried", "link", "coding", "MCS", "messages", "missing", "most"], "lllrrrr"))
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def show_beside(first: Path, second: Path, *, out: Path | None = None, quiet: bool = False) -> tuple[Beside, Path]:
    """Print two run folders side by side, unless `quiet`, and write their page; what they come to, and where."""
    from airloom.cli.terminal import Progress, table
    from airloom.files import write_aside
    from airloom.report.beside import beside, headline, render_beside, shown, slowed
    from airloom.report.folder import read_run
    from airloom.units import format_deviation

    with Progress("reporting"):
        runs = read_run([first]), read_run([second])
        found = beside(*runs)
        page = out or first / "beside.html"
        write_aside(page, render_beside(found, *runs).encode())
    if quiet:
        return found, page
    print(headline(found))
    for scheme in found.schemes:
        rows = []
        for pair in (*scheme.figures, *scheme.operators):
            what = pair.what if pair in scheme.figures else f"operators on {pair.what}"
            off = "–" if pair.deviation is None else format_deviation(pair.deviation)
            bases = [
                f"{shown(pair, figure)} {_MARKS[figure.basis] if figure else ''}"
                for figure in (pair.first, pair.second)
            ]
            rows.append([what, *bases, off])
        print(f"\n{table(rows, [scheme.title, found.first, found.second, 'off by'], 'lr')}")
    print(f"\nm: measured, ~: modelled. Energy and bytes are for one result.{slowed(*runs)}")
    return found, page


_MARKS = {"measured": "m", "modelled": "~", "published": "p"}


def run(args: argparse.Namespace) -> int:
    from airloom.cli.costs import run_costs_table
    from airloom.cli.terminal import Progress, emit_json
    from airloom.files import write_aside
    from airloom.report.folder import RECORD, read_run
    from airloom.report.headline import slow_line
    from airloom.report.page import render_page

    if len(args.traces) == 2 and all((path / RECORD).is_file() for path in args.traces):
        return _run_beside(args)
    written: list[Path] = []
    with Progress("reporting") as progress:
        found = read_run(args.traces)
        summary = found.summary()
        progress.advance(note="page")
        first = args.traces[0]
        out = args.out
        if out is None and not args.json:
            out = (first if first.is_dir() else first.parent) / "report.html"
        if out is not None:
            write_aside(out, render_page(found, summary).encode())
            written.append(out)
        if args.perfetto is not None:
            import msgspec

            from airloom.report.perfetto import to_perfetto

            progress.advance(note="trace")
            write_aside(args.perfetto, msgspec.json.encode(to_perfetto(found)))
            written.append(args.perfetto)
        if args.png is not None:
            from airloom.report.plots import write_plots

            progress.advance(note="figures")
            written += write_plots(found, args.png, summary)
    if args.json:
        emit_json(summary)
        return 0
    print(summary.headline)
    print()
    if found.simulation is not None and found.record is not None:
        from airloom.cli.scenario_tables import bandwidth_table, placement_table, schemes_table

        shows = schemes_table(found.simulation), placement_table(found.simulation, found.record.topology)
        print("\n\n".join(text for text in (*shows, bandwidth_table(found.simulation)) if text))
    else:
        print(summary_table(summary))
    if predictions := predictions_table(summary):
        print(f"\n{predictions}")
    if costs := run_costs_table(summary):
        print(f"\n{costs}")
    if accuracies := accuracy_tables(summary):
        print(f"\n{accuracies}")
    print("\nTimes are measured, predictions and energy modelled; energy and bytes are for one result."
          f"{slow_line(summary.slow_motion)}"
          if not summary.simulated else "\nSimulated: every number is modelled.")  # fmt: skip
    if summary.truncated_lines:
        print(f"{summary.truncated_lines} trace lines were cut short by a host that was killed.")
    for path in written:
        print(f"wrote {path}")
    return 0


def _run_beside(args: argparse.Namespace) -> int:
    from airloom.cli.terminal import emit_json
    from airloom.errors import ConfigError

    for name in ("png", "perfetto"):
        if getattr(args, name) is not None:
            raise ConfigError("is of one run: give one folder", where=f"--{name}")
    found, page = show_beside(*args.traces, out=args.out, quiet=args.json)
    if args.json:
        emit_json(found)
    else:
        print(f"wrote {page}")
    return 0
