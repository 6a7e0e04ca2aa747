"""Split training: where each operator runs, forwards and backwards (HiveMind, section IV-E, Eq. 8 and 9).

A host has the same operators on the way back as on the way out, so one assignment serves both. A step
costs the forward and the backward pass of every operator, activations on and gradients back over every
hop, and, when the assignment changes, the way of each operator's weights from the host that had them to
the one that gets them. All of this is a sum over operators and hops: prices change, the planner does not.

    elapsed_s   forward + backward seconds, and what moves to this host, operator by operator
    hop         the live set on, and its gradients back over the link in the other direction

The source is done when the gradients, or where there are none word of the loss, are back at it.

Weights that several operators read (tied, or of an unrolled recurrent network) belong to the host of the
first of them, as `core.training` has it: every cut between the first and the last reader carries their new
value on and their gradients back, one copy however many operators read them. Their state moves with
their first operator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from airloom.core.framing import Framing
from airloom.core.plan import Plan
from airloom.core.problem import Haul, HopCost, HostCost, Option, Problem
from airloom.core.profile import CutSize, Profile, Weights
from airloom.core.topology import Conditions, Link, Topology
from airloom.errors import ConfigError, NoRoute, ProfileMismatch, UserError
from airloom.planner.carrying import Way, carry, ways
from airloom.planner.hauling import Hauler, Messages, nothing, scaled
from airloom.planner.pricing import FRAMED, Choices, build_problem, profile_of

#: A backward pass costs two forward passes: gradients with respect to the input and to the weights are a
#: product of the forward's size each (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
BACKWARD_PER_FORWARD = 2.0
#: The loss goes back with the gradients, in float64.
LOSS_NBYTES = 8


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
) -> TrainingCosts:
    """The costs of a step of training on a chain of hosts, source first.

    Memory holds weights, their gradients, what the optimiser keeps, and what operators make, kept for the way back.

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
    gradients = gradient_messages(first)
    hops = tuple(
        _with_gradients(hop, gradients, topology, framing, conditions or Conditions(), choices or {})
        for hop in both.hops
    )
    hauler = Hauler(topology, conditions=conditions, framing=framing, choices=choices)
    hosts, moves = [], []
    lost = np.ones(first.num_operators, dtype=np.bool_)  # operators whose weights can come to no host
    for host in both.hosts:
        haul, blocked = _moves(host.device, first, training, hauler)
        hosts.append(_with_moves(host, haul, blocked))
        moves.append(haul)
        lost &= blocked
    if training.previous is not None and lost.any():
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


def has_backward(profile: Profile) -> bool:
    """Whether a profile says what the way back takes."""
    return any(op.backward_s > 0.0 for op in profile.operators)


def training_profile(profile: Profile, *, modelled: bool = False) -> Profile:
    """A profile that says what training costs: itself, or one filled in where it was written by hand.

    Filled in are backward times (`BACKWARD_PER_FORWARD`), gradients of the size of what they are of (none of
    the input), and weights that are all trained, with nothing kept by the optimiser.

    Raises:
        UserError: it was measured, without training, and `modelled` is not asked for.
    """
    if not has_backward(profile):
        if profile.graph_digest and not modelled:
            raise UserError(
                f"the profile of {profile.model} has no backward times: measure them with `airloom profile --train "
                "sgd`, or plan with --train modelled, which takes twice the forward pass"
            )
        profile = msgspec.structs.replace(
            profile,
            operators=tuple(
                msgspec.structs.replace(op, backward_s=BACKWARD_PER_FORWARD * op.compute_s) for op in profile.operators
            ),
            backward_scale=profile.stage_scale,
            backward_constant_s=BACKWARD_PER_FORWARD * profile.stage_constant_s,
            basis="modelled",
        )
    if not profile.optimizer and not any(weight.trained for weight in profile.weights):
        profile = msgspec.structs.replace(
            profile, weights=tuple(msgspec.structs.replace(weight, trained=True) for weight in profile.weights)
        )
    if not any(cut.gradient_nbytes for cut in profile.cuts):
        profile = msgspec.structs.replace(profile, cuts=_with_gradient_sizes(profile.cuts))
    return profile


def _with_gradient_sizes(cuts: tuple[CutSize, ...]) -> tuple[CutSize, ...]:
    inputs = set(cuts[0].tensors)
    found = [msgspec.structs.replace(cuts[0], gradient_nbytes=(0,) * len(cuts[0].tensor_nbytes))]
    for cut in cuts[1:]:
        ids = cut.tensors or (-1,) * len(cut.tensor_nbytes)
        sizes = tuple(0 if id in inputs else nbytes for id, nbytes in zip(ids, cut.tensor_nbytes, strict=True))
        found.append(msgspec.structs.replace(cut, gradient_nbytes=sizes))
    return tuple(found)


def _one_way(profile: Profile, labels_nbytes: int) -> Profile:
    """What the forward pass of training costs: activations, labels, and weights lent to hosts further on."""
    return msgspec.structs.replace(profile, cuts=_carried_on(profile, labels_nbytes))


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
    lent = _lent(profile)
    last = profile.num_operators
    labels = (labels_nbytes,) if labels_nbytes else ()
    return tuple(
        CutSize(tensor_nbytes=(*cut.tensor_nbytes, *(labels if index < last else ()), *lent[index]))
        for index, cut in enumerate(profile.cuts)
    )


def _lent(profile: Profile) -> list[tuple[int, ...]]:
    """For each cut the bytes of the trained weights that are read on both sides of it."""
    found: list[list[int]] = [[] for _ in profile.cuts]
    for weight in profile.weights:
        if weight.trained and weight.operators:
            for cut in range(min(weight.operators) + 1, max(weight.operators) + 1):
                found[cut].append(weight.nbytes)
    return [tuple(sizes) for sizes in found]


def gradient_messages(profile: Profile) -> Messages:
    """For each cut the bytes of what goes back over it: gradients of its live set and of lent weights, the loss."""
    lent = _lent(profile)
    return [
        (*(nbytes for nbytes in cut.gradient_nbytes if nbytes), *lent[index], LOSS_NBYTES)
        for index, cut in enumerate(profile.cuts)
    ]


def training_memory(profile: Profile) -> tuple[Weights, ...]:
    """What a stage holds in training, as weights that its operators read.

    Weights, their gradients and the optimiser's state; and every tensor that an operator makes, held by
    the host that makes it and the one that reads it last, for the way back needs it there. The latter is
    modelled: some of it could be made again or is not needed.
    """
    held = [Weights(w.nbytes + (w.nbytes if w.trained else 0) + w.state_nbytes, w.operators) for w in profile.weights]
    inputs = set(profile.cuts[0].tensors)
    seen: dict[int, tuple[int, int, int]] = {}  # tensor -> bytes, the operator that makes it, the last that reads it
    for index, cut in enumerate(profile.cuts):
        if not cut.tensors:
            if index and cut.tensor_nbytes:
                held.append(Weights(cut.nbytes, (index - 1,)))
            continue
        for id, nbytes in zip(cut.tensors, cut.tensor_nbytes, strict=True):
            last = min(index, profile.num_operators - 1)
            # Inputs are nobody's: only who reads them keeps them.
            made = seen[id][1] if id in seen and seen[id][1] >= 0 else index - 1
            seen[id] = nbytes, made if id not in inputs else -1, last
    held += [Weights(nbytes, (made, last) if made >= 0 else (last,)) for nbytes, made, last in seen.values()]
    return tuple(held)


# --- hops -------------------------------------------------------------------------------------------


def _with_gradients(
    hop: HopCost,
    gradients: Messages,
    topology: Topology,
    framing: Framing,
    conditions: Conditions,
    choices: Choices,
) -> HopCost:
    """A hop that carries a cut on and its gradients back, each in any of its ways."""
    back = next((link for link in topology.links if (link.src, link.dst) == (hop.dst, hop.src)), None)
    if back is None:
        raise NoRoute(f"no link {hop.dst}->{hop.src} for the gradients' way back: add it or write `both: true`")
    states = {(state.src, state.dst): state for state in conditions.links}
    upward = ways(back, state=states.get((back.src, back.dst)), choices=choices.get((back.src, back.dst), ()))
    rows = []
    for row, sizes in zip(hop.options, gradients, strict=True):
        home = [_gradient(way, sizes, framing, back, topology) for way in upward]
        rows.append(tuple(_there_and_back(option, gradient) for option in row for gradient in home))
    return HopCost(src=hop.src, dst=hop.dst, options=tuple(rows))


def _gradient(way: Way, sizes: tuple[int, ...], framing: Framing, back: Link, topology: Topology) -> Option:
    nbytes, blocks = framing.wire_nbytes(sizes), framing.num_blocks(framing.message_nbytes(sizes))
    sender, receiver = topology.device(back.src).power, topology.device(back.dst).power
    return carry(way, nbytes, blocks=blocks, power=sender, receiver=receiver)


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


def weight_messages(profile: Profile, *, state: bool) -> Messages:
    """For each operator the bytes of the weights that it is the first to read, and what the optimiser keeps for them.

    Args:
        state: whether the optimiser's state travels too.
    """
    found: list[list[int]] = [[] for _ in profile.operators]
    for weight in profile.weights:
        if weight.operators:
            kept = (weight.state_nbytes,) if state and weight.state_nbytes else ()
            found[min(weight.operators)] += [weight.nbytes, *kept]
    return [tuple(sizes) for sizes in found]


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
