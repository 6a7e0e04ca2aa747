"""Rules of the games that agents learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import ConfigError
from airloom.federate.games import GAMES, MeetingGame, TwoStepGame


@pytest.mark.parametrize(
    ("first", "second", "reward"),
    [((0, 0), (0, 0), 7), ((0, 1), (1, 1), 7), ((1, 0), (0, 0), 0), ((1, 1), (0, 1), 1), ((1, 0), (1, 0), 1),
     ((1, 0), (1, 1), 8)],
)  # fmt: skip
def test_payoffs_of_the_two_step_game(first: tuple[int, int], second: tuple[int, int], reward: float) -> None:
    """Rashid et al. (2018), table 1: the first agent's first action chooses the matrix."""
    game = TwoStepGame()
    standing, gained, done = game.step(game.begin(np.random.default_rng(0)), np.array(first))
    assert (gained, done) == (0, False)
    _, gained, done = game.step(standing, np.array(second))
    assert (gained, done) == (reward, True)


def test_a_meeting_ends_when_all_are_there() -> None:
    game = MeetingGame(2, 3)
    goal = [2, 2]
    standing = np.array([[2, 1], [1, 2], goal, [0, 0]])
    turn = game.step(standing, np.array([1, 3]))  # up, right
    assert turn.done
    assert turn.reward == 1.0
    turn = game.step(standing, np.array([1, 0]))  # one waits alone on the goal
    assert not turn.done
    assert turn.reward == pytest.approx(-0.07)
    assert turn.standing.tolist() == [[2, 2], [1, 2], goal, [1, 0]]


def test_walls_stop() -> None:
    game = MeetingGame(1, 2)
    assert game.step(np.array([[0, 0], [1, 1], [0, 0]]), np.array([2])).standing[0].tolist() == [0, 0]


def test_others_are_seen_only_when_near() -> None:
    game = MeetingGame(2, 5, sight=1)
    near, far = (np.array([[0, 0], other, [4, 4], [8, 0]]) for other in ([1, 1], [2, 0]))
    assert game.observations(near)[0, 4:].tolist() == [0.5, 1.0, 0.25, 0.25]
    assert game.observations(far)[0, 4:].tolist() == [0.5, 0.0, 0.0, 0.0]
    assert game.state(far).tolist() == [0, 0, 0.5, 0, 1, 1, 0.5]


def test_time_runs_out() -> None:
    game = MeetingGame(1, 2, horizon=2)
    turn = game.step(np.array([[0, 0], [1, 1], [0, 0]]), np.array([0]))
    assert not turn.done
    assert game.step(turn.standing, np.array([0])).done


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(GAMES)), seed=st.integers(0, 1000))
def test_sizes_are_as_said(name: str, seed: int) -> None:
    game, rng = GAMES[name](), np.random.default_rng(seed)
    standing, steps, done = game.begin(rng), 0, False
    while not done and steps < game.horizon:
        assert game.observations(standing).shape == (game.agents, game.observation_size)
        assert game.state(standing).shape == (game.state_size,)
        before = standing.copy()
        after, _, done = game.step(standing, rng.integers(0, game.actions, game.agents))
        assert (standing == before).all()  # where the game stands is passed in and never changed
        standing, steps = after, steps + 1
    if name == "two-step":
        assert steps == 2


def test_a_meeting_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 agent"):
        MeetingGame(0)
