"""What training adds to a profile: gradients that go back, what is trained, what the optimiser keeps."""

from __future__ import annotations

import msgspec

from airloom.core.graph import ModelGraph
from airloom.core.profile import Profile
from airloom.core.training import TrainingSpec
from airloom.errors import ProfileMismatch, UserError
from airloom.nn.training.gradients import needs_gradient, readers

# Multiply-accumulates of a layer's gradients (for its input, for its weights) over those of its way forward.
_BACKWARD_RATIO = 2.0


def with_training(profile: Profile, graph: ModelGraph, spec: TrainingSpec, *, model_times: bool = True) -> Profile:
    """`profile` with the sizes of training by `spec`; where it has no times of the way back, with modelled ones.

    The way back is modelled as twice the way forward, and the profile then says *modelled*.

    Raises:
        ProfileMismatch: the profile is of another graph.
        UserError: the graph is not in train mode.
    """
    if graph.mode != "train":
        raise UserError(f"{graph.model} was captured in eval mode: a profile for training needs mode='train'")
    if profile.graph_digest != graph.digest:
        raise ProfileMismatch(f"the profile is of another graph than {graph.model} in train mode: profile it again")
    needs, reading = needs_gradient(graph), readers(graph)
    measured = any(operator.backward_s for operator in profile.operators)
    operators, basis = profile.operators, profile.basis
    if not measured and model_times:
        basis = "modelled"
        operators = tuple(
            msgspec.structs.replace(operator, backward_s=_BACKWARD_RATIO * operator.compute_s)
            for operator in profile.operators
        )
    return msgspec.structs.replace(
        profile,
        operators=operators,
        basis=basis,
        optimizer=spec.optimizer,
        backward_scale=profile.backward_scale if measured else profile.stage_scale,
        backward_constant_s=profile.backward_constant_s if measured else profile.stage_constant_s,
        cuts=tuple(
            msgspec.structs.replace(
                cut, gradient_nbytes=tuple(graph.tensors[t].nbytes if t in needs else 0 for t in cut.tensors)
            )
            for cut in profile.cuts
        ),
        weights=tuple(
            msgspec.structs.replace(
                weight,
                operators=tuple(reading[k]),
                trained=graph.parameters[k].trained,
                state_nbytes=sum(spec.slot_nbytes(weight.nbytes)) if graph.parameters[k].trained else 0,
            )
            for k, weight in enumerate(profile.weights)
        ),
    )
