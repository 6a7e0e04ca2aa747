"""How long the choice of the path and the stops takes, in the paper's tree and in meshes of 30 hosts.

174 operators, as ResNet-18 exports. The optimum is checked against networkx Dijkstra on the sparsest graph of hosts
and cuts (run one more operator, or hand over), its graph built; a stage's constant is left out, which that graph has
no edge for. Where ways go in circles only walks can be compared, so those figures stand alone.
"""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np

from airloom.core.problem import HopCost, HostCost, Option
from airloom.planner.mesh import Mesh, solve_mesh
from harness import median_seconds, report

OPERATORS = 174
# The feasible next hops of examples/hivemind_mmwave_iab.yaml.
TREE = {
    "ue": ("gnb1", "gnb2"), "gnb1": ("gnb4",), "gnb2": ("gnb3",), "gnb3": ("gnb4",), "gnb4": ("gnb6",),
    "gnb5": ("gnb6",), "gnb6": ("core7",), "core7": ("core8",), "core8": ("cloud",), "cloud": (),
}  # fmt: skip


def priced(ways: dict[str, tuple[str, ...]], rng: np.random.Generator) -> Mesh:
    hosts, hops = {}, {}
    for id in ways:
        work = rng.lognormal(-7.0, 1.0, OPERATORS) * rng.uniform(0.2, 4.0)
        hosts[id] = HostCost(id, np.concatenate([[0.0], np.cumsum(work)]))
    nbytes = 4e5 * np.exp(-3.0 * np.arange(OPERATORS + 1) / OPERATORS) * rng.uniform(0.5, 1.5, OPERATORS + 1)
    for src, dsts in ways.items():
        for dst in dsts:
            seconds = 0.002 + 8.0 * nbytes / rng.uniform(5e6, 5e8)
            hop = HopCost(src, dst, tuple((Option(transfer_s=float(s)),) for s in seconds), Option(transfer_s=0.002))
            hop.cost_s  # noqa: B018  # priced before it is timed, as hosts have it
            hops[src, dst] = hop
    return Mesh(hosts, hops, ways)


def mesh_of(count: int, rng: np.random.Generator, *, circles: bool) -> Mesh:
    ids = [f"h{k}" for k in range(count)]
    ways: dict[str, tuple[str, ...]] = {id: () for id in ids}  # noqa: C420
    for a, b in itertools.combinations(range(count), 2):
        if b - a <= 3 or rng.random() < 0.05:
            ways[ids[a]] = (*ways[ids[a]], ids[b])
            if circles:
                ways[ids[b]] = (*ways[ids[b]], ids[a])
    return priced(ways, rng)


def dijkstra(mesh: Mesh, source: str) -> float:
    graph = nx.DiGraph()
    for id, host in mesh.hosts.items():
        work = np.diff(host.elapsed_s).tolist()
        graph.add_weighted_edges_from(((id, cut), (id, cut + 1), work[cut]) for cut in range(OPERATORS))
        graph.add_edge((id, OPERATORS), "done", weight=0.0)
    for (src, dst), hop in mesh.hops.items():
        cost = hop.cost_s.tolist()
        graph.add_weighted_edges_from(((src, cut), (dst, cut), cost[cut]) for cut in range(OPERATORS))
    return float(nx.dijkstra_path_length(graph, (source, 0), "done"))


def main() -> None:
    rng = np.random.default_rng(30)
    cases = (
        ("path and stops, HiveMind's tree of 10 hosts", priced(TREE, rng), "ue", "<= 1"),
        ("path and stops, a mesh of 30 hosts", mesh_of(30, rng, circles=False), "h0", "<= 5"),
    )
    for name, mesh, source, target in cases:
        found, expected = solve_mesh(mesh, (source,)).sources[source], dijkstra(mesh, source)
        if abs(found.seconds - expected) > 1e-9:
            raise SystemExit(f"Dijkstra finds {expected}, airloom {found.seconds}")
        own = median_seconds(lambda m=mesh, s=source: solve_mesh(m, (s,)), repeats=15, loops=20)
        report(name, own * 1e3, "ms", target)
    both = mesh_of(30, rng, circles=False)
    everyone = median_seconds(lambda: solve_mesh(both, both.hosts), repeats=9, loops=5)
    report("the same, every host a source", everyone * 1e3, "ms")
    around = mesh_of(30, rng, circles=True)
    circles = median_seconds(lambda: solve_mesh(around, ("h0",)), repeats=5)
    report("a mesh of 30 hosts with every link both ways", circles * 1e3, "ms")


if __name__ == "__main__":
    main()
