"""Training over real processes on 127.0.0.1: sealed links through a relay, a plan that changes, a host that dies."""

import msgspec
import numpy as np
import pytest
from training_cases import batches_of, line_of, profile_for, small, spec_of
from training_pump import plan_of

from airloom.deployment import DeployOptions
from airloom.deployment.training import TrainingDeployment
from airloom.errors import AirloomError, ConfigError, RequestError
from airloom.nn.training import train_whole
from airloom.nn.training.batches import Batches
from airloom.nn.training.checkpoint import differing, load_checkpoint, weights_of
from airloom.report.folder import read_run
from airloom.training import Interrupted, train_split


@pytest.fixture(scope="module")
def network():
    captured = small("resnet20", width=4, batch=4)
    spec = spec_of(captured, momentum=0.9, patience_s=10.0)
    return captured, spec, profile_for(captured, spec)


def lossy(*names):
    topology = line_of(*names, rate_bps=200e6, delay_s=0.001)
    links = tuple(msgspec.structs.replace(link, loss=0.05, burst_s=0.005) for link in topology.links)
    return msgspec.structs.replace(topology, links=links)


def test_split_training_over_lossy_links_is_exact_also_when_the_plan_changes(network):
    captured, spec, profile = network
    batches, last = batches_of(captured, spec), captured.graph.num_operators
    whole = train_whole(captured, batches, 4, spec)
    with TrainingDeployment(
        captured, lossy("ue", "gnb", "cloud"), profile, options=DeployOptions(training=spec)
    ) as net:
        with pytest.raises(RequestError, match="no plan is in force"):
            net.train_step(*batches(0))
        net.follow(plan_of(profile, ("ue", "gnb", "cloud"), (20, 60, last)))
        losses = [net.train_step(*batches(k)).loss for k in range(2)]
        with pytest.raises(ConfigError, match="labels are"):
            net.train_step(batches(2)[0], np.zeros(3, dtype=np.int64))
        net.follow(plan_of(profile, ("ue", "cloud"), (40, last)))
        losses += [net.train_step(*batches(k)).loss for k in range(2, 4)]
        found = weights_of(captured.graph, net.state())
    assert tuple(losses) == whole.losses
    assert not differing(found, whole.weights)


@pytest.mark.long
def test_a_host_that_dies_ends_the_step_and_the_rest_still_answers(network):
    captured, spec, profile = network
    batches, last = batches_of(captured, spec), captured.graph.num_operators
    topology = line_of("ue", "gnb", "cloud")
    options = DeployOptions(training=spec, transport="tcp")
    with TrainingDeployment(captured, topology, profile, options=options) as net:
        net.follow(plan_of(profile, ("ue", "gnb"), (30, last)))
        net.train_step(*batches(0))
        net.kill("gnb")
        with pytest.raises(RequestError, match=r"step 1: .*gnb"):
            net.train_step(*batches(1))
        with pytest.raises(AirloomError, match="gnb"):
            net.follow(plan_of(profile, ("ue",), (last,)))


@pytest.mark.long
def test_from_plan_to_run_folder_stopped_and_gone_on(network, tmp_path):
    captured, spec, profile = network
    graph = captured.graph
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
    batches = Batches(graph, spec, [samples], rng.integers(0, 10, 24), seed=4)
    plans = [
        plan_of(profile, ("ue", "cloud"), (30, graph.num_operators)),
        plan_of(profile, ("cloud",), (graph.num_operators,)),
    ]
    arguments = {"profiles": {"": profile}, "plan": plans[0], "checkpoint": tmp_path / "c.safetensors"}
    count = iter(range(100))
    with pytest.raises(Interrupted) as stopped:
        train_split(
            captured, line_of("ue", "cloud"), batches, spec, 4, **arguments, stop=lambda: next(count) >= 2,
            folder=tmp_path / "run",
        )  # fmt: skip
    assert stopped.value.trained.step == 2
    held, state = load_checkpoint(tmp_path / "c.safetensors", graph, spec)
    trained = train_split(
        captured, line_of("ue", "cloud"), batches, spec, 2, **arguments, replan={3: plans[1]},
        resume=(held.step, state, held.losses), folder=tmp_path / "run",
    )  # fmt: skip
    whole = train_whole(captured, batches, 4, spec)
    assert trained.losses == whole.losses
    assert not differing(trained.weights, whole.weights)
    assert [one.step for one in trained.plans] == [2, 3]
    # From a checkpoint all that a stage needs travels to it; then the first half of the weights and their momentum.
    assert 0 < trained.plans[1].moved_nbytes < trained.plans[0].moved_nbytes + trained.plans[1].moved_nbytes
    assert trained.sent("forward") > 0 < trained.sent("backward")
    summary = read_run([tmp_path / "run"]).summary()
    assert [phase.requests for phase in summary.schemes[0].phases] == [1, 1]
