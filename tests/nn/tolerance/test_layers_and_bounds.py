"""Errors in weights, importance of feature maps, and the ideal importance coding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance_models import CONVOLVED, DEEP, captured, halves, samples

from airloom.core.tolerance import LayerTolerance
from airloom.errors import ConfigError
from airloom.nn.tolerance.ideal import ideal_rates, measure_ideal
from airloom.nn.tolerance.layers import ALL_LAYERS, damaged, measure_layers, targets
from airloom.nn.tolerance.maps import calibrate


def test_layers_are_told_apart() -> None:
    found = {t.name: (t.kind, t.parameters) for t in targets(halves())}
    assert {name: kind for name, (kind, _) in found.items()} == {
        "conv1": "convolution", "bn1": "norm", "conv2": "convolution", "fc": "linear", ALL_LAYERS: "other",
    }  # fmt: skip
    assert not any(name.startswith("bn1") for name in found[ALL_LAYERS][1])
    assert set(found["bn1"][1]) == {"bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"}


def test_errors_in_weights() -> None:
    seen: list[LayerTolerance] = []
    layers = measure_layers(
        halves(), samples(), patterns=("burst", "random"), error_rates=(0.0, 0.3, 1.0), draws=3, block_bytes=100,
        finished=seen.append,
    )  # fmt: skip
    assert tuple(seen) == layers
    assert [(layer.layer, layer.pattern) for layer in layers[:5]] == [
        (name, "burst") for name in ("conv1", "bn1", "conv2", "fc", ALL_LAYERS)
    ]
    for layer in layers:
        # Every draw is a point of its own: their range is what Fig. 6 shows.
        assert [p.error_rate for p in layer.points] == [0.0, 0.3, 0.3, 0.3, 1.0]
        assert layer.points[0].accuracy == 1.0
        assert layer.points[-1].accuracy < 0.9
    again = measure_layers(
        halves(), samples(), patterns=("burst", "random"), error_rates=(0.0, 0.3, 1.0), draws=3, block_bytes=100,
        known=layers, finished=seen.append,
    )  # fmt: skip
    assert again == layers
    assert len(seen) == len(layers)


def test_lost_weights_are_zero() -> None:
    weights = {"w": torch.ones(50, 10), "b": torch.ones(10)}
    rng = np.random.default_rng(0)
    burst = damaged(weights, 0.5, "burst", 100, rng)
    flat = torch.cat([burst["w"].ravel(), burst["b"]])
    blocks = flat[:500].reshape(20, 25)
    assert (blocks == blocks[:, :1]).all()
    assert 0 < int(blocks[:, 0].sum()) < 20
    random = damaged(weights, 0.3, "random", 100, rng)
    assert 0.2 < float((random["w"] == 0).double().mean()) < 0.4
    assert all(torch.equal(t, torch.ones_like(t)) for t in weights.values())


def test_maps_that_decide_come_first() -> None:
    """A map that the classifier does not read is the least important."""
    graph = captured(1).graph
    [tensor] = graph.live_set(DEEP)
    [order] = [o for o in calibrate(halves(), samples(), [DEEP]) if o.tensor == tensor]
    live, _ = next(halves().front(DEEP, samples().first(8)))
    assert sorted(order.order) == list(range(16))
    quiet = [c for c in range(16) if not live[tensor][:, 0, c].any()]
    # Maps that are always 0 change nothing when they are lost.
    assert set(order.order[len(order.order) - len(quiet) :]) == set(quiet) or not quiet
    assert order.means == pytest.approx(live[tensor][:, 0].double().mean((0, 2, 3)).tolist(), abs=0.2)


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(0, 1), n=st.integers(1, 60), zeros=st.integers(0, 60), seed=st.integers(0, 99))
def test_ideal_rates_have_the_mean_and_fall_with_the_value(rate: float, n: int, zeros: int, seed: int) -> None:
    values = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, n)))
    values[:, : min(zeros, n)] = 0
    rates = ideal_rates(values, rate)
    assert float((rates - rates.clamp(0, 1)).abs().max()) < 1e-9
    assert rates.mean(1).tolist() == pytest.approx([rate, rate], abs=1e-6)
    for row, size in zip(rates, values.abs(), strict=True):
        assert (row[size.argsort()].diff() <= 1e-9).all()
        # Inversely proportional where neither end binds.
        inner = (row > 0) & (row < 1) & (size > 0)
        product = (row * size)[inner]
        assert product.numel() == 0 or float(product.max() - product.min()) <= 1e-6 * float(product.max())


def test_ideal_importance_coding_is_an_upper_bound() -> None:
    from airloom.core.coding import RAW
    from airloom.nn.tolerance import measure_cut

    rates = (0.0, 0.5, 1.0)
    ideal = measure_ideal(halves(), samples(), DEEP, error_rates=rates, draws=2, rng=np.random.default_rng(0))
    random = measure_cut(
        halves(), samples(), DEEP, RAW, pattern="random", error_rates=rates, draws=2, rng=np.random.default_rng(0)
    )
    assert ideal[0].accuracy == 1.0
    assert ideal[1].accuracy >= random.points[1].accuracy
    assert ideal[2].accuracy == random.points[2].accuracy
    with pytest.raises(ConfigError, match="no cut 99"):
        measure_ideal(halves(), samples(), 99, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="got 2"):
        ideal_rates(torch.ones(1, 1), 2.0)


def test_first_convolution_has_maps_too() -> None:
    assert [len(o.order) for o in calibrate(halves(), samples(), [CONVOLVED, DEEP])] == [8, 16]
