from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.framing import Framing
from airloom.core.problem import Problem
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights, weights_nbytes
from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Power, Topology
from airloom.errors import ConfigError, Infeasible, NoRoute, ProfileMismatch
from airloom.planner.chain import solve
from airloom.planner.pricing import PAYLOAD_ONLY, build_problem, hop_cost, host_cost, last_starts


def profile(seconds: tuple[float, ...] = (1.0, 2.0), *, weights: tuple[Weights, ...] = (), digest: str = "") -> Profile:
    return Profile(
        model="toy",
        device="here",
        operators=tuple(OperatorCost(name=f"op{i}", compute_s=s) for i, s in enumerate(seconds)),
        cuts=tuple(CutSize(tensor_nbytes=(1000 * (i + 1),)) for i in range(len(seconds) + 1)),
        output_nbytes=(40,),
        weights=weights,
        graph_digest=digest,
        stage_constant_s=0.5,
    )


@given(
    limit=st.integers(0, 12),
    weights=st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=3, unique=True)), max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_memory_windows_equal_counting_each_stage(limit: int, weights: list[tuple[int, list[int]]]) -> None:
    read = tuple(Weights(nbytes=n, operators=tuple(ops)) for n, ops in weights)
    toy = profile((1.0,) * 7, weights=read)
    for stop, start in enumerate(last_starts(toy, limit)):
        fits = [c for c in range(stop + 1) if c == stop or weights_nbytes(read, c, stop) <= limit]
        assert start == min(fits)


def test_a_host_is_stretched_by_factor_and_load() -> None:
    cost = host_cost(Device(id="ue", role="ue", factor=4.0), profile(), load=0.5)
    assert cost.elapsed_s.tolist() == [0.0, 6.0, 18.0]
    assert cost.constant_s == 3.0
    assert (cost.min_stop, cost.last_start) == (0, None)


def test_only_the_source_keeps_private_operators() -> None:
    device = Device(id="ue", role="ue")
    assert host_cost(device, profile(), private_operators=1, is_source=True).min_stop == 1
    assert host_cost(device, profile(), private_operators=1).min_stop == 0


def test_a_host_that_only_forwards_runs_nothing() -> None:
    cost = host_cost(Device(id="gnb", role="gnb", computes=False), profile())
    assert not cost.fits(0, 1)
    assert cost.fits(1, 1)


def test_a_hop_prices_overhead_delay_bytes_and_loss() -> None:
    link = Link(src="a", dst="b", rate_bps=8e6, delay_s=0.01, overhead_s=0.002, loss=0.2)
    back = Link(src="b", dst="a", rate_bps=8e3, delay_s=0.03)
    hop = hop_cost(link, back, profile(), PAYLOAD_ONLY, power=Power(radio_j_per_bit=1e-6))
    assert hop.forward_s == pytest.approx([0.012 + n / 1e6 / 0.8 for n in (1000, 2000, 3000)])
    assert hop.back.transfer_s == pytest.approx(0.03 + 40 / 1e3)
    assert hop.cost_s == pytest.approx(hop.forward_s + 0.07)
    assert hop.best(0).nbytes == 1000
    assert hop.best(0).energy_j == pytest.approx(8000 / 0.8 * 1e-6)


def test_bytes_are_those_of_the_framing() -> None:
    framing = Framing()
    link = Link(src="a", dst="b", rate_bps=8e6)
    hop = hop_cost(link, None, profile(), framing, result_returns=False)
    assert [row[0].nbytes for row in hop.options] == [framing.wire_nbytes((n,)) for n in (1000, 2000, 3000)]
    assert hop.back.total_s == 0.0


def test_conditions_replace_what_they_name() -> None:
    link = Link(src="a", dst="b", rate_bps=8e6, delay_s=0.01)
    slower = LinkState(src="a", dst="b", rate_bps=4e6)
    hop = hop_cost(link, None, profile(), PAYLOAD_ONLY, state=slower, result_returns=False)
    assert hop.forward_s[0] == pytest.approx(0.01 + 1000 / 0.5e6)
    gone = LinkState(src="a", dst="b", up=False)
    assert np.all(np.isinf(hop_cost(link, None, profile(), PAYLOAD_ONLY, state=gone, result_returns=False).forward_s))
    free = LinkState(src="a", dst="b", rate_bps=math.inf, delay_s=0.0)
    assert not hop_cost(link, None, profile(), PAYLOAD_ONLY, state=free, result_returns=False).forward_s.any()


def _pair(**ue: object) -> Topology:
    return Topology(
        devices=(Device(id="ue", role="ue", **ue), Device(id="mec", role="mec", factor=0.5)),  # type: ignore[arg-type]
        links=(Link(src="ue", dst="mec", rate_bps=1e6), Link(src="mec", dst="ue", rate_bps=1e6)),
        source="ue",
        sink="mec",
    )


def test_a_problem_takes_each_device_its_own_profile() -> None:
    own = profile((7.0, 7.0))
    problem = build_problem(_pair(), ("ue", "mec"), {"": profile(), "ue": own})
    assert problem.hosts[0].elapsed_s.tolist() == [0.0, 7.0, 14.0]
    assert problem.hosts[1].elapsed_s.tolist() == [0.0, 0.5, 1.5]
    busy = Conditions(devices=(DeviceState(id="mec", load=1.0),))
    assert build_problem(_pair(), ("ue", "mec"), {"": own}, conditions=busy).hosts[1].elapsed_s[-1] == 14.0


def test_profiles_of_two_models_are_refused() -> None:
    with pytest.raises(ProfileMismatch, match=r"sha256:1.*sha256:2"):
        build_problem(_pair(), ("ue", "mec"), {"ue": profile(digest="sha256:1"), "mec": profile(digest="sha256:2")})
    with pytest.raises(ProfileMismatch, match=r"2 operators.*3 operators"):
        build_problem(_pair(), ("ue", "mec"), {"ue": profile(), "mec": profile((1.0,) * 3)})


def test_bad_requests_are_refused() -> None:
    one_way = Topology(devices=_pair().devices, links=_pair().links[:1], source="ue", sink="mec")
    with pytest.raises(NoRoute, match="mec->ue"):
        build_problem(one_way, ("ue", "mec"), {"": profile()})
    with pytest.raises(NoRoute, match="no link mec->ue"):
        build_problem(one_way, ("mec", "ue"), {"": profile()})
    with pytest.raises(ConfigError, match="3 operators cannot stay on ue"):
        build_problem(_pair(), ("ue", "mec"), {"": profile()}, private_operators=3)
    with pytest.raises(ConfigError, match="no profile for mec"):
        build_problem(_pair(), ("ue", "mec"), {"ue": profile()})
    with pytest.raises(Infeasible, match="ue must keep 1 operators and may run none"):
        solve(build_problem(_pair(computes=False), ("ue", "mec"), {"": profile()}, private_operators=1))


def _tight(ue: int, mec: int, weights: tuple[Weights, ...], operators: int = 2) -> Problem:
    net = Topology(
        devices=(Device(id="ue", role="ue", memory_bytes=ue), Device(id="mec", role="mec", memory_bytes=mec)),
        links=_pair().links,
        source="ue",
        sink="mec",
    )
    return build_problem(net, ("ue", "mec"), {"": profile((1.0,) * operators, weights=weights)})


SHARED = (Weights(nbytes=100, operators=(0,)), Weights(nbytes=60, operators=(0, 1)), Weights(nbytes=30, operators=(1,)))


def test_too_little_memory_names_device_and_bytes() -> None:
    # Operator 0 needs 160, operator 1 90, both 190: the weight they share counts once.
    with pytest.raises(
        Infeasible, match=r"ue needs 190 B for the weights of operators 0\.\.1, has 150 B: give it 40 B"
    ):
        solve(_tight(150, 80, SHARED))
    with pytest.raises(
        Infeasible, match=r"mec needs 90 B for the weights of operators 1\.\.1, has 85 B: give it 5 B more"
    ):
        solve(_tight(165, 85, SHARED))
    assert solve(_tight(165, 90, SHARED)).stops == (1, 2)


@given(
    limits=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    weights=st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 4), min_size=1, unique=True)), max_size=9),
)
@settings(max_examples=150, deadline=None)
def test_the_bytes_short_are_just_enough(limits: tuple[int, int], weights: list[tuple[int, list[int]]]) -> None:
    read = tuple(Weights(nbytes=n, operators=tuple(ops)) for n, ops in weights)

    def refused(ue: int, mec: int) -> Infeasible | None:
        try:
            solve(_tight(ue, mec, read, operators=5))
        except Infeasible as error:
            return error
        return None

    ue, mec = limits
    if (error := refused(ue, mec)) is None:
        return
    short = error.short_bytes
    assert short > 0
    assert refused(*((ue + short, mec) if error.device == "ue" else (ue, mec + short))) is None
    assert refused(ue + short - 1, mec) is not None
    assert refused(ue, mec + short - 1) is not None
