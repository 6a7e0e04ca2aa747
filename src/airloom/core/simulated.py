"""What a simulation came to, summed up while it ran: `simulation.json` of a run folder.

Traces of an hour are too long to be read back for every figure, so these are kept as the run goes,
in bounded memory. Every number in here is modelled, but for what is named as published.
"""

from __future__ import annotations

import msgspec

from airloom.core.value import SCHEMA_VERSION, Value


class LinkBandwidth(Value, frozen=True):
    """What a link left to a UE: mean and deviation over time and, where the scenario names it, what was published."""

    src: str
    dst: str
    label: str = ""
    mean_bps: float = 0.0
    std_bps: float = 0.0
    published_mean_bps: float | None = None
    published_std_bps: float | None = None


class Span(Value, frozen=True):
    """A stretch of simulated time.

    Attributes:
        requests: results that came in it; `mean_s` is over them, None where there are none.
        operators: mean count of operators that each device ran for a result, over all that ran in it.
        handovers: of UEs in it.
    """

    start_s: float
    end_s: float
    requests: int = 0
    mean_s: float | None = None
    operators: dict[str, float] = msgspec.field(default_factory=dict)
    handovers: int = 0


class MetricTally(Value, frozen=True):
    """One metric of an objective over a scheme's requests; figures in s, J, bytes or money.

    Attributes:
        name: as in the objective: "energy@ue".
        limit: the bound; None for what is only to be small.
        requests: all of them; one without a result keeps no bound.
        mean, p95, worst: over those that had a result.
        kept: requests that had a result within the bound; None without one.
        foreseen: of the others those that a host sent on knowing that no way kept the bounds.
    """

    name: str
    requests: int
    limit: float | None = None
    mean: float | None = None
    p95: float | None = None
    worst: float | None = None
    kept: int | None = None
    foreseen: int = 0


class SchemeTally(Value, frozen=True):
    """What became of one scheme's requests.

    Attributes:
        quantiles_s: latency at 0, 1, ... 100 % of the results; each within 0.1 %.
        energy_j: by device, of one result in the mean: computing, sending and receiving, idling left out.
        sent_nbytes: on all links for a result in the mean, control messages included.
        planning_nbytes: of them split cost messages.
        planning_s: for which a request waited for its plan, in the mean; part of its latency.
        handovers: changes of a UE's first hop.
        devices_down: hosts that went while it ran.
        spikes: results that took longer than `spike_s`.
        costs: of each metric of the objective, best effort first; empty where that is the least latency.
        wall_s: how long simulating it took on this machine; the one measured figure.
    """

    name: str
    title: str
    requests: int
    results: int
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    retried: int = 0
    mean_s: float | None = None
    std_s: float | None = None
    quantiles_s: tuple[float, ...] = ()
    energy_j: dict[str, float] = msgspec.field(default_factory=dict)
    sent_nbytes: float | None = None
    planning_nbytes: float | None = None
    planning_s: float | None = None
    operators: dict[str, float] = msgspec.field(default_factory=dict)
    handovers: int = 0
    devices_down: int = 0
    spikes: int = 0
    spans: tuple[Span, ...] = ()
    costs: tuple[MetricTally, ...] = ()
    wall_s: float = 0.0

    def quantile_s(self, share: float) -> float | None:
        """Latency that `share` (0 to 1) of the results keep."""
        if not self.quantiles_s:
            return None
        at = share * (len(self.quantiles_s) - 1)
        low = min(int(at), len(self.quantiles_s) - 2)
        return self.quantiles_s[low] + (at - low) * (self.quantiles_s[low + 1] - self.quantiles_s[low])


class SimulationRecord(Value, frozen=True):
    """A simulation: which network, how long, what came of each scheme.

    Attributes:
        seconds: simulated.
        period_s: coherence tick of the links that vary; None where none does.
        reports: how hosts learn of rates: `scheduler`, from the radio's own, or `traffic`, from what they send.
        replan: when plans are made: `event`, when conditions moved; `task`, by a wave for each request; `ideal`, of
            the network as it is, at no cost.
        interrupted: whether it was ended before its time.
        modelled: what is modelled although a file calls it measured, a line each.
        spike_s: what counts as a spike.
    """

    scenario: str
    seconds: float
    ues: int
    load: str = ""
    seed: int = 0
    period_s: float | None = None
    reports: str = "scheduler"
    replan: str = "event"
    schemes: tuple[SchemeTally, ...] = ()
    links: tuple[LinkBandwidth, ...] = ()
    interrupted: bool = False
    modelled: tuple[str, ...] = ()
    spike_s: float = 0.1
    schema: int = SCHEMA_VERSION
