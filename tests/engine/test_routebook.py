"""Routes under links that come and go: what hosts derive from the book equals what each derives alone."""

from __future__ import annotations

import numpy as np
import pytest

from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Topology
from airloom.engine.peers import Peers
from airloom.engine.routebook import RouteBook
from airloom.planner.route import feasible_next_hops, parents

CELLS = ("a", "b", "c")


def tree(ues: int) -> Topology:
    """UEs with links to three cells, two hosts behind those and a cloud."""
    names = [f"ue{k}" for k in range(ues)]
    devices = [Device(id=id, role="ue") for id in names]
    devices += [Device(id=id, role="gnb") for id in CELLS]
    devices += [Device(id="m", role="mec"), Device(id="n", role="mec"), Device(id="cloud", role="cloud")]
    pairs = [(ue, cell) for ue in names for cell in CELLS]
    pairs += [("a", "m"), ("b", "m"), ("c", "n"), ("m", "n"), ("n", "cloud")]
    links = [Link(src=s, dst=t, rate_bps=1e8, delay_s=0.001) for x, y in pairs for s, t in ((x, y), (y, x))]
    return Topology(devices=tuple(devices), links=tuple(links), source="ue0", sink="cloud")


@pytest.mark.parametrize("seed", range(30))
def test_the_book_says_what_the_whole_topology_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = tree(3)
    book = RouteBook(net)
    assert book.edges == {"ue0", "ue1", "ue2"}
    # The hosts that pass things on stay together: else UEs would have to, which no edge does.
    down = frozenset(["c"] if rng.random() < 0.3 else [])
    cut = frozenset((a.src, a.dst) for a in net.links if {a.src, a.dst} & book.edges and rng.random() < 0.2)
    now = Conditions(
        devices=tuple(DeviceState(id=id, up=False) for id in down),
        links=tuple(LinkState(src=s, dst=t, up=False) for s, t in cut),
    )
    whole = feasible_next_hops(net, now)
    for device in ("ue1", "a", "m", "cloud"):
        found = book.next_hops(device, down, cut)
        if device not in down:
            assert found[device] == whole[device]
    back = parents(net, "ue2", now, result_returns=False)
    found_back = book.toward("ue2", "cloud", down, cut)
    core = [d.id for d in net.devices if d.id not in book.edges and d.id not in down]
    # A way that ends at a UE is the same; hosts that do not reach it make for wherever they can.
    assert {id: found_back[id] for id in core if _leads(back, id, "ue2")} == {
        id: back[id] for id in core if _leads(back, id, "ue2")
    }


def _leads(ahead: dict[str, str | None], start: str, goal: str) -> bool:
    at: str | None = start
    for _ in range(len(ahead)):
        if at == goal:
            return True
        at = ahead.get(at) if at is not None else None
    return at == goal


def known(device: str, net: Topology, book: RouteBook) -> Peers:
    peers = Peers(net, device, book=book)
    for other in net.devices:
        peers.set_up(other.id, up=True)
    return peers


def test_a_handover_turns_the_ue_the_cells_and_the_way_back() -> None:
    net = tree(2)
    book = RouteBook(net)
    hosts = {id: known(id, net, book) for id in ("ue0", "a", "b", "n", "cloud")}

    def serve(cell: str) -> None:
        for peers in hosts.values():
            for other in CELLS:
                peers.set_link("ue0", other, up=other == cell)
                peers.set_link(other, "ue0", up=other == cell)

    for cell, way in (("a", ("n", "m", "a", "ue0")), ("b", ("n", "m", "b", "ue0")), ("c", ("n", "c", "ue0"))):
        serve(cell)
        assert hosts["ue0"].nexts == (cell,)
        assert hosts["cloud"].way("ue0") == way
        assert [id for id in ("a", "b") if "ue0" in hosts[id].children] == [id for id in ("a", "b") if id == cell]
    assert hosts["n"].children_toward("ue0") == ("c",)
    assert "ue1" in hosts["a"].children  # whose links nobody has touched


def test_a_link_that_is_not_there_or_has_not_changed_says_so() -> None:
    net = tree(1)
    peers = known("a", net, RouteBook(net))
    assert not peers.set_link("a", "cloud", up=False)
    assert not peers.set_link("a", "m", up=True)
    assert peers.set_link("a", "m", up=False)
    assert not peers.set_link("a", "m", up=False)
    assert peers.nexts != ("m",)
    assert peers.set_link("a", "m", up=True)
    assert peers.nexts[0] == "m"


def test_ues_that_pass_things_on_to_each_other_are_no_edge() -> None:
    devices = (Device(id="u", role="ue"), Device(id="v", role="ue"), Device(id="gnb", role="gnb"))
    pairs = (("u", "v"), ("v", "gnb"))
    links = tuple(Link(src=s, dst=t, rate_bps=1e6) for x, y in pairs for s, t in ((x, y), (y, x)))
    net = Topology(devices=devices, links=links, source="u", sink="gnb")
    book = RouteBook(net)
    assert book.edges == frozenset()
    assert known("u", net, book).downstream == ("v", "gnb")
