"""The accuracy contract: how its budget is shared among hops, and what a cut may lose under it.

Planner and controller ask the same functions, so what was priced is what happens. The budget is
the clean accuracy less the floor; the hops on the way that can lose anything share it equally. The
rule looks at the topology alone, which all hosts know, and never at measured loss, in which they
differ: a hop that is thought free of loss and is not has everything repaired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from airloom.core.coding import Coding
from airloom.core.framing import Framing
from airloom.core.tolerance import Contract, CutTolerance, Tolerance
from airloom.core.topology import Link, Topology
from airloom.errors import Infeasible, ProfileMismatch
from airloom.planner.accuracy import accuracy_at, tolerable

_ROUNDING = 1e-9  # accuracies are sums of shares


def check_contract(contract: Contract, graph_digest: str, *, model: str = "", num_operators: int | None = None) -> None:
    """Refuse a contract that cannot be kept for the graph `graph_digest` ("" stands for none).

    Args:
        model: its name, which tells where there is no digest: of a profile written by hand.
        num_operators: its cuts are 0 to this.

    Raises:
        ProfileMismatch: its tolerance profile is of another model.
        Infeasible: its floor is above the clean accuracy.
    """
    tolerance, floor = contract.tolerance, contract.min_accuracy
    if graph_digest and tolerance.graph_digest and tolerance.graph_digest != graph_digest:
        raise ProfileMismatch(
            f"the tolerance profile is of {tolerance.model} ({tolerance.graph_digest[:15]}), the model at hand is "
            f"{graph_digest[:15]}: run `airloom tolerance` for this model at this batch"
        )
    if not graph_digest and tolerance.graph_digest and model and model != tolerance.model:
        raise ProfileMismatch(
            f"the tolerance profile is of {tolerance.model}, the profile of {model}, which names no graph: give them "
            "one name if they are of one model"
        )
    last = max((entry.cut for entry in tolerance.cuts), default=0)
    if num_operators is not None and last > num_operators:
        raise ProfileMismatch(
            f"the tolerance profile has a cut {last}, {tolerance.model} has cuts 0 to {num_operators}: run "
            "`airloom tolerance` for this model"
        )
    if floor is not None and not 0.0 <= floor <= tolerance.clean + _ROUNDING:
        raise Infeasible(
            f"an accuracy of at least {floor:.4g} cannot be had: {tolerance.model} reaches {tolerance.clean:.4g} "
            f"({tolerance.metric}) with nothing lost; ask for less or take a better model"
        )


def loses(link: Link) -> bool:
    """Whether the topology lets this link lose anything."""
    return link.loss > 0.0 or getattr(link, "nr", None) is not None


def hop_budgets(contract: Contract, topology: Topology, chain: Sequence[str]) -> tuple[float, ...]:
    """How much accuracy each hop of `chain` (device ids, source first) may cost; together the whole budget.

    Equal shares for the hops that can lose anything, nothing for the others; equal shares for all
    where none can. All 0 without a floor.
    """
    hops = list(itertools.pairwise(chain))
    if contract.min_accuracy is None or not hops:
        return (0.0,) * len(hops)
    budget = max(0.0, contract.tolerance.clean - contract.min_accuracy)
    lossy = [loses(topology.link(*hop)) for hop in hops]
    if not any(lossy):
        lossy = [True] * len(hops)
    return tuple(budget / sum(lossy) if here else 0.0 for here in lossy)


def hop_floors(contract: Contract, topology: Topology, chain: Sequence[str]) -> tuple[float, ...]:
    """The accuracy that each hop of `chain` must leave, were it the only one that cost any."""
    return tuple(contract.tolerance.clean - budget for budget in hop_budgets(contract, topology, chain))


def runs_rest(topology: Topology, chain: Sequence[str]) -> tuple[bool, ...]:
    """For each hop of `chain`, whether whoever decodes what crosses it must run the model to its end.

    Only the host that decodes a live set runs the weights that were tuned for it, and they are the
    weights of all that follows: with a further host to hand over to, the rest would run others.
    """
    computes = [topology.device(id).computes for id in chain]
    return tuple(sum(computes[p + 1 :]) <= 1 for p in range(len(chain) - 1))


def measured_at(tolerance: Tolerance, cut: int, framing: Framing) -> dict[Coding, CutTolerance]:
    """What is known of a cut: an entry for each coding.

    Whole blocks are lost on links, so `burst` figures go before `random` ones; of several block
    sizes the nearest to a block's payload on the wire is taken, whatever the link, since that is the
    unit in which live sets are coded and losses are counted.
    """
    room = framing.block_bytes - framing.block_overhead
    found: dict[Coding, tuple[tuple[bool, float], CutTolerance]] = {}
    for entry in tolerance.by_cut.get(cut, ()):
        far = entry.pattern != "burst", abs(math.log(entry.block_bytes / room))
        if entry.coding not in found or far < found[entry.coding][0]:
            found[entry.coding] = far, entry
    return {coding: entry for coding, (_, entry) in found.items()}


def bearable(entry: CutTolerance, floor: float) -> float:
    """The share of blocks that may stay missing at an accuracy of at least `floor`; -1.0 where not even none may.

    With nothing missing the measured clean accuracy counts and no curve, so no margin either.
    """
    if entry.clean < floor - _ROUNDING:
        return -1.0
    return max(0.0, tolerable(entry.curves[0], floor)) if entry.curves else 0.0


def expected_accuracy(entry: CutTolerance, missing: float) -> float:
    """The accuracy with the share `missing` of the blocks gone.

    Where none was measured nothing is promised: 0.
    """
    if missing <= 0.0:
        return entry.clean
    return min(entry.clean, accuracy_at(entry.curves[0], missing)) if entry.curves else 0.0
