"""airloom node: run one host of a topology."""

from __future__ import annotations

import argparse
from pathlib import Path

from airloom.cli.ahead import add_ahead_arguments, forecast_of, hold_of
from airloom.cli.contract import add_contract_arguments, contract_of
from airloom.cli.objective import add_objective_arguments, objective_of

HELP = "run one host of a topology, on the machine it stands for"
EPILOG = """\
example:
  airloom node mec --topology topology.yaml --artifact model --profile mec.json --certs certs

The topology's `address` of a device is where its tensors arrive (UDP or TCP); the port after it takes
control messages (TCP). ARTIFACT is what `airloom capture` wrote. SIGTERM and Ctrl-C end it cleanly.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", help="id of the device that this machine is")
    parser.add_argument("--topology", type=Path, required=True, metavar="FILE", help="devices with addresses, links")
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR", help="the captured model")
    parser.add_argument("--profile", type=Path, required=True, metavar="FILE", help="of the model on this machine")
    add_contract_arguments(parser, "; the same on every host")
    add_objective_arguments(parser, "; the same on every host")
    add_ahead_arguments(parser, "; the same on every host")
    parser.add_argument(
        "--tuned",
        type=Path,
        metavar="DIR",
        help="where the tolerance profile's fine-tuned weights lie (default: beside it)",
    )
    parser.add_argument(
        "--training", type=Path, metavar="FILE", help="train the model as FILE says, in place of answering requests"
    )
    parser.add_argument("--certs", type=Path, required=True, metavar="DIR", help="ca.pem, HOST.pem and HOST.key")
    parser.add_argument("--listen", metavar="HOST:PORT", help="in place of the topology's address")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp", help="for tensors (default: udp)")
    parser.add_argument(
        "--route", action="append", default=[], metavar="PEER=HOST:PORT", help="send to PEER through this address"
    )
    parser.add_argument("--torch-device", default="cpu", metavar="DEVICE", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument("--threads", type=int, metavar="N", help="torch's threads (default: the profile's)")
    parser.add_argument("--factor", type=float, default=1.0, help="act as a device this many times slower (default: 1)")
    parser.add_argument(
        "--slow-motion",
        type=float,
        default=1.0,
        metavar="K",
        help="one second takes K, on all hosts alike (default: 1)",
    )
    parser.add_argument("--repair-rounds", type=int, default=2, metavar="N", help="of a message over udp (default: 2)")
    parser.add_argument(
        "--congestion", default="cubic", metavar="NAME", help="TCP's congestion control (default: cubic)"
    )
    parser.add_argument("--result-stays", action="store_true", help="results stay where they are made")
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="serve Prometheus metrics on 127.0.0.1")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="append a trace (JSON lines) to FILE")
    # Started by a launcher: say when ready, end when standard input does.
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    import asyncio
    import gc
    import json
    import os
    import sys

    import msgspec

    from airloom.config import load_topology
    from airloom.core.objective import LATENCY
    from airloom.core.training import TrainingSpec
    from airloom.engine.config import HostConfig, WavePolicy
    from airloom.errors import ConfigError, ProfileMismatch
    from airloom.files import read_value
    from airloom.planner.contract import check_contract
    from airloom.planner.inputs import load_profile
    from airloom.runtime.certs import host_certs
    from airloom.runtime.motion import Motion
    from airloom.runtime.node import Node, NodeOptions
    from airloom.runtime.places import Address, data_address, parse_address
    from airloom.runtime.serving import serve

    topology = load_topology(args.topology, result_returns=not args.result_stays)
    known = [device.id for device in topology.devices]
    if args.host not in known:
        raise ConfigError(f"no device {args.host!r}: there are {', '.join(known)}", where=str(args.topology))
    if args.listen is not None:
        parse_address(args.listen, where="--listen")
        devices = tuple(
            msgspec.structs.replace(d, address=args.listen) if d.id == args.host else d for d in topology.devices
        )
        topology = msgspec.structs.replace(topology, devices=devices)
    for device in topology.devices:
        data_address(device)
    profile = load_profile(args.profile)
    routes: dict[str, Address] = {}
    for text in args.route:
        peer, sign, address = text.partition("=")
        if not sign or peer not in known:
            raise ConfigError(f"expected PEER=HOST:PORT with a peer of the topology, got {text!r}", where="--route")
        routes[peer] = parse_address(address, where="--route")
    contract = contract_of(args)
    if contract is not None:
        check_contract(contract, profile.graph_digest)
    objective = objective_of(args, topology)
    forecast, hold_s = forecast_of(args), hold_of(args)
    training = None if args.training is None else read_value(args.training, TrainingSpec)
    if training is not None and contract is not None:
        raise ConfigError("training loses nothing on its way: leave the tolerance profile out", where="--training")
    certs = host_certs(args.certs, args.host)
    # From here on torch is needed, which takes a while to import.
    from airloom.nn.artifact import load_artifact
    from airloom.nn.coded_executor import CodedExecutor
    from airloom.nn.executor import StageExecutor
    from airloom.nn.training import TrainingExecutor

    captured = load_artifact(args.artifact)
    if profile.graph_digest != captured.graph.digest:
        raise ProfileMismatch(
            f"{args.profile} is of another model than {args.artifact}: run `airloom profile` for that model here"
        )
    threads = args.threads or profile.machine.threads or 1
    executor: TrainingExecutor | StageExecutor | CodedExecutor
    if training is not None:
        executor = TrainingExecutor(captured, training, torch_device=args.torch_device, threads=threads)
    else:
        executor = stages = StageExecutor(captured, args.torch_device, threads=threads)
        # Kernels are chosen and memory is allocated before the first request comes.
        stages.load(0, captured.graph.num_operators)
    config = HostConfig(
        device=args.host,
        topology=topology,
        profile=profile,
        result_returns=not args.result_stays,
        contract=contract,
        objective=objective or LATENCY,
        forecast=forecast,
        wave=WavePolicy.asked(hold_s),
        training=training,
    )
    folder = args.tuned or (args.tolerance.parent if args.tolerance is not None else None)
    if training is None and contract is not None:
        executor = CodedExecutor(stages, contract, config.framing, folder)
    options = NodeOptions(
        transport=args.transport,
        routes=routes,
        factor=args.factor,
        metrics_port=args.metrics_port,
        trace=args.trace,
        repair_rounds=args.repair_rounds,
        congestion=args.congestion,
        slow=Motion(args.slow_motion).slow,
    )

    async def main() -> None:
        # Made on the loop, which its transport and its events belong to.
        node = Node(config, certs, executor, options)

        def ready() -> None:
            if args.child:
                print(json.dumps({"ready": args.host}), flush=True)
                return
            host, port = data_address(config.own)
            where = f"tensors {args.transport} {host}:{port}, control tls {host}:{port + 1}"
            metrics = f", metrics http://127.0.0.1:{node.metrics_port}/metrics" if node.metrics_port else ""
            print(f"{args.host}: {captured.graph.model}; {where}{metrics}", file=sys.stderr, flush=True)

        await serve(node, until_eof_of=0 if args.child else None, ready=ready)

    # What torch and the model are made of stays: the garbage collector need not look at it again.
    gc.collect()
    gc.freeze()
    # The executor's thread and the event loop take turns in Python; at 5 ms a turn a message would wait.
    sys.setswitchinterval(0.0005)
    asyncio.run(main())
    if args.child:
        # All is closed and written; torch's own leave-taking would take a second or two.
        sys.stdout.flush()
        os._exit(0)
    return 0
