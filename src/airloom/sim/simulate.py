"""A run in virtual time as one call: requests over a topology, a trace out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airloom.core.framing import Framing
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.tolerance import Contract
from airloom.core.topology import Conditions, Topology
from airloom.core.trace import Event as TraceEvent
from airloom.planner.pricing import FRAMED
from airloom.radio.link import LinkModel
from airloom.sim.simulation import Arrival, Simulation

__all__ = ["Arrival", "Simulation", "simulate"]


def simulate(
    topology: Topology,
    profiles: Profile | Mapping[str, Profile],
    arrivals: Sequence[Arrival],
    *,
    changes: Sequence[Conditions] = (),
    pinned: Plan | None = None,
    seed: int = 0,
    framing: Framing = FRAMED,
    private_operators: int = 0,
    contract: Contract | None = None,
    models: Mapping[tuple[str, str], LinkModel] | None = None,
    until_s: float = 0.0,
) -> list[TraceEvent]:
    """Run requests over a topology in virtual time and return the trace; `Simulation` has more to set.

    Raises:
        ConfigError: a device without a profile, or a change that a link's own model cannot follow.
        ProfileMismatch, Infeasible: the contract is of another model, or cannot be kept.
    """
    simulation = Simulation(
        topology, profiles, arrivals, changes=changes, pinned=pinned, seed=seed, framing=framing,
        private_operators=private_operators, contract=contract, models=models,
    )  # fmt: skip
    return simulation.run(until_s)
