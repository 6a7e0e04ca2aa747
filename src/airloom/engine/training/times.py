"""What the parts of a training step take, and what a change of plan moves: for simulators and predictions."""

from __future__ import annotations

from airloom.core.profile import Profile
from airloom.core.training import TrainingSpec
from airloom.engine.events import Train
from airloom.engine.training.layout import TrainingLayout, moves


def backward_s(profile: Profile, start: int, stop: int) -> float:
    """Seconds of a stage's way back, its update included, on the profile's machine; an empty stage takes none."""
    if start == stop:
        return 0.0
    return profile.backward_constant_s + profile.backward_scale * sum(
        operator.backward_s for operator in profile.operators[start:stop]
    )


def train_s(profile: Profile, job: Train) -> float:
    """Seconds of one `Train` on the profile's machine, unloaded: `backward_s` of a profile has the update in it."""
    if job.stage < 0:
        return 0.0
    start, stop = job.stages[job.stage]
    if job.action == "forward":
        return profile.stage_s(start, stop)
    return backward_s(profile, start, stop) if job.action == "backward" else 0.0


def moved_nbytes(before: TrainingLayout, after: TrainingLayout, profile: Profile, spec: TrainingSpec) -> int:
    """Payload bytes that travel when one plan follows the other, each once however many hops it takes."""
    return sum(move.nbytes for move in moves(before, after, profile, spec))
