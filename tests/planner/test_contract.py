"""The contract's budget among hops, and what cuts bear."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.coding import Coding
from airloom.core.framing import Framing
from airloom.core.tolerance import Contract, Curve, CutTolerance, Tolerance
from airloom.core.topology import Device, Link, NrRadio, Topology
from airloom.errors import Infeasible, ProfileMismatch
from airloom.planner.contract import (
    bearable,
    check_contract,
    expected_accuracy,
    hop_budgets,
    hop_floors,
    measured_at,
    runs_rest,
)

CURVE = Curve(kind="pchip", parameters=(0.0, 0.5, 1.0, 0.8, 0.7, 0.2), margin=0.01)
INT8 = Coding(precision="int8")


def entry(cut: int = 1, coding: Coding = INT8, **changes: object) -> CutTolerance:
    known = CutTolerance(
        cut=cut, coding=coding, pattern="burst", block_bytes=1152, nbytes=5000, clean=0.79, curves=(CURVE,)
    )
    return msgspec.structs.replace(known, **changes)


def agreed(floor: float | None = 0.7, *cuts: CutTolerance) -> Contract:
    tolerance = Tolerance(
        model="net", graph_digest="sha256:aa", weights_digest="sha256:bb", metric="top-1", clean=0.8, samples=100,
        cuts=cuts,
    )  # fmt: skip
    return Contract(tolerance=tolerance, min_accuracy=floor)


def way(*losses: float) -> tuple[Topology, tuple[str, ...]]:
    names = tuple(f"h{i}" for i in range(len(losses) + 1))
    links = tuple(
        Link(src=a, dst=b, rate_bps=1e6, loss=loss) for a, b, loss in zip(names[:-1], names[1:], losses, strict=True)
    )
    devices = tuple(Device(id=name, role="ue") for name in names)
    return Topology(devices=devices, links=links, source=names[0], sink=names[-1]), names


@pytest.mark.parametrize(
    ("losses", "budgets"),
    [((0.1, 0.0), (0.1, 0.0)), ((0.1, 0.3), (0.05, 0.05)), ((0.0, 0.0), (0.05, 0.05)), ((), ())],
)
def test_hops_that_lose_share_the_budget(losses: tuple[float, ...], budgets: tuple[float, ...]) -> None:
    topology, hosts = way(*losses)
    assert hop_budgets(agreed(0.7), topology, hosts) == pytest.approx(budgets)
    assert hop_floors(agreed(0.7), topology, hosts) == pytest.approx(tuple(0.8 - b for b in budgets))


def test_a_radio_link_counts_as_lossy() -> None:
    topology, hosts = way(0.0, 0.0)
    radio = msgspec.structs.replace(topology.links[1], nr=NrRadio(snr_db=10.0))
    topology = msgspec.structs.replace(topology, links=(topology.links[0], radio))
    assert hop_budgets(agreed(0.7), topology, hosts) == pytest.approx((0.0, 0.1))


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.9]), min_size=1, max_size=6), st.floats(0, 0.8))
def test_the_budget_is_spent_and_no_more(losses: list[float], floor: float) -> None:
    topology, hosts = way(*losses)
    assert sum(hop_budgets(agreed(floor), topology, hosts)) == pytest.approx(0.8 - floor)
    assert hop_budgets(agreed(None), topology, hosts) == (0.0,) * len(losses)


def test_what_a_cut_bears() -> None:
    assert bearable(entry(), 0.69) == pytest.approx(0.5, abs=1e-5)
    assert bearable(entry(), 0.795) == -1.0  # its clean accuracy is less
    assert bearable(entry(clean=0.8), 0.795) == 0.0  # nothing may be missing: no margin counts
    assert bearable(entry(curves=()), 0.5) == 0.0
    assert expected_accuracy(entry(), 0.0) == 0.79
    assert expected_accuracy(entry(), 0.5) == pytest.approx(0.7)
    assert expected_accuracy(entry(curves=()), 0.1) == 0.0


def test_the_figures_of_whole_blocks_of_the_nearest_size_are_taken() -> None:
    burst, large, single = entry(), entry(block_bytes=3777), entry(pattern="random")
    tolerance = agreed(0.7, single, large, burst, entry(2)).tolerance
    assert measured_at(tolerance, 1, Framing()) == {INT8: burst}
    assert measured_at(tolerance, 1, Framing(block_bytes=4000))[INT8] is large
    assert measured_at(tolerance, 3, Framing()) == {}
    assert measured_at(agreed(0.7, single).tolerance, 1, Framing())[INT8] is single


def test_tuned_weights_follow_only_hops_beyond_which_one_host_computes() -> None:
    topology, hosts = way(0.1, 0.1, 0.1)
    assert runs_rest(topology, hosts) == (False, False, True)
    silent = tuple(msgspec.structs.replace(d, computes=d.id in (hosts[0], hosts[2])) for d in topology.devices)
    assert runs_rest(msgspec.structs.replace(topology, devices=silent), hosts) == (True, True, True)


def test_contracts_that_cannot_be_kept_are_refused_in_one_line() -> None:
    check_contract(agreed(0.8), "sha256:aa")
    check_contract(agreed(None), "")
    with pytest.raises(ProfileMismatch, match=r"of net \(sha256:aa\).*airloom tolerance"):
        check_contract(agreed(0.7), "sha256:cc")
    check_contract(agreed(0.7), "", model="net")
    with pytest.raises(ProfileMismatch, match="is of net, the profile of other, which names no graph"):
        check_contract(agreed(0.7), "", model="other")
    known = agreed(0.7, entry())
    last = known.tolerance.cuts[0].cut
    check_contract(known, "sha256:aa", num_operators=last)
    with pytest.raises(ProfileMismatch, match=rf"has a cut {last}, net has cuts 0 to {last - 1}"):
        check_contract(known, "sha256:aa", num_operators=last - 1)
    with pytest.raises(Infeasible, match=r"at least 0\.81 .* reaches 0\.8 \(top-1\)"):
        check_contract(agreed(0.81), "sha256:aa")
