"""How requests and changes of the network are driven, and whose traces a run folder keeps."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from airloom.comparison import Outcomes, Step, deal_traces, drive
from airloom.config import parse_change
from airloom.config.changes import change_title
from airloom.core.topology import Conditions, Device, Link, LinkState, Topology
from airloom.core.trace import Event
from airloom.runtime.motion import REAL

TOPOLOGY = Topology(
    devices=(Device(id="ue", role="ue"), Device(id="mec", role="mec")),
    links=(Link(src="ue", dst="mec", rate_bps=9e6),),
    source="ue",
    sink="mec",
)


class FakeNet:
    """Answers a request after `took_s`; writes down what was asked of it, and how many were under way."""

    def __init__(self, took_s: float = 0.0) -> None:
        self.took_s, self.log, self.open, self.most = took_s, list[Any](), 0, 0
        self.motion = REAL
        self.lock = threading.Lock()

    def submit(self, k: int) -> Future[Any]:
        request: Future[Any] = Future()
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        self.log.append(k)

        def end() -> None:
            with self.lock:
                self.open -= 1
            request.set_result(k)

        threading.Timer(self.took_s, end).start()
        return request

    def apply(self, conditions: Conditions) -> None:
        self.log.append(("apply", conditions.links[0].rate_bps, self.open))


def _drive(net: FakeNet, requests: int, in_flight: int, **changes: Any) -> tuple[Outcomes, list[Step], list[Any]]:
    told: list[Any] = []
    setting: Any = SimpleNamespace(topology=TOPOLOGY, options=SimpleNamespace(in_flight=in_flight))
    some_net: Any = net
    outcomes, came = drive(some_net, setting, lambda k: (k,), requests, lambda *a: told.append(a), **changes)
    return outcomes, came, told


def _rate(bps: float, at_s: float = 0.0) -> Conditions:
    return Conditions(at_s=at_s, links=(LinkState(src="ue", dst="mec", rate_bps=bps),))


@pytest.mark.parametrize("in_flight", [1, 3])
def test_so_many_are_under_way_and_every_one_has_its_outcome(in_flight: int) -> None:
    net = FakeNet(0.003)
    outcomes, came, told = _drive(net, 10, in_flight)
    assert outcomes.results() == list(range(10))
    assert net.most == in_flight
    assert came == []
    assert told[-1] == (10, 10)


def test_a_step_falls_between_two_requests() -> None:
    net = FakeNet(0.003)
    steps = [Step(4, "slow", _rate(1e6)), Step(4, "slower", _rate(5e5)), Step(99, "never", _rate(1.0))]
    _drive(net, 8, 3, steps=steps)
    assert net.log == [0, 1, 2, 3, ("apply", 1e6, 0), ("apply", 5e5, 0), 4, 5, 6, 7]


def test_a_change_by_the_clock_comes_while_requests_are_under_way() -> None:
    net = FakeNet(0.1)
    changes = [_rate(1e6, 0.02), Conditions(at_s=0.03, links=(LinkState(src="ue", dst="mec", delay_s=0.5),))]
    _, came, _ = _drive(net, 2, 1, changes=[*changes, _rate(1.0, 60.0)])
    assert net.log == [0, ("apply", 1e6, 1), ("apply", 1e6, 1), 1]
    assert [(step.request, step.title) for step in came] == [
        (1, "ue->mec at 1.00 Mbit/s"), (1, "ue->mec at 500 ms delay"),
    ]  # fmt: skip
    # What came first still holds.
    assert came[1].conditions.links[0].rate_bps == 1e6


def test_changes_in_words() -> None:
    assert change_title(parse_change("link=a->b,rate=5 Mbit/s,loss=2 %")) == "a->b at 5.00 Mbit/s, 2.0 % loss"
    assert change_title(parse_change("link=a->b,up=false")) == "a->b down"
    assert change_title(parse_change("link=a->b,up=true")) == "a->b up"
    assert change_title(parse_change("device=a,load=2")) == "a at load 2"
    assert change_title(parse_change("link=a->b,snr=4 dB")) == "a->b at 4 dB SNR"


def test_traces_of_an_earlier_run_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    old, other = tmp_path / "out" / "cloud-only", tmp_path / "out" / "mine"
    for folder in (old, other):
        folder.mkdir(parents=True)
    (old / "gnb.jsonl").write_text("{}\n")
    (other / "notes.txt").write_text("not a trace")
    event = Event(at_s=1.5, host="ue", kind="stage")
    late = Event(at_s=2.5, host="ue", kind="stage")
    (tmp_path / "ue.jsonl").write_bytes(b"head\n" + b"".join(msgspec.json.encode(e) + b"\n" for e in (event, late)))
    deal_traces(tmp_path, tmp_path / "out", {"airloom": Outcomes(began_s=1.0, ended_s=2.0)})
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")) == [
        "airloom/ue.jsonl", "mine/notes.txt",
    ]  # fmt: skip
    assert (tmp_path / "out" / "airloom" / "ue.jsonl").read_bytes().count(b"\n") == 2
