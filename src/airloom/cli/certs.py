"""airloom certs: a test authority and the hosts' certificates."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make a test certificate authority and a certificate for each host"
EPILOG = """\
examples:
  airloom certs certs --hosts ue gnb mec cloud
  airloom certs certs --topology topology.yaml --hours 12

Each host needs ca.pem, HOST.pem and HOST.key; `airloom status` needs operator.pem and operator.key.
ca.key stays where the authority was made: whoever has it can admit hosts.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the files go; an authority there is kept")
    parser.add_argument("--hosts", nargs="+", default=[], metavar="ID", help="ids of the hosts")
    parser.add_argument("--topology", type=Path, metavar="FILE", help="take the hosts and their addresses from here")
    parser.add_argument("--days", type=float, default=90.0, help="how long the certificates hold (default: 90)")
    parser.add_argument("--hours", type=float, help="the same in hours, for a test")


def run(args: argparse.Namespace) -> int:
    from airloom.errors import ConfigError, UserError
    from airloom.runtime.certs import OPERATOR, check_host_ids, make_ca, make_host
    from airloom.runtime.places import data_address

    hosts: dict[str, list[str]] = {host: [] for host in args.hosts}
    if args.topology is not None:
        from airloom.config import load_topology

        for device in load_topology(args.topology).devices:
            hosts[device.id] = [data_address(device)[0]] if device.address else []
    if not hosts:
        raise UserError("no hosts: name them with --hosts, or a file with --topology")
    check_host_ids(hosts)
    span = args.days if args.hours is None else args.hours
    if span <= 0:
        raise ConfigError("a certificate that has already expired lets nobody in: choose a time above 0")
    make_ca(args.folder)
    for host, addresses in hosts.items():
        make_host(args.folder, host, addresses=addresses, days=args.days, hours=args.hours)
    if OPERATOR not in hosts:
        make_host(args.folder, OPERATOR, days=args.days, hours=args.hours)
    print(f"{args.folder}: ca.pem; certificates and keys of {', '.join(hosts)}, {OPERATOR}")
    print(f"give each host ca.pem, its .pem and its .key; keep {args.folder / 'ca.key'} to yourself")
    return 0
