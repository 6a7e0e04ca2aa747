"""Accuracy against error rate, as measured on a network that is right whenever nothing is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tolerance_models import ACTIVE, CONVOLVED, DEEP, INPUT, MEANS, RESULT, captured, halves, pictures, samples

from airloom.core.coding import RAW, parse_coding
from airloom.core.tolerance import CutTolerance, Tolerance
from airloom.errors import ConfigError
from airloom.nn.capture import capture
from airloom.nn.tolerance import Halves, Samples, check_samples, measure_cut
from airloom.nn.tolerance.measuring import num_evaluations
from airloom.nn.tolerance.profile import Case, chosen_cuts, clean_score, measure
from airloom.nn.tolerance.score import load_score, top1


def _measured(cut: int = ACTIVE, name: str = "raw", **options: Any) -> CutTolerance:
    given: dict[str, Any] = {"error_rates": (0.2, 0.5, 1.0), "draws": 2, "block_bytes": 300, **options}
    return measure_cut(halves(), samples(), cut, parse_coding(name), rng=np.random.default_rng(0), **given)


def test_nothing_lost_is_clean_and_everything_lost_is_one_answer() -> None:
    entry = _measured()
    assert [p.error_rate for p in entry.points] == [0.0, 0.2, 0.5, 1.0]
    assert entry.points[0].accuracy == entry.clean == 1.0
    # Without anything all samples look alike: as many are right as there are of that class.
    counts = np.bincount(samples().labels, minlength=5)
    assert round(24 * entry.points[-1].accuracy) in counts.tolist()
    assert entry.points[-1].draws == 1
    assert entry.points[1].draws == 2
    assert entry.points[1].accuracy > entry.points[2].accuracy
    assert entry.nbytes == 8192
    assert entry.side_nbytes == 0
    assert entry.num_blocks == 28
    assert entry.curves


def test_same_seed_same_figures() -> None:
    assert _measured().points == _measured().points
    other = measure_cut(
        halves(), samples(), ACTIVE, RAW, rng=np.random.default_rng(1), error_rates=(0.5,), draws=2, block_bytes=300
    )
    assert other.points[-1] != _measured().points[2]


def test_the_size_of_a_pass_does_not_matter() -> None:
    """Twenty-four samples in passes of 8, 5 and 1: the figures of nothing and of everything lost are the same."""
    found = [
        measure_cut(
            halves(size), samples(), ACTIVE, RAW, rng=np.random.default_rng(0), error_rates=(0.0, 1.0), block_bytes=300
        )
        for size in (8, 5, 1)
    ]
    assert len({tuple(p.accuracy for p in entry.points) for entry in found}) == 1


def test_a_message_of_several_samples_loses_its_blocks_for_all_of_them() -> None:
    wide = Halves(captured(4), captured(8))
    assert (wide.messages, wide.samples_each) == (2, 4)
    entry = measure_cut(
        wide, samples(), ACTIVE, RAW, rng=np.random.default_rng(0), error_rates=(0.3,), draws=2, block_bytes=300
    )
    assert entry.clean == 1.0
    assert entry.nbytes == 4 * 8192
    assert num_evaluations(wide, samples(), (0.3,), 2) == 6 * 3


def test_neighbours_bear_more_than_zeros() -> None:
    zeros, neighbours = (_measured(CONVOLVED, name, draws=3) for name in ("raw", "structured+neighbours"))
    assert neighbours.points[2].accuracy > zeros.points[2].accuracy
    assert neighbours.side_nbytes > 0
    assert neighbours.code_s > 0
    assert neighbours.decode_s > 0


def test_random_errors_lose_elements() -> None:
    burst, random = (_measured(DEEP, pattern=pattern, draws=3) for pattern in ("burst", "random"))
    assert random.pattern == "random"
    assert random.points[1:] != burst.points[1:]


@pytest.mark.parametrize(("options", "words"), [
    ({"cut": 9}, "no cut 9 in small: its cuts are 0 to 8"),
    ({"cut": -1}, "no cut -1"),
    ({"error_rates": (0.5, 1.5)}, "from 0 to 1, got 1.5"),
    ({"error_rates": (float("nan"),)}, "from 0 to 1, got nan"),
    ({"draws": 0}, "draws are at least 1"),
])  # fmt: skip
def test_what_cannot_be_measured(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _measured(**options)


# --- samples and scores --------------------------------------------------------------------------


def _checked(images: Any, labels: Any) -> Samples:
    return check_samples(Samples((images,), np.asarray(labels)), captured(1).graph, where="data.npz")


def _with_nan(images: NDArray[Any]) -> NDArray[Any]:
    images = images.copy()
    images[2, 1, 5, 5] = np.nan
    return images


@pytest.mark.parametrize(("change", "words"), [
    (lambda x, y: (x[:0], y[:0]), "no samples"),
    (lambda x, y: (x, y[:-1]), "4 rows and there are 3 labels"),
    (lambda x, y: (x[:, :2], y), r"rows of \[2, 16, 16\] of float32; small takes \[3, 16, 16\]"),
    (lambda x, y: (x.astype(np.float64), y), "of float64"),
    (lambda x, y: (_with_nan(x), y), "sample 2 has values that are no numbers"),
    (lambda x, y: (x, [0, 1, 5, 2]), r"label 5 of sample 2 is none of the 5 classes \(0 to 4\)"),
    (lambda x, y: (x, [0, -1, 1, 2]), "label -1 of sample 1"),
    (lambda x, y: (x, [0.0, 1.0, 1.0, 2.0]), "float64: expected the number of a class"),
    (lambda x, y: (x, np.zeros((4, 2), int)), r"labels are \[4, 2\]"),
])  # fmt: skip
def test_samples_that_are_wrong_are_told_in_a_line(change: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        _checked(*change(pictures(4), np.array([0, 1, 2, 3])))
    assert str(error.value).startswith("data.npz: ")


def test_samples_of_another_number_of_inputs() -> None:
    with pytest.raises(ConfigError, match="2 arrays of inputs for a model that takes 1"):
        check_samples(Samples((pictures(4), pictures(4)), np.zeros(4, int)), captured(1).graph)


def test_an_answer_with_nan_is_wrong() -> None:
    logits = torch.tensor([[1.0, 0.0], [float("nan"), 0.0]])
    assert top1(logits, np.array([0, 0])).tolist() == [1.0, 0.0]


def test_a_score_of_the_users_own(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_judge.py").write_text(
        "def half(outputs, labels):\n    return [0.5] * len(labels)\n"
        "def three(outputs, labels):\n    return [3.0] * len(labels)\n"
        "def one(outputs, labels):\n    return 1.0\n"
        "def raises(outputs, labels):\n    raise KeyError('no such')\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert clean_score(halves(), samples(), load_score("my_judge:half")) == 0.5
    for name, words in (("three", "outside 0 to 1"), ("one", r"gave shape \[\] for 8"), ("raises", "raised KeyError")):
        with pytest.raises(ConfigError, match=words):
            clean_score(halves(), samples(), load_score(f"my_judge:{name}"))
    for spec, words in (
        ("my_judge", "expected module:function"), ("my_judge:number", "no function"),
        ("my_judge:absent", "absent"), ("no_such_module_here:f", "no_such_module_here"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            load_score(spec)


# --- a whole profile -----------------------------------------------------------------------------


def _profile(**options: Any) -> Tolerance:
    given: dict[str, Any] = {
        "cuts": (CONVOLVED, MEANS), "codings": (RAW, parse_coding("pruned+random")), "error_rates": (0.0, 0.5),
        "draws": 1, "block_bytes": (300, 500), "data": "pictures", **options,
    }  # fmt: skip
    return measure(halves(), samples(), **given)


def test_a_profile_has_every_case_once() -> None:
    profile = _profile(patterns=("burst", "random"))
    cases = [Case.of(entry) for entry in profile.cuts]
    assert len(cases) == len(set(cases))
    # Nothing is pruned before the mean, and elements that are lost one by one know no blocks.
    assert [(c.cut, c.coding.name, c.pattern, c.block_bytes) for c in cases] == [
        (CONVOLVED, "raw", "burst", 300), (CONVOLVED, "raw", "burst", 500), (CONVOLVED, "raw", "random", 300),
        (CONVOLVED, "pruned+random", "burst", 300), (CONVOLVED, "pruned+random", "burst", 500),
        (CONVOLVED, "pruned+random", "random", 300),
        (MEANS, "raw", "burst", 300), (MEANS, "raw", "burst", 500), (MEANS, "raw", "random", 300),
    ]  # fmt: skip
    assert profile.clean == 1.0
    assert profile.samples == 24
    assert profile.graph_digest == captured(1).graph.digest
    assert profile.weights_digest == captured(1).weights_digest
    [order] = [order for order in profile.maps if order.tensor == captured(1).graph.live_set(CONVOLVED)[0]]
    assert sorted(order.order) == list(range(8))


def test_what_is_known_is_not_measured_again() -> None:
    first = _profile()
    new: list[CutTolerance] = []
    again = _profile(cuts=(CONVOLVED, MEANS, DEEP), known=first.cuts, finished=new.append)
    assert {entry.cut for entry in new} == {DEEP}
    assert again.cuts[: len(first.cuts)] == first.cuts
    # The errors of a case do not depend on what else is measured.
    assert [e.points for e in _profile(cuts=(DEEP,)).cuts] == [e.points for e in new]


def test_a_profile_of_nothing() -> None:
    with pytest.raises(ConfigError, match="no asked cut"):
        _profile(cuts=(RESULT,), codings=(parse_coding("pruned"),))
    with pytest.raises(ConfigError, match="no tuned weights for random\\+tuned"):
        _profile(codings=(parse_coding("random+tuned"),))


def test_chosen_cuts_are_where_little_crosses() -> None:
    graph = captured(1).graph
    chosen = chosen_cuts(graph)
    assert ACTIVE in chosen
    assert INPUT not in chosen
    assert len(chosen) <= 6


def test_halves_of_two_models() -> None:
    other = capture(torch.nn.Linear(4, 4), (torch.zeros(8, 4),), name="other")
    with pytest.raises(ConfigError, match="another batch has other operators"):
        Halves(captured(1), other)
    with pytest.raises(ConfigError, match="does not divide"):
        Halves(captured(8), captured(5))


def test_fewer_samples_than_a_message_carries() -> None:
    with pytest.raises(ConfigError, match="3 samples, and a message carries 4"):
        clean_score(Halves(captured(4), captured(8)), samples().first(3))
