"""Training of elastic networks: what a step touches, what it costs, and that it learns."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from elastic_nets import CLASSES, conv_net, pictures, regression
from torch.utils.flop_counter import FlopCounterMode

from airloom.errors import ConfigError
from airloom.nn.elastic.augment import crop_flip
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.recipe import Recipe, Sandwich, Soft
from airloom.nn.elastic.sandwich import Gradients, soft_loss
from airloom.nn.elastic.training import TrainingStep, train_elastic
from airloom.nn.training.optimiser import make_optimiser
from airloom.planner.depths import Full, FullOrLess, Uniform

X, Y = pictures(64)
QUICK = Recipe(epochs=1, batch=32, lr=0.05, recalibrate=2)


def _batch(count: int = 32) -> tuple[list[torch.Tensor], torch.Tensor]:
    return [torch.from_numpy(X[0][:count])], torch.from_numpy(Y[:count])


def _gradients(model: ElasticModel, recipe: Recipe, depths: tuple[int, ...], **options: Any) -> dict[str, Any]:
    model.train()
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    Gradients(model, recipe, **options).add(*_batch(), depths)
    return {name: None if w.grad is None else w.grad.clone() for name, w in model.named_parameters()}


# --- what a step touches --------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_skipped_blocks_stay_as_they_are_and_the_head_trains(depth: int) -> None:
    model = conv_net()
    recipe = Recipe(weight_decay=0.1, momentum=0.9)
    optimiser = make_optimiser(recipe.spec(), list(model.parameters()))
    model.train()
    gradients = Gradients(model, recipe)
    gradients.add(*_batch(), [4])  # every block has momentum now, which must not move it
    optimiser.step()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser.zero_grad(set_to_none=True)
    gradients.add(*_batch(), [depth])
    optimiser.step()
    after, parts = model.state_dict(), model.part_keys()
    for k, keys in enumerate(parts[1:]):
        same = all(torch.equal(before[key], after[key]) for key in keys)
        assert same == (k not in model.order.kept(depth))
    assert not torch.equal(before["fc.weight"], after["fc.weight"])
    assert not torch.equal(before["stem.weight"], after["stem.weight"])


@pytest.mark.parametrize("order", ["back", "groups"])
def test_a_step_costs_what_its_blocks_cost(order: str) -> None:
    """Skipped blocks run no operators, forwards or backwards: the training-time law."""
    model = conv_net(order=order)
    flops = {}
    for depth in (1, 2, 3, 4):
        model.zero_grad(set_to_none=True)
        with FlopCounterMode(display=False) as counter:
            Gradients(model.train(), Recipe()).add(*_batch(), [depth])
        flops[depth] = counter.get_total_flops()
    # A convolution forwards, then for its input and for its weights; batch 32 of 4x4 outputs.
    block = 3 * 2 * 32 * 16 * 8 * 8 * 9
    assert [flops[d + 1] - flops[d] for d in (1, 2, 3)] == [block] * 3


def test_depths_of_a_sandwich_share_what_they_begin_with() -> None:
    model, recipe = conv_net(), Recipe(sandwich=Sandwich())
    counted = {}
    for share in (True, False):
        model.zero_grad(set_to_none=True)
        with FlopCounterMode(display=False) as counter:
            Gradients(model.train(), recipe, share=share).add(*_batch(), [4, 1, 3])
        counted[share] = counter.get_total_flops()
    block = 3 * 2 * 32 * 16 * 8 * 8 * 9
    assert counted[False] - counted[True] >= 4 * block
    assert recipe.mean_share(model.order) == pytest.approx(1.0)


# --- sandwich and distillation --------------------------------------------------------------------


@pytest.mark.parametrize("order", ["back", "groups"])
@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_sandwich_is_the_sum_of_its_parts(order: str, weight: float, inplace: bool) -> None:
    model = conv_net(order=order, inplace=inplace)
    model.module.drop.p = 0.0  # so that passes agree on what is dropped
    recipe = Recipe(sandwich=Sandwich(weight=weight), soft=Soft(share=0.0))
    together = _gradients(model, recipe, (4, 1, 3))
    parts = [_gradients(model, Recipe(), (depth,)) for depth in (4, 1, 3)]
    for name, found in together.items():
        factors = zip((1.0, weight, weight), parts, strict=True)
        wanted = sum(f * part[name] for f, part in factors if part[name] is not None)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_writing_in_place_to_what_is_shared_ends_sharing() -> None:
    rng = np.random.default_rng(0)
    inputs = [torch.from_numpy(rng.standard_normal((8, 4), dtype=np.float32))]
    wanted = torch.from_numpy(rng.standard_normal((8, 1), dtype=np.float32))
    recipe = Recipe(sandwich=Sandwich(), soft=Soft(share=0.0), loss="mse")
    found = {}
    for share in (True, False):
        model = regression(writes=True)
        gradients = Gradients(model.train(), recipe, share=share)
        for _ in range(2):
            gradients.add(inputs, wanted, [3, 1, 2])
        assert not gradients.is_sharing
        found[share] = [w.grad for w in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(found[True], found[False], strict=True))


def test_the_full_model_learns_from_labels_and_teaches_without_learning_from_it() -> None:
    model = conv_net()
    model.module.drop.p = 0.0
    by_answers = _gradients(model, Recipe(sandwich=Sandwich(between=0), soft=Soft(share=1.0)), (4, 1))
    alone = _gradients(model, Recipe(), (4,))
    # The smallest depth has block 0 alone: what reaches blocks 1 to 3 is the full model's own loss, by labels.
    for k in (1, 2, 3):
        name = f"module.blocks.{k}.conv.weight"
        torch.testing.assert_close(by_answers[name], alone[name], rtol=1e-4, atol=1e-7)


def test_a_teacher_teaches_every_depth_and_stays_as_it_is() -> None:
    model, teacher = conv_net(), conv_net(seed=7).module
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    trained = train_elastic(model, X, Y, QUICK, teacher=teacher)
    assert trained.is_finished
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not any(w.requires_grad or w.grad is not None for w in teacher.parameters())
    taught = {n: t.clone() for n, t in model.state_dict().items()}
    untaught = conv_net()
    train_elastic(untaught, X, Y, QUICK)
    assert not torch.equal(taught["fc.weight"], untaught.state_dict()["fc.weight"])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_loss_is_the_divergence(temperature: float) -> None:
    rng = np.random.default_rng(0)
    student, teacher = (torch.from_numpy(rng.standard_normal((5, 3))) for _ in range(2))
    p = torch.softmax(teacher / temperature, -1)
    q = torch.softmax(student / temperature, -1)
    wanted = temperature**2 * float((p * (p / q).log()).sum(-1).mean())
    assert float(soft_loss(student, teacher, "cross_entropy", temperature)) == pytest.approx(wanted)
    assert float(soft_loss(teacher, teacher, "cross_entropy", temperature)) == pytest.approx(0, abs=1e-9)
    leaf = teacher.clone().requires_grad_()
    soft_loss(student.clone().requires_grad_(), leaf, "cross_entropy", temperature).backward()
    assert leaf.grad is None


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sandwich", [None, Sandwich(between=1)])
def test_it_learns_at_every_depth(sandwich: Sandwich | None) -> None:
    samples, labels = pictures(512)
    recipe = Recipe(policy=Uniform(), sandwich=sandwich, epochs=4, batch=64, lr=0.1, recalibrate=4)
    trained = train_elastic(conv_net(), samples, labels, recipe, test=pictures(200, seed=1))
    assert set(trained.scores) == {1, 2, 3, 4}
    assert min(trained.scores.values()) > 0.9
    assert trained.history[-1].loss < trained.history[0].loss


def test_ordinary_training_fails_where_blocks_are_left_out() -> None:
    """What the paper starts from; and that the test above can fail."""
    samples, labels = pictures(512)
    recipe = Recipe(policy=Full(), epochs=4, batch=64, lr=0.1, recalibrate=0)
    trained = train_elastic(conv_net(), samples, labels, recipe, test=pictures(200, seed=1))
    assert trained.scores[4] > 0.9
    assert trained.scores[1] < 0.9


def test_it_regresses() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 4), dtype=np.float32)
    y = np.sin(x[:, :1]) + 0.5 * x[:, 1:2]
    recipe = Recipe(
        policy=Uniform(), sandwich=Sandwich(), loss="mse", epochs=15, batch=64, lr=1e-2, optimizer="adam",
        weight_decay=0.0,
    )  # fmt: skip
    trained = train_elastic(regression(), [x], y, recipe, test=([x], y))
    assert max(trained.scores.values()) < 0.25 * float(y.var())


def test_bf16_keeps_weights_in_fp32() -> None:
    model = conv_net()
    trained = train_elastic(
        model, X, Y, Recipe(epochs=1, batch=32, lr=0.05, precision="bf16", channels_last=True, sandwich=Sandwich())
    )
    assert trained.is_finished
    assert {w.dtype for w in model.parameters()} == {torch.float32}


def test_the_seed_decides() -> None:
    def weights(seed: int) -> torch.Tensor:
        model = conv_net()
        torch.rand(3)  # whatever else draws random numbers here
        recipe = Recipe(policy=Uniform(), epochs=1, batch=16, lr=0.05, seed=seed, augment="crop-flip")
        train_elastic(model, X, Y, recipe)
        return model.state_dict()["fc.weight"]

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_training_leaves_random_numbers_and_threads_alone() -> None:
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train_elastic(conv_net(seed=5), X, Y, Recipe(epochs=1, batch=32, threads=2))
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_history_says_what_was_done() -> None:
    steps: list[TrainingStep] = []
    recipe = Recipe(policy=FullOrLess(full=0.5), epochs=2, batch=16, lr=0.1, milestones=(0.5,), seed=3)
    trained = train_elastic(conv_net(), X, Y, recipe, test=(X, Y), test_every=1, progress=steps.append)
    assert len(steps) == 8
    assert [step.lr for step in steps] == pytest.approx([0.1] * 4 + [0.01] * 4)
    assert steps[-1].rest_s == 0
    for number, epoch in enumerate(trained.history):
        mine = [step for step in steps if step.epoch == number]
        assert epoch.loss == pytest.approx(np.mean([loss for step in mine for loss in step.losses]))
        assert epoch.share == pytest.approx(np.mean([step.depths[0] / 4 for step in mine]))
        assert set(epoch.scores) == {1, 2, 3, 4}


def test_looking_after_each_epoch_changes_nothing() -> None:
    recipe = Recipe(policy=Uniform(), epochs=2, batch=16, lr=0.05, ema=0.9, recalibrate=2)
    looked, other = conv_net(), conv_net()
    train_elastic(looked, X, Y, recipe, test=(X, Y), test_every=1, test_depths=[2])
    train_elastic(other, X, Y, recipe)
    assert all(torch.equal(t, other.state_dict()[n]) for n, t in looked.state_dict().items())


def test_each_depth_gets_its_statistics_or_shares_them() -> None:
    model, shared = conv_net(), conv_net()
    train_elastic(model, X, Y, QUICK)
    # No norm stands behind a block: what is taken for the whole model holds at every depth.
    assert model.statistics_depths == ()
    train_elastic(shared, X, Y, msgspec.structs.replace(QUICK, recalibrate=0))
    for depth in (1, 4):
        taken, running = model.statistics(depth), shared.statistics(depth)
        assert not any(torch.equal(taken[k], running[k]) for k in taken if k.endswith("running_mean"))
    model.load_statistics(2, {k: t + 1 for k, t in model.statistics(2).items()})
    train_elastic(model, X, Y, msgspec.structs.replace(QUICK, recalibrate=0))
    assert model.statistics_depths == ()


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "labels", "changes", "says"),
    [
        (X, Y[:-1], {}, "64 samples, 63 labels"),
        (X, Y + CLASSES, {}, "labels go from 0 to 3"),
        (X, Y.astype(np.float32), {}, "integers"),
        ([X[0][:, :2]], Y, {}, "does not take samples"),
        ([X[0][:8]], Y[:8], {}, "8 samples, and a batch has 32"),
        ([X[0].astype(np.float32)], Y, {"augment": "crop-flip"}, "uint8 pictures"),
        (X, Y, {"lr": -1.0}, "learning rate"),
        (X, Y, {"milestones": (2.0,)}, "shares of all epochs"),
        (X, Y, {"ema": 1.0}, "below 1"),
        (X, Y, {"sandwich": Sandwich(between=-1)}, "sandwich"),
        (X, Y, {"soft": Soft(temperature=0)}, "temperature"),
        (X, Y, {"lr": 1e30, "epochs": 4}, "no number in step"),
    ],
)
def test_what_cannot_be_trained_is_said(arrays: Any, labels: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        train_elastic(conv_net(), arrays, labels, Recipe(**{"epochs": 1, "batch": 32, **changes}))


def test_frozen_weights_stay() -> None:
    model = conv_net()
    model.module.stem.requires_grad_(False)
    before = model.module.stem.weight.clone()
    train_elastic(model, X, Y, QUICK)
    assert torch.equal(before, model.module.stem.weight)
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="frozen"):
        train_elastic(model, X, Y, QUICK)


# --- pictures -------------------------------------------------------------------------------------


def test_pictures_are_shifted_and_mirrored() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(1, 256, (200, 3, 8, 8), dtype=np.uint8)
    found = crop_flip(whole, np.random.default_rng(1))
    assert found.shape == whole.shape
    assert found.dtype == np.uint8
    framed = np.pad(whole, ((0, 0), (0, 0), (4, 4), (4, 4)))
    windows = np.lib.stride_tricks.sliding_window_view(framed, (8, 8), axis=(2, 3))  # [200, 3, 9, 9, 8, 8]
    as_they_are = (windows == found[:, :, None, None]).all(axis=(1, 4, 5)).any(axis=(1, 2))
    mirrored = (windows == found[:, :, None, None, :, ::-1]).all(axis=(1, 4, 5)).any(axis=(1, 2))
    assert (as_they_are | mirrored).all()
    assert 70 < mirrored.sum() < 130
