"""`Problem.chain_s` is the closed form that planners and the simulator are held to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from airloom.core.problem import HopCost, HostCost, Option, Problem


def _hop(src: str, dst: str, seconds: list[float], back: float = 0.0) -> HopCost:
    return HopCost(src, dst, tuple((Option(transfer_s=s),) for s in seconds), Option(transfer_s=back))


def _problem(**source: object) -> Problem:
    ue = HostCost("ue", np.array([0.0, 5.0, 9.0]), constant_s=1.0, **source)
    mec = HostCost("mec", np.array([0.0, 1.0, 3.0]), constant_s=0.5)
    return Problem((ue, mec), (_hop("ue", "mec", [2.0, 4.0, 1.0], back=0.25),))


def test_ue_only_sends_nothing() -> None:
    assert _problem().chain_s((2, 2)) == 1.0 + 9.0


def test_split_pays_stages_hop_and_way_back() -> None:
    assert _problem().chain_s((1, 2)) == (1.0 + 5.0) + (4.0 + 0.25) + (0.5 + 2.0)


def test_a_host_that_runs_nothing_forwards_and_has_no_stage_constant() -> None:
    assert _problem().chain_s((0, 2)) == (2.0 + 0.25) + (0.5 + 3.0)


def test_impossible_assignments_cost_infinity() -> None:
    assert math.isinf(_problem().chain_s((2, 1)))
    assert math.isinf(_problem().chain_s((0, 1)))
    assert math.isinf(_problem(min_stop=1).chain_s((0, 2)))
    too_big = _problem(last_start=np.array([0, 0, 1]))
    assert math.isinf(too_big.chain_s((2, 2)))
    assert too_big.chain_s((1, 2)) == pytest.approx(12.75)


def test_cheapest_option_of_a_cut_is_used() -> None:
    hop = HopCost("a", "b", ((Option(transfer_s=3.0), Option(transfer_s=1.0, code_s=0.5)), ()))
    assert hop.cost_s[0] == 1.5
    assert math.isinf(hop.cost_s[1])


def test_digest_sees_every_number() -> None:
    assert _problem().digest == _problem().digest
    assert _problem().digest != _problem(min_stop=1).digest
