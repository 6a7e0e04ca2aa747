"""Training a captured graph, whole or in stages on several hosts.

`StageTrainer` holds one stage; `train_whole` trains the graph in one piece, which is what split training
is held against: the weights after k steps are the same bit for bit.
"""

from __future__ import annotations

from airloom.nn.training.executor import TrainingExecutor
from airloom.nn.training.gradients import needs_gradient
from airloom.nn.training.trainer import StageTrainer
from airloom.nn.training.whole import train_whole

__all__ = ["StageTrainer", "TrainingExecutor", "needs_gradient", "train_whole"]
