"""`airloom demo`: four hosts on this machine, a trained network, real pictures, from profile to report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airloom.core.topology import Topology

HELP = "four hosts on this machine, start to report"
EPILOG = """\
examples:
  airloom demo
  airloom demo --requests 50 --out demo --json

Classifies real CIFAR-10 pictures with a trained ResNet-20 on a phone, a base station, an edge site
and a cloud: processes of this machine behind emulated links. Each scheme gets the same requests;
halfway the core link drops to a tenth.
"""

MODEL = "resnet20"
CORE = ("mec", "cloud")
DROP = 0.1
PRIVATE = "--keep-on-ue 20 --set 'link=ue->gnb,rate=200 Mbit/s'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("airloom-demo"), metavar="DIR", help="run folder and report")
    parser.add_argument("--requests", type=int, default=200, metavar="N", help="under each scheme (default 200)")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp", help="what carries the tensors")
    parser.add_argument("--seed", type=int, default=0, help="of the emulated losses")
    parser.add_argument("--json", action="store_true", help="the summary as JSON instead of text")


def network() -> Topology:
    """The demo's topology, from the file in the package."""
    from importlib import resources

    from airloom.config import load_topology

    with resources.as_file(resources.files("airloom.cli") / "demo.yaml") as path:
        return load_topology(path)


def run(args: argparse.Namespace) -> int:
    import os
    import shutil

    from airloom.errors import UserError

    if args.requests < 2:
        raise UserError(f"--requests: the network changes halfway, so at least 2, got {args.requests}")
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / "run.json").is_file():
        raise UserError(f"{args.out} holds something else: choose another folder with --out")
    # One thread a host: four of them share this machine's cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from airloom import api, zoo
    from airloom.cli.report import predictions_table, summary_table
    from airloom.cli.terminal import Progress, emit_json
    from airloom.comparison import AIRLOOM, Setting, compare
    from airloom.config import dump_topology
    from airloom.deployment import DeployOptions
    from airloom.files import write_aside, write_value
    from airloom.planner.baselines import TITLES
    from airloom.report.folder import TRACES, read_run
    from airloom.report.page import render_page
    from airloom.report.plots import write_plots

    say = (lambda line: None) if args.json else print
    topology = network()
    with Progress(f"capturing {MODEL}"):
        captured = api.capture(MODEL)
    with Progress(f"measuring {MODEL}") as progress:
        profile = api.profile(captured, device="cloud", seconds_budget=6.0, progress=_shown(progress))
    say(_model_line(captured, profile))
    options = DeployOptions(transport=args.transport, seed=args.seed, in_flight=1)
    with Progress("measuring what a message costs here"):
        options = options.calibrated()
    planned = api.plan(captured, options.priced(topology), profile=profile)
    say(f"plan   {planned}")

    images, labels = zoo.test_images()
    setting = Setting(captured, topology, planned.profiles, options)
    if (args.out / TRACES).is_dir():
        shutil.rmtree(args.out / TRACES)  # of an earlier demo
    with Progress("running") as progress:
        compare(
            setting,
            setting.schemes((*TITLES, AIRLOOM)),
            lambda k: (images[k % len(images)][None],),
            args.requests,
            folder=args.out,
            steps=(core_drop(topology, args.requests // 2),),
            labels=[int(labels[k % len(labels)]) for k in range(args.requests)],
            classify=lambda logits: int(logits.argmax()),
            title="Airloom demo",
            progress=lambda what, done, total: progress.advance(0, note=f"{what} {done}/{total}" if total else what),
        )
        write_value(args.out / "profile.json", profile)
        write_value(args.out / "plan.json", planned.plan)
        write_aside(args.out / "topology.yaml", dump_topology(topology).encode())
        found = read_run([args.out])
        summary = found.summary()
        progress.advance(0, note="reporting")
        write_aside(args.out / "report.html", render_page(found, summary).encode())
        write_plots(found, args.out, summary)
    if args.json:
        emit_json(summary)
        return 0
    print(f"\n{summary.headline}\n\n{summary_table(summary)}\n\n{predictions_table(summary)}")
    print("\nTimes are measured, on emulated links and devices; predictions and energy are modelled; energy and")
    print("bytes are for one result. A cut inside this network carries more than the 3 KiB picture, so it moves as")
    print("a whole. It is cut where pixels may not leave the phone and the phone's link is good:\n")
    print(f"  airloom plan {args.out}/profile.json {args.out}/topology.yaml {PRIVATE}")
    print(f"\nwrote {args.out / 'report.html'}: open it in a browser")
    return 0


def _shown(progress: Any) -> Any:
    def show(done: int, total: int) -> None:
        progress.total = total
        progress.advance(done - progress.done)

    return show


def _model_line(captured: Any, profile: Any) -> str:
    from airloom import zoo
    from airloom.units import format_bytes, format_percent, format_seconds

    graph = captured.graph
    line = (
        f"model  {graph.model}: {graph.num_operators} operators, "
        f"{format_bytes(graph.parameter_nbytes(0, graph.num_operators))} of weights, "
        f"{format_seconds(profile.stage_s(0, graph.num_operators))} a picture on one core here (measured)"
    )
    record = zoo.weights_record(MODEL)
    return f"{line}, {format_percent(record['test_accuracy'])} of CIFAR-10's test set" if record else line


def core_drop(topology: Topology, request: int) -> Any:
    """The core link at a tenth of its rate, both ways, from `request` on."""
    from airloom.comparison import Step
    from airloom.core.topology import Conditions, LinkState
    from airloom.units import format_rate

    links = [topology.link(*ends) for ends in (CORE, CORE[::-1])]
    states = tuple(LinkState(src=link.src, dst=link.dst, rate_bps=link.rate_bps * DROP) for link in links)
    title = f"{CORE[0]}-{CORE[1]} at {format_rate(links[0].rate_bps * DROP)}"
    return Step(request, title, Conditions(links=states))
