"""How long planning takes, beside networkx Dijkstra and HiGHS integer programs on the same costs.

Everything starts from the same arrays: each host's elapsed seconds and each hop's seconds per cut.

- Airloom folds `wave.step` over the chain. The values around the arrays are made anew for each solve
  and counted, so nothing that they keep from an earlier solve helps.
- Dijkstra runs on HiveMind's transposed graph (section IV-C): a vertex for each host and cut, an edge
  for each stage it may run, null stages included. Building the graph counts, since costs change with
  every wave.
- The integer program has a binary for each vertex of HiveMind's graph (Eq. 5: host p runs operators
  m..n) and the constraints of Eq. 2-4, built from arrays in one call.

Both have leaner forms that are not the paper's; they are reported without a target: the sparsest
graph (run one more operator, or hand over; two vertices for each host and cut), and a program with a
binary for each operator and host, and for each hand-over.
"""

from __future__ import annotations

from collections.abc import Callable

import highspy
import networkx as nx
import numpy as np

from airloom.core.problem import HopCost, HostCost, Option, Problem
from airloom.planner.chain import Solution, solve
from harness import median_seconds, paired, report


class Costs:
    """The arrays of a chain: `elapsed_s[P, L+1]`, `constant_s[P]`, `cost_s[P-1, L+1]`."""

    def __init__(self, operators: int, hosts: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        work = rng.lognormal(-7.0, 1.0, operators)
        self.elapsed_s = np.array([np.concatenate([[0.0], np.cumsum(work)]) / 2.0**p for p in range(hosts)])
        self.constant_s = rng.exponential(2e-4, hosts)
        # Feature maps shrink with depth; links differ by hop.
        nbytes = 4e5 * np.exp(-3.0 * np.arange(operators + 1) / operators) * rng.uniform(0.5, 1.5, operators + 1)
        rates = rng.uniform(5e6, 5e8, hosts - 1)
        self.cost_s = 0.002 + 8.0 * nbytes[None, :] / rates[:, None]
        # `HopCost` prices options; planning starts from the array of their seconds.
        self._hops = [
            HopCost(f"h{p}", f"h{p + 1}", tuple((Option(transfer_s=float(s)),) for s in row))
            for p, row in enumerate(self.cost_s)
        ]

    @property
    def shape(self) -> tuple[int, int]:
        return self.elapsed_s.shape[0], self.elapsed_s.shape[1] - 1

    def solve(self) -> Solution:
        hosts, hops = [], []
        for p, elapsed in enumerate(self.elapsed_s):
            hosts.append(HostCost(f"h{p}", elapsed, float(self.constant_s[p])))
        for p, row in enumerate(self.cost_s):
            hop = HopCost(f"h{p}", f"h{p + 1}", self._hops[p].options)
            vars(hop)["cost_s"] = row  # the array that the options stand for
            hops.append(hop)
        return solve(Problem(tuple(hosts), tuple(hops)))

    def stage_s(self, p: int, start: int, stop: int) -> float:
        return self.constant_s[p] + self.elapsed_s[p, stop] - self.elapsed_s[p, start] if stop > start else 0.0


def dijkstra(costs: Costs) -> float:
    """HiveMind's transposed graph: vertices (host, cut), an edge for every stage of every host."""
    hosts, last = costs.shape
    elapsed, onward, constant = costs.elapsed_s.tolist(), costs.cost_s.tolist(), costs.constant_s.tolist()
    edges = []
    for p in range(hosts):
        at, own = elapsed[p], constant[p]
        for start in range(last + 1):
            if p < hosts - 1:
                hop = onward[p]
                edges.append(((p, start), (p + 1, start), hop[start]))
                edges += [
                    ((p, start), (p + 1, stop), own + at[stop] - at[start] + hop[stop])
                    for stop in range(start + 1, last)
                ]
            if start < last:
                edges.append(((p, start), "end", own + at[last] - at[start]))
    graph = nx.DiGraph()
    graph.add_weighted_edges_from(edges)
    return float(nx.dijkstra_path_length(graph, (0, 0), "end"))


def sparse_dijkstra(costs: Costs) -> float:
    """The sparsest graph: at a cut a host has run something (1) or not (0); edges run an operator or hand over."""
    hosts, last = costs.shape
    work, onward, constant = np.diff(costs.elapsed_s).tolist(), costs.cost_s.tolist(), costs.constant_s.tolist()
    edges = []
    for p in range(hosts):
        for cut in range(last):
            edges.append(((p, cut, 0), (p, cut + 1, 1), constant[p] + work[p][cut]))
            edges.append(((p, cut, 1), (p, cut + 1, 1), work[p][cut]))
            if p < hosts - 1:
                edges += [((p, cut, ran), (p + 1, cut, 0), onward[p][cut]) for ran in (0, 1)]
        edges.append(((p, last, 1), "end", 0.0))
    graph = nx.DiGraph()
    graph.add_weighted_edges_from(edges)
    return float(nx.dijkstra_path_length(graph, (0, 0, 0), "end"))


def exact_highs() -> highspy.Highs:
    """HiGHS on one thread, to the optimum itself."""
    model = highspy.Highs()
    model.silent()
    model.setOptionValue("threads", 1)
    model.setOptionValue("mip_rel_gap", 0.0)
    model.setOptionValue("mip_abs_gap", 1e-10)
    return model


def integer_program(costs: Costs) -> float:
    """A binary for each host, start and stop; what a host hands over the next one takes up."""
    hosts, last = costs.shape
    starts, stops = np.triu_indices(last + 1)
    tails, heads, prices = [], [], []
    end = hosts * (last + 1)  # the row of the result; row p * (last + 1) + c is host p at cut c
    for p in range(hosts):
        stage = (
            np.where(stops > starts, costs.constant_s[p], 0.0) + costs.elapsed_s[p, stops] - costs.elapsed_s[p, starts]
        )
        done = stops == last
        onward = costs.cost_s[p, stops] if p < hosts - 1 else np.zeros(len(stops))
        kept = done | (p < hosts - 1)
        tails.append((p * (last + 1) + starts)[kept])
        heads.append(np.where(done, end, (p + 1) * (last + 1) + stops)[kept])
        prices.append((stage + np.where(done, 0.0, onward))[kept])
    tail, head, price = np.concatenate(tails), np.concatenate(heads), np.concatenate(prices)
    count = len(price)
    balance = np.zeros(end + 1)
    balance[0], balance[end] = 1.0, -1.0
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = count, end + 1
    program.col_cost_, program.col_lower_, program.col_upper_ = price, np.zeros(count), np.ones(count)
    program.row_lower_ = program.row_upper_ = balance
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.arange(0, 2 * count + 1, 2)
    program.a_matrix_.index_ = np.stack([tail, head], axis=1).ravel()
    program.a_matrix_.value_ = np.tile([1.0, -1.0], count)
    program.integrality_ = [highspy.HighsVarType.kInteger] * count
    model = exact_highs()
    model.passModel(program)
    model.run()
    return float(model.getObjectiveValue())


def lean_integer_program(costs: Costs) -> float:
    """Binaries x[p, op] (host p runs op), y[p] (it runs something) and z[p, d] (it hands over at cut d)."""
    hosts, last = costs.shape
    work = np.diff(costs.elapsed_s)
    model = exact_highs()
    x = [[model.addBinary(obj=float(work[p, op])) for op in range(last)] for p in range(hosts)]
    y = [model.addBinary(obj=float(costs.constant_s[p])) for p in range(hosts)]
    z = [[model.addBinary(obj=float(costs.cost_s[p, d])) for d in range(last)] for p in range(hosts - 1)]
    for op in range(last):
        model.addConstr(sum(x[p][op] for p in range(hosts)) == 1)
        for p in range(hosts):
            model.addConstr(x[p][op] <= y[p])
    for p in range(hosts - 1):
        # done[op]: one of the hosts 0..p runs it; it falls from 1 to 0 at the cut where p hands over.
        done = [sum(x[q][op] for q in range(p + 1)) for op in range(last)]
        model.addConstr(z[p][0] >= 1 - done[0])
        for d in range(1, last):
            model.addConstr(z[p][d] >= done[d - 1] - done[d])
            model.addConstr(done[d - 1] >= done[d])
    model.run()
    return float(model.getObjectiveValue())


def main() -> None:
    costs = Costs(operators=152, hosts=5, seed=152)
    best = costs.solve().seconds
    rivals: dict[str, tuple[Callable[[Costs], float], int, str | None]] = {
        "networkx Dijkstra, its graph built": (dijkstra, 5, ">= 1000"),
        "HiGHS integer program": (integer_program, 2, ">= 10000"),
        "networkx Dijkstra on the sparsest graph": (sparse_dijkstra, 5, None),
        "a leaner HiGHS integer program": (lean_integer_program, 3, None),
    }
    own = median_seconds(costs.solve, repeats=25, loops=40)
    report("planning 152 operators on 5 hosts", own * 1e3, "ms", "<= 0.1")
    for name, (rival, repeats, target) in rivals.items():
        found: list[float] = []
        times = paired(costs.solve, lambda f=rival, to=found: to.append(f(costs)), repeats=repeats, loops=(100, 1))
        if max(abs(seconds - best) for seconds in found) > 1e-9:
            raise SystemExit(f"{name} finds {found}, airloom {best}")
        report(f"{name}, over planning", times.ratio, "times", target)
    large = Costs(operators=2000, hosts=16, seed=2000)
    report("planning 2000 operators on 16 hosts", median_seconds(large.solve, repeats=15, loops=5) * 1e3, "ms", "<= 2")


if __name__ == "__main__":
    main()
