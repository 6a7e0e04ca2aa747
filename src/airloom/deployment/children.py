"""What the hosts that are processes of this machine are given: certificates, files, a command line."""

from __future__ import annotations

import sys
from pathlib import Path

from airloom.config import dump_topology
from airloom.core.objective import LATENCY
from airloom.deployment.setup import Setup
from airloom.engine.following import followed
from airloom.files import write_aside, write_value
from airloom.planner.pricing import profile_of
from airloom.runtime.certs import OPERATOR, make_ca, make_host
from airloom.runtime.launch import NodeCommand

_CERT_DAYS = 7
_TOLERANCE = "tolerance.json"
_TRAINING = "training.json"


def make_certs(setup: Setup, folder: Path) -> None:
    """A throw-away authority and certificates of all hosts."""
    make_ca(folder, days=_CERT_DAYS)
    for device in setup.topology.devices:
        make_host(folder, device.id, days=_CERT_DAYS)
    make_host(folder, OPERATOR, days=_CERT_DAYS)


def write_inputs(setup: Setup, work: Path) -> None:
    """The model, the topology and the profiles, for `command_line` to name."""
    setup.captured.save(work / "artifact")
    write_aside(work / "topology.yaml", dump_topology(setup.options.priced(setup.topology)).encode())
    for device in setup.topology.devices:
        write_value(work / "profiles" / f"{device.id}.json", profile_of(device.id, setup.profiles))
    contract = setup.options.contract
    if contract is not None:
        write_value(work / _TOLERANCE, contract.tolerance)
    if setup.options.training is not None:
        write_value(work / _TRAINING, setup.options.training)


def command_line(setup: Setup, node: NodeCommand, *, work: Path, certs: Path, traces: Path) -> list[str]:
    """The command that starts a host."""
    options, host = setup.options, node.host
    line = [sys.executable, "-m", "airloom.cli.main", "node", host, "--child"]
    line += ["--topology", str(work / "topology.yaml"), "--artifact", str(work / "artifact")]
    line += ["--profile", str(work / "profiles" / f"{host}.json"), "--certs", str(certs)]
    line += ["--transport", options.transport, "--trace", str(traces / f"{host}.jsonl")]
    line += ["--factor", repr(setup.factor(host)), "--threads", str(setup.threads)]
    line += ["--repair-rounds", str(options.repair_rounds), "--congestion", options.congestion]
    line += [] if options.slow_motion == 1.0 else ["--slow-motion", repr(options.slow_motion)]
    line += [] if options.result_returns else ["--result-stays"]
    line += [] if options.training is None else ["--training", str(work / _TRAINING)]
    if options.contract is not None:
        line += ["--tolerance", str(work / _TOLERANCE)]
        line += [] if options.tuned_folder is None else ["--tuned", str(options.tuned_folder)]
        floor = options.contract.min_accuracy
        line += [] if floor is None else ["--min-accuracy", repr(floor)]
    objective = followed(options.objective)
    if objective != LATENCY:
        line += [f"--minimize={term.text}" for term in objective.minimize]
        line += [f"--require={bound.text}" for bound in objective.require]
        line += ["--solver", objective.solver]
    line += [] if options.forecast is None else ["--forecast", options.forecast.text]
    line += [] if options.ask_wave_s is None else ["--ask-wave", f"{options.ask_wave_s!r} s"]
    for peer, address in node.routes.items():
        line += ["--route", f"{peer}={address}"]
    return line
