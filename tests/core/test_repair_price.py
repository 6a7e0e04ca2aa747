"""What just enough repair comes to: the figures that planners price against draws of the rounds themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.core.repair import MOST_COPIES, copies, expected_repair, head_copies, wanted


def drawn(blocks: int, may: int, loss: float, turn_blocks: float, rng: np.random.Generator) -> tuple[float, float]:
    """Blocks' time that one message takes again, and its rounds, its head apart."""
    missing = int(rng.binomial(blocks, loss))
    took = rounds = 0.0
    while missing > may:
        asked = min(wanted(missing - may, loss), missing)
        number = copies(asked, missing - may, loss, turn_blocks)
        missing -= int(rng.binomial(asked, 1.0 - loss**number))
        took, rounds = took + max(asked * number, turn_blocks), rounds + 1
    return took, rounds


@pytest.mark.parametrize("loss", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("bears", [0.0, 0.3, 0.5])
@pytest.mark.parametrize(("blocks", "turn_blocks"), [(20, 10.0), (60, 100.0), (400, 100.0)])
def test_expected_repair_is_the_mean_of_draws(loss: float, bears: float, blocks: int, turn_blocks: float) -> None:
    rng, may = np.random.default_rng(1), int(bears * blocks)
    draws = np.array([drawn(blocks, may, loss, turn_blocks, rng) for _ in range(600)])
    took, rounds = draws.mean(axis=0)
    repair = expected_repair(blocks, may, loss, turn_blocks)
    lacking = loss ** (1 + head_copies(loss))
    again = lacking / (1.0 - lacking)
    heads = again * (1 + head_copies(loss) + turn_blocks)
    assert repair.rounds - again == pytest.approx(rounds, rel=0.2, abs=0.06)
    assert repair.blocks + repair.waits - heads == pytest.approx(took, rel=0.12, abs=0.04 * (blocks + turn_blocks))


@given(st.integers(1, 3000), st.floats(0.0, 1.0), st.floats(0.0, 0.97), st.floats(0.0, 1e4))
def test_figures_are_finite_and_no_repair_is_below_what_must_come(
    blocks: int, share: float, loss: float, turn_blocks: float
) -> None:
    may = int(share * blocks)
    repair = expected_repair(blocks, may, loss, turn_blocks)
    assert np.isfinite(repair).all()
    assert repair.blocks >= 0.0
    assert repair.rounds >= 0.0
    if loss == 0.0:
        assert repair == (0.0, 0.0, 0.0)
    assert repair.blocks >= 0.9 * max(0.0, blocks * loss - may) - 0.01


@given(st.integers(1, 500), st.floats(0.0, 0.99))
def test_enough_is_asked_for_in_the_mean(excess: int, loss: float) -> None:
    assert wanted(excess, loss) * (1.0 - loss) >= excess - 1e-6
    assert wanted(0, loss) == 0


def test_copies_save_round_trips_and_nothing_else() -> None:
    assert copies(50, 50, 0.9, 0.0) == 1  # a round trip that costs nothing, or is not known
    assert copies(50, 50, 0.0, 1e3) == 1
    assert copies(50, 10, 0.1, 1e3) == 1  # 5 of 50 fail, and 40 may
    assert 1 < copies(50, 50, 0.9, 100.0) < copies(50, 50, 0.9, 1000.0) <= MOST_COPIES
    assert copies(1000, 1000, 0.9, 100.0) < copies(10, 10, 0.9, 100.0)
