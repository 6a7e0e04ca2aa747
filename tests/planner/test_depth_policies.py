"""How often each depth is trained: the paper's policies, and the two that follow requests."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.depth import Block, depth_order
from airloom.core.progressive import Configuration, DepthTable
from airloom.errors import ConfigError
from airloom.planner.depth_draws import between_shares, draw_between, draw_depths, in_common, mean_share
from airloom.planner.depths import (
    Demand,
    Full,
    FullOrLess,
    Lognormal,
    Policy,
    Samples,
    Throughput,
    Uniform,
    accuracies_in,
    named_policy,
    sizes_in,
    sizes_of,
)

ORDER = depth_order("back", [0, 0, 0, 1, 1, 1, 2, 2, 2])
SIZES = tuple(100_000 * k for k in range(1, 10))

orders = st.builds(
    lambda kind, groups, count: depth_order(kind, [k for k in range(groups) for _ in range(count)]),
    st.sampled_from(["back", "groups"]), st.integers(1, 3), st.integers(1, 6),
)  # fmt: skip
evens = st.floats(0, 1)


def test_the_papers_policies() -> None:
    # Accordion, "Performance Evaluation": the full model in 50 % (30 %) of the iterations, else uniform.
    assert FullOrLess(full=0.5).probabilities(ORDER) == pytest.approx([0.0625] * 8 + [0.5])
    by_groups = depth_order("groups", [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert FullOrLess(full=0.3).probabilities(by_groups) == pytest.approx([0.35, 0.35, 0.3])
    assert Full().probabilities(ORDER) == pytest.approx([0] * 8 + [1])


@pytest.mark.parametrize(
    ("name", "policy", "order"),
    [
        ("coml-0.5", FullOrLess(full=0.5), "back"),
        ("coml-05", FullOrLess(full=0.5), "back"),
        ("block-coml-03", FullOrLess(full=0.3), "groups"),
        ("coml-1", FullOrLess(full=1.0), "back"),
        ("full", Full(), None),
        ("uniform", Uniform(), None),
        ("sandwich", Uniform(), None),
    ],
)
def test_policies_by_name(name: str, policy: Policy, order: str | None) -> None:
    assert named_policy(name) == (policy, order)


@pytest.mark.parametrize("name", ["coml", "coml-2", "throughput", "block-uniform", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        named_policy(name)


@settings(deadline=None)
@given(orders, st.floats(0, 1), st.data())
def test_probabilities_are_some(order: object, share: float, data: st.DataObject) -> None:
    assert hasattr(order, "depths")
    count = len(order.depths)
    sizes = tuple(sorted(data.draw(st.lists(st.integers(0, 10**9), min_size=count, max_size=count))))
    rates = data.draw(
        st.one_of(
            st.builds(Samples, values=st.lists(st.floats(0, 1e9), min_size=1, max_size=20).map(tuple)),
            st.builds(Lognormal, median_bps=st.floats(1e3, 1e9), sigma=st.floats(0.01, 3)),
        )
    )
    accuracies = tuple(data.draw(st.lists(st.floats(0, 1), min_size=count, max_size=count)))
    demands = Samples(values=tuple(data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=20))))
    before = data.draw(st.floats(0, 1))
    for policy in (
        Full(), Uniform(), FullOrLess(full=share),
        Throughput(rates=rates, deadline_s=0.5, nbytes=sizes, before_s=before, even=share),
        Demand(demands=demands, accuracies=accuracies, even=share),
    ):  # fmt: skip
        found = policy.probabilities(order)
        assert found.shape == (count,)
        assert found.sum() == pytest.approx(1, abs=1e-9)
        assert (found >= -1e-15).all()
        if isinstance(policy, Throughput | Demand):
            assert (found >= share / count - 1e-12).all()
        assert msgspec.json.decode(msgspec.json.encode(policy), type=Policy) == policy


# --- law: probabilities are how often requests need a depth ---------------------------------------


def _served(rates: np.ndarray, sizes: tuple[int, ...], left_s: float) -> np.ndarray:
    """What a server sends at each rate: the largest that is there in time, the smallest where none is."""
    answers = []
    for rate in rates:
        fitting = [k for k, nbytes in enumerate(sizes) if rate > 0 and nbytes * 8 / rate <= left_s]
        answers.append(max(fitting, default=0))
    return np.bincount(answers, minlength=len(sizes)) / len(rates)


def test_throughput_is_what_a_stream_of_requests_gets() -> None:
    rng = np.random.default_rng(1)
    policy = Throughput(
        rates=Lognormal(median_bps=20e6, sigma=0.7), deadline_s=0.25, nbytes=SIZES, before_s=0.05, even=0.0
    )
    rates = 20e6 * np.exp(0.7 * rng.standard_normal(20_000))
    # Five standard deviations of a share of 20,000.
    assert policy.probabilities(ORDER) == pytest.approx(_served(rates, SIZES, 0.2), abs=5 * 0.5 / math.sqrt(20_000))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.just(0.0) | st.floats(1, 1e8), min_size=1, max_size=50), st.floats(0.01, 2))
def test_throughput_of_samples_is_exact(rates: list[float], deadline: float) -> None:
    policy = Throughput(rates=Samples(values=tuple(rates)), deadline_s=deadline, nbytes=SIZES, even=0.0)
    # The comparison is of rates in one and of seconds in the other: those on the very edge may round either way.
    edges = np.array(SIZES) * 8 / deadline
    if any(np.isclose(rate, edges, rtol=1e-9).any() for rate in rates):
        return
    assert policy.probabilities(ORDER) == pytest.approx(_served(np.array(rates), SIZES, deadline))


def test_demand_is_what_a_stream_of_requests_needs() -> None:
    rng = np.random.default_rng(2)
    accuracies = (0.3, 0.5, 0.45, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92)
    demands = rng.beta(6, 3, 5000)
    policy = Demand(demands=Samples(values=tuple(demands)), accuracies=accuracies, even=0.0)
    answers = [next((k for k, a in enumerate(accuracies) if a >= demand), 8) for demand in demands]
    assert policy.probabilities(ORDER) == pytest.approx(np.bincount(answers, minlength=9) / 5000)
    # Depth 3 is worse than depth 2: nobody is ever sent it.
    assert policy.probabilities(ORDER)[2] == 0


def test_weights_of_demands_count() -> None:
    weighed = Demand(demands=Samples(values=(0.2, 0.9), weights=(3, 1)), accuracies=(0.5, 0.95), even=0.0)
    assert weighed.frequencies() == pytest.approx([0.75, 0.25])


def test_the_papers_link_gets_three_fifths() -> None:
    # Accordion, "Practical Implementation": 10 MB within 200 ms at 240 Mbit/s: 60 % of the model.
    shares = tuple(int(1e6 * k) for k in range(1, 11))
    policy = Throughput(rates=Samples(values=(240e6,)), deadline_s=0.2, nbytes=shares, even=0.0)
    order = depth_order("back", [0] * 10)
    assert policy.probabilities(order).argmax() + 1 == 6


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: FullOrLess(full=1.5), "from 0 to 1"),
        (lambda: Samples(values=()), "one sample or more"),
        (lambda: Samples(values=(1.0,), weights=(1.0, 2.0)), "2 weights for 1"),
        (lambda: Samples(values=(1.0,), weights=(0.0,)), "not all 0"),
        (lambda: Samples(values=(math.nan,)), "one sample or more"),
        (lambda: Lognormal(median_bps=0, sigma=1), "above 0"),
        (lambda: Throughput(rates=Samples(values=(1.0,)), deadline_s=0, nbytes=(1,)), "deadline"),
        (lambda: Throughput(rates=Samples(values=(1.0,)), deadline_s=1, nbytes=(2, 1)), "ascend"),
        (lambda: Throughput(rates=Samples(values=(1.0,)), deadline_s=1, nbytes=(1,)).probabilities(ORDER), "1 depths"),
        (lambda: Demand(demands=Samples(values=(2.0,)), accuracies=(0.5,)), "from 0 to 1"),
        (lambda: Demand(demands=Samples(values=(0.5,)), accuracies=(0.5,)).probabilities(ORDER), "1 depths"),
        (lambda: Demand(demands=Samples(values=(0.5,)), accuracies=(0.5,), even=2), "evenly"),
    ],
)  # fmt: skip
def test_bad_figures_are_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=says):
        make()


def test_a_deadline_before_the_first_byte_leaves_the_smallest() -> None:
    policy = Throughput(rates=Samples(values=(1e9,)), deadline_s=0.1, nbytes=SIZES, before_s=0.2, even=0.0)
    assert policy.probabilities(ORDER)[0] == 1


# --- drawing ------------------------------------------------------------------------------------


def test_draws_come_as_often_as_they_should() -> None:
    policy = FullOrLess(full=0.5).probabilities(ORDER)
    drawn = draw_depths(ORDER, policy, 20_000, np.random.default_rng(3))
    shares = np.bincount(drawn, minlength=10)[1:] / 20_000
    assert shares == pytest.approx(policy, abs=5 * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_draws_between_keep_their_shares_and_spread(count: int) -> None:
    weights = np.array([0.3, 0.1, 0.05, 0.2, 0.05, 0.1, 0.1, 0.05, 0.05])
    drawn = draw_between(ORDER, weights, 20_000, count, np.random.default_rng(4))
    assert drawn.shape == (20_000, count)
    assert (drawn > 1).all()
    assert (drawn < 9).all()
    shares = np.bincount(drawn.ravel(), minlength=9)[2:] / drawn.size
    assert shares == pytest.approx(between_shares(weights), abs=5 * 0.5 / math.sqrt(drawn.size))
    assert (np.diff(drawn, axis=1) >= 0).all()


def test_nothing_is_between_two_depths() -> None:
    order = depth_order("back", [0, 0], depths=[1])
    assert draw_between(order, np.array([0.5, 0.5]), 7, 3, np.random.default_rng(0)).shape == (7, 0)


# --- cost ---------------------------------------------------------------------------------------


def test_mean_share_is_the_cost_of_an_iteration() -> None:
    # CoML-05 of 9 blocks: half of the time all, else 1 to 8 of 9, 4.5 on average.
    assert mean_share(ORDER, FullOrLess(full=0.5).probabilities(ORDER)) == pytest.approx(0.5 + 0.5 * 4.5 / 9)
    blocks = [Block(name=str(k), group=0, parameters=1, macs=macs) for k, macs in enumerate([8, 1, 1])]
    order = depth_order("back", [0, 0, 0])
    assert mean_share(order, np.array([1.0, 0, 0]), blocks) == pytest.approx(0.8)


def test_depths_begin_alike() -> None:
    assert [in_common(ORDER, depth) for depth in ORDER.depths] == list(ORDER.depths)
    by_groups = depth_order("groups", [0, 0, 0, 1, 1, 1])
    assert [in_common(by_groups, depth) for depth in by_groups.depths] == [1, 2, 6]


def test_sizes_of_blocks() -> None:
    blocks = [Block(name=str(k), group=0, parameters=100) for k in range(3)]
    order = depth_order("back", [0, 0, 0])
    assert sizes_of(order, blocks, 50) == (600, 1000, 1400)
    assert sizes_of(order, blocks, 50, precision="fp16", part_nbytes=10) == (320, 530, 740)
    assert sizes_of(order, blocks, 50, precision="bits-4") == (75, 125, 175)
    with pytest.raises(ConfigError, match="no precision"):
        sizes_of(order, blocks, 50, precision="fp8")


def test_figures_of_a_table() -> None:
    order = depth_order("back", [0, 0])
    rows = [
        Configuration(depth=d, precision=p, nbytes=d * 10, parameters=1, accuracy=None if p == "fp16" else d / 4)
        for d in (1, 2) for p in ("int8", "fp16")
    ]  # fmt: skip
    table = DepthTable(model="m", blocks=(), order=order, configurations=tuple(rows))
    assert sizes_in(table, "fp16") == (10, 20)
    assert accuracies_in(table, "int8") == (0.25, 0.5)
    with pytest.raises(ConfigError, match="depth 1 in fp16"):
        accuracies_in(table, "fp16")
