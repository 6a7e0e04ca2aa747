"""Routes and stops at once: the split cost wave over a tree or a mesh of hosts.

A host at cut c may stop at any cut d >= c and hand over to any of its next hops; with h_n the costs of
the hop to n and m_n what n said, the wave's step is as on a chain but for

    tail[d] = min over n of (h_n[d] + m_n[d]),

and it remembers which n attains it. Nothing of a host's message depends on who is upstream, so one
pass from the ends serves every source. Each hop that is crossed charges the result's way back, as on a
chain.

Where next hops always lead nearer to the sink (`route.feasible_next_hops`) no way goes in circles: each host is settled
once, after those downstream of it. Over any other next hops the messages are those of the best walks, and a walk may
come back to a host, which a request must not: its two stages there could together exceed the memory, and
hosts hold one stage. Then the hosts that walks come back to are watched: the messages are taken apart
by which watched hosts the walk has passed, and none passes one twice (decremental state space
relaxation, Righini and Salani 2008, Networks 51(3)). That is exact: a walk that passes every host
once is a path, and the best walk of a relaxation that is a path is the best path.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from airloom.core.problem import Cuts, Floats, HopCost, HostCost, Problem
from airloom.planner.chain import infeasible
from airloom.planner.wave import Table, step_over

#: So many hosts are watched at most; beyond that the best path found is given with a bound on its gap.
MOST_WATCHED = 10

# Marks the state in which a source starts: no device has this id.
_START = ""

#: A host, and the watched hosts that were passed on the way to it, itself included.
State = tuple[frozenset[str], str]


@dataclass(frozen=True)
class Mesh:
    """Hosts, the hops between them, and which of them each host may choose between.

    Attributes:
        hosts: by id, as hosts that relay what others started: `min_stop` 0.
        hops: by (src, dst).
        ways: by id the next hops to choose between; of equals the first is taken. Empty at an end.
        private_operators: how many of the first operators stay on whoever is the source.
        template: a problem whose model, weights and result the mesh's chains share.
    """

    hosts: Mapping[str, HostCost]
    hops: Mapping[tuple[str, str], HopCost]
    ways: Mapping[str, tuple[str, ...]]
    private_operators: int = 0
    template: Problem | None = None

    @property
    def num_operators(self) -> int:
        return next(iter(self.hosts.values())).num_operators

    def source_host(self, source: str) -> HostCost:
        """The costs of a host where requests start."""
        host = self.hosts[source]
        return dataclasses.replace(host, min_stop=self.private_operators) if self.private_operators else host

    def chain_problem(self, chain: Sequence[str]) -> Problem:
        """The problem of one path, source first."""
        hosts = (self.source_host(chain[0]), *(self.hosts[id] for id in chain[1:]))
        hops = tuple(self.hops[src, dst] for src, dst in itertools.pairwise(chain))
        if self.template is None:
            return Problem(hosts=hosts, hops=hops)
        return dataclasses.replace(self.template, hosts=hosts, hops=hops)

    def extended(self, path: Sequence[str]) -> tuple[str, ...]:
        """A path led on to an end, over the next hops that come first and have not been passed."""
        hosts = list(path)
        while onward := next((id for id in self.ways.get(hosts[-1], ()) if id not in hosts), None):
            hosts.append(onward)
        return tuple(hosts)

    @functools.cached_property
    def is_acyclic(self) -> bool:
        """Whether no way over the next hops comes back to a host."""
        left = {id: set(dsts) for id, dsts in self.ways.items()}
        while ends := [id for id, dsts in left.items() if not dsts & left.keys()]:
            for id in ends:
                del left[id]
        return not left


@dataclass(frozen=True)
class HostDecision:
    """What a host says upstream and does: where it stops, and to whom it hands over there.

    Attributes:
        cost_s: `[L+1]` its message.
        table: where to stop, for each cut.
        onward: `[L+1]` place of the next hop in `ways`, for each cut at which it stops.
        ways: its next hops.
    """

    cost_s: Floats
    table: Table
    onward: Cuts
    ways: tuple[str, ...]

    def next_hop(self, stop: int) -> str | None:
        """To whom the live set of the cut `stop` goes; None where the work is done or the chain ends."""
        return self.ways[int(self.onward[stop])] if self.ways and stop < len(self.cost_s) - 1 else None


@dataclass(frozen=True)
class Routed:
    """The best path and stops for requests of one source.

    Attributes:
        chain: hosts from the source on; led on to the end of the chain where the work is done before.
        stops: for each host of the chain.
        seconds: `Problem.chain_s(stops)` of that chain.
        gap: proven bound on (seconds - least seconds) / seconds: 0 is exact.
    """

    chain: tuple[str, ...]
    stops: tuple[int, ...]
    seconds: float
    gap: float = 0.0


@dataclass(frozen=True)
class MeshSolution:
    """The best path of every source, and what hosts decide of what they are handed.

    Attributes:
        sources: by id.
        hosts: by id; where ways may come back to a host, `cost_s` is of the best walk, never more than
            that of the best path.
    """

    sources: Mapping[str, Routed]
    hosts: Mapping[str, HostDecision]


def solve_mesh(mesh: Mesh, sources: Iterable[str]) -> MeshSolution:
    """The best path and stops of every source, all from one pass over the hosts.

    Raises:
        Infeasible: the limits leave a source no way; names the device that lacks the fewest bytes on
            its usual way.
    """
    begin: dict[str, State] = {}
    edges = {_at(id): [_at(dst) for dst in dsts] for id, dsts in mesh.ways.items()}
    costs = {_at(id): mesh.hosts[id] for id in mesh.ways}
    for source in sources:
        begin[source] = _at(source)
        if mesh.private_operators:  # a source keeps the first operators, a host that relays does not
            begin[source] = (frozenset({_START}), source)
            edges[begin[source]] = edges[_at(source)]
            costs[begin[source]] = mesh.source_host(source)
    settled = _settle(mesh, costs, edges)
    found = {source: _path_of(mesh, settled, edges, state) for source, state in begin.items()}
    hosts = {
        id: HostDecision(message, table, onward, tuple(mesh.ways[id]))
        for id, (message, table, onward) in ((id, settled[_at(id)]) for id in mesh.ways)
    }
    return MeshSolution(found, hosts)


def _at(id: str) -> State:
    return frozenset(), id


_Settled = dict[State, tuple[Floats, Table, Cuts]]


def _settle(mesh: Mesh, costs: Mapping[State, HostCost], edges: Mapping[State, Sequence[State]]) -> _Settled:
    """Message, table and next hop of every state: each is settled after those downstream of it.

    Where states lead to each other they are settled again until no message changes: costs are not
    negative, so messages only fall, and none falls below that of a path.
    """
    settled: _Settled = {}
    upstream: dict[State, list[State]] = {state: [] for state in edges}
    for state, onward in edges.items():
        for there in onward:
            upstream[there].append(state)
    order = _downstream_first(edges)
    due = dict.fromkeys(order)
    while due:
        for state in order:
            if state not in due:
                continue
            del due[state]
            # Whoever was not heard yet cannot be handed anything.
            ways = [
                (mesh.hops[state[1], there[1]], settled[there][0] if there in settled else _unheard(mesh.num_operators))
                for there in edges[state]
            ]
            fresh = step_over(costs[state], ways)
            changed = state not in settled or not np.array_equal(fresh[0], settled[state][0])
            settled[state] = fresh
            if changed:
                due.update((above, None) for above in upstream[state] if above in settled)
    return settled


@functools.lru_cache(maxsize=8)
def _unheard(last: int) -> Floats:
    return np.full(last + 1, np.inf)


def _downstream_first(edges: Mapping[State, Sequence[State]]) -> list[State]:
    """States so that each comes after those it leads to, as far as that goes."""
    order: list[State] = []
    seen: set[State] = set()
    for root in edges:
        stack = [] if root in seen else [(root, iter(edges[root]))]
        seen.add(root)
        while stack:
            state, rest = stack[-1]
            there = next((other for other in rest if other not in seen), None)
            if there is None:
                order.append(state)
                stack.pop()
            else:
                seen.add(there)
                stack.append((there, iter(edges[there])))
    return order


def _path_of(mesh: Mesh, settled: _Settled, edges: Mapping[State, Sequence[State]], begin: State) -> Routed:
    """The best path of one source; watches hosts where the best walk comes back to one."""
    source = begin[1]
    if not np.isfinite(settled[begin][0][0]):
        raise infeasible(mesh.chain_problem(mesh.extended((source,))))
    walk, again = _follow(settled, edges, begin)
    watched: frozenset[str] = frozenset()
    least = float(settled[begin][0][0])
    while again:
        if len(watched | again) > MOST_WATCHED:
            return _some_path(mesh, source, least)
        watched |= again
        begin, costs, edges = _watching(mesh, source, watched)
        settled = _settle(mesh, costs, edges)
        least = float(settled[begin][0][0])
        if not np.isfinite(least):
            raise infeasible(mesh.chain_problem(mesh.extended((source,))))
        walk, again = _follow(settled, edges, begin)
    return _routed(mesh, walk)


def _routed(mesh: Mesh, walk: Sequence[tuple[str, int]], gap: float = 0.0) -> Routed:
    chain = mesh.extended([id for id, _ in walk])
    stops = tuple(stop for _, stop in walk) + (mesh.num_operators,) * (len(chain) - len(walk))
    return Routed(chain, stops, mesh.chain_problem(chain).chain_s(stops), gap)


def _follow(
    settled: _Settled, edges: Mapping[State, Sequence[State]], begin: State
) -> tuple[list[tuple[str, int]], frozenset[str]]:
    """The hosts and stops that the tables lead to, and the host that comes a second time, where one does."""
    state, cut, walk, seen = begin, 0, [], {begin[1]}
    while True:
        _, table, onward = settled[state]
        cut = table.stop_at(cut)
        walk.append((state[1], cut))
        if cut == len(onward) - 1:
            return walk, frozenset()
        state = edges[state][int(onward[cut])]
        if state[1] in seen:
            return walk, frozenset({state[1]})
        seen.add(state[1])


def _watching(
    mesh: Mesh, source: str, watched: frozenset[str]
) -> tuple[State, dict[State, HostCost], dict[State, list[State]]]:
    """The states that `source` can get to if no walk passes a watched host twice."""
    # Only where it starts does the source keep the first operators; while it is not watched it can be met again.
    first: State = ((watched & {source}) | {_START}, source)
    edges: dict[State, list[State]] = {}
    costs: dict[State, HostCost] = {}
    queue = [first]
    while queue:
        state = queue.pop()
        if state in edges:
            continue
        passed, here = state
        passed -= {_START}
        edges[state] = [(passed | (watched & {dst}), dst) for dst in mesh.ways[here] if dst not in passed]
        costs[state] = mesh.source_host(here) if state == first else mesh.hosts[here]
        queue += edges[state]
    return first, costs, edges


def _some_path(mesh: Mesh, source: str, least: float) -> Routed:
    """The best path that leads away from the source at every hop, where too many hosts would have to be watched."""
    rank = {source: 0}
    queue = [source]
    for here in queue:
        fresh = [dst for dst in mesh.ways[here] if dst not in rank]
        rank |= {dst: len(rank) + k for k, dst in enumerate(fresh)}
        queue += fresh
    ways = {id: tuple(dst for dst in mesh.ways[id] if rank[dst] > rank[id]) for id in rank}
    found = solve_mesh(dataclasses.replace(mesh, ways=ways), (source,)).sources[source]
    return dataclasses.replace(found, gap=max(0.0, (found.seconds - least) / found.seconds))
