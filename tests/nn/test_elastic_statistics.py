"""Batch norm's statistics, one set for each depth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from block_nets import Chain, rows
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.core.depth import DepthOrder
from airloom.errors import ConfigError
from airloom.nn.elastic import ElasticModel, find_blocks, recalibrate


class Normed(nn.Module):
    """Residual layers with a batch norm, one before them and dropout."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.norm, self.two = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.two(F.relu(self.norm(self.one(x))))

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8, momentum=0.3)
        self.middle = nn.Sequential(*[Normed.Layer() for _ in range(3)])
        self.drop, self.after, self.last = nn.Dropout(0.5), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.after(self.drop(self.middle(self.norm(self.first(x))))))


BLOCKS = find_blocks(Normed(), rows())


def _model() -> ElasticModel:
    return ElasticModel(Normed(), BLOCKS)


def _batches() -> list[tuple[Tensor, ...]]:
    return [(torch.randn(16, 6, generator=torch.Generator().manual_seed(k)) * (1 + k),) for k in range(3)]


def test_recalibrated_statistics_are_the_means_of_the_batches() -> None:
    model = _model()
    recalibrate(model, _batches(), (1, 3))
    inner = model.module
    assert isinstance(inner, Normed)
    means, variances = [], []
    with torch.no_grad():
        for (x,) in _batches():
            y = inner.first(x)
            y = (y - y.mean(0)) / (y.var(0, unbiased=False) + 1e-5).sqrt()
            y = y * inner.norm.weight + inner.norm.bias
            z = inner.middle[0].one(y)
            z = (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()
            out = y + inner.middle[0].two(z.relu())
            means.append(out.mean(0))
            variances.append(out.var(0))
    found = model.statistics(1)
    torch.testing.assert_close(found["after.running_mean"], torch.stack(means).mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["after.running_var"], torch.stack(variances).mean(0), rtol=1e-4, atol=1e-5)
    assert found["after.num_batches_tracked"] == 3


class Counting(list[tuple[Tensor, ...]]):
    """Batches that count how often they are gone through."""

    passes = 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        self.passes += 1
        return super().__iter__()


class Plain(Normed):
    """No norm behind the last layer."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.middle(self.norm(self.first(x)))))


def test_what_no_left_out_block_changes_is_taken_once() -> None:
    batches, alone = Counting(_batches()), ElasticModel(Plain(), rows())
    model = ElasticModel(Plain(), rows())
    recalibrate(model, batches, (1, 2, 3))
    assert batches.passes == 1
    assert model.statistics_depths == ()
    for depth in (1, 2, 3):
        recalibrate(alone, _batches(), (depth,))
        for key, tensor in alone.statistics(depth).items():
            assert key.startswith("after.") or torch.equal(tensor, model.statistics(depth)[key])
    batches.passes = 0
    recalibrate(model, batches, (1, 2))  # not those of the whole: depths keep their own
    assert (batches.passes, model.statistics_depths) == (1, (1, 2))


def test_groups_have_statistics_of_their_own_behind_what_they_leave_out() -> None:
    model = ElasticModel(Normed(), BLOCKS, DepthOrder(kind="groups", arrival=(0, 2, 1), depths=(2, 3)))
    alone = ElasticModel(Normed(), BLOCKS, model.order)
    recalibrate(model, _batches(), (2, 3))
    for depth in (2, 3):
        recalibrate(alone, _batches(), (depth,))
        assert all(torch.equal(v, model.statistics(depth)[k]) for k, v in alone.statistics(depth).items())
    own, whole = model.statistics(2), model.statistics(3)
    assert all(torch.equal(own[k], whole[k]) for k in own if k.startswith(("norm.", "middle.0.")))
    assert not torch.equal(own["middle.2.norm.running_mean"], whole["middle.2.norm.running_mean"])


def test_a_depth_has_those_of_the_layers_that_run() -> None:
    model = _model()
    layers = {key.rpartition(".")[0] for key in model.statistics(1)}
    assert layers == {"norm", "middle.0.norm", "after"}
    assert len(model.statistics(3)) == 5 * 3


def test_depths_do_not_share_what_was_recalibrated() -> None:
    model, x = _model().eval(), rows(4)[0]
    with torch.no_grad():
        whole, shared = model(x), {}
        for depth in (1, 2):
            with model.at(depth):
                shared[depth] = model(x)
        recalibrate(model, _batches(), (1,))
        assert torch.equal(model(x), whole)
        assert model.statistics_depths == (1,)
        with model.at(1):
            assert not torch.equal(model(x), shared[1])
        with model.at(2):
            assert torch.equal(model(x), shared[2])
        model.share_statistics()
        with model.at(1):
            assert torch.equal(model(x), shared[1])


def test_training_at_a_depth_changes_its_own_statistics_alone() -> None:
    model = _model()
    recalibrate(model, _batches(), (1,))
    before = {d: {k: v.clone() for k, v in model.statistics(d).items()} for d in (1, 2, 3)}
    model.train()
    with model.at(1):
        model(*_batches()[0])
    assert not torch.equal(model.statistics(1)["norm.running_mean"], before[1]["norm.running_mean"])
    assert all(torch.equal(v, before[2][k]) for k, v in model.statistics(2).items())
    with model.at(2):  # shares those of the whole model
        model(*_batches()[0])
    assert not torch.equal(model.statistics(3)["norm.running_mean"], before[3]["norm.running_mean"])


def test_modes_momenta_depth_and_randomness_are_left_alone() -> None:
    model = _model()
    model.set_depth(2)
    model.module.norm.eval()  # type: ignore[operator,union-attr]
    modes = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    recalibrate(model, _batches(), (1, 2, 3))
    assert torch.equal(torch.get_rng_state(), state), "dropout was on"
    assert [m.training for m in model.modules()] == modes
    assert model.module.norm.momentum == 0.3  # type: ignore[union-attr]
    assert model.depth == 2


def test_statistics_travel() -> None:
    model, other = _model(), _model()
    recalibrate(model, _batches(), (1, 2, 3))
    for depth in (1, 2, 3):
        other.load_statistics(depth, model.statistics(depth))
    recalibrate(model, [_batches()[0]], (1,))  # a copy was loaded
    recalibrate(model, _batches(), (1,))
    for depth in (1, 2, 3):
        assert all(torch.equal(v, model.statistics(depth)[k]) for k, v in other.statistics(depth).items())
    x = rows(4)[0]
    for depth in (1, 2, 3):
        with model.at(depth), other.at(depth):
            assert torch.equal(model.eval()(x), other.eval()(x))


def test_counters_need_not_travel() -> None:
    model = _model()
    given = {k: v + 1 for k, v in model.statistics(1).items() if not k.endswith("num_batches_tracked")}
    model.load_statistics(1, given)
    assert torch.equal(model.statistics(1)["norm.running_mean"], torch.ones(8))
    assert model.statistics(1)["norm.num_batches_tracked"] == 0


def test_statistics_of_another_depth_or_model() -> None:
    model = _model()
    with pytest.raises(ConfigError, match=r"missing"):
        model.load_statistics(2, model.statistics(1))
    with pytest.raises(ConfigError, match=r"unknown 'middle.1"):
        model.load_statistics(1, model.statistics(2))
    with pytest.raises(ConfigError, match="shape"):
        model.load_statistics(1, {k: v[:2] if v.dim() else v for k, v in model.statistics(1).items()})
    with pytest.raises(ConfigError, match="no depth 7"):
        model.statistics(7)
    assert model.statistics_depths == ()


def test_nothing_to_recalibrate_with_leaves_all_as_it_was() -> None:
    model = _model()
    recalibrate(model, _batches(), (1,))
    before = {k: v.clone() for k, v in model.statistics(1).items()}
    with pytest.raises(ConfigError, match="no batch"):
        recalibrate(model, [], (1,))
    with pytest.raises(RuntimeError):
        recalibrate(model, [*_batches(), (torch.zeros(2, 5),)], (1,))
    assert all(torch.equal(v, before[k]) for k, v in model.statistics(1).items())


def test_networks_without_batch_norm_have_none() -> None:
    model = ElasticModel(Chain(), rows())
    recalibrate(model, [rows()], (1, 2, 3))
    assert model.statistics(1) == {}
    assert model.statistics_depths == ()


def test_other_precision_reaches_all_of_them() -> None:
    model = _model()
    recalibrate(model, _batches(), (1,))
    model.set_depth(1)
    model.double()
    assert model.statistics(1)["norm.running_mean"].dtype == torch.float64
    assert model(rows(4)[0].double()).dtype == torch.float64
