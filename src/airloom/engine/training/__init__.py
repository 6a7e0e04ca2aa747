"""Split training: each host holds a stage with its weights and optimiser state.

A step goes forward through the stages, back through them with gradients, and is over when every stage has updated
its weights. The source begins it, and is told by every host that it is done; only then may the next begin. A message
says which step, which try and which plan (epoch) it is of: what is of another is dropped. Hosts can go one step back,
so a step that failed anywhere is tried again, or given up, from the state that the step before left everywhere.
"""

from __future__ import annotations

from airloom.engine.training.layout import Move, TrainingLayout, lay_out_training, moves
from airloom.engine.training.times import moved_nbytes, train_s
from airloom.engine.training.training import TRAINING_TIMER, Training

__all__ = [
    "TRAINING_TIMER",
    "Move",
    "Training",
    "TrainingLayout",
    "lay_out_training",
    "moved_nbytes",
    "moves",
    "train_s",
]
