"""A model that is called while it arrives: upgrades between calls, shrinks, and what a real network does."""

import ast
import threading
import time
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from client_models import KEY, PUBLIC, SumRunner, hosted, write_weights

import airloom
from airloom.deliver import running
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.model import ProgressiveModel, fetch_model
from airloom.errors import ConfigError, DeliveryError, Infeasible


@pytest.fixture
def options(tmp_path):
    return FetchOptions(cache=tmp_path / "cache", stall_timeout_s=0.5, patience_s=2.0, connect_timeout_s=1.0)


@pytest.fixture
def sums(monkeypatch):
    monkeypatch.setattr(running, "make_runner", SumRunner)


def opened(source, options, **wanted):
    return ProgressiveModel.open(source, key=PUBLIC, options=options, **wanted)


def names(model, kind="usable"):
    return [event.configuration.name for event in model.history if event.kind == kind]


# --- with a runner that needs no torch --------------------------------------------------------


def test_the_best_arrives_by_steps_that_each_answer(tmp_path, options, sums):
    manifest = write_weights(tmp_path / "m", blocks=8)
    with hosted(tmp_path / "m") as host:
        host.pace, host.nap_s = 4000, 0.003
        seen = []
        with opened(host.url, options, on_event=seen.append) as model:
            first = model.wait_ready(10)
            assert model(None)[0] == first.depth
            assert first.nbytes <= 0.25 * model.target.nbytes
            last = model.wait(10)
            assert last == model.target == model.configuration
            assert last.accuracy == max(c.accuracy for c in manifest.configurations)
            assert model(None)[0] == 8
            accuracies = [e.configuration.accuracy for e in model.history if e.kind == "usable"]
            assert accuracies == sorted(accuracies)
            assert len(accuracies) > 2
            assert model.done
            assert model.fault is None
            assert model.history[-1].kind == "done"
            fetched = [e.fetched_nbytes for e in seen]
            assert fetched == sorted(fetched)
            assert model.fetched_nbytes == seen[-1].needed_nbytes
            assert [e.kind for e in model.history] == [e.kind for e in seen if e.kind != "bytes"]


def test_nothing_is_called_before_the_first_or_after_the_last(tmp_path, options, sums):
    write_weights(tmp_path / "m")
    gate = threading.Event()
    with hosted(tmp_path / "m") as host:
        host.fault = lambda handler, file, start: file.startswith("chunks/") and not gate.wait(5)
        model = opened(host.url, options)
        with pytest.raises(DeliveryError, match="wait_ready"):
            model(None)
        with pytest.raises(DeliveryError, match="nothing runs"):
            model.wait_ready(0.05)
        with pytest.raises(ConfigError, match="nothing runs yet"):
            model.shrink(1)
        with pytest.raises(DeliveryError, match="nothing runs yet"):
            model.weights()
        gate.set()
        model.wait(10)
        model.close()
        with pytest.raises(DeliveryError, match="closed"):
            model(None)
        with pytest.raises(DeliveryError, match="closed"):
            model.upgrade(depth=1)
        with pytest.raises(DeliveryError, match="closed"):
            model.wait()


def test_more_is_asked_for_later_and_only_what_lacks_travels(tmp_path, options, sums):
    manifest = write_weights(tmp_path / "m", blocks=6)
    with hosted(tmp_path / "m") as host:
        with opened(host.url, options, depth=2, precision="bits-4") as model:
            assert model.wait(10).name == "2/bits-4"
            before = model.fetched_nbytes
            target = model.upgrade(depth=5, precision="bits-6")
            assert target.name == "5/bits-6"
            assert model.wait(10) == target
            # What it passes on the way may need statistics that the target does not.
            needs = {k for c in model.manifest.configurations if c.name in names(model) for k in manifest.chunks_of(c)}
            assert model.fetched_nbytes == sum(manifest.chunks[k].nbytes for k in needs)
            assert model.fetched_nbytes > before
            full = model.upgrade(accuracy=0.9)
            assert model.wait(10) == full
            assert full.accuracy >= 0.9
        for _, count in host.sent.items():
            assert count > 0
        for chunk in manifest.chunks:
            assert host.sent.get(chunk.file, 0) in (0, chunk.nbytes)


def test_less_runs_at_once_without_the_network_and_more_again(tmp_path, options, sums):
    write_weights(tmp_path / "m", blocks=6)
    with hosted(tmp_path / "m") as host:
        model = opened(host.url, options, precision="fp32")
        model.wait(10)
        whole = model(None)
        held = model.available()
        host.close()
        smaller = model.shrink(3)
        assert smaller in held
        assert smaller.depth <= 3
        assert model.configuration == smaller == model.target
        assert model(None)[0] == smaller.depth
        assert names(model, "shrunk") == [smaller.name]
        with pytest.raises(ConfigError, match="at most 0 blocks"):
            model.shrink(0)
        with pytest.raises(ConfigError, match="fp16"):
            model.shrink(6, "fp16")
        assert model(None)[0] == smaller.depth
        model.upgrade(depth=6, precision="fp32")
        model.wait(10)
        assert model(None) == whole
        model.close()


def test_from_the_cache_nothing_travels(tmp_path, options, sums):
    write_weights(tmp_path / "m")
    with hosted(tmp_path / "m") as host:
        with fetch_model(host.url, key=PUBLIC, options=options) as model:
            value = model(None)
        with fetch_model(host.url, key=PUBLIC, options=options) as model:
            assert model(None) == value
            assert model.fetched_nbytes == 0


@pytest.mark.parametrize("precisions", [("fp32", "bits-4", "bits-6", "bits-8"), ("int8", "fp16")])
def test_every_way_to_a_configuration_gives_the_same_weights(tmp_path, options, sums, precisions):
    manifest = write_weights(tmp_path / "m", blocks=3, precisions=precisions)
    direct = {}
    for c in manifest.configurations:
        with opened(tmp_path / "m", options, depth=c.depth, precision=c.precision) as model:
            model.wait(10)
            direct[c.name] = model(None)
    rng = np.random.default_rng(0)
    with opened(tmp_path / "m", options, depth=1, precision=precisions[-1]) as model:
        for k in rng.integers(0, len(manifest.configurations), 40):
            c = manifest.configurations[k]
            model.upgrade(depth=c.depth, precision=c.precision)
            assert model.wait(10) == c
            assert model(None) == direct[c.name]
            row = model.shrink(int(rng.integers(1, 4)))
            assert model(None) == direct[row.name]


def test_a_deadline_and_a_rate_choose(tmp_path, options, sums):
    manifest = write_weights(tmp_path / "m", blocks=6, precisions=("fp32",))
    half = manifest.configurations[2]
    with opened(tmp_path / "m", options, deadline_s=1.0, rate_bps=8.0 * 1.15 * half.nbytes) as model:
        assert model.target == half
        assert model.wait(10) == half
    with pytest.raises(Infeasible):
        opened(tmp_path / "m", options, max_nbytes=10)
    with pytest.raises(ConfigError, match="no depth 9"):
        opened(tmp_path / "m", options, depth=9)
    with pytest.raises(ConfigError, match="speed"):
        opened(tmp_path / "m", options, speed=3)


def test_a_rate_that_nobody_knows_is_measured(tmp_path, options, sums):
    write_weights(tmp_path / "m", blocks=8, rows=256, precisions=("fp32",))
    with hosted(tmp_path / "m") as host:
        host.pace, host.nap_s = 8192, 0.01  # about 6 Mbit/s
        with opened(host.url, options, deadline_s=0.6) as model:
            reached = model.wait(10)
            assert 1 <= reached.depth < 8
            assert model.rate_bps == pytest.approx(6e6, rel=0.5)
            usable = [e.at_s for e in model.history if e.kind == "usable"][-1]
            assert usable < 1.5


def test_an_event_that_raises_is_a_fault_that_can_be_seen(tmp_path, options, sums):
    write_weights(tmp_path / "m")

    def fail(event):
        if event.kind == "usable":
            raise RuntimeError("the program's own mistake")

    with opened(tmp_path / "m", options, on_event=fail) as model:
        with pytest.raises(RuntimeError, match="own mistake"):
            model.wait(10)
        assert model.fault is not None
        assert model(None)  # what was prepared runs
        assert model._running.runner.settled == 1  # and what is prepared next is not what runs


def test_closing_stops_a_host_that_hangs(tmp_path, options, sums):
    write_weights(tmp_path / "m")
    with hosted(tmp_path / "m") as host:
        host.fault = lambda handler, file, start: file.startswith("chunks/") and bool(time.sleep(3) or True)
        model = opened(host.url, FetchOptions(cache=options.cache, stall_timeout_s=30.0))
        time.sleep(0.1)
        began = time.monotonic()
        model.close()
        model.close()
        assert time.monotonic() - began < 1.0


# --- with a network ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from airloom import zoo
    from airloom.deliver.packing import pack
    from airloom.nn.elastic import elastic

    folder = tmp_path_factory.mktemp("network")
    example = zoo.example_inputs("resnet20", 1, width=4)
    whole = elastic(zoo.build("resnet20", "random", width=4), example, order="groups")
    with torch.no_grad():
        for depth in whole.order.depths:
            found = {k: t + 0.01 * depth if t.is_floating_point() else t for k, t in whole.statistics(depth).items()}
            whole.load_statistics(depth, found)
    for name, zoo_name in (("named", "resnet20"), ("graph", "")):
        pack(
            whole, folder / name, name=name, key=KEY, example_inputs=example, zoo=zoo_name,
            options={"width": 4} if zoo_name else None, precisions=("fp32", "bits-4", "bits-8"),
        )  # fmt: skip
    return folder, whole, example


@pytest.mark.parametrize("name", ["named", "graph"])
def test_a_network_answers_as_the_elastic_model_at_every_depth(network, options, name):
    import torch

    folder, whole, example = network
    with opened(folder / name, options, depth=9, precision="fp32") as model, torch.no_grad():
        model.wait(60)
        for depth in (9, 3, 6, 9):
            model.upgrade(depth=depth, precision="fp32")
            model.wait(60)
            with whole.at(depth):
                expected = whole(*example)
            if name == "named":
                assert torch.equal(model(*example), expected)
            else:
                assert torch.allclose(model(*example), expected, rtol=1e-4, atol=1e-5)
        model.upgrade(depth=9, precision="bits-4")
        model.wait(60)
        coarse = model(*example)
        model.upgrade(depth=9, precision="bits-8")
        model.wait(60)
        fine = model(*example)
        assert 0 < (fine - expected).abs().max() < (coarse - expected).abs().max()


def test_calls_from_threads_see_one_configuration_or_the_other(network, options):
    import torch

    folder, whole, example = network
    expected = []
    with torch.no_grad():
        for depth in whole.order.depths:
            with whole.at(depth):
                expected.append(whole(*example))
    with opened(folder / "named", options, depth=9, precision="fp32") as model:
        model.wait(60)
        over, wrong, calls = threading.Event(), [], []

        def call():
            with torch.no_grad():
                while not over.is_set():
                    found = model(*example)
                    calls.append(1)
                    if not any(torch.equal(found, y) for y in expected):
                        wrong.append(found)

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        for k in range(30):
            if k % 2:
                model.upgrade(depth=9, precision="fp32")
                model.wait(60)
            else:
                model.shrink((3, 6)[k % 4 // 2])
        over.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(calls) > 30


def test_weights_are_not_copied_and_not_kept_twice(network, options):
    folder, _, example = network
    with opened(folder / "named", options, depth=3, precision="fp32") as model:
        model.wait(60)
        tree = model._running.runner._now.elastic.module
        before = {name: p.data_ptr() for name, p in tree.named_parameters()}
        part = model._running.arrived._parts[0, "fp32"].arrays["conv1.weight"]
        assert before["conv1.weight"] == part.ctypes.data
        model.upgrade(depth=9, precision="fp32")
        model.wait(60)
        for tree in (model._running.runner._now, model._running.runner._beside):
            now = {name: p.data_ptr() for name, p in tree.elastic.module.named_parameters()}
            assert now["conv1.weight"] == before["conv1.weight"]
            assert now["groups.0.0.conv1.weight"] == before["groups.0.0.conv1.weight"]
        assert model._running.runner._now.elastic.module is not model._running.runner._beside.elastic.module
        assert model(*example).shape == (1, 10)


@pytest.mark.parametrize("name", ["named", "graph"])
def test_what_runs_is_a_captured_model_for_everything_else(network, options, tmp_path, name):
    import torch

    from airloom.deliver.export import write_captured
    from airloom.nn.executor import StageExecutor
    from airloom.nn.models import load_captured

    folder, _, example = network
    with opened(folder / name, options, depth=6, precision="fp32") as model:
        model.wait(60)
        write_captured(model, tmp_path / "out")
        captured = load_captured(str(tmp_path / "out"))
        assert torch.allclose(StageExecutor(captured).whole(example)[0], model(*example), rtol=1e-4, atol=1e-5)
        assert (tmp_path / "out" / "weights.safetensors").is_file()


def test_weights_of_the_whole_go_to_the_zoo(network, options, tmp_path):
    import torch

    from airloom import zoo
    from airloom.deliver.export import write_captured

    folder, whole, example = network
    with opened(folder / "named", options, depth=9, precision="fp32") as model:
        model.wait(60)
        write_captured(model, tmp_path / "out")
    module = zoo.build("resnet20", str(tmp_path / "out" / "weights.safetensors"), width=4)
    with torch.no_grad(), whole.at(9):
        assert torch.equal(module(*example), whole(*example))


def test_a_graph_says_for_which_batch_it_is(network, options):
    import torch

    folder, _, example = network
    with opened(folder / "graph", options, depth=3, precision="fp32") as model:
        model.wait(60)
        with pytest.raises(ConfigError, match="is a graph for"):
            model(torch.cat([*example, *example]))
        with pytest.raises(ConfigError, match="2 inputs"):
            model(*example, *example)


def test_a_program_finds_it_under_one_name():
    assert airloom.ProgressiveModel is ProgressiveModel
    assert airloom.fetch_model is fetch_model


def test_no_file_of_delivery_imports_one_that_imports_it():
    folder = Path(airloom.__file__).parent / "deliver"
    names = {
        ".".join(("airloom", "deliver", *p.relative_to(folder).with_suffix("").parts)): p for p in folder.rglob("*.py")
    }
    imports = {
        name: {n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)} & set(names)
        for name, path in names.items()
    }
    imports["airloom.deliver.export"].discard("airloom.deliver.model")  # for types alone
    TopologicalSorter(imports).prepare()
