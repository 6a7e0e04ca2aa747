"""Tables of configurations: measured with the weights that arrive, bytes and all."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from airloom import zoo
from airloom.core.progressive import BIT_PLANES, PRECISIONS, Configuration, encodings_of
from airloom.errors import ConfigError
from airloom.nn.elastic import ElasticModel, elastic, recalibrate
from airloom.nn.elastic.latency import captured_depths, measure_latencies
from airloom.nn.elastic.parts import part_arrays, part_names, statistics_arrays
from airloom.nn.elastic.precision import Arrivals
from airloom.nn.elastic.table import measure_accuracy, measure_table, num_parameters, settings_digest
from airloom.nn.tolerance import Samples
from airloom.planner.pareto import pareto_front
from airloom.wire.weights import chunk_labels, decode_part, encode_part

FEW = ("fp32", "int8", "bits-4", "bits-8")


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> ElasticModel:
    """A thin ResNet-20 with statistics of its own at depths 3 and 6: as many blocks of each group."""
    made = elastic(
        zoo.build("resnet20", width=4, seed=1), zoo.example_inputs("resnet20", batch=2, width=4), order="groups"
    )
    recalibrate(made, [torch.from_numpy(pictures(16, 5))], (3, 6, 9))
    return made.eval()


@pytest.fixture(scope="module")
def samples(model: ElasticModel) -> Samples:
    """Pictures labelled with what the whole model answers, all but a few."""
    x = pictures(40, 7)
    with torch.inference_mode():
        labels = model(torch.from_numpy(x)).argmax(1).numpy()
    labels[:4] = (labels[:4] + 1) % 10
    return Samples((x,), labels)


def direct(model: ElasticModel, precision: str) -> ElasticModel:
    """A copy with every part decoded by itself, chunk after chunk."""
    copied = copy.deepcopy(model)
    state = copied.state_dict()
    for name, arrays in zip(part_names(model), part_arrays(model), strict=True):
        part = None
        for encoding in encodings_of(precision):
            labels = chunk_labels("net", name, encoding)
            part = decode_part(encode_part(arrays, encoding, labels=labels), encoding, labels=labels, previous=part)
        assert part is not None
        state |= {key: torch.from_numpy(np.array(array)) for key, array in part.arrays.items()}
    copied.load_state_dict(state)
    return copied


def same_weights(one: ElasticModel, other: ElasticModel) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_every_configuration_is_measured_with_what_arrives(model: ElasticModel, samples: Samples) -> None:
    table = measure_table(model, samples, model="net", precisions=FEW, latency_seconds=0)
    assert [c.name for c in table.configurations] == [f"{d}/{p}" for p in FEW for d in (3, 6, 9)]
    for c in table.configurations:
        assert c.accuracy == measure_accuracy(direct(model, c.precision), samples, c.depth)
    assert table.front == pareto_front(table.configurations)
    assert (table.samples, table.metric, table.device) == (40, "top-1", "")
    assert table.order == model.order
    assert table.blocks == model.blocks
    whole = next(c for c in table.configurations if c.name == "9/fp32")
    assert whole.accuracy == 0.9
    assert whole.latency_s is None


def test_fp32_arrives_bit_for_bit_at_every_depth(model: ElasticModel, samples: Samples) -> None:
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.zero_()
    Arrivals(model, "net").put(copied, "fp32")
    assert same_weights(model, copied)
    x = torch.from_numpy(samples.inputs[0][:8])
    for depth in model.order.depths:
        with torch.inference_mode(), model.at(depth), copied.at(depth):
            assert torch.equal(model(x), copied(x))


@pytest.mark.parametrize("order", [("bits-4", "bits-8"), ("bits-16", "bits-6"), ("int8", "bits-12", "fp16")])
def test_planes_add_up_to_what_each_precision_is(model: ElasticModel, order: tuple[str, ...]) -> None:
    arrivals, copied = Arrivals(model, "net"), copy.deepcopy(model)
    for precision in order:
        arrivals.put(copied, precision)
        assert same_weights(copied, direct(model, precision))


def test_more_bits_are_nearer(model: ElasticModel) -> None:
    arrivals, copied = Arrivals(model, "net"), copy.deepcopy(model)
    wanted = model.state_dict()["groups.1.1.conv1.weight"]
    errors = []
    for bits in BIT_PLANES:
        arrivals.put(copied, f"bits-{bits}")
        errors.append(float((copied.state_dict()["groups.1.1.conv1.weight"] - wanted).abs().max()))
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


def test_bytes_are_those_of_the_chunks(model: ElasticModel) -> None:
    arrivals, names, arrays = Arrivals(model, "net"), part_names(model), part_arrays(model)

    def size(part: int, encoding: str) -> int:
        return len(encode_part(arrays[part], encoding, labels=chunk_labels("net", names[part], encoding)))

    for precision in PRECISIONS:
        for depth in model.order.depths:
            labels = chunk_labels("net", "base", "statistics", depth)
            expected = len(encode_part(statistics_arrays(model)[depth], "statistics", labels=labels))
            for part in (0, *(1 + k for k in model.order.kept(depth))):
                expected += sum(size(part, encoding) for encoding in encodings_of(precision))
            assert arrivals.nbytes(depth, precision) == expected


def test_parts_hold_every_weight_once(model: ElasticModel) -> None:
    parts = part_arrays(model)
    keys = [key for part in parts for key in part]
    assert len(keys) == len(set(keys))
    statistics = statistics_arrays(model)[9]
    assert {*keys, *statistics} == set(model.state_dict())
    assert not {*keys} & {*statistics}
    own = ("running_mean", "running_var", "num_batches_tracked")
    weights = [array for part in parts for key, array in part.items() if not key.endswith(own)]
    assert sum(array.size for array in weights) == num_parameters(model, 9)
    left_out = sum(block.parameters for k, block in enumerate(model.blocks) if k % 3)
    assert num_parameters(model, 3) == num_parameters(model, 9) - left_out


def test_statistics_travel_with_their_part_where_all_depths_have_the_same(model: ElasticModel) -> None:
    # Up to the first block that some depth leaves out nothing depends on the depth.
    by_depth = statistics_arrays(model)
    assert set(by_depth) == {3, 6, 9}
    own = {key.rpartition(".bn")[0] for arrays in by_depth.values() for key in arrays}
    assert own == {"groups.1.0", "groups.1.1", "groups.2.0", "groups.2.1"}  # the third of each runs at one depth only
    assert {"bn1.running_mean", "bn1.running_var"} <= set(part_arrays(model)[0])
    assert "groups.0.1.bn1.running_var" in part_arrays(model)[2]


def test_blocks_left_out_from_the_back_need_no_statistics_of_each_depth() -> None:
    made = elastic(zoo.build("resnet20", width=4, seed=1), zoo.example_inputs("resnet20", batch=2, width=4))
    recalibrate(made, [torch.from_numpy(pictures(16, 5))], made.order.depths)
    assert statistics_arrays(made) == {}
    arrivals, copied = Arrivals(made, "net"), copy.deepcopy(made)
    x = torch.from_numpy(pictures(8, 6))
    arrivals.put(copied, "fp32")
    for depth in (1, 5, 9):
        with torch.inference_mode(), made.eval().at(depth), copied.eval().at(depth):
            assert torch.equal(made(x), copied(x))
        sizes = [len(encode_part(p, "int8", labels=chunk_labels("net", n, "int8")))
                 for n, p in zip(part_names(made), part_arrays(made), strict=True)]  # fmt: skip
        assert arrivals.nbytes(depth, "int8") == sum(sizes[: 1 + depth])


def test_what_is_known_is_not_measured_again(model: ElasticModel, samples: Samples) -> None:
    whole = measure_table(model, samples, model="net", precisions=FEW, latency_seconds=0)
    known = [c for c in whole.configurations if c.name in ("3/fp32", "6/int8", "9/bits-8")]
    seen: list[Configuration] = []
    passes: list[int] = []
    again = measure_table(
        model, samples, model="net", precisions=FEW, latency_seconds=0, known=known, finished=seen.append,
        advance=passes.append, batch=16,
    )  # fmt: skip
    assert again == whole
    assert {c.name for c in seen} == {c.name for c in whole.configurations} - {c.name for c in known}
    assert sum(passes) == 40 * len(seen)
    assert max(passes) == 16


def test_latency_once_a_depth_and_macs_of_what_runs(model: ElasticModel, samples: Samples) -> None:
    table = measure_table(model, samples.first(2), model="net", precisions=("fp32", "bits-4"), latency_seconds=0.02)
    assert table.device.endswith("1 thread")
    by_name = {c.name: c for c in table.configurations}
    base = set()
    for depth in (3, 6, 9):
        latency_s = by_name[f"{depth}/fp32"].latency_s
        assert latency_s is not None
        assert 0 < latency_s < 1
        assert by_name[f"{depth}/bits-4"].latency_s == latency_s
        base.add(by_name[f"{depth}/fp32"].macs - sum(block.macs for block in model.running(depth)))
    # The first layer's 3x3 kernels over 32x32 pixels of 3 colours, and the last one's 10 classes.
    assert base == {32 * 32 * 4 * 27 + 16 * 10}


def test_graphs_are_timed_as_the_executor_runs_them(model: ElasticModel, samples: Samples) -> None:
    one = (torch.from_numpy(samples.inputs[0][:1]),)
    _, captured = captured_depths(model, one, (3, 9))
    timed = measure_latencies(model, one, captured, as_graph=True, seconds=0.02)
    assert set(timed) == {3, 9}
    assert timed[3] < timed[9]
    assert measure_latencies(model, one, captured, seconds=0) == {}


def test_the_model_stays_as_it_is(model: ElasticModel, samples: Samples) -> None:
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with model.at(6):
        statistics = {key: tensor.clone() for key, tensor in model.statistics(3).items()}
        measure_table(model, samples.first(4), model="net", precisions=("bits-4",), latency_seconds=0)
        assert model.depth == 6
        assert all(torch.equal(tensor, statistics[key]) for key, tensor in model.statistics(3).items())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_score_of_ones_own(model: ElasticModel, samples: Samples) -> None:
    def half(outputs: torch.Tensor, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.full(len(labels), 0.5)

    table = measure_table(
        model, samples.first(3), model="net", depths=(3,), precisions=("fp32",), latency_seconds=0, score=half,
        metric="half",
    )  # fmt: skip
    assert [c.accuracy for c in table.configurations] == [0.5]
    assert table.metric == "half"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"depths": (4,)}, "no depth 4"),
        ({"depths": ()}, "no depth to measure"),
        ({"precisions": ("fp8",)}, "no precision 'fp8'"),
        ({"precisions": ()}, "no precision to measure"),
        ({"batch": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_measured(model: ElasticModel, samples: Samples, wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        measure_table(model, samples, model="net", latency_seconds=0, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no samples"):
        measure_table(model, samples.first(0), model="net", latency_seconds=0)


def test_settings_tell_other_weights_statistics_and_samples_apart(model: ElasticModel, samples: Samples) -> None:
    def settings(elastic: ElasticModel, some: Samples, metric: str = "top-1") -> str:
        return settings_digest(
            elastic, some, model="net", metric=metric, batch=10, threads=1, torch_device="cpu"
        )  # fmt: skip

    first = settings(model, samples)
    assert first == settings(copy.deepcopy(model), samples)
    weights, statistics = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        next(weights.parameters()).view(-1)[0] += 1
    statistics.load_statistics(3, {k: t + 1 for k, t in statistics.statistics(3).items()})
    others = [settings(weights, samples), settings(statistics, samples), settings(model, samples.first(9)),
              settings(model, samples, "other")]  # fmt: skip
    assert len({first, *others}) == 5
