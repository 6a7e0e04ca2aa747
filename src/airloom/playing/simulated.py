"""A scenario in virtual time to a run folder: several schemes on the same draw of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from airloom.core.profile import Profile
from airloom.core.run import RunRecord
from airloom.core.scenario import Scenario
from airloom.core.simulated import SimulationRecord
from airloom.core.tolerance import Contract

#: Which events a trace keeps: all, those that tell a request's life, or none.
Keep = Literal["all", "requests", "none"]


@dataclass(frozen=True)
class Play:
    """What is simulated.

    Attributes:
        profiles: by device id; the one under "" is for all others.
        schemes: names, in the order in which a report shows them; the last is the one to be judged by.
        seconds: of virtual time in which tasks come; None is the scenario's duration.
        requests: after so many tasks of all UEs no more come; None is the scenario's count.
        seed: of the network and of losses; None is the scenario's. Every scheme has the same draw.
        reports: how hosts learn of rates: the radio's scheduler tells them tick by tick, or they
            measure what their traffic shows.
        replan: `task` asks for a wave of split costs with every request; `event` plans when conditions move.
        keep: which events the traces have.
        spike_s: a result that takes longer counts as a spike.
    """

    scenario: Scenario
    profiles: Mapping[str, Profile]
    schemes: Sequence[str] = ("airloom",)
    contract: Contract | None = None
    seconds: float | None = None
    requests: int | None = None
    seed: int | None = None
    reports: Literal["scheduler", "traffic"] = "scheduler"
    replan: Literal["task", "event"] = "task"
    private_operators: int = 0
    result_returns: bool = True
    repair_rounds: int = 2
    keep: Keep = "all"
    spike_s: float = 0.1


def play_simulated(
    what: Play,
    *,
    folder: Path | None,
    title: str = "",
    progress: Callable[[str, float, float, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[RunRecord, SimulationRecord]:
    """Play `what` under each scheme in turn and write the run folder as it goes; None writes nothing.

    Args:
        progress: called with the scheme, seconds simulated, seconds to simulate and requests done.
        stop: asked now and then; True ends the run at once, with what came of it so far in the folder.

    Raises:
        UserError: a scheme, a device without a profile, a scenario that cannot be planned for.
    """
    raise NotImplementedError
