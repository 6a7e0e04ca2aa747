"""FedAvg: the mean of models, who has which examples, rounds whole and in stages."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from airloom import zoo
from airloom.core.training import TrainingSpec
from airloom.errors import ConfigError
from airloom.federate.averaging import weighted_mean
from airloom.federate.data import Examples, bundled_pictures, load_examples, shared_out
from airloom.federate.rounds import FederatedSettings, accuracy, train_rounds
from airloom.federate.split import SplitLearner, spans
from airloom.nn.capture import capture

# --- the mean -------------------------------------------------------------------------------------


def test_the_mean_counts_each_model_by_its_weight() -> None:
    """(1 * [1, 2] + 3 * [5, 10]) / 4 = [4, 8]; counters are rounded."""
    states = [
        {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(1)},
        {"w": torch.tensor([5.0, 10.0]), "n": torch.tensor(3)},
    ]
    mean = weighted_mean(states, [1, 3])
    assert mean["w"].tolist() == [4.0, 8.0]
    assert mean["n"].tolist() == 2
    assert mean["n"].dtype == torch.int64


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    weights=st.lists(st.floats(0.01, 1e6), min_size=1, max_size=7),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.complex64, torch.int64]),
)
def test_the_mean_of_equal_models_is_that_model(seed: int, weights: list[float], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = 1e3 * torch.randn(2, 9, generator=generator, dtype=torch.float64)
    state = {"a": values[0].to(dtype), "b": (values[1] * 1e-3).to(dtype)}
    mean = weighted_mean([state] * len(weights), weights)
    assert all(torch.equal(mean[k], state[k]) and mean[k].dtype == dtype for k in state)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 5))
def test_the_mean_lies_between_and_order_does_not_matter(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    states = [{"w": torch.from_numpy(rng.standard_normal(6).astype(np.float32))} for _ in range(count)]
    weights = rng.random(count) + 0.01
    mean = weighted_mean(states, list(weights))["w"]
    both = torch.stack([s["w"] for s in states])
    assert (mean <= both.max(0).values + 1e-6).all()
    assert (mean >= both.min(0).values - 1e-6).all()
    torch.testing.assert_close(weighted_mean(states[::-1], list(weights[::-1]))["w"], mean)


def test_what_cannot_be_merged() -> None:
    a, b = {"w": torch.zeros(2)}, {"w": torch.zeros(3)}
    for states, weights, words in [
        ([], [], "0 models"),
        ([a], [1.0, 2.0], "a weight for each"),
        ([a, b], [1.0, 1.0], r"shape \[3\]"),
        ([a, {}], [1.0, 1.0], "only one has an entry 'w'"),
        ([a, a], [1.0, -1.0], "at least 0"),
        ([a, a], [0.0, 0.0], "not all 0"),
    ]:
        with pytest.raises(ConfigError, match=words):
            weighted_mean(states, weights)


# --- examples -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(5, 60),
    clients=st.integers(1, 5),
    skew=st.one_of(st.none(), st.floats(0.01, 100.0)),
)
def test_every_example_goes_to_one_client(seed: int, count: int, clients: int, skew: float | None) -> None:
    rng = np.random.default_rng(seed)
    examples = Examples(torch.arange(count), torch.from_numpy(rng.integers(0, 3, count)))
    parts = shared_out(examples, clients, rng, skew=skew)
    assert len(parts) == clients
    assert all(len(part.labels) for part in parts)
    assert sorted(torch.cat([part.inputs for part in parts]).tolist()) == list(range(count))
    assert all(torch.equal(examples.labels[part.inputs], part.labels) for part in parts)


def test_skew_parts_the_classes() -> None:
    """The smaller it is, the more of a client's examples are of its commonest class."""
    labels = torch.arange(4000) % 10
    shares = []
    for skew in (0.05, 1.0, 100.0):
        parts = shared_out(Examples(labels, labels), 10, np.random.default_rng(0), skew=skew)
        shares.append(np.mean([part.labels.bincount().max() / len(part.labels) for part in parts]))
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.2


def test_examples_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    x, y = np.arange(24.0).reshape(8, 3), np.arange(8) % 2
    np.savez(path, x=x, labels=y)
    data = load_examples(path)
    assert data.train.inputs.dtype == torch.float32
    assert len(data.train.labels) == 6
    assert data.test.inputs.tolist() == x[[3, 7]].tolist()
    np.savez(path, x=x, labels=y, test_x=x[:1], test_labels=y[:1])
    assert len(load_examples(path).train.labels) == 8


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((8, 2))}, "no array 'labels'"),
        ({"x": np.zeros((8, 2)), "labels": np.zeros(8)}, "a whole number for each"),
        ({"x": np.zeros((8, 2)), "labels": np.zeros(7, int)}, "for each of the 8"),
        ({"x": np.zeros((8, 2)), "labels": np.zeros(8, int), "test_x": np.zeros((1, 2))}, "go together"),
        ({"x": np.zeros((2, 2)), "labels": np.zeros(2, int)}, "at least 4"),
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(ConfigError, match=words):
        load_examples(path)


def test_no_file_and_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_examples(tmp_path / "none.npz")
    path = tmp_path / "text.npz"
    path.write_text("hello")
    with pytest.raises(ConfigError, match=r"not an \.npz"):
        load_examples(path)


def test_more_clients_than_examples() -> None:
    few = Examples(torch.zeros(3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ConfigError, match="3 examples cannot be shared out among 4"):
        shared_out(few, 4, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="above 0"):
        shared_out(few, 2, np.random.default_rng(0), skew=0.0)


# --- rounds ---------------------------------------------------------------------------------------


def _blobs(count: int, seed: int) -> Examples:
    """Three classes around three points of a plane."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    centres = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    points = (centres[labels] + 0.4 * rng.standard_normal((count, 2))).astype(np.float32)
    return Examples(torch.from_numpy(points), torch.from_numpy(labels))


def _network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


SETTINGS = FederatedSettings(rounds=5, local_steps=8, batch=16, learning_rate=0.1)


def test_rounds_learn_though_each_client_knows_one_class() -> None:
    test = _blobs(200, 1)
    train = _blobs(300, 0)
    clients = [train.of(np.flatnonzero(train.labels.numpy() == label)) for label in range(3)]
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    nn.init.constant_(model[2].weight, 0.0)
    often = msgspec.structs.replace(SETTINGS, rounds=12, local_steps=3)
    run = train_rounds(model, clients, test, often, np.random.default_rng(0))
    assert run.scores[-1].accuracy > 0.9 > run.before
    assert [score.round for score in run.scores] == list(range(1, 13))
    assert run.scores[-1].accuracy == accuracy(run.model, test)
    alone = train_rounds(model, clients[:1], test, often, np.random.default_rng(0))
    assert alone.scores[-1].accuracy < 0.6


def test_one_client_and_one_merge_is_plain_training() -> None:
    """FedAvg of one client is SGD."""
    train = _blobs(64, 0)
    one = msgspec.structs.replace(SETTINGS, rounds=1, local_steps=4)
    found = train_rounds(_network(), [train], train, one, np.random.default_rng(3)).model.state_dict()
    model, rng = _network(), np.random.default_rng(3)
    optimizer, order = torch.optim.SGD(model.parameters(), lr=0.1), rng.permutation(64)
    model.train()
    for k in range(4):
        part = train.of(order[16 * k : 16 * (k + 1)])
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(part.inputs), part.labels).backward()
        optimizer.step()
    assert all(torch.equal(found[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("stops", [(1, 4), (2, 2, 3, 4), (0, 4), (1, 2, 3, 4)])
def test_split_clients_learn_the_same_bits_as_whole_ones(stops: tuple[int, ...]) -> None:
    test, clients = _blobs(60, 1), shared_out(_blobs(120, 0), 3, np.random.default_rng(0))
    captured = capture(_network(), (torch.zeros(16, 2),), name="small", mode="train")
    length = captured.graph.num_operators
    spec = TrainingSpec(lr=0.1, label_shape=(16,))
    stops = tuple(length if stop == 4 else stop for stop in stops)
    runs = [
        train_rounds(
            _network(), clients, test, SETTINGS, np.random.default_rng(0), learner=SplitLearner(captured, spec, stages)
        )
        for stages in (((0, length),), spans(stops))
    ]
    whole, split = (run.model.state_dict() for run in runs)
    assert all(torch.equal(whole[k], split[k]) for k in whole)
    assert runs[0].scores == runs[1].scores
    eager = train_rounds(_network(), clients, test, SETTINGS, np.random.default_rng(0)).model.state_dict()
    assert not any(torch.equal(eager[k], v) for k, v in _network().state_dict().items() if k.endswith("weight"))
    for key, tensor in eager.items():
        torch.testing.assert_close(split[key], tensor, rtol=1e-4, atol=1e-4)


def test_a_network_of_the_zoo_in_stages() -> None:
    data, rng = bundled_pictures(), np.random.default_rng(0)
    model = zoo.build("vgg11", "random", width=2)
    captured = capture(model, zoo.example_inputs("vgg11", 8, width=2), name="vgg11", mode="train")
    stages = spans((9, 9, 20, captured.graph.num_operators))
    assert len(stages) == 3
    learner = SplitLearner(captured, TrainingSpec(lr=0.05, label_shape=(8,)), stages)
    settings = FederatedSettings(rounds=1, local_steps=2, batch=8)
    run = train_rounds(model, shared_out(data.train, 2, rng), data.test, settings, rng, learner=learner)
    before = model.state_dict()
    changed = {k for k, v in run.model.state_dict().items() if not torch.equal(v, before[k])}
    assert {"features.0.weight", "fc.bias", "features.1.running_mean", "features.1.num_batches_tracked"} <= changed


def test_dropout_differs_from_round_to_round() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.5), nn.Linear(32, 3))
    x, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    captured = capture(model, (x,), name="drops", mode="train")
    learner = SplitLearner(
        captured, TrainingSpec(lr=0.1, label_shape=(4,)), ((0, 1), (1, captured.graph.num_operators))
    )
    losses = [learner.learn(model.state_dict(), [((x,), labels)] * 2)[1] for _ in range(2)]
    assert learner.step == 4
    assert losses[0][0] != losses[1][0]


def test_lost_blocks_leave_what_was_there() -> None:
    """With all lost, the merged model keeps its weights; what norms have travels whole."""
    train, everything = _blobs(64, 0), msgspec.structs.replace(SETTINGS, rounds=1, loss=1.0)
    before = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    after = train_rounds(before, [train], train, everything, np.random.default_rng(0)).model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.state_dict().items())


def test_some_take_part() -> None:
    clients = shared_out(_blobs(120, 0), 4, np.random.default_rng(0))
    some = msgspec.structs.replace(SETTINGS, participants=2)
    run = train_rounds(_network(), clients, _blobs(30, 1), some, np.random.default_rng(0))
    assert all(len(set(score.participants)) == 2 for score in run.scores)
    assert len({score.participants for score in run.scores}) > 1
    state = sum(t.nbytes for t in _network().state_dict().values())
    assert run.scores[0].nbytes == 2 * state


def test_rounds_that_cannot_be() -> None:
    data = _blobs(40, 0)
    for wrong, words in [
        ({"rounds": 0}, "rounds is above 0"),
        ({"participants": 3}, "3 participants of 2"),
        ({"loss": 2.0}, "between 0 and 1"),
        ({"participants": -1}, "at least 0"),
    ]:
        settings = msgspec.structs.replace(SETTINGS, **wrong)
        with pytest.raises(ConfigError, match=words):
            train_rounds(_network(), [data, data], data, settings, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="does not take these examples"):
        train_rounds(nn.Linear(3, 3), [data], data, SETTINGS, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="have class 2, the model 2 classes"):
        train_rounds(nn.Linear(2, 2), [data], data, SETTINGS, np.random.default_rng(0))
    captured = capture(_network(), (torch.zeros(64, 2),), name="small", mode="train")
    learner = SplitLearner(captured, TrainingSpec(label_shape=(64,)), ((0, captured.graph.num_operators),))
    big = msgspec.structs.replace(SETTINGS, batch=64)
    with pytest.raises(ConfigError, match="fewer than a batch of 64"):
        train_rounds(_network(), [data], data, big, np.random.default_rng(0), learner=learner)
