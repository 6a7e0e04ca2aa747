"""Federated rounds: clients train the same model on their own examples, and their weights are merged.

McMahan et al. (AISTATS 2017), algorithm 1. Every client here runs in this process, its model whole or in the stages
of a plan (`federate.split`); the plan says what that costs (`federate.cost`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.core.value import Value
from airloom.errors import ConfigError
from airloom.federate.averaging import weighted_mean
from airloom.federate.data import Examples
from airloom.federate.split import SplitLearner
from airloom.nn.federated import through_link


class FederatedSettings(Value, frozen=True):
    """How clients learn together.

    Attributes:
        rounds: how often the models are merged.
        local_steps: updates that a client makes between two merges.
        batch: examples of one update.
        learning_rate, momentum: of the clients' SGD; momentum starts anew in each round.
        participants: clients that take part in a round, drawn anew each time; 0 for all.
        loss: probability that a block of an update is lost on its way, 0 to 1; what is lost stays as it was
            (`nn.federated`).
    """

    rounds: int = 10
    local_steps: int = 10
    batch: int = 32
    learning_rate: float = 0.05
    momentum: float = 0.0
    participants: int = 0
    loss: float = 0.0

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: naming it.
        """
        for name in ("rounds", "local_steps", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is above 0, got {getattr(self, name)}", where=f"$.{name}")
        if self.participants < 0:
            raise ConfigError(f"participants is at least 0, got {self.participants}", where="$.participants")
        for name in ("momentum", "loss"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} lies between 0 and 1, got {getattr(self, name)}", where=f"$.{name}")


class RoundScore(Value, frozen=True):
    """What a round brought, measured.

    Attributes:
        accuracy: of the merged model on the test examples, 0 to 1.
        loss: mean cross entropy of the clients' updates.
        participants: clients that took part.
        nbytes: payload that they sent, repetitions counted.
    """

    round: int
    accuracy: float
    loss: float
    participants: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class FederatedRun:
    """The merged model and how it got there; `before` is its accuracy before the first round."""

    model: nn.Module
    settings: FederatedSettings
    before: float
    scores: tuple[RoundScore, ...]


def train_rounds(
    model: nn.Module,
    clients: Sequence[Examples],
    test: Examples,
    settings: FederatedSettings,
    rng: np.random.Generator,
    *,
    learner: SplitLearner | None = None,
    progress: Callable[[RoundScore], None] | None = None,
) -> FederatedRun:
    """Train a copy of `model`, which takes inputs and gives logits `[N, classes]`.

    Args:
        rng: of the participants, the batches and what is lost.
        learner: trains each client's model in stages; its batch is that of the settings. None trains it whole.
        progress: called after each round.

    Raises:
        ConfigError: the settings cannot be, or the model does not take the examples.
    """
    settings.check()
    if settings.participants > len(clients):
        raise ConfigError(f"{settings.participants} participants of {len(clients)} clients", where="$.participants")
    merged = copy.deepcopy(model)
    before = accuracy(merged, test)
    scores: list[RoundScore] = []
    for number in range(1, settings.rounds + 1):
        chosen = list(range(len(clients)))
        if settings.participants:
            chosen = sorted(rng.choice(len(clients), settings.participants, replace=False).tolist())
        states: list[dict[str, Tensor]] = []
        losses: list[float] = []
        nbytes = 0
        for k in chosen:
            local = copy.deepcopy(merged)
            if learner is None:
                losses += train_locally(local, clients[k], settings, rng)
            else:
                losses += _in_stages(learner, local, clients[k], settings, rng)
            received = through_link(
                local.state_dict(), loss=settings.loss, rng=rng, model=local, previous=merged.state_dict()
            )
            states.append(received.state)
            nbytes += received.nbytes
        merged.load_state_dict(weighted_mean(states, [float(len(clients[k].labels)) for k in chosen]))
        score = RoundScore(
            round=number,
            accuracy=accuracy(merged, test),
            loss=float(np.mean(losses)),
            participants=tuple(chosen),
            nbytes=nbytes,
        )
        scores.append(score)
        if progress is not None:
            progress(score)
    return FederatedRun(merged, settings, before, tuple(scores))


def train_locally(
    model: nn.Module, examples: Examples, settings: FederatedSettings, rng: np.random.Generator
) -> list[float]:
    """`local_steps` updates of `model`; the loss of each.

    Batches run through the examples in an order drawn anew each time; fewer than a batch are left for the next.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    losses: list[float] = []
    model.train()
    for batch in batches(examples, settings, rng):
        loss = F.cross_entropy(_logits(model, batch), batch.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


def batches(examples: Examples, settings: FederatedSettings, rng: np.random.Generator) -> Iterator[Examples]:
    """What a client learns from in one round: `local_steps` batches."""
    order = np.empty(0, dtype=np.intp)
    size = min(settings.batch, len(examples.labels))
    for _ in range(settings.local_steps):
        if len(order) < size:
            order = rng.permutation(len(examples.labels))
        chosen, order = order[:size], order[size:]
        yield examples.of(chosen)


def _in_stages(
    learner: SplitLearner, model: nn.Module, examples: Examples, settings: FederatedSettings, rng: np.random.Generator
) -> list[float]:
    if len(examples.labels) < settings.batch:
        raise ConfigError(
            f"a client has {len(examples.labels)} examples, fewer than a batch of {settings.batch}: a model in stages "
            "takes whole batches; ask for a smaller batch or fewer clients"
        )
    steps = (((part.inputs,), part.labels) for part in batches(examples, settings, rng))
    state, losses = learner.learn(model.state_dict(), steps)
    model.load_state_dict(state)
    return losses


def accuracy(model: nn.Module, examples: Examples, *, batch: int = 256) -> float:
    """Share of `examples` whose class the model finds, in eval mode."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(examples.labels), batch):
            part = Examples(examples.inputs[start : start + batch], examples.labels[start : start + batch])
            right += int((_logits(model, part).argmax(1) == part.labels).sum())
    return right / len(examples.labels)


def _logits(model: nn.Module, examples: Examples) -> Tensor:
    try:
        logits = model(examples.inputs)
    except (RuntimeError, TypeError) as error:  # torch's own words about shapes and types
        raise ConfigError(f"the model does not take these examples: {str(error).splitlines()[0]}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(examples.labels):
        raise ConfigError("a model for federated rounds gives logits [N, classes]")
    if int(examples.labels.max()) >= logits.shape[1]:
        raise ConfigError(f"the examples have class {int(examples.labels.max())}, the model {logits.shape[1]} classes")
    return logits
