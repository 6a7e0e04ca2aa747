"""Episodes that were played, kept to learn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airloom.federate.games import Game


class Episode(NamedTuple):
    """One episode, T steps long: what was seen (T + 1 times), done and gained."""

    observations: NDArray[np.float32]  # [T + 1, agents, features]
    states: NDArray[np.float32]  # [T + 1, features]
    actions: NDArray[np.int64]  # [T, agents]
    rewards: NDArray[np.float32]  # [T]
    done: bool  # whether the game ended, and not only its time


class Batch(NamedTuple):
    """B episodes side by side, each filled up to the longest a game can be (T)."""

    observations: Tensor  # [B, T + 1, agents, features]
    states: Tensor  # [B, T + 1, features]
    actions: Tensor  # [B, T, agents]
    rewards: Tensor  # [B, T]
    goes_on: Tensor  # [B, T] 1 where the game goes on after the step
    played: Tensor  # [B, T] 1 where the step was played


class Replay:
    """The last `capacity` episodes of `game`."""

    def __init__(self, game: Game, features: int, capacity: int) -> None:
        horizon, agents = game.horizon, game.agents
        self.capacity, self._count = capacity, 0
        self._observations = np.zeros((capacity, horizon + 1, agents, features), dtype=np.float32)
        self._states = np.zeros((capacity, horizon + 1, game.state_size), dtype=np.float32)
        self._actions = np.zeros((capacity, horizon, agents), dtype=np.int64)
        self._rewards, self._goes_on, self._played = np.zeros((3, capacity, horizon), dtype=np.float32)

    def __len__(self) -> int:
        return min(self._count, self.capacity)

    def add(self, episode: Episode) -> None:
        """Keep `episode`, in place of the oldest where all places are taken."""
        k, steps = self._count % self.capacity, len(episode.actions)
        for kept, new in (
            (self._observations, episode.observations),
            (self._states, episode.states),
            (self._actions, episode.actions),
            (self._rewards, episode.rewards),
        ):
            kept[k] = 0
            kept[k, : len(new)] = new
        self._played[k] = np.arange(self._played.shape[1]) < steps
        self._goes_on[k] = self._played[k]
        self._goes_on[k, steps - 1] = not episode.done
        self._count += 1

    def sample(self, size: int, rng: np.random.Generator) -> Batch:
        """`size` different episodes, or all there are."""
        chosen = rng.choice(len(self), min(size, len(self)), replace=False)
        return Batch(
            *(
                torch.from_numpy(kept[chosen])
                for kept in (
                    self._observations, self._states, self._actions, self._rewards, self._goes_on, self._played
                )
            )
        )  # fmt: skip
