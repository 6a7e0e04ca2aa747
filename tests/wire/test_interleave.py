"""Orders: permutations, the same everywhere; structured ones keep neighbours apart."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.wire import interleave
from airloom.wire.interleave import random_order, restore, structured_order

NEIGHBOURS = [(0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1), (1, 0, 0)]
WINDOW = [(0, y, x) for y, x in itertools.product(range(-2, 3), repeat=2) if (y, x) > (0, 0)]
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 24), st.integers(1, 24))


def distance(shape: tuple[int, int, int], steps: list[tuple[int, int, int]], seed: int = 0) -> int:
    """The least distance in the stream, around its end too, of two elements that any of `steps` joins."""
    n = math.prod(shape)
    rank = np.empty(n, np.int64)
    rank[structured_order(shape, seed)] = np.arange(n)
    rank = rank.reshape(shape)
    least = n
    for step in steps:
        if any(abs(d) >= size for d, size in zip(step, shape, strict=True)):
            continue
        here = tuple(slice(max(0, -d), size - max(0, d)) for d, size in zip(step, shape, strict=True))
        there = tuple(slice(max(0, d), size - max(0, -d)) for d, size in zip(step, shape, strict=True))
        apart = np.abs(rank[here] - rank[there])
        least = min(least, int(np.minimum(apart, n - apart).min()))
    return least


@given(st.integers(0, 3000), st.integers(0, 2**40))
@settings(max_examples=100, deadline=None)
def test_a_random_order_is_a_permutation(n: int, seed: int) -> None:
    assert np.array_equal(np.sort(random_order(n, seed)), np.arange(n))


@given(st.lists(st.integers(0, 12), min_size=0, max_size=5), st.integers(0, 2**40))
@settings(max_examples=200, deadline=None)
def test_a_structured_order_is_a_permutation(shape: list[int], seed: int) -> None:
    order = structured_order(shape, seed)
    assert np.array_equal(np.sort(order), np.arange(math.prod(shape)))


@given(SHAPES, st.integers(0, 2**40))
@settings(max_examples=200, deadline=None)
def test_restore_is_the_inverse(shape: tuple[int, int, int], seed: int) -> None:
    values = np.random.default_rng(seed).random(math.prod(shape)).astype(np.float32)
    for order in (random_order(values.size, seed), structured_order(shape, seed)):
        assert np.array_equal(restore(values[order], order), values)


def test_orders_are_the_same_everywhere() -> None:
    """Golden: made once with numpy 2.4; any machine and version must agree, or both ends of a link do not."""
    assert random_order(12, 7).tolist() == [8, 7, 10, 9, 4, 1, 2, 5, 6, 11, 3, 0]
    assert structured_order((2, 3, 2)).tolist() == [0, 10, 7, 2, 9, 4, 1, 11, 6, 3, 8, 5]
    assert int((random_order(50_000, 1) * np.arange(50_000)).sum() % 1_000_003) == 205835
    assert int((structured_order((10, 50, 100), 5) * np.arange(50_000)).sum() % 1_000_003) == 949372


@given(SHAPES, st.integers(0, 2**40))
@settings(max_examples=300, deadline=None)
def test_neighbours_are_apart(shape: tuple[int, int, int], seed: int) -> None:
    n = math.prod(shape)
    if n > 1:
        assert distance(shape, NEIGHBOURS, seed) >= n / (13 if n < 128 else 6)
    if n >= 512 and min(shape[1:]) > 2:
        assert distance(shape, WINDOW, seed) >= n / 28


@pytest.mark.parametrize(
    "shape",
    [(64, 112, 112), (64, 32, 32), (512, 7, 7), (512, 2, 2), (3, 32, 32), (1, 161, 50), (1, 1, 4096), (4096, 1, 1)],
)
def test_neighbours_of_networks_feature_maps_are_apart(shape: tuple[int, int, int]) -> None:
    n = math.prod(shape)
    assert distance(shape, NEIGHBOURS) >= n / 5.1
    if min(shape[1:]) > 2:
        assert distance(shape, WINDOW) >= n / 16.5


@pytest.mark.long
def test_neighbours_are_apart_in_every_small_shape() -> None:
    for shape in itertools.product(range(1, 17), range(1, 17), range(1, 17)):
        n = math.prod(shape)
        if n > 1:
            assert distance(shape, NEIGHBOURS, seed=3) >= n / (13 if n < 128 else 6), shape
        if n >= 512 and min(shape[1:]) > 2:
            assert distance(shape, WINDOW, seed=3) >= n / 28, shape


def test_a_random_order_leaves_neighbours_anywhere() -> None:
    order = random_order(100_000, 1)
    steps = np.abs(np.diff(order))
    assert abs(steps.mean() - 100_000 / 3) < 500
    assert len(np.unique(order[:1000] // 1000)) > 95


def test_seeds_make_different_orders() -> None:
    for make in (lambda seed: random_order(1000, seed), lambda seed: structured_order((10, 10, 10), seed)):
        assert len({make(seed).tobytes() for seed in range(20)}) == 20


def test_an_order_cannot_be_changed_by_one_who_has_it() -> None:
    for order in (random_order(10, 1), structured_order((2, 5), 1)):
        with pytest.raises(ValueError, match="read-only"):
            order[0] = 1


def test_what_is_kept_is_bounded() -> None:
    kept = interleave._Orders(1000)
    made = []

    def make(n: int) -> interleave.Order:
        made.append(n)
        return np.arange(n, dtype=np.intp)

    for n in (50, 51, 52, 50):  # 400, 408 and 416 bytes: no three fit
        assert len(kept.get((n,), lambda n=n: make(n))) == n
    assert made == [50, 51, 52, 50]
    kept.get((50,), lambda: make(-1))
    assert len(kept.get((500,), lambda: make(500))) == 500  # larger than all that is kept
    assert made[-1] == 500


@pytest.mark.parametrize("make", [lambda: random_order(-1), lambda: structured_order((2, -1))])
def test_there_is_no_order_of_fewer_than_none(make: object) -> None:
    with pytest.raises(ValueError, match="an order of"):
        make()  # type: ignore[operator]
