from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Topology
from airloom.errors import NoRoute
from airloom.planner.route import NOMINAL_BYTES, chain, parents


def topology(pairs: str, *, source: str = "ue", sink: str = "cloud", one_way: str = "") -> Topology:
    """`a-b` is a link in both directions, `a-b:2` one twice as slow; `one_way` has no way back."""
    links, names = [], []
    for text, both in ((pairs, True), (one_way, False)):
        for pair in text.split():
            ends, _, slowness = pair.partition(":")
            src, dst = ends.split("-")
            names += [src, dst]
            rate = 100e6 / float(slowness or 1)
            links.append(Link(src=src, dst=dst, rate_bps=rate, delay_s=0.001))
            if both:
                links.append(Link(src=dst, dst=src, rate_bps=rate, delay_s=0.001))
    ids = dict.fromkeys((source, *names, sink))
    return Topology(
        devices=tuple(Device(id=id, role="mec") for id in ids), links=tuple(links), source=source, sink=sink
    )


TREE = topology("ue-gnb1 ue2-gnb2 gnb1-core gnb2-core core-cloud")


def down(*ids: str, links: tuple[tuple[str, str], ...] = ()) -> Conditions:
    return Conditions(
        devices=tuple(DeviceState(id=id, up=False) for id in ids),
        links=tuple(LinkState(src=src, dst=dst, up=False) for src, dst in links),
    )


def test_a_line() -> None:
    line = topology("ue-gnb gnb-mec mec-cloud")
    assert chain(line) == ("ue", "gnb", "mec", "cloud")
    assert parents(line) == {"ue": "gnb", "gnb": "mec", "mec": "cloud", "cloud": None}
    assert chain(line, source="gnb", sink="mec") == ("gnb", "mec")


def test_several_ues_share_a_tree() -> None:
    assert parents(TREE) == {
        "ue": "gnb1", "gnb1": "core", "ue2": "gnb2", "gnb2": "core", "core": "cloud", "cloud": None,
    }  # fmt: skip


def test_the_quicker_way_wins_and_then_the_shorter() -> None:
    assert chain(topology("ue-a a-cloud ue-b:3 b-cloud:3")) == ("ue", "a", "cloud")
    assert chain(topology("ue-a:9 a-cloud:9 ue-b b-c c-cloud")) == ("ue", "b", "c", "cloud")
    # Two ways of the same length: the one whose next hop is listed first.
    assert chain(topology("ue-b ue-a a-cloud b-cloud")) == ("ue", "b", "cloud")


def test_a_dead_host_is_gone_round() -> None:
    ring = topology("ue-a a-cloud ue-b:2 b-cloud:2")
    assert chain(ring) == ("ue", "a", "cloud")
    assert chain(ring, conditions=down("a")) == ("ue", "b", "cloud")
    assert chain(ring, conditions=down(links=(("ue", "a"),))) == ("ue", "b", "cloud")
    # The result could not come back over a.
    assert chain(ring, conditions=down(links=(("a", "ue"),))) == ("ue", "b", "cloud")
    assert chain(ring, conditions=down(links=(("a", "ue"),)), result_returns=False) == ("ue", "a", "cloud")


def test_a_sink_out_of_reach_leaves_the_nearest_host_as_the_end() -> None:
    assert chain(TREE, conditions=down("cloud")) == ("ue", "gnb1", "core")
    assert chain(TREE, conditions=down("core")) == ("ue", "gnb1")
    assert parents(TREE, conditions=down("core")) == {
        "ue": "gnb1", "gnb1": None, "ue2": "gnb2", "gnb2": None, "core": None, "cloud": None,
    }  # fmt: skip
    assert chain(TREE, conditions=down("gnb1")) == ("ue",)


def test_rates_that_move_do_not_move_routes() -> None:
    ring = topology("ue-a a-cloud ue-b:2 b-cloud:2")
    slow = Conditions(links=(LinkState(src="ue", dst="a", rate_bps=1.0),))
    assert parents(ring, conditions=slow) == parents(ring)


def test_no_route_names_both_ends_and_the_remedy() -> None:
    with pytest.raises(NoRoute, match=r"from ue to cloud: add"):
        chain(topology("ue-a b-cloud"))
    with pytest.raises(NoRoute, match=r"from cloud to ue.*--no-result-back"):
        chain(topology("ue-a", one_way="a-cloud"))
    assert chain(topology("ue-a", one_way="a-cloud"), result_returns=False) == ("ue", "a", "cloud")


@pytest.mark.parametrize("seed", range(5))
def test_random_topologies(seed: int) -> None:
    """Routes are shortest, end where they should, and never go in circles, whatever is down."""
    rng = np.random.default_rng(seed)
    for _ in range(40):
        n = int(rng.integers(2, 8))
        ids = [f"h{i}" for i in range(n)]
        links = []
        for a, b in itertools.combinations(ids, 2):
            if rng.random() < 0.5:
                rate, delay = float(rng.choice([1e6, 1e7, 1e8])), float(rng.choice([0.001, 0.01]))
                links += [Link(src=s, dst=t, rate_bps=rate, delay_s=delay) for s, t in ((a, b), (b, a))]
        net = Topology(
            devices=tuple(Device(id=id, role="mec") for id in ids), links=tuple(links), source=ids[0], sink=ids[-1]
        )
        gone = {id for id in ids if rng.random() < 0.25}
        onward = parents(net, conditions=down(*gone))
        graph = nx.Graph()
        graph.add_nodes_from(ids)
        for link in links:
            graph.add_edge(link.src, link.dst, weight=link.delay_s + 8 * NOMINAL_BYTES / link.rate_bps)
        nominal = nx.single_source_dijkstra_path_length(graph, ids[-1])
        alive = graph.subgraph(set(ids) - gone)
        for id in ids:
            path = [id]
            while (step := onward[path[-1]]) is not None:
                assert step not in path
                path.append(step)
            if id in gone:
                assert path == [id]
                continue
            component = nx.node_connected_component(alive, id)
            assert set(path) <= component
            near = min((nominal[other] for other in component if other in nominal), default=None)
            if near is None:
                assert path == [id]
                continue
            assert nominal[path[-1]] == pytest.approx(near)
            assert nx.path_weight(alive, path, "weight") == pytest.approx(
                nx.dijkstra_path_length(alive, id, path[-1]) if len(path) > 1 else 0
            )
