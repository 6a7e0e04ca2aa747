"""Which configurations of a progressive model are worth serving: those that no other beats."""

from __future__ import annotations

from collections.abc import Sequence

from airloom.core.progressive import Configuration


def pareto_front(configurations: Sequence[Configuration]) -> tuple[int, ...]:
    """Indices of the configurations that none other beats in accuracy, bytes and MACs at once, ascending.

    One beats another that is as good or worse in all three and worse in at least one; of equal ones all stay.
    A configuration whose accuracy nobody measured is on no front, and beats none.

    Sorted by accuracy, a configuration is beaten by one before it or by none, so only the front so far is asked:
    `O(n log n + n f)` for a front of f.
    """
    measured = [k for k, c in enumerate(configurations) if c.accuracy is not None]
    rank = {k: _costs(configurations[k]) for k in measured}
    front: list[int] = []
    for k in sorted(measured, key=lambda k: rank[k]):
        if not any(_beats(rank[other], rank[k]) for other in front):
            front.append(k)
    return tuple(sorted(front))


_Costs = tuple[float, int, int]


def _costs(configuration: Configuration) -> _Costs:
    """What is to be small."""
    assert configuration.accuracy is not None
    return -configuration.accuracy, configuration.nbytes, configuration.macs


def _beats(one: _Costs, other: _Costs) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
