"""Collaborative learning from end to end: measure, plan over a network, learn, and say what it would have cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from airloom.core.objective import LATENCY, Objective
from airloom.core.profile import Profile
from airloom.core.topology import Conditions, Topology
from airloom.core.training import TrainingSpec
from airloom.errors import ConfigError, ProfileMismatch
from airloom.federate.cost import RoundNetwork, RoundPlans, plan_rounds
from airloom.federate.data import DataSet, shared_out
from airloom.federate.games import Game
from airloom.federate.learned import Learned, learned_agents, learned_rounds
from airloom.federate.qmix import QMIXSettings, Team, train_qmix
from airloom.federate.rounds import FederatedSettings, RoundScore, train_rounds
from airloom.federate.split import SplitLearner, spans
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.training.measure import measure_training
from airloom.planner.collaborative import Collaboration
from airloom.planner.inputs import own_profiles
from airloom.planner.pricing import Choices
from airloom.planner.training import Training


@dataclass(frozen=True)
class Where:
    """Over which network agents learn, and what a step is to be good at.

    Attributes:
        collaboration: where and how parameters are merged; `every` local steps make a round.
        agents_at: devices that have an agent; all UEs where none is named.
        profile: of the model in train mode; None measures it here for about `seconds`.
        choices: of radio links, each MCS that they may use.
    """

    topology: Topology
    collaboration: Collaboration
    objective: Objective = LATENCY
    agents_at: tuple[str, ...] = ()
    conditions: Conditions | None = None
    choices: Choices | None = None
    profile: Profile | None = None
    seconds: float = 5.0


def federated(
    module: nn.Module,
    data: DataSet,
    where: Where,
    settings: FederatedSettings,
    *,
    name: str,
    clients: int = 4,
    skew: float | None = None,
    seed: int = 0,
    progress: Callable[[RoundScore], None] | None = None,
) -> Learned:
    """Federated rounds of `module` over data shared out among `clients`, each trained in the stages of its plan.

    Raises:
        ConfigError, CaptureError: the model, the data or the settings do not go together.
        ProfileMismatch: the profile is of another model, batch or mode.
        Infeasible, NoRoute: as `cost.plan_rounds`.
    """
    settings.check()
    if where.collaboration.every != settings.local_steps:
        raise ConfigError(f"a round of {settings.local_steps} steps merges every so many", where="--every")
    rng = np.random.default_rng(seed)
    parts = shared_out(data.train, clients, rng, skew=skew)
    fewest = min(len(part.labels) for part in parts)
    if fewest < settings.batch:
        raise ConfigError(
            f"a client has {fewest} examples, fewer than a batch of {settings.batch}: ask for a smaller batch, fewer "
            "clients or less skew"
        )
    captured = capture(module, (data.train.inputs[: settings.batch],), name=name, mode="train")
    spec = TrainingSpec(lr=settings.learning_rate, momentum=settings.momentum, label_shape=(settings.batch,))
    plans = _planned(captured, spec, where)
    # Stages of one client's plan serve all: where a model is cut does not change what it learns.
    learner = SplitLearner(captured, spec, spans(plans.aware.agents[0].stops))
    run = train_rounds(module, parts, data.test, settings, rng, learner=learner, progress=progress)
    return learned_rounds(run, plans, seed=seed)


def together(game: Game, where: Where, settings: QMIXSettings, *, seed: int = 0) -> Learned:
    """Agents that learn to play `game`, each network trained over the network of `where`, merged at the mixer.

    Raises:
        ConfigError: the settings cannot be.
        ProfileMismatch: the profile is of another network.
        Infeasible, NoRoute: as `cost.plan_rounds`.
    """
    settings.check()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        team = Team(game, settings)
    shape = (settings.batch, game.horizon + 1, team.features)
    captured = capture(team.episode(), (torch.zeros(shape),), name=f"{settings.mixing}_agent", mode="train")
    out = captured.graph.tensors[captured.graph.outputs[0]]
    spec = TrainingSpec(lr=settings.learning_rate, loss="mse", label_shape=out.shape, label_dtype=out.dtype)
    plans = _planned(captured, spec, where)
    run = train_qmix(game, settings, np.random.default_rng(seed))
    return learned_agents(run, plans, agents=game.agents, seed=seed)


def _planned(captured: Captured, spec: TrainingSpec, where: Where) -> RoundPlans:
    profile = where.profile or measure_training(captured, spec, seconds_budget=where.seconds)
    profiles: Mapping[str, Profile] = {"": profile, **own_profiles(where.topology)}
    _check(profiles, captured)
    network = RoundNetwork(where.topology, profiles, conditions=where.conditions, choices=where.choices)
    labels = captured.graph.tensors[captured.graph.outputs[0]].nbytes if spec.loss == "mse" else 8 * spec.label_shape[0]
    return plan_rounds(
        network,
        where.collaboration,
        Training(labels_nbytes=labels, modelled=True),
        objective=where.objective,
        sources=where.agents_at,
    )


def _check(profiles: Mapping[str, Profile], captured: Captured) -> None:
    for device, profile in profiles.items():
        if profile.graph_digest != captured.graph.digest:
            whose = f"the profile of {device}" if device else "the profile"
            raise ProfileMismatch(
                f"{whose} is of another model than {captured.graph.model} in train mode with this batch: measure it "
                "with `airloom profile --train sgd`, or leave it out"
            )
