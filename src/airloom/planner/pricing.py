"""From profiles, devices and links to the arrays of a `Problem`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from airloom.core.framing import Framing
from airloom.core.problem import Cuts, HopCost, HostCost, Option, Problem
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Power, Topology
from airloom.errors import ConfigError, Infeasible, NoRoute, ProfileMismatch

# What the wire does (law 4).
FRAMED = Framing()
# Payload bytes alone, as papers count them: nothing is added for headers and tags.
PAYLOAD_ONLY = Framing(block_overhead=0, packet_overhead=0, message_overhead=0, tensor_overhead=0)
NO_POWER = Power()


def last_starts(profile: Profile, memory_bytes: int) -> Cuts:
    """`[L+1]` for each stop the smallest start whose stage's weights fit in `memory_bytes`.

    Each weight counts once a stage, however many of its operators read it. Two pointers over the
    operators: O(L + reads).
    """
    reads: list[list[int]] = [[] for _ in profile.operators]
    for index, weight in enumerate(profile.weights):
        for op in set(weight.operators):
            reads[op].append(index)
    inside = [0] * len(profile.weights)
    held, start = 0, 0
    starts = np.zeros(len(reads) + 1, dtype=np.intp)
    for op, indices in enumerate(reads):
        for index in indices:
            held += 0 if inside[index] else profile.weights[index].nbytes
            inside[index] += 1
        while held > memory_bytes:
            for index in reads[start]:
                inside[index] -= 1
                held -= 0 if inside[index] else profile.weights[index].nbytes
            start += 1
        starts[op + 1] = start
    return starts


def host_cost(
    device: Device, profile: Profile, *, load: float = 0.0, private_operators: int = 0, is_source: bool = False
) -> HostCost:
    """What `device` knows of itself: `profile`'s times stretched by its factor and by `1 + load`.

    Args:
        private_operators: how many of the first operators must run on the source.
        is_source: whether this is the source; the others do not heed `private_operators`.
    """
    stretch = device.factor * (1.0 + load)
    starts: Cuts | None = None
    if not device.computes:
        starts = np.arange(profile.num_operators + 1)
    elif device.memory_bytes is not None:
        starts = last_starts(profile, device.memory_bytes)
    return HostCost(
        device=device.id,
        elapsed_s=np.array(profile.elapsed_s) * stretch,
        constant_s=(profile.stage_constant_s + profile.rest_s) * stretch,
        last_start=starts,
        min_stop=private_operators if is_source else 0,
        energy_w=device.power.busy_w,
        memory_bytes=device.memory_bytes if device.computes else None,
    )


def carry(
    link: Link, tensor_nbytes: tuple[int, ...], framing: Framing, *, state: LinkState | None, power: Power
) -> Option:
    """Tensors over a link as they are: overhead + delay + bits / rate / (1 - loss).

    Loss is per IP packet and a packet carries one block, so with repair rounds until nothing is
    missing a block is sent 1 / (1 - loss) times in the mean, its first time included. Gaps are
    reported in mid-stream, so the round trips of repair overlap the sending and are not added; the
    last round trip, where the tail itself is lost, is not in this mean. `nbytes` is the first
    transmission alone (law 4); energy counts what is sent again.
    """
    rate, delay, loss = link.rate_bps, link.delay_s, link.loss
    if state is not None:
        rate = rate if state.rate_bps is None else state.rate_bps
        delay = delay if state.delay_s is None else state.delay_s
        loss = loss if state.loss is None else state.loss
    nbytes = framing.wire_nbytes(tensor_nbytes)
    if (state is not None and not state.up) or loss >= 1.0 or rate <= 0.0:
        return Option(nbytes=nbytes, transfer_s=float("inf"), energy_j=float("inf"))
    bits = 8 * nbytes / (1.0 - loss)
    return Option(
        nbytes=nbytes, transfer_s=link.overhead_s + delay + bits / rate, energy_j=bits * power.radio_j_per_bit
    )


def result_nbytes(profile: Profile) -> tuple[int, ...]:
    """Payload bytes of each tensor of the result."""
    return profile.output_nbytes or profile.cuts[-1].tensor_nbytes


def hop_cost(
    link: Link,
    back: Link | None,
    profile: Profile,
    framing: Framing,
    *,
    state: LinkState | None = None,
    back_state: LinkState | None = None,
    result_returns: bool = True,
    power: Power = NO_POWER,
    back_power: Power = NO_POWER,
) -> HopCost:
    """What the sender knows of its link downstream: every cut's price, and the result's way back.

    Args:
        link, state: downstream, and what it offers now.
        back, back_state: the other direction; needed where the result returns.
        power, back_power: of the sender, and of the host at the far end, who sends the result.

    Raises:
        NoRoute: the result returns and there is no link for it.
    """
    if result_returns and back is None:
        raise NoRoute(
            f"no link {link.dst}->{link.src} for the result's way back: "
            "add it, write `both: true`, or plan with --no-result-back"
        )
    options = tuple((carry(link, cut.tensor_nbytes, framing, state=state, power=power),) for cut in profile.cuts)
    way_back = Option()
    if result_returns and back is not None:
        way_back = carry(back, result_nbytes(profile), framing, state=back_state, power=back_power)
    return HopCost(src=link.src, dst=link.dst, options=options, back=way_back)


def profile_of(device: str, profiles: Mapping[str, Profile]) -> Profile:
    """The profile of a device, or the one under "" that stands for all that have none of their own."""
    if device in profiles:
        return profiles[device]
    if "" in profiles:
        return profiles[""]
    raise ConfigError(f"no profile for {device}: give it one, or one for all under the name ''")


def _same_model(first: Profile, other: Profile) -> None:
    if (first.graph_digest, first.num_operators) != (other.graph_digest, other.num_operators):
        raise ProfileMismatch(
            f"profile of {first.model} ({first.num_operators} operators, {first.graph_digest[:15] or 'no digest'}) and "
            f"profile of {other.model} ({other.num_operators} operators, {other.graph_digest[:15] or 'no digest'}) "
            f"are of different models: run `airloom profile` for the same model on each device"
        )


def build_problem(
    topology: Topology,
    chain: Sequence[str],
    profiles: Mapping[str, Profile],
    *,
    conditions: Conditions | None = None,
    framing: Framing = FRAMED,
    private_operators: int = 0,
    result_returns: bool = True,
) -> Problem:
    """The costs of a model on a chain of hosts, source first.

    Args:
        chain: ids of the devices, as from `route.chain`.
        profiles: by device id; the one under "" is for all others.
        conditions: what differs from the topology now.
        private_operators: how many of the first operators stay on the source.
        result_returns: whether the result goes back to the source.

    Raises:
        ProfileMismatch: two profiles are of different models.
        NoRoute: two neighbours of the chain have no link, or none back.
        ConfigError: more operators are private than there are.
        Infeasible: operators are private and the source does not compute.
    """
    used = [profile_of(id, profiles) for id in chain]
    first = used[0]
    for other in used[1:]:
        _same_model(first, other)
    if not 0 <= private_operators <= first.num_operators:
        raise ConfigError(
            f"{private_operators} operators cannot stay on {chain[0]}: {first.model} has {first.num_operators}"
        )
    devices = [topology.device(id) for id in chain]
    if private_operators and not devices[0].computes:
        raise Infeasible(f"{chain[0]} must keep {private_operators} operators and does not compute", device=chain[0])
    links = {(link.src, link.dst): link for link in topology.links}
    moved = conditions or Conditions()
    states = {(state.src, state.dst): state for state in moved.links}
    loads = {state.id: state for state in moved.devices}
    hosts = tuple(
        host_cost(
            device,
            profile,
            load=loads.get(device.id, DeviceState(id=device.id)).load,
            private_operators=private_operators,
            is_source=position == 0,
        )
        for position, (device, profile) in enumerate(zip(devices, used, strict=True))
    )
    hops = []
    for here, there in itertools.pairwise(devices):
        ahead, back = (here.id, there.id), (there.id, here.id)
        if ahead not in links:
            raise NoRoute(f"no link {here.id}->{there.id}: add it to the topology or take another route")
        hops.append(
            hop_cost(
                links[ahead],
                links.get(back),
                first,
                framing,
                state=states.get(ahead),
                back_state=states.get(back),
                result_returns=result_returns,
                power=here.power,
                back_power=there.power,
            )
        )
    return Problem(
        hosts=hosts,
        hops=tuple(hops),
        model=first.model,
        graph_digest=first.graph_digest,
        weights=first.weights,
        result_returns=result_returns,
    )
