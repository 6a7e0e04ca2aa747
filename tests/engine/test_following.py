"""Which objectives hosts follow hop by hop, and what is said of those that they do not."""

from __future__ import annotations

import pytest

from airloom.core.objective import LATENCY, Bound, Objective, Term
from airloom.engine.following import PINNED_NOTE, followed, hosts_follow
from airloom.wire.header import MAX_BOUNDS

BOUNDS = (Bound("latency", 1.0), Bound("energy", 2.0), Bound("bytes", 3.0), Bound("money", 4.0))


@pytest.mark.parametrize("count", range(5))
def test_a_frame_has_room_for_a_few_bounds(count: int) -> None:
    objective = Objective(minimize=(Term("energy"),), require=BOUNDS[:count])
    assert hosts_follow(objective) == (count <= MAX_BOUNDS)
    assert followed(objective) == (objective if count <= MAX_BOUNDS else LATENCY)
    # Two bounds on one metric are one.
    twice = Objective(require=(*BOUNDS[: min(count, MAX_BOUNDS)], *BOUNDS[: min(count, MAX_BOUNDS)]))
    assert hosts_follow(twice)


def test_no_objective_is_the_least_latency_and_the_note_names_the_limit() -> None:
    assert hosts_follow(None)
    assert followed(None) == LATENCY
    assert f"more than {MAX_BOUNDS} bounds" in PINNED_NOTE
