import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.topology import Device, Link, Topology
from airloom.errors import WireError
from airloom.runtime import roster
from airloom.runtime.roster import Reach, Roster


def both(a, b):
    return Link(src=a, dst=b, rate_bps=1e6), Link(src=b, dst=a, rate_bps=1e6)


def topology(edges, names):
    return Topology(
        devices=tuple(Device(id=n, role="mec") for n in names),
        links=tuple(link for a, b in edges for link in both(a, b)),
        source=names[0],
        sink=names[-1],
    )


DIAMOND = topology([("ue", "g1"), ("ue", "g2"), ("g1", "c"), ("g2", "c"), ("c", "z")], ["ue", "g1", "g2", "c", "z"])


class Net:
    """Rosters that flood to one another, in any order."""

    def __init__(self, topo, rng):
        self.topo, self.rng = topo, rng
        self.hosts = {}
        self.lives = 0
        self.wires = set()
        self.mail = []

    def start(self, name):
        self.lives += 1
        self.hosts[name] = Roster(self.topo, name, self.lives)
        for peer in roster.neighbours(self.topo, name):
            if peer in self.hosts:
                self.wires.add(frozenset((name, peer)))
                for a, b in ((name, peer), (peer, name)):
                    self.hosts[a].set_neighbour(b, False)
                    self.mail.append((a, b, self.hosts[a].everything()))
                for a, b in ((name, peer), (peer, name)):
                    self.flood(a, (self.hosts[a].set_neighbour(b, True),), "")

    def kill(self, name):
        del self.hosts[name]
        for wire in [w for w in self.wires if name in w]:
            self.wires.remove(wire)
            (peer,) = wire - {name}
            self.flood(peer, (self.hosts[peer].set_neighbour(name, False),), "")

    def flood(self, src, news, but):
        for peer in roster.neighbours(self.topo, src):
            if frozenset((src, peer)) in self.wires and peer != but:
                self.mail.append((src, peer, roster.encode(news)))

    def settle(self):
        while self.mail:
            src, dst, data = self.mail.pop(self.rng.randrange(len(self.mail)))
            if frozenset((src, dst)) in self.wires and (news := self.hosts[dst].hear(data)):
                self.flood(dst, news, src)

    def truth(self, name):
        seen, queue = {name}, [name]
        while queue:
            here = queue.pop()
            for peer in roster.neighbours(self.topo, here):
                if frozenset((here, peer)) in self.wires and peer not in seen:
                    seen.add(peer)
                    queue.append(peer)
        return seen - {name}


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 25))
def test_everyone_knows_who_is_up_once_the_flood_settles(seed, steps):
    rng = random.Random(seed)
    net = Net(DIAMOND, rng)
    names = [d.id for d in DIAMOND.devices]
    for _ in range(steps):
        name = rng.choice(names)
        net.kill(name) if name in net.hosts else net.start(name)
        if rng.random() < 0.5:
            net.settle()
    net.settle()
    for name, host in net.hosts.items():
        assert host.up() == net.truth(name)


def test_a_link_counts_only_if_both_ends_report_it():
    host = Roster(DIAMOND, "ue", 1)
    host.set_neighbour("g1", True)
    assert host.up() == set()
    host.hear(roster.encode((Reach("g1", 5, 1, ("ue", "c")),)))
    assert host.up() == {"g1"}


def test_a_clock_set_back_does_not_silence_a_host():
    host = Roster(DIAMOND, "ue", 100)
    host.set_neighbour("g1", True)
    (said,) = host.hear(roster.encode((Reach("ue", 900, 7, ()),)))
    assert said == Reach("ue", 901, 0, ("g1",))


@pytest.mark.parametrize(
    "reports",
    [(Reach("nobody", 1, 1, ()),), (Reach("g1", 1, 1, ("z",)),), tuple(Reach("g1", k, 1, ()) for k in range(9))],
)
def test_reports_that_the_topology_cannot_hold_are_refused(reports):
    with pytest.raises(WireError):
        Roster(DIAMOND, "ue", 1).hear(roster.encode(reports))


@settings(deadline=None)
@given(junk=st.binary(max_size=200))
def test_junk_is_refused_or_changes_nothing(junk):
    host = Roster(DIAMOND, "ue", 1)
    with contextlib.suppress(WireError):
        assert host.hear(junk) == ()
    assert host.up() == set()
