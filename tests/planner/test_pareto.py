"""The Pareto front of configurations against its definition."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.progressive import Configuration
from airloom.planner.pareto import pareto_front

# Few values, so that ties of every kind come up.
SMALL = st.integers(0, 4)


def configuration(accuracy: float | None, nbytes: int, macs: int) -> Configuration:
    return Configuration(depth=1, precision="fp32", nbytes=nbytes, parameters=1, macs=macs, accuracy=accuracy)


@st.composite
def configurations(draw: st.DrawFn) -> list[Configuration]:
    rows = draw(st.lists(st.tuples(st.none() | SMALL, SMALL, SMALL), max_size=14))
    return [configuration(None if a is None else a / 4, n, m) for a, n, m in rows]


def beaten(one: Configuration, other: Configuration) -> bool:
    """`other` is as good as `one` in all three and better in at least one."""
    if one.accuracy is None or other.accuracy is None:
        return False
    no_worse = other.accuracy >= one.accuracy and other.nbytes <= one.nbytes and other.macs <= one.macs
    better = other.accuracy > one.accuracy or other.nbytes < one.nbytes or other.macs < one.macs
    return no_worse and better


@given(configurations())
@settings(deadline=None, max_examples=400)
def test_the_front_is_what_nothing_beats(rows: list[Configuration]) -> None:
    expected = [k for k, c in enumerate(rows) if c.accuracy is not None and not any(beaten(c, other) for other in rows)]
    assert list(pareto_front(rows)) == expected


@given(configurations())
@settings(deadline=None, max_examples=200)
def test_every_measured_configuration_has_one_on_the_front_that_is_no_worse(rows: list[Configuration]) -> None:
    front = [rows[k] for k in pareto_front(rows)]
    for row in rows:
        if row.accuracy is not None:
            assert any(row in front or beaten(row, best) for best in front)


def test_equal_configurations_all_stay() -> None:
    assert pareto_front([configuration(0.5, 10, 10)] * 3) == (0, 1, 2)


def test_more_accuracy_more_bytes_or_more_macs_is_a_trade() -> None:
    rows = [configuration(0.9, 100, 10), configuration(0.8, 50, 10), configuration(0.8, 100, 5)]
    assert pareto_front(rows) == (0, 1, 2)
    assert pareto_front([*rows, configuration(0.9, 50, 5)]) == (3,)


def test_what_nobody_measured_is_on_no_front() -> None:
    assert pareto_front([configuration(None, 1, 1), configuration(0.1, 10, 10)]) == (1,)
    assert pareto_front([]) == ()
