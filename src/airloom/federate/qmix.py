"""Learns how agents act together: QMIX (Rashid et al., ICML 2018), and VDN (Sunehag et al. 2018) to compare.

Agents act on what each sees; while they train, a mixer that sees the whole makes one value of theirs, and its
error trains all of them (Rashid et al., equation 6). VDN's mixer is a sum.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.core.value import Value
from airloom.errors import ConfigError
from airloom.federate.games import Game
from airloom.federate.replay import Batch, Episode, Replay
from airloom.zoo.qmix import QMIXAgent, QMIXEpisode, QMIXMixer

Mixing = Literal["qmix", "vdn"]


class QMIXSettings(Value, frozen=True):
    """How agents learn; the defaults are the paper's (appendix C), for games of its size.

    Attributes:
        mixing: qmix, or vdn: the sum of the agents' values.
        shared: whether all agents have one network (each is then told which agent it is), or each its own.
        hidden, embedding: width of the agents' and of the mixer's layers.
        episodes: how many are played; after each the networks learn once from `batch` of the last `capacity`.
        target_every: episodes between two updates of the networks that targets come from.
        epsilon, epsilon_end, epsilon_episodes: share of random actions at first, at last, and when it is reached.
        evaluate_every, evaluations: how often the greedy agents are tried, over so many episodes.
    """

    mixing: Mixing = "qmix"
    shared: bool = True
    hidden: int = 64
    embedding: int = 32
    episodes: int = 5000
    batch: int = 32
    capacity: int = 5000
    learning_rate: float = 5e-4
    discount: float = 0.99
    target_every: int = 200
    epsilon: float = 1.0
    epsilon_end: float = 0.05
    epsilon_episodes: int = 2500
    gradient_norm: float = 10.0
    evaluate_every: int = 500
    evaluations: int = 20

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: naming it.
        """
        for name in ("hidden", "embedding", "episodes", "batch", "capacity", "target_every", "evaluate_every",
                     "evaluations", "learning_rate", "gradient_norm"):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is above 0, got {getattr(self, name)}", where=f"$.{name}")
        for name in ("discount", "epsilon", "epsilon_end"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} lies between 0 and 1, got {getattr(self, name)}", where=f"$.{name}")

    def epsilon_at(self, episode: int) -> float:
        """Share of random actions in this episode: falls in a straight line, then stays."""
        done = min(1.0, episode / self.epsilon_episodes) if self.epsilon_episodes > 0 else 1.0
        return self.epsilon + done * (self.epsilon_end - self.epsilon)


class Score(Value, frozen=True):
    """How the greedy agents did after so many episodes: their mean return, measured."""

    episode: int
    mean_return: float


class Team(nn.Module):
    """The agents' networks: one that all share, or one each.

    An agent is given what it sees, what it did last and, where the network is shared, which agent it is.
    """

    def __init__(self, game: Game, settings: QMIXSettings) -> None:
        super().__init__()
        self.agents, self.actions, self.shared = game.agents, game.actions, settings.shared
        self.features = game.observation_size + game.actions + (game.agents if settings.shared else 0)
        self.networks = nn.ModuleList(
            QMIXAgent(self.features, game.actions, settings.hidden)
            for _ in range(1 if settings.shared else game.agents)
        )

    def network(self, agent: int) -> QMIXAgent:
        """The network of `agent`."""
        network = self.networks[0 if self.shared else agent]
        assert isinstance(network, QMIXAgent)
        return network

    def episode(self, agent: int = 0) -> QMIXEpisode:
        """The agent unrolled over an episode: what is captured to be split."""
        return QMIXEpisode(self.network(agent))

    def inputs(self, observations: NDArray[np.float32], last: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """`[agents, features]` of what the networks are given; `last` is what each did, None at the beginning."""
        parts = [observations, np.zeros((self.agents, self.actions), dtype=np.float32)]
        if last is not None:
            parts[1][np.arange(self.agents), last] = 1.0
        if self.shared:
            parts.append(np.eye(self.agents, dtype=np.float32))
        return np.concatenate(parts, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """`[B, T, agents, features]` to the values `[B, T, agents, actions]`."""
        batch, steps, agents, features = inputs.shape
        if self.shared:
            rows = inputs.transpose(1, 2).reshape(batch * agents, steps, features)
            values: Tensor = self.episode()(rows)
            return values.reshape(batch, agents, steps, self.actions).transpose(1, 2)
        return torch.stack([self.episode(n)(inputs[:, :, n]) for n in range(agents)], 2)

    def begin(self) -> list[Tensor]:
        """Hidden states `[1, hidden]` of the agents before an episode."""
        return [self.network(n).begin(1) for n in range(self.agents)]

    def act(self, inputs: NDArray[np.float32], states: list[Tensor]) -> NDArray[np.int64]:
        """The best action of each agent `[agents]`; `states` go on by one step."""
        best = np.zeros(self.agents, dtype=np.int64)
        with torch.inference_mode():
            for n in range(self.agents):
                values, states[n] = self.network(n)(torch.from_numpy(inputs[n : n + 1]), states[n])
                best[n] = int(values.argmax())
        return best


class SumMixer(nn.Module):
    """VDN: the value of all agents together is the sum of theirs."""

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        return values.sum(1)


@dataclass(frozen=True)
class QMIXRun:
    """What came of a training run.

    Attributes:
        scores: in order of time, the last after the last episode.
        losses: of every update.
    """

    team: Team
    mixer: nn.Module
    settings: QMIXSettings
    scores: tuple[Score, ...]
    losses: tuple[float, ...]

    def joint_values(
        self, game: Game, history: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    ) -> NDArray[np.float64]:
        """The mixed value of every joint action after `history`, pairs of a standing and the actions that left it
        (those of the last are not used); an axis of `actions` for each agent."""
        last: NDArray[np.int64] | None = None
        rows: list[NDArray[np.float32]] = []
        for standing, actions in history:
            rows.append(self.team.inputs(game.observations(standing), last))
            last = actions
        state = torch.from_numpy(game.state(history[-1][0]))[None]
        with torch.inference_mode():
            values = self.team(torch.from_numpy(np.stack(rows))[None])[0, -1]  # [agents, actions]
            shape = (game.actions,) * game.agents
            joint = np.stack(np.unravel_index(np.arange(game.actions**game.agents), shape), 1)
            chosen = values[torch.arange(game.agents), torch.from_numpy(joint)]
            mixed = self.mixer(chosen, state.expand(len(joint), -1))
        table: NDArray[np.float64] = mixed.double().numpy().reshape(shape)
        return table


def train_qmix(
    game: Game,
    settings: QMIXSettings,
    rng: np.random.Generator,
    *,
    after_update: Callable[[int, Team], None] | None = None,
) -> QMIXRun:
    """Play and learn.

    Args:
        rng: of the networks' first weights, the games and the actions.
        after_update: called with the number of updates so far and the agents, after each.

    Raises:
        ConfigError: the settings cannot be.
    """
    settings.check()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        team = Team(game, settings)
        mixer: nn.Module = (
            QMIXMixer(game.agents, game.state_size, settings.embedding) if settings.mixing == "qmix" else SumMixer()
        )
    late_team, late_mixer = copy.deepcopy(team), copy.deepcopy(mixer)
    parameters = [*team.parameters(), *mixer.parameters()]
    optimizer = torch.optim.RMSprop(parameters, lr=settings.learning_rate, alpha=0.99, eps=1e-5)
    replay = Replay(game, team.features, min(settings.capacity, settings.episodes))
    scores: list[Score] = []
    losses: list[float] = []
    for episode in range(1, settings.episodes + 1):
        replay.add(play(game, team, settings.epsilon_at(episode - 1), rng))
        if len(replay) >= min(settings.batch, settings.episodes):
            loss = _error(replay.sample(settings.batch, rng), (team, mixer), (late_team, late_mixer), settings.discount)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, settings.gradient_norm)
            optimizer.step()
            losses.append(float(loss.detach()))
            if after_update is not None:
                after_update(len(losses), team)
        if episode % settings.target_every == 0:
            late_team.load_state_dict(team.state_dict())
            late_mixer.load_state_dict(mixer.state_dict())
        if episode % settings.evaluate_every == 0 or episode == settings.episodes:
            scores.append(Score(episode=episode, mean_return=mean_return(game, team, settings.evaluations, rng)))
    return QMIXRun(team, mixer, settings, tuple(scores), tuple(losses))


def play(game: Game, team: Team, epsilon: float, rng: np.random.Generator) -> Episode:
    """One episode in which each action is random with probability `epsilon`, else the best known."""
    standing = game.begin(rng)
    states = team.begin() if epsilon < 1.0 else []
    last: NDArray[np.int64] | None = None
    inputs = [team.inputs(game.observations(standing), last)]
    whole, done = [game.state(standing)], False
    actions: list[NDArray[np.int64]] = []
    rewards: list[float] = []
    while not done and len(actions) < game.horizon:
        drawn = rng.integers(0, game.actions, game.agents)
        if epsilon < 1.0:
            best = team.act(inputs[-1], states)
            last = np.where(rng.random(game.agents) < epsilon, drawn, best)
        else:
            last = drawn
        standing, reward, done = game.step(standing, last)
        actions.append(last)
        rewards.append(reward)
        inputs.append(team.inputs(game.observations(standing), last))
        whole.append(game.state(standing))
    return Episode(np.stack(inputs), np.stack(whole), np.stack(actions), np.array(rewards, dtype=np.float32), done)


def mean_return(game: Game, team: Team, episodes: int, rng: np.random.Generator) -> float:
    """Mean sum of rewards of the greedy agents."""
    return float(np.mean([play(game, team, 0.0, rng).rewards.sum() for _ in range(episodes)]))


def _error(
    batch: Batch, now: tuple[nn.Module, nn.Module], late: tuple[nn.Module, nn.Module], discount: float
) -> Tensor:
    """Mean squared error of the mixed values against one step of look-ahead (Rashid et al., equation 6).

    The best next actions are those of the networks of now, valued by the late ones (van Hasselt et al. 2016), as the
    authors' own code has it: values of actions that look good by chance would grow without end.
    """

    def mixed(mixer: nn.Module, values: Tensor, states: Tensor) -> Tensor:
        result: Tensor = mixer(values.flatten(0, 1), states.flatten(0, 1))
        return result.reshape(states.shape[:2])

    found = now[0](batch.observations)
    values = found[:, :-1].gather(3, batch.actions.unsqueeze(3)).squeeze(3)
    with torch.no_grad():
        chosen = found[:, 1:].argmax(3, keepdim=True)
        best = late[0](batch.observations)[:, 1:].gather(3, chosen).squeeze(3)
        target = batch.rewards + discount * batch.goes_on * mixed(late[1], best, batch.states[:, 1:])
    errors = F.mse_loss(mixed(now[1], values, batch.states[:, :-1]), target, reduction="none")
    return (errors * batch.played).sum() / batch.played.sum()
