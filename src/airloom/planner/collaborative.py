"""Collaborative learning: parameters go to where they are merged, and come back (HiveMind, section VI-B, Eq. 13).

Agents of federated learning or multi-agent reinforcement learning train copies of one model and merge
them at a host now and then. The paper adds the parameter transfer cost omega^p to the assignments that
have the final layer on host p. It depends on p alone, whatever else p runs, so it is of the model's parameters
whole, sent from p. But those of earlier stages are not at p: an assignment that leaves one layer to the
merging host would send nothing at all. In a running network each host sends the parameters of its own
stage. That is a sum over operators, as Eq. (13) is, so the planner stays as it is; it is the default here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np

from airloom.core.framing import Framing
from airloom.core.problem import Haul, Problem
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.errors import ConfigError, NoRoute
from airloom.planner.hauling import Hauler, nothing, scaled
from airloom.planner.pricing import FRAMED, Choices
from airloom.planner.training import with_haul
from airloom.planner.training_profile import weight_messages

#: Who sends: each host what its stage has, or the host of the last operator everything (Eq. 13).
Senders = Literal["stages", "last"]


@dataclass(frozen=True)
class Collaboration:
    """How parameters travel.

    Attributes:
        to: the device that merges them.
        every: steps between two merges; each step bears its share.
        both: whether the merged parameters come back the same way, as in federated averaging.
        senders: "stages": each host sends the parameters of the operators it runs; "last", as in Eq. (13): the
            host of the last operator sends all.
    """

    to: str
    every: int = 1
    both: bool = True
    senders: Senders = "stages"


def with_parameters(
    problem: Problem,
    topology: Topology,
    profile: Profile,
    collaboration: Collaboration,
    *,
    conditions: Conditions | None = None,
    framing: Framing = FRAMED,
    choices: Choices | None = None,
    part: bool = False,
) -> Problem:
    """`problem` with what it costs each host to send its parameters to where they are merged.

    All weights and buffers travel, without what an optimiser keeps for them; a weight that several
    operators read is sent by the host of the first.

    Args:
        part: the problem is of a part of a chain, of whose hosts none need be able to send.

    Raises:
        ConfigError: no such device, or merges that are less than a step apart.
        NoRoute: no host of the chain can send there (and get them back).
    """
    hauls = parameter_hauls(
        problem, topology, profile, collaboration, conditions=conditions, framing=framing, choices=choices
    )
    if all(haul is None for haul in hauls) and not part:
        raise NoRoute(
            f"no host of {', '.join(host.device for host in problem.hosts)} can send parameters to {collaboration.to}"
            f"{' and get them back' if collaboration.both else ''}: name another host or add links"
        )
    hosts = []
    for host, haul in zip(problem.hosts, hauls, strict=True):
        if haul is None:
            # No way to the merging host: whoever cannot send has nothing to send, so it runs nothing.
            starts = np.arange(problem.num_operators + 1)
            hosts.append(dataclasses.replace(host, last_start=starts))
        else:
            hosts.append(with_haul(host, haul) if haul.seconds.any() else host)
    return dataclasses.replace(problem, hosts=tuple(hosts))


def parameter_hauls(
    problem: Problem,
    topology: Topology,
    profile: Profile,
    collaboration: Collaboration,
    *,
    conditions: Conditions | None = None,
    framing: Framing = FRAMED,
    choices: Choices | None = None,
) -> tuple[Haul | None, ...]:
    """For each host what travels for its operators, a step's share; None where there is no way.

    Raises:
        ConfigError: as `with_parameters`.
    """
    if collaboration.every < 1:
        raise ConfigError(f"merges are at least 1 step apart, got {collaboration.every}", where="--every")
    known = [device.id for device in topology.devices]
    if collaboration.to not in known:
        raise ConfigError(f"no device {collaboration.to!r}: there are {', '.join(known)}", where="--parameters-to")
    messages = list(weight_messages(profile, state=False))
    if collaboration.senders == "last":
        messages = [()] * (profile.num_operators - 1) + [tuple(size for sizes in messages for size in sizes)]
    hauler = Hauler(topology, conditions=conditions, framing=framing, choices=choices)
    found: list[Haul | None] = []
    for host in problem.hosts:
        if host.device == collaboration.to:
            found.append(nothing(profile.num_operators))
            continue
        haul = hauler.haul(host.device, collaboration.to, messages)
        if haul is not None and collaboration.both:
            home = hauler.haul(collaboration.to, host.device, messages)
            haul = None if home is None else haul + home
        found.append(None if haul is None else scaled(haul, 1.0 / collaboration.every))
    return tuple(found)
