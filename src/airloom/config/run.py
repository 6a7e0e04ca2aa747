"""The run file: what to run on which topology, and what happens to the network meanwhile.

topology: topology.yaml
model: resnet20
profile: profile.json
requests: 200
deadline: 2 s
transport: udp
changes:
  - {at: 10 s, link: mec->cloud, rate: 5 Mbit/s, both: true}

What it is to be good at: `minimize: energy@ue`, `require: [latency<=120ms]`, `solver: exact`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from airloom import units
from airloom.config.changes import Change, check_names, to_conditions
from airloom.config.objective import Places, check_objective, parse_objective
from airloom.config.strict_yaml import Entry, Quantity, at, parse, read_text
from airloom.config.topology import load_topology
from airloom.core.objective import Objective
from airloom.core.topology import Conditions, Topology
from airloom.core.value import Value
from airloom.errors import ConfigError

Scheme = Literal["airloom", "ue-only", "cloud-only", "single-split"]
Transport = Literal["udp", "tcp"]


class RunConfig(Value, frozen=True):
    """What a run file says.

    Attributes:
        topology, profile, tolerance: absolute paths; `profile` is "" where the model is to be measured
            first, `tolerance` where every cut goes raw and whole.
        model: a zoo name, `package.module:factory`, or the absolute path of a `.pt2` file.
        options: of a zoo network: `{size: 224, num_classes: 1000}`.
        scheme: who decides: the hosts' own tables (airloom), or a baseline that is pinned.
        requests: how many to send.
        deadline_s: of each request.
        in_flight: how many may be under way at once.
        congestion: TCP's congestion control, "" for the system's own; of no use to udp.
        repair_rounds: how often the receiver may ask for what is missing; 0 for none.
        private_operators: how many of the first operators stay on the source.
        emulate: pass links through a relay that acts out rate, delay and loss, and stretch compute
            times to the devices'; False runs on the links as they are.
        changes: in order of time; each holds only what changes then.
        min_accuracy: the floor that requests must keep, 0 to 1; needs `tolerance`.
        objective: what requests are to cost little of, and the bounds that they must keep; None is the least latency.
    """

    topology: str
    model: str
    options: dict[str, int] = msgspec.field(default_factory=dict)
    profile: str = ""
    scheme: Scheme = "airloom"
    requests: int = 200
    deadline_s: float = 10.0
    in_flight: int = 1
    transport: Transport = "udp"
    congestion: str = ""
    repair_rounds: int = 2
    seed: int = 0
    private_operators: int = 0
    result_returns: bool = True
    emulate: bool = True
    changes: tuple[Conditions, ...] = ()
    tolerance: str = ""
    min_accuracy: float | None = None
    objective: Objective | None = None


class RunKeys(Entry, frozen=True):
    """What run files and scenarios (`config.scenario`) both say."""

    model: str
    options: dict[str, int] = msgspec.field(default_factory=dict)
    profile: str = ""
    scheme: Scheme = "airloom"
    deadline: Quantity = "10 s"
    in_flight: int = 1
    transport: Transport = "udp"
    congestion: str = ""
    repair_rounds: int = 2
    seed: int = 0
    private_operators: int = 0
    result_returns: bool = True
    emulate: bool = True
    changes: tuple[Change, ...] = ()
    tolerance: str = ""
    min_accuracy: Quantity | None = None
    minimize: str | tuple[str, ...] = ()
    require: str | tuple[str, ...] = ()
    solver: str | None = None


class _Run(RunKeys, frozen=True, kw_only=True):
    topology: str
    requests: int = 200


def load_run(path: Path) -> RunConfig:
    """Read a run file and check it against its topology; files that it names are relative to it.

    Raises:
        ConfigError: names the place and what to do; also for mistakes in the topology file.
    """
    where = str(path)
    entry = parse(read_text(path), _Run, where=where, hint="start with `airloom init`")
    topology_path = named_file(path, entry.topology, "topology")
    topology = load_topology(topology_path, result_returns=entry.result_returns)
    return run_config(entry, path, topology, topology_file=topology_path, requests=entry.requests)


def run_config(entry: RunKeys, path: Path, topology: Topology, *, topology_file: Path, requests: int) -> RunConfig:
    """What the keys say, checked against the topology.

    Args:
        path: the file that they stand in.

    Raises:
        ConfigError: names the place and what to do.
    """
    where = str(path)
    for key, value, least in (
        ("requests", requests, 1),
        ("in_flight", entry.in_flight, 1),
        ("repair_rounds", entry.repair_rounds, 0),
        ("seed", entry.seed, 0),
        ("private_operators", entry.private_operators, 0),
    ):
        if value < least:
            raise ConfigError(f"must be at least {least}, got {value}", where=at(where, f"$.{key}"))
    deadline_s = units.parse_seconds(entry.deadline, where=at(where, "$.deadline"))
    if deadline_s == 0:
        raise ConfigError("a deadline of 0 leaves no time", where=at(where, "$.deadline"))
    if entry.congestion and entry.transport != "tcp":
        raise ConfigError(
            "congestion control is TCP's: write `transport: tcp` or leave it out", where=at(where, "$.congestion")
        )
    changes = []
    for i, change in enumerate(entry.changes):
        place = at(where, f"$.changes[{i}]")
        conditions = to_conditions(change, place=place)
        check_names(conditions, topology, where=place)
        changes.append(conditions)
    floor = None
    if entry.min_accuracy is not None:
        floor = units.parse_probability(entry.min_accuracy, where=at(where, "$.min_accuracy"))
        if not entry.tolerance:
            raise ConfigError(
                "a floor needs to know what loss costs: name a `tolerance` profile (`airloom tolerance` measures one)",
                where=at(where, "$.min_accuracy"),
            )
    objective = _objective(entry, topology, where)
    model = entry.model
    if model.endswith(".pt2"):
        model = str(named_file(path, model, "model"))
    return RunConfig(
        topology=str(topology_file),
        model=model,
        options=entry.options,
        profile=str(named_file(path, entry.profile, "profile")) if entry.profile else "",
        scheme=entry.scheme,
        requests=requests,
        deadline_s=deadline_s,
        in_flight=entry.in_flight,
        transport=entry.transport,
        congestion=entry.congestion,
        repair_rounds=entry.repair_rounds,
        seed=entry.seed,
        private_operators=entry.private_operators,
        result_returns=entry.result_returns,
        emulate=entry.emulate,
        changes=tuple(sorted(changes, key=lambda c: c.at_s)),
        tolerance=str(named_file(path, entry.tolerance, "tolerance")) if entry.tolerance else "",
        min_accuracy=floor,
        objective=objective,
    )


def _objective(entry: RunKeys, topology: Topology, where: str) -> Objective | None:
    """The keys `minimize`, `require` and `solver`; one term or bound may stand alone, several are a list."""
    places = Places(
        minimize=at(where, "$.minimize"),
        require=at(where, "$.require"),
        solver=at(where, "$.solver"),
        terms_are_list=not isinstance(entry.minimize, str),
        bounds_are_list=not isinstance(entry.require, str),
    )
    terms = (entry.minimize,) if isinstance(entry.minimize, str) else entry.minimize
    bounds = (entry.require,) if isinstance(entry.require, str) else entry.require
    objective = parse_objective(terms, bounds, entry.solver, places=places)
    check_objective(objective, topology, places=places)
    return objective


def named_file(run_file: Path, name: str, key: str) -> Path:
    """The absolute path of a file that `key` of a run file names; it must be there."""
    path = (run_file.parent / name).absolute()
    if not path.is_file():
        raise ConfigError(f"no file {path}: paths are relative to this file", where=at(str(run_file), f"$.{key}"))
    return path
