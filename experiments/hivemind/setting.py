"""The paper's network as it is at a moment, and its models on its machines.

A *draw* is the network at one coherence tick of a scenario: which links there are and what they offer. Schemes
that are compared see the same draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from airloom.config.scenario import load_scenario
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.scenario import Load, Scenario
from airloom.core.speed import speed_class, with_class_factors
from airloom.core.topology import Conditions, LinkState, Topology
from airloom.planner.inputs import load_profile
from airloom.planner.modes import Modes, Pricer
from airloom.planner.route import chain
from airloom.radio.cell.network import ScenarioNetwork

HERE = Path(__file__).parent
SCENARIOS = HERE.parents[1] / "examples" / "scenarios"
LOADS: tuple[Load, ...] = ("low", "mid", "high")
PLAIN = Modes()


def profile(name: str) -> Profile:
    """A profile measured on one machine, which stands for all (README)."""
    return load_profile(HERE / "profiles" / f"{name}.json")


def scenario(name: str, load: Load) -> Scenario:
    """An example scenario under a load."""
    return load_scenario(SCENARIOS / f"{name}.yaml", load=load).scenario


@dataclass(frozen=True)
class Draw:
    """The network at a moment, and the path that requests take through it.

    Attributes:
        topology: with the factors of the machines for the model at hand.
        conditions: rates at the moment.
        chain: from the UE to the cloud over the cell that serves it.
    """

    topology: Topology
    conditions: Conditions
    chain: tuple[str, ...]
    profiles: Mapping[str, Profile]

    def problem(self, modes: Modes = PLAIN, *, topology: Topology | None = None) -> Problem:
        """The prices of a request, or of a step of training, on this draw."""
        price = Pricer(
            self.topology if topology is None else topology,
            self.profiles,
            conditions=self.conditions,
            result_returns=modes.training is None,
            modes=modes,
        )
        return price(self.chain)


def draws(
    what: Scenario, model: Profile, count: int, *, seed: int, every_s: float = 1.0, speeds: Profile | None = None
) -> Iterator[Draw]:
    """`count` draws, `every_s` apart, while the UE moves and others come and go.

    Args:
        speeds: the profile by which machines compare with ours; None is the model's own (`core.speed`).
    """
    network = ScenarioNetwork(what, seed=seed)
    profiles = {"": model}
    topology = with_class_factors(network.topology, profiles if speeds is None else {"": speeds})
    step = max(1, round(every_s / network.period_s))
    for k in range(count):
        rates = network.rates(k * step)
        links = tuple(
            LinkState(src=src, dst=dst, rate_bps=float(rate)) if rate > 0 else LinkState(src=src, dst=dst, up=False)
            for (src, dst), rate in zip(network.links, rates, strict=True)
        )
        conditions = Conditions(links=links)
        yield Draw(topology, conditions, chain(topology, conditions=conditions), profiles)


def with_ue(what: Scenario, name: str) -> Scenario:
    """The scenario with UEs of another class; their radio stays."""
    power = speed_class(name).power
    devices = tuple(
        msgspec.structs.replace(
            device,
            speed_class=name,
            power=msgspec.structs.replace(
                device.power, idle_w=power.idle_w, busy_w=power.busy_w, source=f"{power.source}; {device.power.source}"
            ),
        )
        if device.role == "ue"
        else device
        for device in what.topology.devices
    )
    return msgspec.structs.replace(what, topology=msgspec.structs.replace(what.topology, devices=devices))


def faster(topology: Topology, role: str, times: float) -> Topology:
    """The topology with the hosts of a role `times` as fast."""
    devices = tuple(
        msgspec.structs.replace(device, factor=device.factor / times) if device.role == role else device
        for device in topology.devices
    )
    return msgspec.structs.replace(topology, devices=devices)


def without_limits(topology: Topology) -> Topology:
    """The topology with memory for every model on every host."""
    devices = tuple(msgspec.structs.replace(device, memory_bytes=None) for device in topology.devices)
    return msgspec.structs.replace(topology, devices=devices)


def bandwidths(name: str, load: Load, seconds: float, seeds: int) -> dict[str, dict[str, float]]:
    """What links leave to the UE, Mbit/s, by the label of Table I: mean and deviation over time and networks."""
    what = scenario(name, load)
    labels = {(each.src, each.dst): each.label for each in what.links if each.label}
    sums: dict[str, list[float]] = {}
    for seed in range(seeds):
        network = ScenarioNetwork(what, seed=seed)
        at = {label: network.links.index(link) for link, label in labels.items()}
        for tick in range(round(seconds / network.period_s)):
            rates = network.rates(tick)
            for label, index in at.items():
                sums.setdefault(label, []).append(float(rates[index]) / 1e6)
    return {label: {"mean": float(np.mean(v)), "std": float(np.std(v))} for label, v in sums.items()}
