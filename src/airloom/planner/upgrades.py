"""By which steps a progressive model arrives: early answers, and no byte that the target does not need.

Sending what the first layers and the last need before the rest lets a UE run part of a model before all of it is
there (Accordion, "Practical Implementation"). Which parts, is a path through the table: each configuration on it
holds all of the one before. What a path is worth is accuracy over time: as long as bytes are on their way, the model
that runs is as accurate as the configuration passed last, so a path costs the sum over its steps of

    (accuracy of the target - accuracy of what runs) x bytes of the step,

and the cheapest path in a graph without cycles is found exactly. Statistics of batch norm at a depth on the way are
the only bytes that the target has no use for; they lengthen their step, and so are weighed by the same sum.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from airloom.core.progressive import Configuration, Manifest
from airloom.planner.lookup import Lookup, lookup

#: A first answer is to be there before this share of the bytes, where the table has a configuration that small.
FIRST_SHARE = 0.15

# How many times over bytes that the target has no use for count, the first that keeps them to what may be spared.
_PENALTIES = (0.0, 4.0, 32.0, np.inf)
THRIFTS = len(_PENALTIES)


def upgrade_path(
    manifest: Manifest | Lookup, have: Iterable[int], target: Configuration, *, spare_nbytes: int | None = None
) -> tuple[Configuration, ...]:
    """The configurations to pass on the way to `target`, ascending, `target` last.

    Where nothing runs yet, the first of them takes at most 15 % of the bytes, if the table has one that small.
    Accuracy that was not measured is taken as proportional to bytes.

    Args:
        have: indices of the chunks that are there.
        spare_nbytes: how many bytes may be sent that `target` itself does not need (statistics at depths on the way);
            None does not limit. May cost the early first answer.

    Raises:
        ConfigError: `target` is not in the table, or `have` names a chunk that is not.
    """
    table = lookup(manifest)
    goal = table.row(target)
    held = frozenset(have)
    for thrift in range(THRIFTS):
        path, wasted = thrifty_path(table, held, goal, thrift)
        if spare_nbytes is None or wasted <= spare_nbytes:
            break
    return path


def thrifty_path(table: Lookup, have: frozenset[int], goal: int, thrift: int) -> tuple[tuple[Configuration, ...], int]:
    """A path to row `goal`, and the bytes on it that the goal does not need.

    Args:
        thrift: 0 weighs those bytes as they are, `THRIFTS - 1` sends none, and what is between is between.
    """
    rows = _cheapest(table, have, goal, _PENALTIES[thrift])
    extra = {k for row in rows for k in table.needed[row]} - set(table.needed[goal]) - have
    wasted = sum(table.manifest.chunks[k].nbytes for k in extra)
    return tuple(table.manifest.configurations[k] for k in rows), wasted


def arrival(manifest: Manifest | Lookup, have: Iterable[int], path: Iterable[Configuration]) -> tuple[int, ...]:
    """Indices of the chunks that lack, in the order in which the configurations of `path` need them."""
    table = lookup(manifest)
    held, found = set(have), []
    for configuration in path:
        for k in table.needed[table.row(configuration)]:
            if k not in held:
                held.add(k)
                found.append(k)
    return tuple(found)


def runnable(manifest: Manifest | Lookup, have: Iterable[int]) -> tuple[Configuration, ...]:
    """The configurations of the table that the chunks `have` are enough for, in the table's order."""
    table, held = lookup(manifest), set(have)
    return tuple(
        c for c, needed in zip(table.manifest.configurations, table.needed, strict=True) if held.issuperset(needed)
    )


def _cheapest(table: Lookup, have: frozenset[int], goal: int, penalty: float) -> list[int]:
    """Rows of the path of least cost; see the module."""
    lacks = table.lacking(have) * table.chunk_nbytes
    total = table.needs @ lacks
    if total[goal] == 0:
        return [goal]
    own = table.statistics
    extra = np.where(own >= 0, lacks[own], 0.0)
    core = total - extra
    ready = total == 0
    rows = np.array([k for k in table.ascending if table.within[k, goal] and not ready[k]], np.intp)
    worth = _worth(table, rows, goal)
    start = max([0.0, *_worth(table, np.flatnonzero(ready), goal)])
    loss = np.maximum(worth[-1] - np.maximum(worth, start), 0.0)
    # Bytes of statistics that only this step needs, and what they count for.
    wasted = np.where(table.depth[rows] == table.depth[goal], 0.0, extra[rows])
    weigh = np.zeros(len(rows))
    weigh[wasted > 0] = wasted[wasted > 0] * penalty
    # Of two paths that cost the same, that with fewer steps.
    step = 1e-9 * (total[goal] + 1.0)
    cost = max(worth[-1] - start, 0.0) * total[rows] + weigh + step
    early = (total[rows] <= FIRST_SHARE * total[goal]) & np.isfinite(weigh)
    if not ready.any() and early.any():
        cost[~early] = np.inf
    # [to, from] what a step costs; infinite where it is none.
    deeper = table.depth[rows][:, None] != table.depth[rows][None, :]
    nbytes = core[rows][:, None] - core[rows][None, :] + deeper * extra[rows][:, None]
    steps = nbytes * loss[None, :] + step
    if weigh.any():
        steps += np.where(deeper, weigh[:, None], 0.0)
    steps[~table.within[np.ix_(rows, rows)].T] = np.inf
    before = np.full(len(rows), -1, np.intp)
    for j in range(1, len(rows)):
        via = cost[:j] + steps[j, :j]
        k = int(via.argmin())
        if via[k] < cost[j]:
            cost[j], before[j] = via[k], k
    path, j = [], len(rows) - 1
    while j >= 0:
        path.append(int(rows[j]))
        j = int(before[j])
    return path[::-1]


def _worth(table: Lookup, rows: NDArray[np.intp], goal: int) -> NDArray[np.float64]:
    """Accuracy of `rows`, or their share of the target's bytes where that of any was not measured."""
    if table.measured.all():
        return table.accuracy[rows]
    share: NDArray[np.float64] = np.minimum(table.nbytes[rows] / max(table.nbytes[goal], 1.0), 1.0)
    return share
