"""`airloom init`: a topology and a run file, commented, to edit."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a commented topology and run file to edit"
EPILOG = """\
examples:
  airloom init mynet
  airloom run mynet/run.yaml

Files that are there already are never overwritten.
"""

TOPOLOGY = """\
# Devices and the links between them. A mistake is reported with its place: $.links[2].delay.
name: my network

source: ue      # has the input and gets the result
sink: cloud     # the last host that may compute

devices:
  # role: ue, gnb (base station), mec (edge server) or cloud.
  # How fast a device is, one of:
  #   speed: 0.1            a tenth of the machine that the profile was measured on
  #   factor: 10            the same, as its compute time over that machine's
  #   profile: ue.json      its own, from `airloom profile MODEL` run on the device
  #   class: jetson-nano    a published machine: speed, power and price (docs/scenarios.md lists them)
  - id: ue
    role: ue
    speed: 0.1
    memory: 512 MiB         # what the weights of its stage may take; leave out for no limit
    # Beyond idle, while it computes, and for each bit it sends. Energy from it is modelled.
    # price: 0.30 per hour    counts for `--minimize money`
    power: {idle: 1 W, busy: 3 W, radio_per_bit: 100 nJ, source: assumed}
  - id: gnb
    role: gnb
    computes: false         # it only forwards
  - id: mec
    role: mec
    speed: 0.5
    # address: 192.0.2.7:7450   where its data plane listens, if it is another machine
  - id: cloud
    role: cloud
    speed: 1

links:
  # A link goes one way; `both: true` makes the way back alike.
  #   rate: 50 Mbit/s       or unlimited
  #   delay: 4 ms           one way
  #   overhead: 1 ms        a fixed cost of every transfer
  #   loss: 1 %, burst: 5 ms    of IP packets; how long the link stays bad (0: each for itself)
  #   trace: cell.txt       rows of `second Mbit/s` that replace the rate over time
  - {from: ue, to: gnb, rate: 20 Mbit/s, delay: 4 ms, loss: 1 %, burst: 5 ms}
  - {from: gnb, to: ue, rate: 50 Mbit/s, delay: 4 ms}
  - {from: gnb, to: mec, rate: 200 Mbit/s, delay: 1 ms, both: true}
  - {from: mec, to: cloud, rate: 50 Mbit/s, delay: 8 ms, both: true}
"""

RUN = """\
# What to run, and what happens to the network meanwhile: `airloom run run.yaml`.
topology: topology.yaml     # paths are relative to this file

# A name of the zoo (resnet18, resnet20, ...), your own `package.module:factory`, or an exported .pt2.
model: resnet20
# profile: profile.json     # from `airloom profile`; without it the model is measured first
# minimize: energy          # what to make small in place of latency: energy, bytes or money ...
# require: latency<=100ms   # ... and what every request must keep
# tolerance: tolerance.json # from `airloom tolerance`: what loss costs at each cut ...
# min_accuracy: 88 %        # ... so that only what this accuracy needs is sent again

scheme: airloom             # or ue-only, cloud-only, single-split to compare with
requests: 200
in_flight: 1                # how many may be under way at once
deadline: 2 s               # each request has a result or a named error by then

transport: udp              # or tcp
repair_rounds: 2            # how often lost blocks may be asked for again (udp)
seed: 0                     # of the emulated losses
private_operators: 0        # how many of the first operators never leave the source

# true: links and slow devices are acted out on this machine. false: as they are.
emulate: true

# What changes, and when, counted from the first request.
changes:
  - {at: 5 s, link: mec->cloud, rate: 5 Mbit/s, both: true}
"""

FILES = {"topology.yaml": TOPOLOGY, "run.yaml": RUN}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(), metavar="DIR", help="where to; this folder by default"
    )


def run(args: argparse.Namespace) -> int:
    from airloom.errors import UserError
    from airloom.files import write_aside

    folder: Path = args.folder
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise UserError(f"{folder / there[0]} is there already: choose another folder, or move it away")
    for name, text in FILES.items():
        write_aside(folder / name, text.encode())
    print(f"wrote {' and '.join(str(folder / name) for name in FILES)}")
    print(f"edit them, then: airloom run {folder / 'run.yaml'}")
    return 0
