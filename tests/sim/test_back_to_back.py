"""Tasks that begin as others end."""

from __future__ import annotations

from engine_cases import chain_profile, line

from airloom.sim.simulation import Arrival, Simulation


def test_a_task_that_follows_another_one_is_run_too() -> None:
    profile = chain_profile((0.001, 0.002), (1000, 1000, 40))
    left = [Arrival(0.0, 1.0) for _ in range(9)]

    def after(device: str, now_s: float) -> Arrival | None:
        return Arrival(now_s, left.pop().deadline_s) if left else None

    simulation = Simulation(line(), profile, [Arrival(0.0, 1.0)], next_after=after)
    simulation.run()
    assert len(simulation.outcomes) == 10
