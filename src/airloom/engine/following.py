"""Which objectives hosts follow by their own tables, hop by hop; plans for the others are pinned."""

from __future__ import annotations

from airloom.core.objective import Objective


def hosts_follow(objective: Objective | None) -> bool:
    """Whether every host decides under this objective itself, from its own table and its neighbours' messages."""
    return objective is None or (objective.is_latency and objective.solver == "exact")
