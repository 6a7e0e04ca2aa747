"""The split cost wave over hosts: the local fold's result, and nothing from upstream touches a table."""

from __future__ import annotations

import time

import numpy as np
import pytest
from engine_cases import chain_profile, line, random_profile, tree
from engine_pump import Pump

from airloom.core.messages import SplitCost
from airloom.core.topology import Conditions, LinkState, Topology
from airloom.engine.config import HostConfig
from airloom.engine.events import LinkMeasured, PeerDown, PeerUp, SplitCostArrived, TimerFired
from airloom.engine.host import Host
from airloom.engine.wave import graph_key
from airloom.planner.chain import fold, follow, solve
from airloom.planner.pricing import build_problem
from airloom.planner.route import chain

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))


def stops_of(pump: Pump, hosts: tuple[str, ...]) -> tuple[int, ...]:
    """What the tables of these hosts lead to."""
    cut, stops = 0, []
    for host in hosts:
        cut = pump.hosts[host].snapshot().stop[cut]
        stops.append(cut)
    return tuple(stops)


def random_line(rng: np.random.Generator) -> Topology:
    return line(
        tuple(float(f) for f in rng.uniform(0.5, 20, 4)),
        tuple(float(r) for r in 10 ** rng.uniform(6, 9, 3)),
        tuple(float(d) for d in rng.uniform(0, 0.01, 3)),
        overhead_s=float(rng.uniform(0, 0.001)),
    )


@pytest.mark.parametrize("seed", range(60))
def test_distributed_wave_equals_the_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    profile, topology = random_profile(rng, int(rng.integers(1, 15))), random_line(rng)
    private = int(rng.integers(0, profile.num_operators + 1)) if seed % 3 == 0 else 0
    pump = Pump(topology, profile, private_operators=private)
    hosts = ("ue", "gnb", "mec", "cloud")
    problem = build_problem(topology, hosts, {"": profile}, private_operators=private)
    best = solve(problem)
    assert problem.chain_s(stops_of(pump, hosts)) == pytest.approx(best.seconds, rel=1e-6)
    for host, (message, _) in zip(hosts, fold(problem), strict=True):
        assert pump.hosts[host].snapshot().cost_s == pytest.approx(message[0], rel=1e-6)


def test_every_ue_of_a_tree_gets_its_own_optimum() -> None:
    pump = Pump(tree(), SMALL)
    for source in ("ue1", "ue2"):
        hosts = chain(tree(), source)
        problem = build_problem(tree(), hosts, {"": SMALL})
        assert problem.chain_s(stops_of(pump, hosts)) == pytest.approx(solve(problem).seconds, rel=1e-6)


def test_tables_follow_a_measured_link() -> None:
    pump = Pump(line(), SMALL)
    pump.tell("mec", LinkMeasured("mec", "cloud", rate_bps=400e6))
    pump.wait(1.0)
    hosts = ("ue", "gnb", "mec", "cloud")
    conditions = Conditions(links=(LinkState(src="mec", dst="cloud", rate_bps=400e6),))
    problem = build_problem(line(), hosts, {"": SMALL}, conditions=conditions)
    assert problem.chain_s(stops_of(pump, hosts)) == pytest.approx(solve(problem).seconds, rel=1e-6)
    assert pump.hosts["ue"].snapshot().cost_s == pytest.approx(solve(problem).seconds, rel=1e-6)


def test_small_changes_say_nothing_and_bursts_of_large_ones_are_bounded() -> None:
    pump = Pump(line(), SMALL)
    pump.wait(0.5)
    pump.costs.clear()
    pump.tell("mec", LinkMeasured("mec", "cloud", rate_bps=20.5e6))
    assert not pump.costs
    for k in range(50):
        pump.tell("mec", LinkMeasured("mec", "cloud", rate_bps=200e6 if k % 2 else 400e6))
    assert sum(device == "mec" for device, _ in pump.costs) <= 2
    pump.wait(0.1)
    problem = build_problem(
        line(), ("ue", "gnb", "mec", "cloud"), {"": SMALL},
        conditions=Conditions(links=(LinkState(src="mec", dst="cloud", rate_bps=200e6),)),
    )  # fmt: skip
    assert pump.hosts["ue"].snapshot().cost_s == pytest.approx(solve(problem).seconds, rel=0.02)


def test_the_end_starts_waves_at_regular_times() -> None:
    pump = Pump(line(), SMALL)
    first = pump.hosts["ue"].snapshot().wave
    pump.wait(2.5)
    assert pump.hosts["ue"].snapshot().wave > first


def test_nothing_upstream_changes_a_table() -> None:
    pump = Pump(line(), SMALL)
    before = pump.hosts["mec"].snapshot()
    L = SMALL.num_operators
    free = SplitCost(1, 3, 2**40, graph_key(SMALL.graph_digest), np.zeros(L + 1, np.float32))
    pump.tell("mec", SplitCostArrived("gnb", free))
    pump.tell("mec", SplitCostArrived("ue", free._replace(host=0)))
    for rate in (1e3, 1e9):
        for src, dst in (("ue", "gnb"), ("gnb", "ue"), ("gnb", "mec"), ("mec", "gnb")):
            for host in list(pump.hosts):
                pump.tell(host, LinkMeasured(src, dst, rate_bps=rate, delay_s=0.1, loss=0.2))
    pump.wait(5.0)
    for k in range(5):
        pump.submit(k)
    pump.down("ue")
    pump.down("gnb")
    after = pump.hosts["mec"].snapshot()
    assert (after.stop, after.cost_s, after.parent) == (before.stop, before.cost_s, before.parent)
    assert after.counters["cost not from the parent"] == 2


def cost(pump: Pump, wave: int, update: int = 0, **changes: object) -> SplitCost:
    message = SplitCost(
        1, 3, wave, graph_key(SMALL.graph_digest), np.zeros(SMALL.num_operators + 1, np.float32), update
    )
    return message._replace(**changes)  # type: ignore[arg-type]


def test_old_foreign_and_misshapen_messages_are_dropped_and_counted() -> None:
    pump = Pump(line(), SMALL)
    table = pump.hosts["ue"].snapshot().stop
    wave = pump.hosts["ue"].snapshot().wave
    nan = np.full(SMALL.num_operators + 1, np.nan, np.float32)
    for message, reason in (
        (cost(pump, wave - 1), "older cost"),
        (cost(pump, wave, 1), "older cost"),
        (cost(pump, wave + 9, graph=b"another!"), "cost of another model"),
        (cost(pump, wave + 9, cost_s=np.zeros(3, np.float32)), "cost of another model"),
        (cost(pump, wave + 9, cost_s=nan), "malformed cost"),
        (cost(pump, wave + 9, cost_s=-np.ones_like(nan)), "malformed cost"),
        (cost(pump, wave + 9, host=77), "malformed cost"),
    ):
        count = pump.drops("ue").get(reason, 0)
        pump.tell("ue", SplitCostArrived("gnb", message))
        assert pump.drops("ue")[reason] == count + 1
    assert pump.hosts["ue"].snapshot().stop == table
    pump.tell("ue", SplitCostArrived("gnb", cost(pump, wave + 9)))
    assert pump.hosts["ue"].snapshot().cost_s != pytest.approx(0.0329, rel=0.01)


def test_chain_ends_at_the_farthest_host_within_reach() -> None:
    pump = Pump(line(), SMALL)
    pump.down("cloud")
    assert [pump.hosts[h].snapshot().end for h in ("ue", "gnb", "mec")] == ["mec"] * 3
    problem = build_problem(line(), ("ue", "gnb", "mec"), {"": SMALL})
    assert pump.hosts["ue"].snapshot().cost_s == pytest.approx(solve(problem).seconds, rel=1e-6)
    pump.down("gnb")
    assert pump.hosts["ue"].snapshot().end == "ue"
    assert pump.hosts["ue"].snapshot().stop[0] == SMALL.num_operators
    pump.up("gnb")
    pump.up("cloud")
    problem = build_problem(line(), ("ue", "gnb", "mec", "cloud"), {"": SMALL})
    assert pump.hosts["ue"].snapshot().cost_s == pytest.approx(solve(problem).seconds, rel=1e-6)


def test_a_restarted_sink_is_heard_though_its_count_begins_anew() -> None:
    pump = Pump(line(), SMALL)
    for _ in range(5):
        pump.tell("cloud", TimerFired(("refresh",)))
    pump.now_s -= 90.0  # a clock that begins again
    for host in ("ue", "gnb", "mec"):
        pump.tell(host, PeerDown("cloud"))
    pump.up("cloud")
    problem = build_problem(line(), ("ue", "gnb", "mec", "cloud"), {"": SMALL})
    assert pump.hosts["ue"].snapshot().cost_s == pytest.approx(solve(problem).seconds, rel=1e-6)


def test_busy_hosts_cost_more_and_recover() -> None:
    pump = Pump(line(), SMALL)
    idle = pump.hosts["mec"].snapshot()
    pump.hold_stages = lambda device, effect: device == "mec"
    for k in range(6):
        pump.submit(k, deadline_s=60.0)
    pump.wait(0.3)
    busy = pump.hosts["mec"].snapshot()
    assert busy.load > 0
    assert (busy.cost_s or 0) > (idle.cost_s or 0)
    pump.hold_stages = lambda device, effect: False
    for device, effect in pump.held:
        pump.release(device, effect)
    pump.wait(30.0)
    assert pump.hosts["mec"].snapshot().load == 0
    assert pump.hosts["mec"].snapshot().cost_s == idle.cost_s


def test_a_message_that_is_there_before_its_sender_is_known_to_be_up_counts() -> None:
    pump = Pump(line(), SMALL)
    known = pump.hosts["ue"].snapshot().cost_s
    message = next(e.message for d, e in reversed(pump.costs) if d == "gnb")
    ue = Host(HostConfig(device="ue", topology=line(), profile=SMALL))
    ue.start(0.0)
    ue.handle(SplitCostArrived("gnb", message), 0.0)
    for peer in ("cloud", "mec", "gnb"):
        ue.handle(PeerUp(peer), 0.0)
    assert ue.snapshot().cost_s == known


def test_follow_agrees_with_stops_of() -> None:
    pump = Pump(line(), SMALL)
    hosts = ("ue", "gnb", "mec", "cloud")
    assert stops_of(pump, hosts) == follow([t for _, t in fold(build_problem(line(), hosts, {"": SMALL}))])


def test_a_wave_step_is_cheap() -> None:
    profile = chain_profile((0.0001,) * 152, (*(10000,) * 152, 40))
    pump = Pump(line(), profile)
    gnb, wave = pump.hosts["gnb"], pump.hosts["gnb"].snapshot().wave
    costs = np.linspace(0.01, 0, 153).astype(np.float32)
    took = []
    for k in range(50):
        message = SplitCost(2, 3, wave + 1 + k, graph_key(profile.graph_digest), costs)
        began = time.perf_counter()
        gnb.handle(SplitCostArrived("mec", message), pump.now_s)
        took.append(time.perf_counter() - began)
    assert min(took) < 1e-3  # target 200 us on a quiet machine
