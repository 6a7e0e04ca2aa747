"""Small games for several agents that see a part and share one reward.

A game is rules alone: where it stands is an array that is passed in and given back.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from airloom.errors import ConfigError

Floats = NDArray[np.float32]
Standing = NDArray[np.int64]

_MOVES = np.array([(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)])  # stay, up, down, right, left


class Turn(NamedTuple):
    """What came of a step: where the game stands now, the reward of all, and whether it is over."""

    standing: Standing
    reward: float
    done: bool


class Game(Protocol):
    """A cooperative game of `agents` players with `actions` each that is over after at most `horizon` steps.

    Attributes:
        observation_size, state_size: how many numbers an agent sees, and how many tell all.
    """

    agents: int
    actions: int
    observation_size: int
    state_size: int
    horizon: int

    def begin(self, rng: np.random.Generator) -> Standing:
        """Where an episode starts."""
        ...

    def step(self, standing: Standing, actions: NDArray[np.int64]) -> Turn:
        """What the agents' `actions` `[agents]` bring."""
        ...

    def observations(self, standing: Standing) -> Floats:
        """`[agents, observation_size]`: what each agent sees."""
        ...

    def state(self, standing: Standing) -> Floats:
        """`[state_size]`: what the mixer sees while training."""
        ...


class TwoStepGame:
    """The two-step game of Rashid et al. (2018), section 5: 7 is safe, 8 needs both agents.

    The first agent's first action chooses between two matrices; in the second step both choose a cell of it.
    A value that is a sum over the agents cannot tell 8 from its neighbours and settles for 7.
    """

    agents, actions, observation_size, state_size, horizon = 2, 2, 3, 3, 2
    payoffs = (((7.0, 7.0), (7.0, 7.0)), ((0.0, 1.0), (1.0, 8.0)))

    def begin(self, rng: np.random.Generator) -> Standing:
        return np.array([0])

    def step(self, standing: Standing, actions: NDArray[np.int64]) -> Turn:
        where = int(standing[0])
        if where == 0:
            return Turn(np.array([1 + int(actions[0])]), 0.0, False)
        return Turn(standing, self.payoffs[where - 1][int(actions[0])][int(actions[1])], True)

    def observations(self, standing: Standing) -> Floats:
        return np.tile(self.state(standing), (2, 1))

    def state(self, standing: Standing) -> Floats:
        place: Floats = np.eye(3, dtype=np.float32)[int(standing[0])]
        return place


class MeetingGame:
    """Agents on a grid of `side` x `side` cells that must all stand on the goal at once, within `horizon` steps.

    Each sees its own cell, the goal and the time, and another agent only within `sight` cells. Every step costs
    0.02, standing on the goal while another agent is not there 0.05 more; all of them on it ends the episode with 1.
    """

    def __init__(self, agents: int = 2, side: int = 5, *, sight: int = 2, horizon: int = 16) -> None:
        if agents < 1 or side < 2 or sight < 0 or horizon < 1:
            raise ConfigError(
                "a meeting needs at least 1 agent, a side of 2 and 1 step: "
                f"got {agents} agents, side {side}, sight {sight}, {horizon} steps"
            )
        self.agents, self.side, self.sight, self.horizon = agents, side, sight, horizon
        self.actions = len(_MOVES)
        self.observation_size = 5 + 3 * (agents - 1)
        self.state_size = 2 * (agents + 1) + 1

    def begin(self, rng: np.random.Generator) -> Standing:
        """Agents and then the goal, on cells drawn at random, and steps done and 0; `[agents + 2, 2]`."""
        return np.concatenate([rng.integers(0, self.side, (self.agents + 1, 2)), [[0, 0]]])

    def step(self, standing: Standing, actions: NDArray[np.int64]) -> Turn:
        places = np.clip(standing[:-2] + _MOVES[actions], 0, self.side - 1)
        there = (places == standing[-2]).all(1)
        time = standing[-1] + (1, 0)
        after = np.concatenate([places, [standing[-2], time]])
        if there.all():
            return Turn(after, 1.0, True)
        return Turn(after, -0.02 - 0.05 * float(there.sum()), bool(time[0] >= self.horizon))

    def observations(self, standing: Standing) -> Floats:
        places, goal, scale = standing[:-2], standing[-2], 1.0 / (self.side - 1)
        seen = np.zeros((self.agents, self.observation_size), dtype=np.float32)
        for k, place in enumerate(places):
            seen[k, :2], seen[k, 2:4] = place * scale, (goal - place) * scale
            seen[k, 4] = standing[-1, 0] / self.horizon
            others = np.delete(places, k, 0) - place
            visible = (np.abs(others).max(1, initial=0) <= self.sight)[:, None]
            seen[k, 5:] = np.concatenate([visible, visible * others * scale], 1).ravel()
        return seen

    def state(self, standing: Standing) -> Floats:
        cells = (standing[:-1] * (1.0 / (self.side - 1))).ravel()
        return np.append(cells, standing[-1, 0] / self.horizon).astype(np.float32)


GAMES: dict[str, type[TwoStepGame] | type[MeetingGame]] = {"two-step": TwoStepGame, "meeting": MeetingGame}
