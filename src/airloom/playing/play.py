"""One scheme of a scenario in virtual time: what to play, and playing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

import airloom
from airloom.core.forecast import ForecastPolicy
from airloom.core.objective import LATENCY, Objective
from airloom.core.profile import Profile
from airloom.core.scenario import Scenario
from airloom.core.simulated import SchemeTally
from airloom.core.tolerance import Contract
from airloom.core.trace import Event
from airloom.engine.config import HostConfig, WavePolicy
from airloom.engine.host import Host
from airloom.engine.routebook import RouteBook
from airloom.playing.schemes import AIRLOOM, TITLES, topology_of
from airloom.playing.users import Users, Watched
from airloom.radio.cell.network import ScenarioNetwork
from airloom.radio.forecast.oracle import Oracle
from airloom.sim.bandwidth import Metered
from airloom.sim.simulation import Simulation
from airloom.sim.sink import Keep, TraceFolder
from airloom.sim.tally import Tally

#: When plans are made: a wave of split costs for each task, which is held until it is there; when
#: conditions have moved; or of the network as it is, at no cost, as papers reckon.
Replan = Literal["task", "event", "ideal"]
_LOOK_EVERY = 512
_REFRESH_S = 60.0  # where each task has a wave of its own, others are only for those who missed one
_ORACLE_STREAM = 7


@dataclass(frozen=True)
class Play:
    """What is simulated.

    Attributes:
        profiles: by device id; the one under "" is for all others.
        schemes: names, in the order in which a report shows them; the last is the one to be judged by.
        seconds: of virtual time in which tasks come.
        requests: after so many tasks of all UEs no more come. Where both are None the scenario says.
        seed: of the network and of losses; None is the scenario's. Every scheme has the same draw.
        reports: how hosts learn of rates: the radio's scheduler tells them tick by tick, or they
            measure what their traffic shows.
        replan: when Airloom's plans are made.
        objective, forecast: in place of the scenario's.
        ask_wave_s: with "event", tasks also ask for fresh tables, and wait for them no longer than that.
        keep: which events the traces have.
        max_in_flight: requests of one UE at once; what comes beyond is refused.
        spike_s: a result that takes longer counts as a spike.
    """

    scenario: Scenario
    profiles: Mapping[str, Profile]
    schemes: Sequence[str] = (AIRLOOM,)
    contract: Contract | None = None
    seconds: float | None = None
    requests: int | None = None
    seed: int | None = None
    reports: Literal["scheduler", "traffic"] = "scheduler"
    replan: Replan = "event"
    objective: Objective | None = None
    forecast: ForecastPolicy | None = None
    ask_wave_s: float | None = None
    private_operators: int = 0
    result_returns: bool = True
    repair_rounds: int = 2
    keep: Keep = "all"
    max_in_flight: int = 8
    spike_s: float = 0.1

    @property
    def ends_s(self) -> float | None:
        """Second after which no tasks come; None where their number ends it."""
        if self.seconds is not None:
            return self.seconds
        return self.scenario.duration_s if self.requests is None else None

    @property
    def drawn_from(self) -> int:
        """The seed."""
        return self.scenario.seed if self.seed is None else self.seed

    @property
    def demanded(self) -> Objective:
        """What Airloom is asked for; baselines are fast only, and priced by the same metrics."""
        return self.objective or self.scenario.objective

    @property
    def is_oracle(self) -> bool:
        """Whether hosts know what comes, as `Forecast.method` "perfect" has it."""
        return self.forecast is None and self.scenario.forecast.is_perfect

    @property
    def looks_ahead(self) -> ForecastPolicy | None:
        """How hosts forecast their links; None where they do not."""
        return self.forecast or self.scenario.forecast.policy

    @property
    def count(self) -> int | None:
        """Number of tasks that ends it; None where time does."""
        if self.requests is not None:
            return self.requests
        return self.scenario.tasks.count if self.seconds is None else None


#: Called with the scheme, seconds simulated, seconds to simulate (None: not known) and results so far.
Told = Callable[[str, float, float | None, int], None]


def play_scheme(
    what: Play,
    scheme: str,
    network: ScenarioNetwork,
    metered: Metered | None,
    traces: Path | None,
    progress: Told | None,
    stop: Callable[[], bool],
) -> tuple[SchemeTally, float]:
    """Play one scheme; its traces go to the folder `traces`, or nowhere.

    Args:
        metered: the rates of `network`, where any vary.

    Returns:
        What came of it, and seconds simulated.
    """
    began_s = time.perf_counter()
    topology, own = topology_of(scheme, network.topology), scheme == AIRLOOM
    replan: Replan = what.replan if own else "ideal"
    users = Users(network, ends_s=what.ends_s, count=what.count)
    looks_ahead = what.looks_ahead if own else None
    oracles = _Oracles(what) if own and what.is_oracle else None
    tally = Tally(
        topology, lambda src, dst: simulation.rate_bps(src, dst), spike_s=what.spike_s, objective=what.demanded
    )
    watched = Watched(
        frozenset(ue.id for ue in what.scenario.ues), handover=tally.handover, device_down=tally.device_down
    )
    with TraceFolder(traces or Path(), keep=what.keep if traces else "none", version=airloom.__version__) as folder:

        def sink(event: Event) -> None:
            tally.add(event)
            folder.write(event)

        simulation = Simulation(
            topology,
            what.profiles,
            users.arrivals(),
            moves=watched.of(network.changes()),
            seed=what.drawn_from,
            private_operators=what.private_operators,
            result_returns=what.result_returns,
            contract=what.contract,
            objective=what.demanded if own else LATENCY,
            forecast=looks_ahead,
            max_in_flight=what.max_in_flight,
            wave=_policy(replan, what.ask_wave_s if own else None, plans=scheme != "ue-only"),
            rates=metered,
            reports=what.reports,
            every_tick=replan == "event" or looks_ahead is not None,
            repair_rounds=what.repair_rounds,
            sink=sink,
            next_after=users.next_after,
            make_host=None if oracles is None else oracles.host,
            known_from_start=True,
            instant_control=replan == "ideal",
        )
        if oracles is not None:
            oracles.rate_at = simulation.rate_at
        looks = 0

        def look() -> bool:
            nonlocal looks
            looks += 1
            if looks % _LOOK_EVERY:
                return False
            if progress is not None:
                progress(TITLES[scheme], simulation.now_s, what.ends_s, tally.results)
            return stop()

        simulation.run(stop=look)
    return tally.summary(scheme, TITLES[scheme], wall_s=time.perf_counter() - began_s), max(0.0, simulation.now_s)


def _policy(replan: Replan, ask_wave_s: float | None, *, plans: bool) -> WavePolicy:
    if replan == "event":
        return WavePolicy.asked(ask_wave_s)
    # Plans of the network as it is: no change is too small.
    return WavePolicy(change=1e-9, cost_change=0.0, per_request=plans, spontaneous=False, refresh_s=_REFRESH_S)


class _Oracles:
    """Hosts that know what their links will carry, but for an error of the size that the scenario says."""

    def __init__(self, what: Play) -> None:
        self._error = what.scenario.forecast.error
        times = what.scenario.coherence
        self.tick_s = min(times.access_s, times.backhaul_s, times.wired_s)
        self._rng = np.random.default_rng([what.drawn_from, _ORACLE_STREAM])
        self.rate_at: Callable[[str, str, float], float] = lambda src, dst, at_s: 0.0

    def host(self, config: HostConfig, book: RouteBook) -> Host:
        links = [(a.src, a.dst) for a in config.topology.links if config.device in (a.src, a.dst)]
        return Host(config, forecasters={link: self._oracle(*link) for link in links}, book=book)

    def _oracle(self, src: str, dst: str) -> Oracle:
        return Oracle(lambda at_s: self.rate_at(src, dst, at_s), self._error, self._rng, tick_s=self.tick_s)
