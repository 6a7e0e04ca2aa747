"""Waves that sources ask for, request by request; and prices for the moment at which a task will use a link."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import chain_profile, line, tree
from engine_pump import Pump

from airloom.core.forecast import ForecastPolicy
from airloom.core.topology import Conditions, LinkState
from airloom.engine.config import HostConfig, WavePolicy
from airloom.engine.events import (
    Effect,
    LinkMeasured,
    PeerUp,
    SendAsk,
    SendSplitCost,
    SplitCostArrived,
    WaveAsked,
)  # fmt: skip
from airloom.engine.host import Host
from airloom.engine.messages import Ask, Parcel
from airloom.engine.wave import graph_key
from airloom.planner.chain import solve
from airloom.planner.pricing import build_problem
from airloom.radio.forecast.oracle import Oracle

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))
ASKED = WavePolicy(per_request=True, spontaneous=False)
HOSTS = ("ue", "gnb", "mec", "cloud")


class AskingPump(Pump):
    """A pump that passes questions on, unless they are lost."""

    lost = False

    def _do(self, device: str, effect: Effect) -> None:
        if isinstance(effect, SendAsk):
            self.asks = [*getattr(self, "asks", []), (device, effect)]
            if not self.lost:
                self._queue.append((effect.dst, WaveAsked(effect.ask)))
        else:
            super()._do(device, effect)


def test_a_request_waits_for_a_wave_of_its_own_and_takes_what_it_says() -> None:
    pump = AskingPump(line(), SMALL, wave=ASKED)
    pump.tell("mec", LinkMeasured("mec", "cloud", rate_bps=400e6))
    pump.tell("gnb", LinkMeasured("gnb", "mec", rate_bps=1e6))
    pump.costs.clear()
    before = pump.hosts["ue"].snapshot().wave
    pump.submit(0)
    assert isinstance(pump.outcome(0), Parcel)
    assert pump.hosts["ue"].snapshot().wave > before
    assert [device for device, _ in pump.costs] == ["cloud", "mec", "gnb"]
    assert [device for device, _ in pump.asks] == ["ue", "gnb", "mec"]
    states = (LinkState(src="mec", dst="cloud", rate_bps=400e6), LinkState(src="gnb", dst="mec", rate_bps=1e6))
    problem = build_problem(line(), HOSTS, {"": SMALL}, conditions=Conditions(links=states))
    (attempt,) = pump.events("attempt")
    assert attempt.data["predicted_s"] == pytest.approx(solve(problem).seconds, rel=1e-6)


def test_hosts_that_are_asked_say_nothing_of_their_own_accord() -> None:
    pump = AskingPump(line(), SMALL, wave=ASKED)
    pump.costs.clear()
    for rate in (1e6, 400e6, 5e6):
        pump.tell("mec", LinkMeasured("mec", "cloud", rate_bps=rate))
    pump.wait(0.5)
    assert not pump.costs


def test_a_wave_goes_up_the_way_to_its_source_only() -> None:
    pump = AskingPump(tree(), SMALL, wave=ASKED)
    pump.costs.clear()
    pump.submit(0, source="ue2")
    assert [(device, effect.dst) for device, effect in pump.costs] == [
        ("cloud", "mec"), ("mec", "gnb2"), ("gnb2", "ue2"),
    ]  # fmt: skip
    assert isinstance(pump.outcome(0, "ue2"), Parcel)


def test_a_question_that_is_lost_holds_the_request_no_longer_than_allowed() -> None:
    pump = AskingPump(line(), SMALL, wave=WavePolicy(per_request=True, hold_s=0.03))
    pump.lost = True
    pump.submit(0)
    assert ("ue", 0) not in pump.outcomes
    pump.wait(0.02)
    assert ("ue", 0) not in pump.outcomes
    pump.wait(0.02)
    assert isinstance(pump.outcome(0), Parcel)


def test_the_deadline_holds_while_a_request_is_held() -> None:
    pump = AskingPump(line(), SMALL, wave=WavePolicy(per_request=True, hold_s=10.0))
    pump.lost = True
    pump.submit(0, deadline_s=0.5)
    pump.wait(1.0)
    assert isinstance(pump.outcome(0), Parcel)  # the source ran it itself in time
    assert len(pump.events("attempt")) == 1


def test_one_wave_answers_questions_that_cross_it() -> None:
    cloud = Host(HostConfig(device="cloud", topology=line(), profile=SMALL, wave=ASKED))
    cloud.start(0.0, known=HOSTS[:3])
    key = graph_key(SMALL.graph_digest)

    def waves(ask: Ask) -> int:
        return sum(isinstance(effect, SendSplitCost) for effect in cloud.handle(WaveAsked(ask), 5.0))

    assert waves(Ask(0, 3, key)) == 1
    assert waves(Ask(0, 3, key)) == 0
    assert waves(Ask(0, 10**9, key)) == 1
    assert waves(Ask(0, 0, key)) == 1  # in any case
    assert waves(Ask(0, 0, b"another!")) == 0
    assert waves(Ask(77, 0, key)) == 0
    assert cloud.snapshot().counters["question of another model"] == 2


def test_a_source_that_is_the_end_asks_nobody() -> None:
    pump = AskingPump(line(), SMALL, wave=ASKED)
    for host in ("cloud", "mec", "gnb"):
        pump.down(host)
    pump.asks = []
    pump.submit(0)
    assert isinstance(pump.outcome(0), Parcel)
    assert not pump.asks


class Timed:
    """ue and gnb, messages and stages taking as long as they are told; the gnb is the end."""

    def __init__(self, policy: ForecastPolicy | None, **settings: object) -> None:
        self.topology = line((20.0, 1.0), (40e6,), (0.0,))
        make = lambda device: HostConfig(device=device, topology=self.topology, profile=SMALL, forecast=policy)  # noqa: E731
        self.ue = Host(make("ue"), **settings)  # type: ignore[arg-type]
        self.gnb = Host(make("gnb"))
        self.now_s = 10.0
        self.ue.start(self.now_s)
        self.gnb.start(self.now_s)
        self.ue.handle(PeerUp("gnb"), self.now_s)
        for effect in self.gnb.handle(PeerUp("ue"), self.now_s):
            if isinstance(effect, SendSplitCost):
                self.ue.handle(SplitCostArrived("gnb", effect.message), self.now_s)

    def measure(self, rate_bps: float) -> None:
        for key in (("ue", "gnb"), ("gnb", "ue")):
            self.ue.handle(LinkMeasured(*key, rate_bps=rate_bps), self.now_s)

    def cost_s(self) -> float:
        cost = self.ue.snapshot().cost_s
        assert cost is not None
        return cost

    def at(self, rate_bps: float) -> float:
        states = tuple(LinkState(src=s, dst=d, rate_bps=rate_bps) for s, d in (("ue", "gnb"), ("gnb", "ue")))
        problem = build_problem(self.topology, ("ue", "gnb"), {"": SMALL}, conditions=Conditions(links=states))
        return solve(problem).seconds


def oracle(rates: dict[float, float]) -> Oracle:
    """The rate at a moment: that of the last time before it."""
    return Oracle(lambda at_s: rates[max(t for t in rates if t <= at_s)], 0.0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("when", "coherence_s", "used"),
    [("always", None, True), ("beyond", 0.05, True), ("beyond", 0.5, False), ("within", 0.05, False),
     ("within", 0.5, True)],
)  # fmt: skip
def test_links_are_priced_for_the_moment_of_departure_where_the_rule_says_so(
    when: str, coherence_s: float | None, used: bool
) -> None:
    policy = ForecastPolicy(when=when, coherence_s=coherence_s)  # type: ignore[arg-type]
    now, later = 10e6, 60e6
    truth = oracle({0.0: now, 10.15: later})
    hosts = Timed(policy, forecasters={("ue", "gnb"): truth, ("gnb", "ue"): truth})
    hosts.measure(now)
    assert hosts.cost_s() == pytest.approx(hosts.at(now), rel=1e-6)  # nothing has passed: it looks 0 s ahead
    # A task that is decided now and leaves 0.2 s later.
    hosts.ue._wave.departed(hosts.now_s - 0.2)
    hosts.measure(now)
    assert hosts.cost_s() == pytest.approx(hosts.at(later if used else now), rel=1e-6)


def test_the_look_ahead_is_the_mean_gap_from_a_message_to_a_departure() -> None:
    pump = Pump(line(), SMALL, forecast=ForecastPolicy(gaps=2))
    pump.hold_stages = lambda device, effect: device == "gnb"
    pump.tell("gnb", LinkMeasured("gnb", "mec", rate_bps=4e9))
    pump.tell("mec", LinkMeasured("mec", "cloud", rate_bps=4e9))
    pump.wait(0.1)
    for k in range(3):
        pump.submit(k)
    assert pump.hosts["ue"].snapshot().look_ahead_s == 0.0  # nobody is upstream of it
    gnb = pump.hosts["gnb"]
    assert gnb.snapshot().look_ahead_s == pytest.approx(0.09, abs=0.011)


def test_forecasts_leave_what_hosts_say_without_them_alone() -> None:
    plain, last = Pump(line(), SMALL), Pump(line(), SMALL, forecast=ForecastPolicy(method="last", when="always"))
    for pump in (plain, last):
        pump.tell("mec", LinkMeasured("mec", "cloud", rate_bps=100e6))
        pump.wait(1.0)
        pump.submit(0)
    assert last.hosts["ue"].snapshot().cost_s == plain.hosts["ue"].snapshot().cost_s
    assert [e.data["stop"] for e in last.events("attempt")] == [e.data["stop"] for e in plain.events("attempt")]


@pytest.mark.parametrize("method", ["last", "ewma", "autoregressive", "kalman"])
def test_every_request_has_one_outcome_under_forecasts_and_waves_on_demand(method: str) -> None:
    rng = np.random.default_rng(5)
    policy = ForecastPolicy(method=method, when="always", tick_s=0.01)  # type: ignore[arg-type]
    pump = AskingPump(tree(), SMALL, wave=WavePolicy(per_request=True, hold_s=0.05), forecast=policy)
    pairs = [(link.src, link.dst) for link in tree().links]
    for k in range(40):
        src, dst = pairs[int(rng.integers(len(pairs)))]
        rate = float(rng.choice([0.0, 1e5, 1e7, 1e9]))
        pump.tell(src, LinkMeasured(src, dst, rate_bps=rate, loss=float(rng.choice([0.0, 0.1, 1.0]))))
        pump.lost = bool(rng.uniform() < 0.3)
        if k % 7 == 3:
            pump.down("gnb2")
            pump.up("gnb2")
        pump.submit(k, source=("ue1", "ue2")[k % 2])
        pump.wait(float(rng.uniform(0.0, 0.05)))
    pump.wait(5.0)
    assert {key: len(found) for key, found in pump.outcomes.items()} == {
        (("ue1", "ue2")[k % 2], k): 1 for k in range(40)
    }


def test_a_forecaster_that_lies_is_not_believed() -> None:
    class Liar:
        def observe(self, at_s: float, rate_bps: float) -> None: ...

        def predict(self, at_s: float) -> float:
            return float("nan")

    hosts = Timed(None, forecasters={("ue", "gnb"): Liar(), ("gnb", "ue"): Liar()})
    hosts.measure(30e6)
    assert hosts.cost_s() == pytest.approx(hosts.at(30e6), rel=1e-6)


def test_the_fixed_overhead_of_a_transfer_is_in_what_hosts_say() -> None:
    costs = []
    for overhead_s in (0.0, 0.01):
        topology = line((1e4, 1.0), (1e9,), (0.0,), overhead_s=overhead_s)
        costs.append(Pump(topology, SMALL).hosts["ue"].snapshot().cost_s)
    assert costs[0] is not None
    assert costs[1] == pytest.approx(costs[0] + 0.02, rel=1e-6)  # there, and the result's way back
