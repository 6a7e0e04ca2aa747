"""What a profile says of training: filled in where it was written by hand, and what of it travels and is kept."""

from __future__ import annotations

import functools

import msgspec

from airloom.core.profile import CutSize, Profile, Weights
from airloom.errors import UserError
from airloom.planner.hauling import Messages

#: A backward pass costs two forward passes: gradients with respect to the input and to the weights are a
#: product of the forward's size each (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
BACKWARD_PER_FORWARD = 2.0
#: Word that a step is over carries the loss, in float64.
LOSS_NBYTES = 8


def has_backward(profile: Profile) -> bool:
    """Whether a profile says what the way back takes."""
    return any(op.backward_s > 0.0 for op in profile.operators)


# Every hop of every path that is weighed asks for the same.
@functools.lru_cache(maxsize=16)
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


@functools.lru_cache(maxsize=16)
def lent_messages(profile: Profile) -> Messages:
    """For each cut the bytes of the trained weights that are read on both sides of it: their new values go on."""
    found: list[list[int]] = [[] for _ in profile.cuts]
    for weight in profile.weights:
        if weight.trained and weight.operators:
            for cut in range(min(weight.operators) + 1, max(weight.operators) + 1):
                found[cut].append(weight.nbytes)
    return [tuple(sizes) for sizes in found]


@functools.lru_cache(maxsize=16)
def gradient_messages(profile: Profile) -> Messages:
    """For each cut the bytes of what goes back over it: gradients of its live set and of lent weights.

    Over cut 0 only word of the loss: the input has no gradient.
    """
    lent = lent_messages(profile)
    return [
        (*(nbytes for nbytes in cut.gradient_nbytes if nbytes), *lent[index]) if index else (LOSS_NBYTES,)
        for index, cut in enumerate(profile.cuts)
    ]


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
