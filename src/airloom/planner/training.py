"""Split training: where each operator runs, forwards and backwards (HiveMind, section IV-E, Eq. 8 and 9).

A host has the same operators on the way back as on the way out, so one assignment serves both. A step
costs the forward and the backward pass of every operator, activations on and gradients back over every
hop, and, when the assignment changes, the way of each operator's weights from the host that had them to
the one that gets them. All of this is a sum over operators and hops: prices change, the planner does not.

    elapsed_s   forward + backward seconds, and what moves to this host, operator by operator
    hop         the live set on, and its gradients back over the link in the other direction

A step is over when the gradients, or where there are none word of the loss, are back at the source.

Weights that several operators read (tied, or of an unrolled recurrent network) belong to the host of the
first of them, as `core.training` has it: every cut between the first and the last reader carries their
gradients back, their new value on, and word that it is there back, one copy however many operators read
them. Their state moves with their first operator.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from airloom.core.framing import Framing
from airloom.core.plan import Plan
from airloom.core.problem import Haul, HopCost, HostCost, Option, Problem
from airloom.core.profile import CutSize, Profile
from airloom.core.topology import Conditions, Link, Topology
from airloom.errors import ConfigError, NoRoute, ProfileMismatch
from airloom.planner.carrying import Way, carry, ways
from airloom.planner.hauling import Hauler, nothing, scaled
from airloom.planner.pricing import FRAMED, Choices, build_problem, profile_of
from airloom.planner.training_profile import (
    LOSS_NBYTES,
    gradient_messages,
    has_backward,
    lent_messages,
    training_memory,
    training_profile,
    weight_messages,
)


@dataclass(frozen=True)
class Training:
    """How a step of training is priced.

    Attributes:
        previous: the plan that holds the weights now; None where each host loads its own, which costs nothing.
        amortise: over how many steps the move is spread; 1 is the paper's.
        labels_nbytes: of a batch's labels, which travel with the activations to the host of the loss; 0 where
            they are inputs of the graph, whose live sets carry them, or are there already.
        modelled: whether to take `BACKWARD_PER_FORWARD` for a profile that was measured without training.
    """

    previous: Plan | None = None
    amortise: int = 1
    labels_nbytes: int = 0
    modelled: bool = False


@dataclass(frozen=True)
class TrainingCosts:
    """The prices of a step, whole and in parts.

    Attributes:
        problem: what a planner solves.
        forward: the same hosts and hops with the forward pass alone.
        moves: for each host, what has to come to it for the operators before each cut.
        modelled: whether backward times are `BACKWARD_PER_FORWARD` of the forward ones.
    """

    problem: Problem
    forward: Problem
    moves: tuple[Haul, ...]
    modelled: bool


def training_problem(
    topology: Topology,
    chain: Sequence[str],
    profiles: Mapping[str, Profile],
    training: Training,
    *,
    conditions: Conditions | None = None,
    framing: Framing = FRAMED,
    private_operators: int = 0,
    choices: Choices | None = None,
) -> Problem:
    """`pricing.build_problem` of a step of training; see `training_costs`."""
    return training_costs(
        topology, chain, profiles, training,
        conditions=conditions, framing=framing, private_operators=private_operators, choices=choices,
    ).problem  # fmt: skip


def training_costs(
    topology: Topology,
    chain: Sequence[str],
    profiles: Mapping[str, Profile],
    training: Training,
    *,
    conditions: Conditions | None = None,
    framing: Framing = FRAMED,
    private_operators: int = 0,
    choices: Choices | None = None,
    part: bool = False,
) -> TrainingCosts:
    """The costs of a step of training on a chain of hosts, source first.

    Memory holds weights, their gradients, what the optimiser keeps, and what operators make, kept for the way back.

    Args:
        part: the chain is a part of one, so that its hosts together need not be able to get all weights.

    Raises:
        UserError: a profile has no backward times and was measured, so that nothing is assumed.
        NoRoute: a hop has no link back for the gradients.
        ProfileMismatch: the previous plan is of another model.
        ConfigError: the move is spread over less than one step.
        Infeasible, ProfileMismatch, ConfigError: as `pricing.build_problem`.
    """
    if training.amortise < 1:
        raise ConfigError(f"a move is spread over at least 1 step, got {training.amortise}", where="--amortise")
    whole = {id: training_profile(profile_of(id, profiles), modelled=training.modelled) for id in dict.fromkeys(chain)}
    first = whole[chain[0]]

    def priced(used: Mapping[str, Profile]) -> Problem:
        return build_problem(
            topology, chain, used, conditions=conditions, framing=framing,
            private_operators=private_operators, result_returns=False, choices=choices,
        )  # fmt: skip

    on = {id: _both_ways(profile, training.labels_nbytes) for id, profile in whole.items()}
    forward = priced({id: _one_way(profile, training.labels_nbytes) for id, profile in whole.items()})
    both = priced(on)
    hops = tuple(
        _with_gradients(hop, first, topology, framing, conditions or Conditions(), choices or {}) for hop in both.hops
    )
    hauler = Hauler(topology, conditions=conditions, framing=framing, choices=choices)
    hosts, moves = [], []
    lost = np.ones(first.num_operators, dtype=np.bool_)  # operators whose weights can come to no host
    for host in both.hosts:
        haul, blocked = _moves(host.device, first, training, hauler)
        hosts.append(_with_moves(host, haul, blocked))
        moves.append(haul)
        lost &= blocked
    if training.previous is not None and lost.any() and not part:
        op = int(lost.argmax())
        raise NoRoute(
            f"{holders(training.previous, first)[op]} has the weights of operator {op} and cannot be reached: bring it "
            "back, or start from saved weights, without the previous plan (--from)"
        )
    problem = dataclasses.replace(
        both, hosts=tuple(hosts), hops=hops, held="weights, gradients, optimiser state and activations"
    )
    modelled = any(not has_backward(profile_of(id, profiles)) for id in whole)
    return TrainingCosts(problem, forward, tuple(moves), modelled)


# --- profiles ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=16)
def _one_way(profile: Profile, labels_nbytes: int) -> Profile:
    """What the forward pass of training costs: operators, activations, labels."""
    return msgspec.structs.replace(profile, cuts=_carried_on(profile, labels_nbytes))


@functools.lru_cache(maxsize=16)
def _both_ways(profile: Profile, labels_nbytes: int) -> Profile:
    """A profile whose times are of both passes and whose weights are all that training keeps in memory."""
    times = tuple(
        msgspec.structs.replace(
            op, compute_s=op.compute_s * profile.stage_scale + op.backward_s * profile.backward_scale
        )
        for op in profile.operators
    )
    return msgspec.structs.replace(
        profile,
        operators=times,
        stage_scale=1.0,
        stage_constant_s=profile.stage_constant_s + profile.backward_constant_s,
        cuts=_carried_on(profile, labels_nbytes),
        weights=training_memory(profile),
    )


def _carried_on(profile: Profile, labels_nbytes: int) -> tuple[CutSize, ...]:
    last = profile.num_operators
    labels = (labels_nbytes,) if labels_nbytes else ()
    return tuple(
        CutSize(tensor_nbytes=(*cut.tensor_nbytes, *(labels if index < last else ())))
        for index, cut in enumerate(profile.cuts)
    )


# --- hops -------------------------------------------------------------------------------------------


def _with_gradients(
    hop: HopCost, profile: Profile, topology: Topology, framing: Framing, conditions: Conditions, choices: Choices
) -> HopCost:
    """A hop that carries a cut on and its gradients back, each in any of its ways; lent weights go on by themselves."""
    links = {(link.src, link.dst): link for link in topology.links}
    on, back = links[hop.src, hop.dst], links.get((hop.dst, hop.src))
    if back is None:
        raise NoRoute(f"no link {hop.dst}->{hop.src} for the gradients' way back: add it or write `both: true`")
    states = {(state.src, state.dst): state for state in conditions.links}
    onward, upward = (
        ways(link, state=states.get((link.src, link.dst)), choices=choices.get((link.src, link.dst), ()))
        for link in (on, back)
    )
    rows = []
    for row, sizes, lent in zip(hop.options, gradient_messages(profile), lent_messages(profile), strict=True):
        if lent:
            # In the way of the cut itself: options come in the order of the ways.
            values = [_message(way, lent, framing, on, topology) for way in onward]
            row = tuple(_one_after_the_other(cut, value) for cut, value in zip(row, values, strict=True))
        home = [_message(way, sizes, framing, back, topology) for way in upward]
        if lent:  # whoever waited for new values says when they are there
            word = [_message(way, (LOSS_NBYTES,), framing, back, topology) for way in upward]
            home = [_one_after_the_other(gradient, said) for gradient, said in zip(home, word, strict=True)]
        rows.append(tuple(_there_and_back(option, gradient) for option in row for gradient in home))
    return HopCost(src=hop.src, dst=hop.dst, options=tuple(rows))


def _message(way: Way, sizes: tuple[int, ...], framing: Framing, link: Link, topology: Topology) -> Option:
    nbytes, blocks = framing.wire_nbytes(sizes), framing.num_blocks(framing.message_nbytes(sizes))
    sender, receiver = topology.device(link.src).power, topology.device(link.dst).power
    return carry(way, nbytes, blocks=blocks, power=sender, receiver=receiver)


def _one_after_the_other(first: Option, second: Option) -> Option:
    return msgspec.structs.replace(
        first,
        nbytes=first.nbytes + second.nbytes,
        transfer_s=first.transfer_s + second.total_s,
        energy_j=first.energy_j + second.energy_j,
        receive_j=first.receive_j + second.receive_j,
    )


def _there_and_back(on: Option, home: Option) -> Option:
    """One option of both messages: `energy_j` stays that of the host upstream, which gets the gradients."""
    return msgspec.structs.replace(
        on,
        nbytes=on.nbytes + home.nbytes,
        transfer_s=on.transfer_s + home.total_s,
        energy_j=on.energy_j + home.receive_j,
        receive_j=on.receive_j + home.energy_j,
    )


# --- moves ------------------------------------------------------------------------------------------


def holders(plan: Plan, profile: Profile) -> tuple[str, ...]:
    """For each operator the device that a plan has it on.

    Raises:
        ProfileMismatch: the plan is of another model.
    """
    found = [""] * profile.num_operators
    same = not plan.graph_digest or not profile.graph_digest or plan.graph_digest == profile.graph_digest
    if same and all(stage.stop <= profile.num_operators for stage in plan.stages):
        for stage in plan.stages:
            found[stage.start : stage.stop] = [stage.device] * (stage.stop - stage.start)
    if not same or "" in found:
        raise ProfileMismatch(
            f"the previous plan is for {plan.model} and does not place the {profile.num_operators} operators of "
            f"{profile.model}: give the plan that this model was trained under last"
        )
    return tuple(found)


def _moves(device: str, profile: Profile, training: Training, hauler: Hauler) -> tuple[Haul, NDArray[np.bool_]]:
    """What has to come to `device` for each operator, and which operators cannot come to it: no way leads here."""
    haul, blocked = nothing(profile.num_operators), np.zeros(profile.num_operators, dtype=np.bool_)
    if training.previous is None:
        return haul, blocked
    messages, had = weight_messages(profile, state=True), holders(training.previous, profile)
    for old in dict.fromkeys(had):
        if old == device:
            continue
        theirs = [sizes if holder == old else () for sizes, holder in zip(messages, had, strict=True)]
        moved = hauler.haul(old, device, theirs)
        if moved is None:
            blocked |= np.array([bool(sizes) for sizes in theirs])
        else:
            haul = haul + scaled(moved, 1.0 / training.amortise)
    return haul, blocked


def _with_moves(host: HostCost, haul: Haul, blocked: NDArray[np.bool_]) -> HostCost:
    starts = host.last_start
    if blocked.any():
        # No stage may hold an operator whose weights cannot come: it starts behind the last one before its stop.
        after = np.concatenate([[0], np.maximum.accumulate(np.where(blocked, np.arange(1, len(blocked) + 1), 0))])
        starts = after.astype(np.intp) if starts is None else np.maximum(starts, after)
    if not haul.seconds.any() and starts is host.last_start:
        return host
    return with_haul(dataclasses.replace(host, last_start=starts), haul)


def with_haul(host: HostCost, haul: Haul) -> HostCost:
    """A host for whose operators weights have to travel, besides those that already do."""
    together = haul if host.haul is None else host.haul + haul
    return dataclasses.replace(host, elapsed_s=host.elapsed_s + haul.seconds, haul=together)
