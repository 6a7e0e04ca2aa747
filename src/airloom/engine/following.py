"""Which objectives hosts follow by their own tables, hop by hop; plans for the others are pinned."""

from __future__ import annotations

from airloom.core.objective import LATENCY, Objective
from airloom.wire.header import MAX_BOUNDS

#: What to tell people where hosts do not follow an objective.
PINNED_NOTE = (
    f"more than {MAX_BOUNDS} bounds: planned under the objective for the network as it begins, and pinned; "
    "hosts do not follow later changes"
)


def hosts_follow(objective: Objective | None) -> bool:
    """Whether every host decides under this objective itself: a frame has room for what is left of a few bounds."""
    return objective is None or len({bound.name for bound in objective.require}) <= MAX_BOUNDS


def followed(objective: Objective | None) -> Objective:
    """What hosts are told of an objective: it, or the least latency where it is none that they follow."""
    return objective if objective is not None and hosts_follow(objective) else LATENCY
