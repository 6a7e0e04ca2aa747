"""How an objective is decided host by host."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airloom.core.objective import Solver
from airloom.core.problem import Floats
from airloom.engine.bounded import Bounded
from airloom.engine.config import HostConfig
from airloom.engine.decision import Decider, LeastLatency
from airloom.engine.reshaped import Reshaped
from airloom.engine.weighted import Weighted
from airloom.errors import ConfigError
from airloom.planner.objective.linear import even_weights, least_value
from airloom.planner.objective.vectors import VectorProblem, vectors
from airloom.planner.pricing import build_problem
from airloom.planner.route import chain
from airloom.wire.header import MAX_BOUNDS


def decider(config: HostConfig) -> Decider:
    """How the host of `config` decides.

    Raises:
        ConfigError: the objective has more bounds than a frame can carry, or counts devices that there are none of.
    """
    objective, topology, size = config.objective, config.topology, config.num_operators
    if objective.is_latency:
        return LeastLatency(size)
    if not objective.require:
        return Weighted(objective, topology, size)
    return BOUNDED[objective.solver](config)


def _exact(config: HostConfig) -> Decider:
    number = len({bound.name for bound in config.objective.require})
    if number > MAX_BOUNDS:
        raise ConfigError(
            f"hosts that decide for themselves keep at most {MAX_BOUNDS} bounds, the objective has {number}: "
            "drop some, or, where no device moves, pin a plan",
            where="objective",
        )
    return Bounded(config.objective, config.topology, config.num_operators)


def _linear(config: HostConfig) -> Decider:
    return Weighted(config.objective, config.topology, config.num_operators, _even_weights(config))


def _convex(config: HostConfig) -> Decider:
    value = least_value(_nominal(config))
    return Reshaped(config.objective, config.topology, config.num_operators, value=value)


#: Objectives with bounds, by solver.
BOUNDED: Mapping[Solver, Callable[[HostConfig], Decider]] = {"exact": _exact, "linear": _linear, "convex": _convex}


def _even_weights(config: HostConfig) -> Floats:
    return even_weights(_nominal(config))


def _nominal(config: HostConfig) -> VectorProblem:
    """The problem as every host can work it out alone: nominal links, this host's profile for all.

    It only sets the scale by which best-effort metrics are held against bounded ones; hosts with profiles of
    their own differ in it as far as these do.
    """
    topology = config.topology
    problem = build_problem(
        topology, chain(topology, result_returns=config.result_returns), {"": config.profile}, framing=config.framing,
        private_operators=config.private_operators, result_returns=config.result_returns,
    )  # fmt: skip
    return vectors(problem, config.objective, {device.id: device.role for device in topology.devices})
