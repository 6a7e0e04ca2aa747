"""QMIX finds what a sum over agents cannot (Rashid et al. 2018, section 5)."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from airloom.errors import ConfigError
from airloom.federate.games import MeetingGame, TwoStepGame
from airloom.federate.qmix import QMIXRun, QMIXSettings, Team, mean_return, play, train_qmix
from airloom.federate.replay import Replay

# The paper explores all the time in this game, for 5,000 episodes; a higher rate of learning needs fewer.
TWO_STEP = QMIXSettings(
    episodes=700, learning_rate=2e-3, epsilon_end=1.0, target_every=50, capacity=500, evaluate_every=700, evaluations=1
)
ANY = np.array([0, 0])


def _values(run: QMIXRun) -> list[np.ndarray]:
    """The mixed values of the first step, and of the second after either action of the first agent."""
    game, start = TwoStepGame(), np.array([0])
    after = [
        run.joint_values(game, [(start, np.array([action, 0])), (np.array([1 + action]), ANY)]) for action in (0, 1)
    ]
    return [run.joint_values(game, [(start, ANY)]), *after]


def test_qmix_finds_the_optimum_of_the_two_step_game() -> None:
    """Payoff 8; values are the game's own: 7 and 8 a step away, discounted by 0.99, and the second matrix."""
    run = train_qmix(TwoStepGame(), TWO_STEP, np.random.default_rng(3))
    assert run.scores[-1].mean_return == 8.0
    first, safe, risky = _values(run)
    np.testing.assert_allclose(first, [[6.93, 6.93], [7.92, 7.92]], atol=0.6)
    np.testing.assert_allclose(safe, 7.0, atol=0.6)
    np.testing.assert_allclose(risky, [[0, 1], [1, 8]], atol=0.6)


def test_a_sum_settles_for_seven() -> None:
    """Of 0, 1; 1, 8 a sum of two values comes nearest, in the mean square, with -1.5, 2.5; 2.5, 6.5."""
    settings = msgspec.structs.replace(TWO_STEP, mixing="vdn")
    run = train_qmix(TwoStepGame(), settings, np.random.default_rng(2))
    assert run.scores[-1].mean_return == 7.0
    np.testing.assert_allclose(_values(run)[2], [[-1.5, 2.5], [2.5, 6.5]], atol=0.8)


@pytest.mark.parametrize("shared", [True, False])
def test_networks_shared_or_each_its_own(shared: bool) -> None:
    game = TwoStepGame()
    settings = QMIXSettings(shared=shared, hidden=8)
    team = Team(game, settings)
    assert len(team.networks) == (1 if shared else 2)
    assert (team.network(0) is team.network(1)) == shared
    inputs = torch.randn(4, 3, 2, team.features)
    values = team(inputs)
    assert values.shape == (4, 3, 2, 2)
    for agent in range(2):
        torch.testing.assert_close(values[:, :, agent], team.episode(agent)(inputs[:, :, agent]))


def test_acting_step_by_step_is_the_unrolled_network() -> None:
    game = MeetingGame(2, 4)
    team = Team(game, QMIXSettings(hidden=8))
    rng = np.random.default_rng(0)
    episode = play(game, team, 0.0, rng)
    with torch.inference_mode():
        best = team(torch.from_numpy(episode.observations)[None])[0, :-1].argmax(-1)
    assert (best.numpy() == episode.actions).all()


@pytest.mark.long
def test_agents_learn_to_meet() -> None:
    """On a small grid, from hardly ever to nearly always."""
    game = MeetingGame(2, 3, horizon=8)
    settings = QMIXSettings(
        episodes=4000, learning_rate=1e-3, target_every=50, epsilon_episodes=1000, hidden=32, evaluations=50
    )
    rng = np.random.default_rng(0)
    untrained = mean_return(game, Team(game, settings), 50, rng)
    run = train_qmix(game, settings, rng)
    assert run.scores[-1].mean_return > max(0.7, untrained + 0.5)  # 0.84 to 0.95 with three other seeds


def test_the_seed_settles_everything() -> None:
    settings = QMIXSettings(episodes=40, hidden=8, evaluate_every=20, evaluations=2)
    runs = [train_qmix(MeetingGame(2, 3), settings, np.random.default_rng(5)) for _ in range(2)]
    assert runs[0].losses == runs[1].losses
    assert runs[0].scores == runs[1].scores
    assert [score.episode for score in runs[0].scores] == [20, 40]


def test_epsilon_falls_and_stays() -> None:
    settings = QMIXSettings(epsilon=1.0, epsilon_end=0.2, epsilon_episodes=100)
    assert [settings.epsilon_at(k) for k in (0, 50, 100, 900)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert QMIXSettings(epsilon_episodes=0).epsilon_at(0) == pytest.approx(0.05)


def test_replay_keeps_the_last_episodes_and_marks_what_was_played() -> None:
    game = MeetingGame(2, 2, horizon=5)
    team = Team(game, QMIXSettings(hidden=4))
    replay = Replay(game, team.features, 3)
    rng = np.random.default_rng(0)
    episodes = [play(game, team, 1.0, rng) for _ in range(5)]
    for episode in episodes:
        replay.add(episode)
    assert len(replay) == 3
    batch = replay.sample(10, rng)
    found = sorted(zip(batch.played.sum(1).tolist(), batch.rewards.sum(1).tolist(), strict=True))
    expected = sorted((float(len(e.actions)), float(e.rewards.sum())) for e in episodes[-3:])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    ends = (batch.played - batch.goes_on).sum(1)
    assert sorted(ends.tolist()) == sorted(float(e.done) for e in episodes[-3:])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"episodes": 0}, "episodes is above 0"), ({"discount": 1.5}, "between 0 and 1"), ({"batch": -1}, "batch")],
)
def test_settings_that_cannot_be(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train_qmix(TwoStepGame(), msgspec.structs.replace(QMIXSettings(), **wrong), np.random.default_rng(0))
