"""How fast scenarios are simulated: HiveMind's mmWave network, planned anew for every task; and what that is made of.

The clock is a heap of 26 lines; beside it stands the standard library's `sched` on a virtual time, and beside prices
of all cuts at once those of one cut after the other. No discrete-event library is installed (docs/simulation.md).
"""

from __future__ import annotations

import sched
import tempfile
import time
from pathlib import Path

import msgspec

from airloom.config.scenario import load_scenario
from airloom.core.profile import Profile
from airloom.core.scenario import Scenario
from airloom.files import read_value
from airloom.planner.pricing import FRAMED, hop_cost
from airloom.playing.crowd import with_ues
from airloom.playing.play import Keep, Play, Replan
from airloom.playing.simulated import play_simulated
from airloom.radio.cell.network import ScenarioNetwork
from airloom.sim.clock import Clock
from harness import paired, report

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
EVENTS = 20_000


def scenario(every_s: float, ues: int = 1) -> Scenario:
    found = with_ues(load_scenario(EXAMPLES / "scenarios" / "mmwave_iab.yaml").scenario, ues)
    return msgspec.structs.replace(found, tasks=msgspec.structs.replace(found.tasks, every_s=every_s))


def played(
    what: Scenario, profile: Profile, *, seconds: float, replan: Replan = "task", keep: Keep = "all"
) -> tuple[int, float]:
    """Results, and seconds of the processor that they took, traces written."""
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.process_time()
        play = Play(what, {"": profile}, seconds=seconds, replan=replan, keep=keep)
        _, record = play_simulated(play, folder=Path(folder) / "run")
        return record.schemes[0].results, time.process_time() - began_s


def network_only(what: Scenario, *, seconds: float) -> tuple[int, float]:
    """Ticks of the network, and seconds of the processor to play them."""
    network = ScenarioNetwork(what)
    ticks = round(seconds / network.period_s)
    network.rates(0)
    began_s = time.process_time()
    for tick in range(ticks):
        network.rates(tick)
    return ticks, time.process_time() - began_s


def with_clock() -> None:
    clock, left = Clock(), EVENTS

    def again() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            clock.at(clock.now_s + 0.001, again)

    for k in range(100):
        clock.at(k * 1e-5, again)
    clock.run(lambda: left <= 0)


def with_sched() -> None:
    now_s, left = 0.0, EVENTS

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    scheduler = sched.scheduler(lambda: now_s, sleep)

    def again() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            scheduler.enterabs(now_s + 0.001, 0, again)

    for k in range(100):
        scheduler.enterabs(k * 1e-5, 0, again)
    while left > 0:
        scheduler.run(blocking=False)
        now_s += 1e-5


def main() -> None:
    profile = read_value(EXAMPLES / "resnet20.json", Profile)
    dense = scenario(0.02)
    played(dense, profile, seconds=2.0)
    results, took_s = played(dense, profile, seconds=60.0)
    report("8 nodes and a cloud, a wave for every task: tasks/s of one core", results / took_s, "/s", ">= 1000")
    large = read_value(EXAMPLES / "resnet18.json", Profile)
    shipped = scenario(0.5)
    follows = msgspec.structs.replace(shipped, tasks=msgspec.structs.replace(shipped.tasks, kind="back-to-back"))
    results, took_s = played(follows, large, seconds=60.0, keep="none")
    report("the same for ResNet-18, one task after the other, no traces", results / took_s, "/s", ">= 1000")
    ticks, ticks_s = network_only(shipped, seconds=300.0)
    report("its network alone: a tick of all links", 1e6 * ticks_s / ticks, "us")
    results, took_s = played(shipped, large, seconds=300.0, keep="none")
    report(f"2 tasks/s, {ticks / results:.0f} ticks of the network each, no traces", results / took_s, "/s")
    report("that but for the network's own play", results / (took_s - ticks_s), "/s")
    sparse, sparse_s = played(scenario(0.5), profile, seconds=300.0, replan="event")
    report(f"the same, {sparse / 300:.1f} tasks/s planned on events: times real time", 300.0 / sparse_s, "x")
    results, took_s = played(scenario(0.5, 100), profile, seconds=60.0, replan="event", keep="requests")
    report(f"100 UEs, {results} tasks in 60 simulated seconds", took_s, "s", "<= 60")
    link = dense.topology.link("gnb1", "gnb4")
    back = dense.topology.link("gnb4", "gnb1")
    found = paired(
        lambda: hop_cost(link, back, profile, FRAMED).cost_s,
        lambda: tuple(hop_cost(link, back, profile, FRAMED).options),
        loops=(50, 5),
    )
    report(f"prices of {len(profile.cuts)} cuts at once: times as fast as one by one", found.ratio, "x", ">= 5")
    clocks = paired(with_clock, with_sched, repeats=5)
    report("the clock's heap: times as fast as the standard library's sched", clocks.ratio, "x", ">= 1")


if __name__ == "__main__":
    main()
