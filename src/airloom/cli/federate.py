"""`airloom federate`: models that learn at several places over a network, and what merging them costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cli.objective import add_objective_arguments, objective_of

if TYPE_CHECKING:
    from airloom.core.topology import Topology
    from airloom.federate.collaborate import Where
    from airloom.federate.cost import RoundCost
    from airloom.federate.learned import Learned
    from airloom.federate.qmix import QMIXSettings
    from airloom.federate.rounds import FederatedSettings

HELP = "train copies of a model at several places, merge them, and see what that costs over a network"
EPILOG = """\
examples:
  airloom federate fedavg vgg11 examples/hivemind_mmwave_iab.yaml --option width=8 --rounds 5
  airloom federate qmix two-step examples/hivemind_mmwave_iab.yaml --episodes 700 --rate 0.002 --epsilon-end 1

What is learned is real; seconds, energy and bytes are modelled, those of a plan over the topology: one that counts
the way of the parameters to where they are merged, and beside it one that leaves it out. See docs/collaborative.md.
"""

_FEDAVG = ("option", "weights", "data", "clients", "rounds", "momentum", "skew", "participants", "loss")
_QMIX = ("agents", "side", "horizon", "mixing", "separate", "hidden", "episodes", "target_every", "epsilon_end",
         "epsilon_episodes")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", choices=("fedavg", "qmix"), help="federated averaging, or agents of QMIX")
    parser.add_argument(
        "model", metavar="MODEL", help="what `airloom capture` takes; of qmix a game: two-step, meeting"
    )
    parser.add_argument("topology", type=Path, help="devices and links (YAML); every UE has an agent")
    both = parser.add_argument_group("both")
    both.add_argument("--batch", type=int, metavar="N", help="examples, or episodes, of one update (32)")
    both.add_argument("--rate", type=float, metavar="R", help="learning rate (0.05; of qmix 0.0005)")
    both.add_argument("--seed", type=int, default=0, metavar="N", help="of everything that is drawn (0)")
    both.add_argument("--json", metavar="FILE", help="write the result as JSON; - for standard output, nothing else")
    network = parser.add_argument_group("network")
    network.add_argument("--every", type=int, metavar="K", help="updates between two merges (10; of qmix 1)")
    network.add_argument("--parameters-to", metavar="HOST", help="where parameters are merged (the topology's sink)")
    network.add_argument(
        "--parameters-from",
        choices=("last", "stages"),
        default="stages",
        help="who sends them: each host those of its stage (the default), or the host of the last operator all of "
        "them (HiveMind, Eq. 13)",
    )
    network.add_argument("--parameters-stay", action="store_true", help="the merged parameters do not come back")
    network.add_argument(
        "--agents-at", action="append", default=[], metavar="DEVICE", help="a device with an agent; may be repeated"
    )
    network.add_argument(
        "--set", metavar="CHANGE", action="append", default=[],
        help="plan for a changed network: 'link=mec->cloud,rate=5 Mbit/s'; as `airloom plan` has it",
    )  # fmt: skip
    network.add_argument(
        "--profile", type=Path, metavar="FILE", help="of `airloom profile --train`; else measured here"
    )
    network.add_argument("--seconds", type=float, default=5.0, metavar="S", help="measure for about this long (5)")
    add_objective_arguments(network)  # type: ignore[arg-type]
    rounds = parser.add_argument_group("fedavg")
    rounds.add_argument(
        "--option", action="append", default=[], metavar="NAME=NUMBER", help="of the network: width=8, num_classes=100"
    )
    rounds.add_argument("--weights", metavar="FILE", help="what to begin with; random unless named")
    rounds.add_argument(
        "--data", type=Path, metavar="FILE",
        help=".npz with x, labels and, where others are to test, test_x, test_labels (500 pictures that come along)",
    )  # fmt: skip
    rounds.add_argument("--clients", type=int, metavar="N", help="who the examples are shared out among (4)")
    rounds.add_argument("--rounds", type=int, metavar="N", help="how often to merge (10)")
    rounds.add_argument("--momentum", type=float, metavar="M", help="of the clients' SGD (0)")
    rounds.add_argument("--skew", type=float, metavar="A", help="clients have other classes: 0.1 much, 100 little")
    rounds.add_argument("--participants", type=int, metavar="N", help="clients that take part in a round (all)")
    rounds.add_argument("--loss", type=float, metavar="P", help="probability that a block of an update is lost (0)")
    agents = parser.add_argument_group("qmix")
    agents.add_argument("--agents", type=int, metavar="N", help="of the meeting game (2)")
    agents.add_argument("--side", type=int, metavar="N", help="of its grid (5)")
    agents.add_argument("--horizon", type=int, metavar="N", help="steps that it lasts (16)")
    agents.add_argument("--mixing", choices=("qmix", "vdn"), help="monotonic mixing (qmix), or a sum (vdn)")
    agents.add_argument("--separate", action="store_true", default=None, help="each agent has a network of its own")
    agents.add_argument("--hidden", type=int, metavar="N", help="width of the agents' layers (64)")
    agents.add_argument("--episodes", type=int, metavar="N", help="how many to play (5000)")
    agents.add_argument("--target-every", type=int, metavar="N", help="episodes between updates of the targets (200)")
    agents.add_argument("--epsilon-end", type=float, metavar="E", help="share of random actions at last (0.05)")
    agents.add_argument("--epsilon-episodes", type=int, metavar="N", help="when it is reached (2500)")


def run(args: argparse.Namespace) -> int:
    from airloom.cli.terminal import Progress, emit_json
    from airloom.config import load_topology
    from airloom.files import write_value

    _refuse_others(args)
    topology = load_topology(args.topology)
    with Progress("measuring and learning") as progress:
        learned = _federated(args, topology, progress) if args.method == "fedavg" else _together(args, topology)
    if args.json == "-":
        emit_json(learned)
        return 0
    if args.json:
        write_value(Path(args.json), learned)
    print(describe(learned))
    if args.json:
        print(f"\nwritten to {args.json}")
    return 0


def _federated(args: argparse.Namespace, topology: Topology, progress: Any) -> Learned:
    from airloom.cli.capture import parse_options
    from airloom.federate.collaborate import federated
    from airloom.federate.data import bundled_pictures, load_examples
    from airloom.federate.rounds import FederatedSettings
    from airloom.nn.models import load_model

    settings: FederatedSettings = _settings(
        FederatedSettings(), args, rounds="rounds", local_steps="every", batch="batch", learning_rate="rate",
        momentum="momentum", participants="participants", loss="loss",
    )  # fmt: skip
    model = load_model(args.model, weights=args.weights or "random", options=parse_options(args.option))
    data = bundled_pictures() if args.data is None else load_examples(args.data)
    progress.total = settings.rounds
    return federated(
        model.module,
        data,
        where_of(args, topology, settings.local_steps),
        settings,
        name=model.name,
        clients=4 if args.clients is None else args.clients,
        skew=args.skew,
        seed=args.seed,
        progress=lambda score: progress.advance(note="rounds"),
    )


def _together(args: argparse.Namespace, topology: Topology) -> Learned:
    from airloom.errors import ConfigError
    from airloom.federate.collaborate import together
    from airloom.federate.games import GAMES, Game, MeetingGame
    from airloom.federate.qmix import QMIXSettings

    if args.model not in GAMES:
        raise ConfigError(f"no game {args.model!r}: there are {', '.join(GAMES)}")
    given = {key: getattr(args, key) for key in ("agents", "side", "horizon") if getattr(args, key) is not None}
    if given and args.model != "meeting":
        raise ConfigError(f"is of the meeting game: {args.model} is as it is", where=f"--{next(iter(given))}")
    game: Game = MeetingGame(**given) if args.model == "meeting" else GAMES[args.model]()
    settings: QMIXSettings = _settings(
        QMIXSettings(shared=not args.separate), args, mixing="mixing", hidden="hidden", episodes="episodes",
        batch="batch", learning_rate="rate", target_every="target_every", epsilon_end="epsilon_end",
        epsilon_episodes="epsilon_episodes",
    )  # fmt: skip
    return together(game, where_of(args, topology, args.every or 1), settings, seed=args.seed)


def where_of(args: argparse.Namespace, topology: Topology, every: int) -> Where:
    """The network and the objective that the options make."""
    from airloom.cli.network_options import conditions_of
    from airloom.core.objective import LATENCY
    from airloom.engine.radios import radio_choices
    from airloom.federate.collaborate import Where
    from airloom.planner.collaborative import Collaboration
    from airloom.planner.inputs import load_profile

    conditions = conditions_of(args.set, topology)
    return Where(
        topology=topology,
        collaboration=Collaboration(
            to=args.parameters_to or topology.sink,
            every=every,
            both=not args.parameters_stay,
            senders=args.parameters_from,
        ),
        objective=objective_of(args, topology) or LATENCY,
        agents_at=tuple(args.agents_at),
        conditions=conditions,
        choices=radio_choices(topology, conditions),
        profile=None if args.profile is None else load_profile(args.profile),
        seconds=args.seconds,
    )


def _settings(base: Any, args: argparse.Namespace, **options: str) -> Any:
    """`base` with what the options say; a field that no option names keeps its default."""
    import msgspec

    given = {field: getattr(args, option) for field, option in options.items() if getattr(args, option) is not None}
    settings = msgspec.structs.replace(base, **given)
    settings.check()
    return settings


def _refuse_others(args: argparse.Namespace) -> None:
    from airloom.errors import ConfigError

    for name in _QMIX if args.method == "fedavg" else _FEDAVG:
        if getattr(args, name) not in (None, []):
            other = "qmix" if args.method == "fedavg" else "fedavg"
            raise ConfigError(f"is of {other}: leave it out of {args.method}", where=f"--{name.replace('_', '-')}")


def describe(learned: Learned) -> str:
    """The plans, what rounds cost, and how the score grew, as text."""
    from airloom.cli.terminal import table
    from airloom.units import format_bytes, format_joules, format_seconds

    plans = learned.plans
    times = "twice the forward pass for the backward one" if plans.modelled_backward else "measured passes"
    steps = "1 step" if plans.steps == 1 else f"{plans.steps} steps"
    lines = [
        f"{plans.model}: a round is {steps}, parameters are merged at {plans.merge_at}; costs are modelled, from "
        f"{times}",
        table(
            [*_plan_rows("counts the parameters", plans.aware), *_plan_rows("leaves them out", plans.standard)],
            ("plan", "agent", "stages", "a round takes", "energy", "bytes", "bounds of a step"),
            align="lllrrrl",
        ),
    ]
    rows = [
        (
            point.round,
            _score(learned, point.score),
            format_seconds(point.aware.seconds),
            format_joules(point.aware.joules),
            format_bytes(round(point.aware.nbytes)),
            format_seconds(point.standard.seconds),
            format_joules(point.standard.joules),
            format_bytes(round(point.standard.nbytes)),
        )
        for point in learned.points
    ]
    if learned.before is not None:
        rows.insert(0, (0, _score(learned, learned.before), "", "", "", "", "", ""))
    head = ("round", f"{learned.what} (measured)", "after", "energy", "bytes", "without: after", "energy", "bytes")
    return "\n\n".join([*lines, table(rows, head, align="r")])


def _score(learned: Learned, score: float) -> str:
    from airloom.units import format_percent

    return format_percent(score) if learned.what == "accuracy" else f"{score:.3g}"


def _plan_rows(title: str, cost: RoundCost) -> list[tuple[str, ...]]:
    from airloom.cli.costs import placement
    from airloom.units import format_bytes, format_joules, format_seconds

    return [
        (
            title if k == 0 else "",
            agent.source,
            placement(agent.chain, agent.stops),
            format_seconds(agent.cost("latency")),
            format_joules(agent.cost("energy")),
            format_bytes(round(agent.cost("bytes"))),
            "kept" if agent.kept else "broken",
        )
        for k, agent in enumerate(cost.agents)
    ]
