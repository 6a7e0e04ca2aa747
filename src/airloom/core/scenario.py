"""A network in time: who is where, what moves, who else uses the links, and when tasks are asked for.

A `Scenario` is a topology with all that HiveMind's simulator (section VII-A) adds to it. `airloom.config.scenario`
reads one from a file, `airloom.radio.cell` plays it. Positions are metres in a plane, north and east alike.
"""

from __future__ import annotations

from typing import Literal

from airloom.core.forecast import METHODS, ForecastPolicy, Method, When
from airloom.core.objective import LATENCY, Objective
from airloom.core.topology import Conditions, Topology
from airloom.core.value import Value

#: What sets a link's rate: the radio between a UE and its cell, a radio between two nodes, or a cable.
LinkKind = Literal["access", "backhaul", "wired"]
LINK_KINDS: tuple[LinkKind, ...] = ("access", "backhaul", "wired")
#: How full the network is: the paper scales population and bit rate of other UEs by 1/2, 1 and 2.
Load = Literal["low", "mid", "high"]
LOADS: dict[Load, float] = {"low": 0.5, "mid": 1.0, "high": 2.0}
#: What a UE does at the end of its path: start over (back along a closing leg), turn round, or stay.
AtEnd = Literal["loop", "back", "stop"]
TaskKind = Literal["every", "poisson", "back-to-back"]


_USUAL = ForecastPolicy()


class Path(Value, frozen=True):
    """Where a UE is: along straight legs between waypoints at one speed; one waypoint stands still.

    Attributes:
        waypoints: (x, y) in m.
        speed_mps: m/s along the legs.
        at_end: "loop" closes the way by a leg from the last waypoint to the first.
    """

    waypoints: tuple[tuple[float, float], ...]
    speed_mps: float = 0.0
    at_end: AtEnd = "loop"


class Ue(Value, frozen=True):
    """A target UE, one that runs the model: a device of the topology, on its path.

    Attributes:
        activity: share of the time in which it has something to send (0 to 1], as the schedulers
            reckon; 1 for one that always competes for its cell, as HiveMind's target UE does.
    """

    id: str
    path: Path
    activity: float = 1.0


class Antenna(Value, frozen=True):
    """A radio at one end of a link and what it hears at the other, for the Friis equation.

    Attributes:
        carrier_hz: carrier frequency.
        bandwidth_hz: channel bandwidth; noise is that over it.
        eirp_dbm: power radiated, transmit antenna gain included (paper: 40 dBm).
        noise_figure_db: of the receiver.
        gain_dbi: of the receiving antenna, pointed at the sender.
        loss_db: what all else takes away: body, cable, implementation, interference margin.
        scs_khz: subcarrier spacing.
        mimo_layers: layers sent at once.
        mcs_table: 1, 2 or 3 (38.214 Tables 5.1.3.1-1 to -3), CQI from the table made for it.
        min_snr_db: below it there is no link.
        shadowing_db: standard deviation of log-normal shadowing; 0 is Friis alone, as in the paper.
        shadowing_m: distance over which shadowing loses correlation (38.901 Table 7.5-6).
    """

    carrier_hz: float
    bandwidth_hz: float
    eirp_dbm: float = 40.0
    noise_figure_db: float = 7.0
    gain_dbi: float = 0.0
    loss_db: float = 0.0
    scs_khz: int = 120
    mimo_layers: int = 1
    mcs_table: int = 1
    min_snr_db: float = -6.0
    shadowing_db: float = 0.0
    shadowing_m: float = 10.0


class Background(Value, frozen=True):
    """Other users of a link, who share it with the target UEs.

    Each of `users / presence` people comes and goes, exponential times both; whenever one comes it has a
    mean bit rate of its own, drawn from a log-normal distribution, around which its demand moves
    (log-normal, first-order autoregressive). Figures are of load "mid".

    Attributes:
        users: mean number at once.
        presence: share of the time that each is there, above 0 to 1: a small one lets their number vary
            as that of a Poisson process does, with 1 it stays and only their bit rates change.
        stay_s: mean time that one stays.
        rate_bps: mean bit rate of a user while there.
        rate_spread: standard deviation of the logarithm of a user's mean bit rate.
        swing: standard deviation of the logarithm of demand around a user's mean.
        swing_s: time over which that movement loses correlation (to 1/e).
        peak_hour, trough: of a daily curve 1 - trough/2 * (1 - cos) of the number of users; a trough of 0 is none.
        source: where the figures come from.
    """

    users: float = 0.0
    presence: float = 0.5
    stay_s: float = 30.0
    rate_bps: float = 0.0
    rate_spread: float = 0.0
    swing: float = 0.0
    swing_s: float = 1.0
    peak_hour: float = 21.0
    trough: float = 0.0
    source: str = ""


class Cell(Value, frozen=True):
    """A base station's position and radio, and the UEs that it serves besides the target ones.

    Attributes:
        device: its device in the topology.
        capacity_bps: what the cell carries in one direction at most.
        radius_m: other UEs are spread evenly over a disc of this radius.
        uplink, downlink: other UEs of each direction.
        delay_s, overhead_s, loss: of access links that the topology does not have.
    """

    device: str
    at_m: tuple[float, float]
    antenna: Antenna
    capacity_bps: float
    radius_m: float = 200.0
    uplink: Background = Background()
    downlink: Background = Background()
    delay_s: float = 0.0
    overhead_s: float = 0.0
    loss: float = 0.0


class SharedLink(Value, frozen=True):
    """A link between two nodes that others use too: its capacity is the topology's rate.

    Attributes:
        antenna: of a radio backhaul, whose rate then follows from the distance of its cells; None for a cable.
        flows: target UEs that share it at once, each with a part of its own; they have the sum of them.
        label: name in a table, "A" of Table I.
        published: (mean, standard deviation) in bit/s that the result stands beside; None where there is none.
    """

    src: str
    dst: str
    kind: LinkKind
    background: Background = Background()
    antenna: Antenna | None = None
    flows: int = 1
    label: str = ""
    published: tuple[float, float] | None = None


class Handover(Value, frozen=True):
    """A UE changes to a cell that is better by `hysteresis_db` for `time_to_trigger_s` (38.331 event A3).

    Attributes:
        interruption_s: time in which neither link carries anything.
    """

    hysteresis_db: float = 3.0
    time_to_trigger_s: float = 0.16
    interruption_s: float = 0.0


class Coherence(Value, frozen=True):
    """How long the rate of a link of each kind holds still."""

    access_s: float = 0.05
    backhaul_s: float = 0.05
    wired_s: float = 0.05


class Tasks(Value, frozen=True):
    """When each UE asks for a result.

    Attributes:
        every_s: between two tasks of one UE; the mean of it where they come as a Poisson process;
            of no use to "back-to-back", where the next one starts when the last one has ended.
        count: of all UEs together; None goes by the scenario's duration.
    """

    kind: TaskKind = "every"
    every_s: float = 0.5
    deadline_s: float = 10.0
    count: int | None = None


class Forecast(Value, frozen=True):
    """How links are predicted (`airloom.radio.forecast`).

    Attributes:
        method: name of a forecaster; "" predicts nothing: the last rate that was seen holds.
        past: how many gaps between split cost message and task a host averages for its look-ahead.
        error: standard deviation of the relative error that is added to a perfect forecast
            (HiveMind's section VII-C); only of use to "perfect".
        when, coherence_s, tau_s, tick_s, order, forget, trend: as of `ForecastPolicy`; a `when` of None is
            "always" for "perfect", else the policy's own.
    """

    method: str = ""
    past: int = 10
    error: float = 0.0
    when: When | None = None
    coherence_s: float | None = None
    tau_s: float = _USUAL.tau_s
    tick_s: float = _USUAL.tick_s
    order: int = _USUAL.order
    forget: float = _USUAL.forget
    trend: bool = _USUAL.trend

    @property
    def is_perfect(self) -> bool:
        """Whether hosts know what comes, which only a simulation can tell them."""
        return self.method == "perfect"

    @property
    def policy(self) -> ForecastPolicy | None:
        """How hosts look ahead; None where they do not. What a perfect forecast forecasts with is up to who knows."""
        if not self.method:
            return None
        method: Method = next((known for known in METHODS if known == self.method), _USUAL.method)
        when = self.when or ("always" if self.is_perfect else _USUAL.when)
        return ForecastPolicy(
            method=method, when=when, coherence_s=self.coherence_s, gaps=self.past, tau_s=self.tau_s,
            tick_s=self.tick_s, order=self.order, forget=self.forget, trend=self.trend,
        )  # fmt: skip


class Scenario(Value, frozen=True):
    """A topology and all that happens to it.

    Attributes:
        topology: with every target UE as a device and its access links to every cell.
        area_m: (width, height) that UEs must stay in, from (0, 0).
        duration_s: of virtual time, warm-up left out; None goes by the number of tasks.
        warm_up_s: time before the first task in which schedulers and meters settle.
        start_hour: of the day, for daily curves.
        changes: scheduled events, `at_s` from the end of the warm-up.
    """

    topology: Topology
    ues: tuple[Ue, ...]
    cells: tuple[Cell, ...] = ()
    links: tuple[SharedLink, ...] = ()
    area_m: tuple[float, float] | None = None
    load: Load = "mid"
    fairness_s: float = 1.0
    handover: Handover = Handover()
    coherence: Coherence = Coherence()
    tasks: Tasks = Tasks()
    duration_s: float | None = None
    warm_up_s: float = 0.0
    start_hour: float = 12.0
    changes: tuple[Conditions, ...] = ()
    forecast: Forecast = Forecast()
    objective: Objective = LATENCY
    seed: int = 0
    name: str = ""
