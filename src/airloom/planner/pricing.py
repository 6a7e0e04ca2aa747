"""From profiles, devices and links to the arrays of a `Problem`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from airloom.core.framing import Framing
from airloom.core.problem import Cuts, HopCost, HostCost, Option, PlainOptions, Problem, RadioChoice
from airloom.core.profile import Profile
from airloom.core.speed import UNKNOWN
from airloom.core.tolerance import Contract
from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Power, Topology
from airloom.errors import ConfigError, NoRoute, ProfileMismatch
from airloom.planner.carrying import NO_POWER, Way, carry, carry_all_s, radio_all_j, ways
from airloom.planner.coded import Terms, coded_options, relayed_options
from airloom.planner.contract import check_contract, hop_floors, runs_rest

# What the wire does (law 4).
FRAMED = Framing()
# Payload bytes alone, as papers count them: nothing is added for headers and tags.
PAYLOAD_ONLY = Framing(block_overhead=0, packet_overhead=0, message_overhead=0, tensor_overhead=0)
#: By (src, dst), each MCS that a radio link may use.
Choices = Mapping[tuple[str, str], Sequence[RadioChoice]]


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
    if device.factor == UNKNOWN:
        raise ConfigError(
            f"how fast {device.id} is follows from its class and a profile: see core.speed", where=device.id
        )
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
        price_per_s=device.price_per_s,
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
    contract: Contract | None = None,
    floor: float | None = None,
    choices: Sequence[RadioChoice] = (),
    back_choices: Sequence[RadioChoice] = (),
    factors: tuple[float, float] = (1.0, 1.0),
    tuned: bool = True,
) -> HopCost:
    """What the sender knows of its link downstream: every cut's price, and the result's way back.

    Args:
        link, state: downstream, and what it offers now.
        back, back_state: the other direction; needed where the result returns.
        power, back_power: of the sender, and of the host at the far end, who receives, and sends the result.
        contract: adds an option for every coding of a cut that meets `floor` (`coded`).
        floor: the accuracy that this hop alone must leave (`contract.hop_floors`); None: the clean one.
        choices, back_choices: of a radio link, each MCS that it may use; empty for its own figures.
        factors: how much slower than the profile's machine the hosts at both ends are, load included.
        tuned: whether codings with tuned weights are among the options (`contract.runs_rest`).

    Raises:
        NoRoute: the result returns and there is no link for it.
    """
    if result_returns and back is None:
        raise NoRoute(
            f"no link {link.dst}->{link.src} for the result's way back: "
            "add it, write `both: true`, or plan with --no-result-back"
        )
    turn_s = link.delay_s if back is None else back.delay_s
    if back_state is not None and back_state.delay_s is not None:
        turn_s = back_state.delay_s
    onward = ways(link, state=state, choices=choices, back_delay_s=turn_s)
    terms = None
    if contract is not None:
        terms = Terms(contract, contract.tolerance.clean if floor is None else floor, *factors, tuned)
    plain = contract is None and len(onward) == 1
    options: list[tuple[Option, ...]] = []
    relayed: list[tuple[Option, ...]] = []
    for index, cut in enumerate(() if plain else profile.cuts):
        sizes = cut.tensor_nbytes
        nbytes = framing.wire_nbytes(sizes)
        blocks = framing.num_blocks(framing.message_nbytes(sizes))
        raw = tuple(
            carry(way, nbytes, blocks=blocks, power=power, receiver=back_power, waits=terms is not None)
            for way in onward
        )
        if terms is None or index == profile.num_operators:
            options.append(raw)
            relayed.append(raw)
            continue
        options.append(raw + coded_options(index, sizes, onward, framing, (power, back_power), terms))
        relayed.append(raw + relayed_options(index, sizes, onward, framing, (power, back_power), terms))
    way_back = Option()
    if result_returns and back is not None:
        result = result_nbytes(profile)
        nbytes, blocks = framing.wire_nbytes(result), framing.num_blocks(framing.message_nbytes(result))
        upward = ways(back, state=back_state, choices=back_choices)
        way_back = min(
            (carry(way, nbytes, blocks=blocks, power=back_power, receiver=power) for way in upward),
            key=lambda option: option.total_s,
        )
    return HopCost(
        src=link.src,
        dst=link.dst,
        options=_plain(onward[0], profile, framing, power, back_power) if plain else tuple(options),
        back=way_back,
        relayed=() if terms is None else tuple(relayed),
    )


def _plain(way: Way, profile: Profile, framing: Framing, power: Power, receiver: Power) -> PlainOptions:
    """Cuts that travel raw over a link with one way of using it: priced all at once."""
    nbytes, blocks, sizes = profile.on_wire(framing)

    def option(cut: int) -> Option:
        return carry(way, int(nbytes[cut]), blocks=int(blocks[cut]), power=power, receiver=receiver)

    return PlainOptions(
        carry_all_s(way, nbytes, blocks), sizes, lambda: radio_all_j(way, nbytes, blocks, power, receiver), option
    )


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
    contract: Contract | None = None,
    choices: Choices | None = None,
) -> Problem:
    """The costs of a model on a chain of hosts, source first.

    Args:
        chain: ids of the devices, as from `route.chain`.
        profiles: by device id; the one under "" is for all others.
        conditions: what differs from the topology now.
        private_operators: how many of the first operators stay on the source.
        result_returns: whether the result goes back to the source.
        contract: the accuracy that is demanded and what each cut bears; None carries every cut raw and whole.
        choices: of radio links, each MCS that they may use.

    Raises:
        ProfileMismatch: two profiles, or a profile and the contract's, are of different models.
        NoRoute: two neighbours of the chain have no link, or none back.
        ConfigError: more operators are private than there are.
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
    links = {(link.src, link.dst): link for link in topology.links}
    moved = conditions or Conditions()
    states = {(state.src, state.dst): state for state in moved.links}
    gone = {state.id for state in moved.devices if not state.up}
    states |= {
        (link.src, link.dst): LinkState(src=link.src, dst=link.dst, up=False)
        for link in (topology.links if gone else ())
        if link.src in gone or link.dst in gone
    }
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
    if contract is not None:
        check_contract(contract, first.graph_digest, model=first.model, num_operators=first.num_operators)
    pairs = list(itertools.pairwise(devices))
    for here, there in pairs:
        if (here.id, there.id) not in links:
            raise NoRoute(f"no link {here.id}->{there.id}: add it to the topology or take another route")
    radio = choices or {}
    floors = (None,) * len(pairs) if contract is None else hop_floors(contract, topology, chain)
    stretched = {d.id: d.factor * (1.0 + loads.get(d.id, DeviceState(id=d.id)).load) for d in devices}
    hops = []
    for (here, there), floor, tuned in zip(pairs, floors, runs_rest(topology, chain), strict=True):
        ahead, back = (here.id, there.id), (there.id, here.id)
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
                contract=contract,
                floor=floor,
                choices=radio.get(ahead, ()),
                back_choices=radio.get(back, ()),
                factors=(stretched[here.id], stretched[there.id]),
                tuned=tuned,
            )
        )
    return Problem(
        hosts=hosts,
        hops=tuple(hops),
        model=first.model,
        graph_digest=first.graph_digest,
        weights=first.weights,
        result_returns=result_returns,
        clean_accuracy=None if contract is None else contract.tolerance.clean,
        min_accuracy=None if contract is None else contract.min_accuracy,
    )
