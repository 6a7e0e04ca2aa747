"""What a simulation comes to, summed up event by event in bounded memory; traces may then be as long as they like."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from airloom.core.objective import LATENCY, Objective
from airloom.core.simulated import SchemeTally, Span
from airloom.core.topology import Topology
from airloom.core.trace import Event
from airloom.planner.carrying import receive_j_per_bit, send_j_per_bit
from airloom.sim.costs import CostTally
from airloom.sim.histogram import Histogram

#: Stretches of time that are kept: when there are twice as many, neighbours become one.
SPANS = 120
_FIRST_SPAN_S = 0.5
_CENTILES = [k / 100 for k in range(101)]


class _Stretch:
    """One stretch of time as it is summed up."""

    __slots__ = ("handovers", "operators", "results", "seconds")

    def __init__(self) -> None:
        self.results, self.seconds, self.handovers = 0, 0.0, 0
        self.operators: Counter[str] = Counter()

    def add(self, other: _Stretch) -> None:
        self.results += other.results
        self.seconds += other.seconds
        self.handovers += other.handovers
        self.operators.update(other.operators)


class Tally:
    """One scheme's sums.

    Args:
        rate_bps: of a link (src, dst) at the moment, for the energy of its radios.
        spike_s: a result that takes longer is a spike.
        objective: whose metrics and bounds are counted.
    """

    def __init__(
        self,
        topology: Topology,
        rate_bps: Callable[[str, str], float],
        *,
        spike_s: float = 0.1,
        objective: Objective = LATENCY,
    ) -> None:
        self._powers = {device.id: device.power for device in topology.devices}
        self._rate_bps, self._spike_s = rate_bps, spike_s
        self._costs = None if objective.is_latency else CostTally(objective, topology, rate_bps)
        self.took = Histogram()
        self.requests = self.handovers = self.devices_down = 0
        self._errors: Counter[str] = Counter()
        self._retried = self._spikes = 0
        self._joules: defaultdict[str, float] = defaultdict(float)
        self._sent = self._planning = self._planned = 0
        self._planning_s = 0.0
        self._waiting: dict[tuple[str, int | None], float] = {}  # those that no attempt has been made for yet
        self._operators: Counter[str] = Counter()
        self._stretches: list[_Stretch] = []
        self._stretch_s = _FIRST_SPAN_S
        self._end_s = 0.0

    @property
    def results(self) -> int:
        return self.took.count

    def add(self, event: Event) -> None:
        if self._costs is not None:
            self._costs.add(event)
        match event.kind:
            case "submit":
                self.requests += 1
                self._waiting[event.host, event.request] = event.at_s
            case "attempt":
                asked_s = self._waiting.pop((event.host, event.request), None)
                if asked_s is not None:
                    self._planned += 1
                    self._planning_s += event.at_s - asked_s
            case "result":
                self._result(event)
            case "error":
                self._errors[str(event.data.get("error", "error"))] += 1
                self._waiting.pop((event.host, event.request), None)
            case "stage":
                self._stage(event)
            case "send" | "repair":
                self._send(event)
            case "wave":
                self._planning += event.data["wire_nbytes"]
            case _:
                pass

    def handover(self, at_s: float) -> None:
        self.handovers += 1
        self._stretch(at_s).handovers += 1

    def device_down(self) -> None:
        self.devices_down += 1

    def energy_j(self) -> dict[str, float]:
        """By device, of all that ran so far: computing, sending, receiving; idling left out."""
        return dict(self._joules)

    def summary(self, name: str, title: str, *, wall_s: float = 0.0) -> SchemeTally:
        """All of it; per result where figures are of one."""
        results = max(1, self.results)
        return SchemeTally(
            name=name, title=title, requests=self.requests, results=self.results,
            errors=dict(sorted(self._errors.items())), retried=self._retried,
            mean_s=self.took.mean, std_s=self.took.std, quantiles_s=self.took.quantiles(_CENTILES),
            energy_j={id: joules / results for id, joules in sorted(self._joules.items())} if self.results else {},
            sent_nbytes=(self._sent + self._planning) / results if self.results else None,
            planning_nbytes=self._planning / results if self.results else None,
            planning_s=self._planning_s / self._planned if self._planned else None,
            operators={id: count / results for id, count in sorted(self._operators.items())} if self.results else {},
            handovers=self.handovers, devices_down=self.devices_down, spikes=self._spikes, spans=self._spans(),
            costs=() if self._costs is None else self._costs.summary(), wall_s=wall_s,
        )  # fmt: skip

    # --- event by event -----------------------------------------------------------------------

    def _result(self, event: Event) -> None:
        self.took.add(event.took_s)
        self._spikes += event.took_s > self._spike_s
        self._retried += event.data.get("attempts", 1) > 1
        stretch = self._stretch(event.at_s)
        stretch.results += 1
        stretch.seconds += event.took_s

    def _stage(self, event: Event) -> None:
        ran = event.data["stop"] - event.data["start"]
        self._operators[event.host] += ran
        self._stretch(event.at_s).operators[event.host] += ran
        busy_w = self._powers[event.host].busy_w
        if busy_w:
            self._joules[event.host] += event.took_s * busy_w

    def _send(self, event: Event) -> None:
        nbytes, src, dst = event.data["wire_nbytes"], event.host, event.data["dst"]
        self._sent += nbytes
        sender, receiver = self._powers[src], self._powers[dst]
        if not (sender.radio_j_per_bit or sender.send_w or receiver.receive_w):
            return
        rate_bps = self._rate_bps(src, dst)
        if rate_bps <= 0.0:
            return
        if sent_j := 8 * nbytes * send_j_per_bit(sender, rate_bps):
            self._joules[src] += sent_j
        if received_j := 8 * nbytes * receive_j_per_bit(receiver, rate_bps):
            self._joules[dst] += received_j

    def _stretch(self, at_s: float) -> _Stretch:
        self._end_s = max(self._end_s, at_s)
        while (index := int(max(0.0, at_s) / self._stretch_s)) >= 2 * SPANS:
            self._stretch_s *= 2.0
            held = self._stretches
            for k in range(0, len(held) - 1, 2):
                held[k].add(held[k + 1])
            self._stretches = held[::2]
        while len(self._stretches) <= index:
            self._stretches.append(_Stretch())
        return self._stretches[index]

    def _spans(self) -> tuple[Span, ...]:
        width_s = self._stretch_s
        return tuple(
            Span(
                start_s=k * width_s, end_s=min((k + 1) * width_s, max(self._end_s, k * width_s)),
                requests=one.results, mean_s=one.seconds / one.results if one.results else None,
                operators={id: count / max(1, one.results) for id, count in sorted(one.operators.items())},
                handovers=one.handovers,
            )
            for k, one in enumerate(self._stretches)
        )  # fmt: skip
