"""One trainer: what it gives back, what it goes back to, what it refuses."""

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import batches_of, profile_for, raw, small, spec_of

from airloom.core.training import LABELS, LOSS, TrainingSpec, gradient_id, state_id
from airloom.errors import CaptureError, ConfigError, ProfileMismatch, StageFailed, UserError
from airloom.nn.capture import capture
from airloom.nn.executor import StageExecutor
from airloom.nn.training import StageTrainer, needs_gradient, train_whole
from airloom.nn.training.batches import Batches
from airloom.nn.training.checkpoint import differing, load_checkpoint, save_checkpoint
from airloom.nn.training.dropout import Draws
from airloom.nn.training.sizes import with_training


@pytest.fixture(scope="module")
def branches():
    return small("branches")


def whole_trainer(captured, spec):
    trainer = StageTrainer(captured, spec)
    trainer.place(0, ((0, captured.graph.num_operators),), 0, {})
    return trainer


def one_step(trainer, batch):
    inputs, labels = batch
    data = {t: raw(x) for t, x in zip(trainer.graph.inputs, inputs, strict=True)}
    step = trainer.step
    loss = trainer.forward(step, {**data, LABELS: raw(labels)})[LOSS]
    trainer.backward(step, {})
    trainer.update(step)
    return bytes(loss)


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.weights().items()}


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.01}, {"optimizer": "adam", "lr": 0.01}])
def test_weights_agree_with_plain_pytorch(options):
    """Not bit for bit: plain PyTorch has gradients in other forms between operators."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).double()
    captured = capture(model, (torch.randn(4, 3, 8, 8, dtype=torch.float64),), name="plain", mode="train")
    spec = spec_of(captured, **options)
    batches = batches_of(captured, spec)
    found = train_whole(captured, batches, 5, spec).weights
    model.train()
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    kept = {k: v for k, v in options.items() if k in ("momentum", "weight_decay")}
    optimiser = kinds[spec.optimizer](model.parameters(), lr=spec.lr, **kept)
    for step in range(5):
        (x,), labels = batches(step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(labels)).backward()
        optimiser.step()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-10)


def test_buffers_and_frozen_weights_are_told_from_trained_ones():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    captured = capture(model, (torch.randn(3, 3),), name="frozen", mode="train")
    trained = {p.name for p in captured.graph.parameters if p.trained}
    assert trained == {"0.weight", "0.bias", "1.weight", "1.bias", "2.bias"}
    spec = spec_of(captured)
    after = train_whole(captured, batches_of(captured, spec), 2, spec).weights
    assert torch.equal(after["2.weight"], model[2].weight)
    assert not torch.equal(after["0.weight"], model[0].weight)
    assert after["1.num_batches_tracked"] == 2


def test_what_has_gradients(branches):
    graph, needs = branches.graph, needs_gradient(branches.graph)
    assert not needs & set(graph.inputs)
    assert set(graph.outputs) <= needs
    pixels = small("resnet20", width=2).graph
    first = next(
        k for k, op in enumerate(pixels.operators) if op.parameters and pixels.parameters[op.parameters[0]].trained
    )
    assert not needs_gradient(pixels) & {t for op in pixels.operators[:first] for t in op.outputs}


def test_going_back_a_step_gives_the_state_before_it(branches):
    spec = spec_of(branches, momentum=0.9)
    batches, trainer = batches_of(branches, spec), whole_trainer(branches, spec)
    one_step(trainer, batches(0))
    before = weights(trainer)
    ids = trainer.state_ids(range(len(branches.graph.parameters)))
    state = {k: bytes(v) for k, v in trainer.export(1, ids).items()}
    one_step(trainer, batches(1))
    assert differing(weights(trainer), before)
    assert {k: bytes(v) for k, v in trainer.export(1, ids).items()} == state
    assert not differing(weights(trainer), before)
    with pytest.raises(StageFailed, match="at step 1, not at 0"):
        trainer.export(0, ids)


def test_a_forward_pass_alone_changes_nothing(branches):
    spec = spec_of(branches)
    batches, trainer = batches_of(branches, spec), whole_trainer(branches, spec)
    before = weights(trainer)
    (x,), labels = batches(0)
    for _ in range(3):
        trainer.forward(0, {0: raw(x), LABELS: raw(labels)})
    assert not differing(weights(trainer), before)
    with pytest.raises(StageFailed, match="no gradients of step 0"):
        trainer.update(0)
    with pytest.raises(StageFailed, match="no forward pass of step 1"):
        trainer.backward(1, {})


def test_a_host_without_the_weights_of_a_step_says_so(branches):
    trainer = StageTrainer(branches, spec_of(branches))
    last = branches.graph.num_operators
    with pytest.raises(StageFailed, match="weights as of step 3 are not here"):
        trainer.place(3, ((0, last),), 0, {})
    trainer.place(0, ((0, last),), 0, {})
    with pytest.raises(ConfigError, match="not the 1"):
        trainer.place(0, ((0, 3),), 0, {})
    with pytest.raises(StageFailed, match=r"tensor 0 of its live set is missing"):
        trainer.forward(0, {})
    with pytest.raises(StageFailed, match="bytes"):
        trainer.forward(0, {0: raw(np.zeros(2)), LABELS: raw(np.zeros(3, dtype=np.int64))})


@pytest.mark.parametrize(
    ("id", "size", "line"),
    [
        (state_id(999), 4, "no state of a weight"),
        (gradient_id(0), 4, "no state of a weight"),
        (state_id(0), 3, "has 3 bytes"),
        (state_id(0, 5), 4, "no state of a weight"),
    ],
)
def test_state_that_cannot_be_is_refused_whole(branches, id, size, line):
    trainer = whole_trainer(branches, spec_of(branches, momentum=0.9))
    before = weights(trainer)
    good = bytes(branches.graph.parameters[1].spec.nbytes)
    with pytest.raises(ConfigError, match=line):
        trainer.load({state_id(1): good, id: bytes(size)})
    assert not differing(weights(trainer), before)


def test_a_buffer_has_no_optimiser_state(branches):
    buffer = next(k for k, p in enumerate(branches.graph.parameters) if not p.trained)
    trainer = whole_trainer(branches, spec_of(branches, momentum=0.9))
    with pytest.raises(ConfigError, match="is not trained"):
        trainer.load({state_id(buffer, 1): bytes(4)})


def test_dropout_follows_from_seed_step_and_operator():
    draws, x = Draws(5), torch.ones(2000)
    draws.step = 3
    first, mask = draws.dropout(7)(x, 0.25, True)
    again, _ = draws.dropout(7)(x, 0.25, True)
    assert torch.equal(first, again)
    assert torch.equal(first, mask / 0.75)
    assert abs(mask.double().mean() - 0.75) < 0.04
    for other in (Draws(6), draws):
        other.step = 3 if other.seed == 6 else 4
        assert not torch.equal(other.dropout(7)(x, 0.25, True)[1], mask)
    draws.step = 3
    assert not torch.equal(draws.dropout(8)(x, 0.25, True)[1], mask)
    assert torch.equal(draws.dropout(7)(x, 0.0, True)[0], x)
    assert not draws.dropout(7)(x, 1.0, True)[0].any()


def test_dropout_is_for_training():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    captured = capture(model, (torch.randn(2, 3),), name="drops", mode="train")
    assert any("native_dropout" in op.target for op in captured.graph.operators)
    with pytest.raises(UserError, match="in training only"):
        StageExecutor(captured).whole((torch.randn(2, 3),))

    class Always(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x + 1, 0.5, training=True)

    with pytest.raises(CaptureError, match="random"):
        capture(Always(), (torch.randn(2, 3),), name="always")


def test_what_cannot_be_trained():
    model = nn.Linear(3, 2)
    with pytest.raises(UserError, match="eval mode"):
        StageTrainer(capture(model, (torch.randn(2, 3),), name="m"), TrainingSpec(label_shape=(2,)))
    captured = capture(model, (torch.randn(2, 3),), name="m", mode="train")
    with pytest.raises(ConfigError, match=r"labels are \[3\]"):
        StageTrainer(captured, TrainingSpec(label_shape=(3,)))
    bare = capture(nn.ReLU(), (torch.randn(2, 3),), name="bare", mode="train")
    with pytest.raises(UserError, match="no weights to train"):
        StageTrainer(bare, TrainingSpec(label_shape=(2,)))


def test_a_checkpoint_goes_on_where_it_was(branches, tmp_path):
    spec = spec_of(branches, optimizer="adam", lr=0.01)
    batches, trainer = batches_of(branches, spec), whole_trainer(branches, spec)
    for step in range(2):
        one_step(trainer, batches(step))
    path = tmp_path / "c.safetensors"
    state = trainer.export(2, trainer.state_ids(range(len(branches.graph.parameters))))
    save_checkpoint(path, branches.graph, spec, 2, state, (1.0, 0.5))
    held, read = load_checkpoint(path, branches.graph, spec)
    assert (held.step, held.losses) == (2, (1.0, 0.5))
    assert {k: bytes(v) for k, v in read.items()} == {k: bytes(v) for k, v in state.items()}
    went_on = train_whole(branches, batches, 2, spec, first_step=2, state=read)
    assert not differing(went_on.weights, train_whole(branches, batches, 4, spec).weights)
    with pytest.raises(ConfigError, match="optimiser is adam"):
        load_checkpoint(path, branches.graph, spec_of(branches))
    other = small("branches", batch=2)
    with pytest.raises(ProfileMismatch, match="another model"):
        load_checkpoint(path, other.graph, spec)
    path.write_bytes(b"nonsense" * 4)
    with pytest.raises(ConfigError, match="no checkpoint"):
        load_checkpoint(path, branches.graph, spec)


def test_batches_are_the_same_for_everybody_and_cover_a_pass(branches):
    spec = spec_of(branches)
    samples, labels = np.arange(60, dtype=np.float32).reshape(10, 6), np.arange(10) % 4
    one, two = (Batches(branches.graph, spec, [samples], labels, seed=1) for _ in range(2))
    rows = [one(step)[0][0][:, 0] / 6 for step in range(3)]
    assert len({float(k) for row in rows for k in row}) == 9
    assert all(np.array_equal(two(step)[0][0], one(step)[0][0]) for step in (5, 2, 9))
    assert not np.array_equal(one(0)[0][0], one(3)[0][0])
    for arrays, given, line in [
        ([samples], labels[:5], "10 samples and 5 labels"),
        ([samples], labels + 7, "labels go from 0 to 3"),
        ([samples], labels * 0.5, "integers"),
        ([samples[:2]], labels[:2], "a batch has 3"),
        ([samples[:, :5]], labels, "takes"),
        ([samples, samples], labels, "2 arrays"),
    ]:
        with pytest.raises(ConfigError, match=line):
            Batches(branches.graph, spec, arrays, given)


def test_a_profile_for_training_has_gradients_owners_and_state(branches):
    spec = spec_of(branches, optimizer="adam", lr=0.1)
    found, graph = profile_for(branches, spec), branches.graph
    assert found.optimizer == "adam"
    assert found.cuts[0].gradient_nbytes == (0,)
    assert any(found.cuts[5].gradient_nbytes)
    for weight, parameter in zip(found.weights, graph.parameters, strict=True):
        assert weight.trained == parameter.trained
        assert weight.state_nbytes == (2 * weight.nbytes + 4 if parameter.trained else 0)
    shared = next(k for k, p in enumerate(graph.parameters) if p.name == "shared.weight")
    assert len(found.weights[shared].operators) == 2
    other = small("branches", batch=2).graph
    with pytest.raises(ProfileMismatch):
        with_training(found, other, spec)


def test_a_buffer_cannot_be_read_on_one_host_and_written_on_another():
    class Ema(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.register_buffer("ema", torch.zeros(3))

        def forward(self, x):
            y = self.linear(x + self.ema)
            self.ema.copy_(0.9 * self.ema + 0.1 * torch.tanh(y).mean(0))
            return y

    captured = capture(Ema(), (torch.randn(4, 3),), name="ema", mode="train")
    trainer, last = StageTrainer(captured, spec_of(captured)), captured.graph.num_operators
    trainer.place(0, ((0, last),), 0, {})
    with pytest.raises(ConfigError, match="buffer 'ema'"):
        trainer.place(0, ((0, 1), (1, last)), 0, {})
