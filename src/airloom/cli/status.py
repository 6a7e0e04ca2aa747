"""airloom status: the hosts of a deployment, their loads and links."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.core.topology import Topology
    from airloom.runtime.commands import HostStatus

HELP = "show the hosts of a running deployment, their loads and links"
EPILOG = """\
example:
  airloom status --topology topology.yaml --certs certs --watch

Asks every host by the operator's certificate, which `airloom certs` makes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topology", type=Path, required=True, metavar="FILE", help="with the hosts' addresses")
    parser.add_argument("--certs", type=Path, required=True, metavar="DIR", help="ca.pem, operator.pem, operator.key")
    parser.add_argument("--json", action="store_true", help="everything that the hosts say, as JSON")
    parser.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    import sys
    import time

    from airloom.cli.terminal import emit_json
    from airloom.config import load_topology
    from airloom.runtime.certs import OPERATOR, host_certs
    from airloom.runtime.control import Operator
    from airloom.runtime.places import data_address

    topology = load_topology(args.topology)
    for device in topology.devices:
        data_address(device)
    certs = host_certs(args.certs, OPERATOR)
    with Operator(topology, certs) as operator:
        while True:
            found = operator.status_of_all()
            if args.json:
                emit_json({"hosts": found})
            else:
                if args.watch and sys.stdout.isatty():
                    sys.stdout.write("\x1b[H\x1b[2J")
                print(_text(topology, found), flush=True)
            if not args.watch:
                return 0 if all(status is not None for status in found.values()) else 1
            time.sleep(1.0)


def _text(topology: Topology, found: dict[str, HostStatus | None]) -> str:
    from airloom.cli.terminal import table
    from airloom.units import format_percent, format_rate, format_seconds

    hosts: list[list[object]] = []
    links: list[list[object]] = []
    for device in topology.devices:
        status = found[device.id]
        if status is None:
            hosts.append([device.id, device.role, "no answer"])
            continue
        state = "pinned plan" if status.pinned else "own table"
        predicted = "-" if status.cost_s is None else format_seconds(status.cost_s)
        hosts.append(
            [device.id, device.role, "up", format_seconds(status.uptime_s), f"{status.load:.2f}", status.jobs,
             status.in_flight, status.parent or "-", state, predicted, ", ".join(status.up) or "nobody"]
        )  # fmt: skip
        for link in status.links:
            rate = "?" if link.rate_bps is None else format_rate(link.rate_bps)
            delay = "?" if link.delay_s is None else format_seconds(link.delay_s)
            loss = "?" if link.loss is None else format_percent(link.loss)
            links.append([f"{link.src}->{link.dst}", "up" if link.up else "down", rate, delay, loss])
    above = table(
        hosts,
        ("host", "role", "state", "uptime", "load", "jobs", "in flight", "next", "follows", "predicted", "sees"),
        align="lllrrrrllrl",
    )
    if not links:
        return above
    return f"{above}\n\n{table(links, ('link', 'state', 'rate', 'delay', 'loss'), align='llrrr')}"
