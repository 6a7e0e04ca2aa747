"""QMIX's networks: agents that each see their own part, and a mixer that sees the whole while they train.

Rashid et al., "QMIX: Monotonic Value Function Factorisation for Deep Multi-Agent Reinforcement Learning"
(ICML 2018, arXiv:1803.11485), section 4: an agent is fc - GRU - fc, and the mixer's weights are made from the
state by hypernetworks and taken as absolute values, so that more for one agent is never less for all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QMIXAgent(nn.Module):
    """One step of an agent: observation `[N, features]` and hidden state `[N, hidden]` to the values of its
    actions `[N, actions]` and the next hidden state."""

    def __init__(self, features: int, actions: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = hidden
        self.fc1 = nn.Linear(features, hidden)
        self.cell = nn.GRUCell(hidden, hidden)
        self.fc2 = nn.Linear(hidden, actions)

    def forward(self, observation: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(F.relu(self.fc1(observation)), state)
        return self.fc2(state), state

    def begin(self, batch: int) -> Tensor:
        """The hidden state `[batch, hidden]` before an episode."""
        return self.fc1.weight.new_zeros(batch, self.hidden)


class QMIXEpisode(nn.Module):
    """An agent unrolled over an episode: observations `[N, steps, features]` to values `[N, steps, actions]`."""

    def __init__(self, agent: QMIXAgent) -> None:
        super().__init__()
        self.agent = agent

    def forward(self, observations: Tensor) -> Tensor:
        state = self.agent.begin(observations.shape[0])
        values: list[Tensor] = []
        for observation in observations.unbind(1):
            value, state = self.agent(observation, state)
            values.append(value)
        return torch.stack(values, 1)


class QMIXMixer(nn.Module):
    """The value of all agents together: values `[N, agents]` of what each does and state `[N, features]` to `[N]`.

    Its derivative by each agent's value is never below 0, so the best for each is the best for all.
    """

    def __init__(self, agents: int, features: int, embedding: int = 32) -> None:
        super().__init__()
        self.agents, self.embedding = agents, embedding
        self.weights1 = nn.Linear(features, agents * embedding)
        self.bias1 = nn.Linear(features, embedding)
        self.weights2 = nn.Linear(features, embedding)
        self.bias2 = nn.Sequential(nn.Linear(features, embedding), nn.ReLU(), nn.Linear(embedding, 1))

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        first = self.weights1(state).abs().reshape(-1, self.agents, self.embedding)
        y = F.elu((values.unsqueeze(1) @ first).squeeze(1) + self.bias1(state))
        total: Tensor = (y * self.weights2(state).abs()).sum(1) + self.bias2(state).squeeze(1)
        return total


def qmix_agent(steps: int = 0, hidden: int = 64, features: int = 128, actions: int = 14) -> QMIXAgent | QMIXEpisode:
    """A QMIX agent of the paper's size; `steps` above 0 unrolls it over an episode of so many.

    `features` and `actions` are by default those of StarCraft's 3s5z (Samvelyan et al., SMAC, 2019).
    """
    agent = QMIXAgent(features, actions, hidden)
    return QMIXEpisode(agent) if steps else agent
