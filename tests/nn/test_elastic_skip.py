"""What stands in for a block where dimensions differ."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from airloom.errors import UserError
from airloom.nn.capture import capture
from airloom.nn.elastic.blocks import path_of
from airloom.nn.elastic.fit import Fit, Mixing, mixing_start
from airloom.nn.elastic.own_path import own_path
from airloom.nn.elastic.skip import Adapter, Path, any_batch


def test_pooling_then_zeros_before_and_behind() -> None:
    x = torch.randn(2, 3, 8, 8)
    out = Fit((3, 8, 8), (6, 4, 4))(x)
    assert torch.equal(out[:, 1:4], F.avg_pool2d(x, 2))
    assert out[:, 0].abs().sum() == out[:, 4:].abs().sum() == 0


@pytest.mark.parametrize(
    ("form_in", "form_out", "maps_last"),
    [
        ((3, 7, 8), (5, 3, 4), False),  # a side that does not divide
        ((6, 8), (2, 4), False),
        ((8, 2, 2, 4), (8, 1, 2, 2), False),
        ((9,), (12,), False),
        ((12,), (4,), False),
        ((16, 8), (4, 16), True),  # tokens: features last
        ((4, 4, 6), (2, 2, 3), True),
    ],
)
def test_every_form_for_every_batch(form_in: tuple[int, ...], form_out: tuple[int, ...], maps_last: bool) -> None:
    spec = capture(nn.ReLU(), (torch.zeros(2, *form_in),), name="x").graph.tensors[0]
    fit = Fit(form_in, form_out, maps_last=maps_last)
    path = path_of(fit, spec, "a.b")
    assert path.kind == "pool"
    assert any_batch(path)
    x = torch.randn(5, *form_in)
    assert Path(path)(x).shape == (5, *form_out)
    torch.testing.assert_close(Path(path)(x), fit(x))


def test_fewer_maps_are_means_of_neighbours() -> None:
    x = torch.randn(2, 6, 4)
    torch.testing.assert_close(Fit((6, 4), (2, 4))(x), torch.stack([x[:, :3].mean(1), x[:, 3:].mean(1)], 1))


@pytest.mark.parametrize(
    ("form_in", "form_out"), [((3, 4), (3, 8)), ((6, 4), (4, 4)), ((3, 4), (3, 4, 4)), ((2,) * 5, (2,) * 5)]
)
def test_what_does_not_fit(form_in: tuple[int, ...], form_out: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        Fit(form_in, form_out)


@pytest.mark.parametrize(
    ("form_in", "form_out", "maps_last"),
    [((3, 8, 8), (6, 4, 4), False), ((3, 8), (5, 4), False), ((4,), (7,), False), ((8, 4), (4, 6), True)],
)
def test_adapters_start_as_zero_padding(form_in: tuple[int, ...], form_out: tuple[int, ...], maps_last: bool) -> None:
    x = torch.randn(3, *form_in)
    mixing = Mixing(form_in, form_out, maps_last=maps_last)
    torch.testing.assert_close(mixing(x), Fit(form_in, form_out, maps_last=maps_last)(x))
    spec = capture(nn.ReLU(), (torch.zeros(2, *form_in),), name="x").graph.tensors[0]
    adapter = Adapter(path_of(mixing, spec, "a.b"))
    with torch.no_grad():
        adapter.weight.normal_()
        mixing.weight.copy_(adapter.weight)
    torch.testing.assert_close(adapter(x), mixing(x))
    adapter(x).sum().backward()
    assert adapter.weight.grad is not None


def test_adapters_may_give_maps_that_do_not_divide() -> None:
    assert mixing_start(5, 3).tolist() == [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]


class Around(nn.Module):
    """`function(conv(x), x, self)`."""

    def __init__(self, function: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.conv, self.norm = nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x), x, self)  # type: ignore[operator,no-any-return]


def _doubled(x: Tensor) -> Tensor:
    return torch.cat([F.avg_pool2d(x, 2)] * 2, 1)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda y, x, m: F.relu(y + _doubled(x)), _doubled),
        (lambda y, x, m: F.gelu(_doubled(x) + m.norm(y)), _doubled),
        (lambda y, x, m: (y + y.sigmoid()) + _doubled(x.tanh()), lambda x: _doubled(x.tanh())),
        (lambda y, x, m: y + _doubled(x) * 0.5, lambda x: _doubled(x) * 0.5),
    ],
)
def test_the_way_around_the_weights(function: object, expected: object) -> None:
    x = torch.randn(2, 2, 8, 8)
    graph = capture(Around(function), (x,), name="around").graph
    path = own_path(graph, 0, graph.num_operators, graph.inputs[0], graph.outputs[0])
    assert path is not None
    assert path.kind == "own"
    more = torch.randn(3, 2, 8, 8)
    torch.testing.assert_close(Path(path)(more), expected(more))  # type: ignore[operator]


@pytest.mark.parametrize(
    "function",
    [
        lambda y, x, m: y,
        lambda y, x, m: y * _doubled(x),  # no sum
        lambda y, x, m: m.norm(y + _doubled(x)),  # batch norm behind the sum
        lambda y, x, m: y + m.norm(_doubled(x)),  # and on the way
        lambda y, x, m: torch.add(y, _doubled(x), alpha=2),
        lambda y, x, m: y + x[:, :1, ::2, ::2],  # another form
    ],
)
def test_no_way_around_the_weights(function: object) -> None:
    graph = capture(Around(function), (torch.randn(2, 2, 8, 8),), name="around").graph
    assert own_path(graph, 0, graph.num_operators, graph.inputs[0], graph.outputs[0]) is None


def test_a_way_with_the_number_of_samples_in_it_is_not_for_any_batch() -> None:
    def reshaped(y: Tensor, x: Tensor, m: nn.Module) -> Tensor:
        return y + x.reshape(x.shape[0], 4, 4, 8)[..., ::2]

    graph = capture(Around(reshaped), (torch.randn(2, 2, 8, 8),), name="around").graph
    path = own_path(graph, 0, graph.num_operators, graph.inputs[0], graph.outputs[0])
    assert path is not None
    assert not any_batch(path)
