"""Networks for larger pictures, the two-part detector, deeper taggers and QMIX's networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from airloom import zoo
from airloom.errors import UserError
from airloom.zoo.rcnn import anchors, moved, pooled_regions


class _Always(nn.Module):
    """Gives the same whatever it is asked."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, _: Tensor) -> Tensor:
        return self.value


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_resnet18_for_imagenet_has_the_published_size() -> None:
    """11,689,512: torchvision's resnet18, which is He et al.'s with projections."""
    model = zoo.build("resnet18", size=224, num_classes=1000)
    assert _parameters(model) == 11_689_512
    [x] = zoo.example_inputs("resnet18", size=224)
    assert x.shape == (1, 3, 224, 224)
    assert x.nbytes == 150_528


def test_vgg11_for_imagenet_has_the_published_size() -> None:
    """132,868,840 with batch norm (torchvision's vgg11_bn), less the convolutions' biases, which the norms replace."""
    with torch.device("meta"):
        model = zoo.vgg11(size=224, num_classes=1000)
    assert _parameters(model) == 132_868_840 - (64 + 128 + 2 * 256 + 4 * 512)


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_any_size_in_steps_of_32(name: str) -> None:
    for size in (64, 96):
        model = zoo.build(name, size=size, width=2, num_classes=7)
        with torch.no_grad():
            assert model(*zoo.example_inputs(name, 2, size=size)).shape == (2, 7)
    for size in (33, 48, 100):
        with pytest.raises(UserError, match="in steps of 32"):
            zoo.build(name, size=size)


def test_a_detector_gives_boxes_and_classes() -> None:
    model = zoo.build("rcnn", size=96, width=4, regions=6, num_classes=3)
    with torch.no_grad():
        boxes, logits = model(*zoo.example_inputs("rcnn", 2, size=96))
    assert boxes.shape == (2, 6, 4)
    assert logits.shape == (2, 6, 4)
    assert torch.isfinite(boxes).all()
    assert (boxes[..., 2:] > 0).all()


def test_a_detector_refuses_what_it_cannot_be() -> None:
    with pytest.raises(UserError, match="64 and more"):
        zoo.build("rcnn", size=32)
    with pytest.raises(UserError, match="144 anchors"):
        zoo.build("rcnn", size=64, regions=145)


def test_proposals_follow_the_objectness_map() -> None:
    """The regions are the peaks of the map, the highest first, at their anchors."""
    model = zoo.build("rcnn", size=64, width=2, regions=2, seed=1)
    assert isinstance(model, zoo.RCNN)
    score = torch.zeros(1, 9, 4, 4)
    score[0, 4, 1, 2], score[0, 0, 3, 0], score[0, 4, 1, 3] = 5.0, 4.0, 4.5  # the last lies beside a higher one
    model.objectness = _Always(score)  # type: ignore[assignment]
    nn.init.zeros_(model.deltas.weight)
    nn.init.zeros_(model.deltas.bias)
    with torch.no_grad():
        found = model.proposals(torch.zeros(1, 8, 4, 4))
    expected = anchors(4)[[(1 * 4 + 2) * 9 + 4, (3 * 4 + 0) * 9]]
    torch.testing.assert_close(found[0], expected)


def test_pooling_the_whole_picture_gives_back_its_cells() -> None:
    """A region of the whole picture with as many bins as there are cells has each cell's own value in its bin."""
    maps = torch.arange(2 * 16, dtype=torch.float32).reshape(1, 2, 4, 4)
    whole = torch.tensor([[[0.5, 0.5, 1.0, 1.0]]])
    torch.testing.assert_close(pooled_regions(maps, whole, 4), maps)


def test_pooling_a_corner_gives_its_cells() -> None:
    maps = torch.arange(16, dtype=torch.float32).reshape(1, 1, 4, 4)
    corner = torch.tensor([[[0.75, 0.25, 0.5, 0.5]]])  # right, top
    torch.testing.assert_close(pooled_regions(maps, corner, 2), maps[:, :, :2, 2:])


def test_boxes_move_as_the_deltas_say() -> None:
    box = torch.tensor([0.5, 0.5, 0.2, 0.4])
    torch.testing.assert_close(moved(box, torch.zeros(4)), box)
    shifted = moved(box, torch.tensor([0.5, 0.0, float(np.log(2)), 0.0]))
    torch.testing.assert_close(shifted, torch.tensor([0.6, 0.5, 0.4, 0.4]))


@pytest.mark.parametrize("layers", [2, 3])
def test_a_deeper_tagger_is_the_recurrence(layers: int) -> None:
    options = {"steps": 5, "hidden": 6, "features": 3, "num_tags": 2, "layers": layers}
    model = zoo.build("gru_tagger", **options)
    assert isinstance(model, zoo.GRUTagger)
    [x] = zoo.example_inputs("gru_tagger", 2, **options)
    gru = nn.GRU(3, 6, num_layers=layers, batch_first=True)
    cells = [model.cell, *model.deeper]
    gru.load_state_dict({f"{k}_l{n}": v for n, cell in enumerate(cells) for k, v in cell.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(model(x), model.tag(gru(x)[0]))


def test_an_episode_is_the_agent_step_by_step() -> None:
    options = {"steps": 4, "features": 5, "hidden": 6, "actions": 3}
    episode = zoo.build("qmix_agent", **options)
    assert isinstance(episode, zoo.QMIXEpisode)
    [x] = zoo.example_inputs("qmix_agent", 2, **options)
    state = episode.agent.begin(2)
    with torch.no_grad():
        values = []
        for k in range(4):
            value, state = episode.agent(x[:, k], state)
            values.append(value)
        assert torch.equal(episode(x), torch.stack(values, 1))


def test_a_step_takes_and_gives_the_hidden_state() -> None:
    agent = zoo.build("qmix_agent", features=5, hidden=6, actions=3)
    value, state = agent(*zoo.example_inputs("qmix_agent", 2, features=5, hidden=6))
    assert value.shape == (2, 3)
    assert state.shape == (2, 6)


@settings(max_examples=40, deadline=None)
@given(
    agents=st.integers(1, 5),
    features=st.integers(1, 6),
    seed=st.integers(0, 2**20),
    scale=st.floats(0.1, 30.0),
)
def test_mixing_is_monotone(agents: int, features: int, seed: int, scale: float) -> None:
    """Rashid et al. (2018), equation 5: dQtot / dQa >= 0 for every agent, whatever weights, values and state."""
    generator = torch.Generator().manual_seed(seed)
    mixer = zoo.QMIXMixer(agents, features, embedding=7)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    values = (scale * torch.randn(9, agents, generator=generator)).requires_grad_()
    state = torch.randn(9, features, generator=generator)
    [slope] = torch.autograd.grad(mixer(values, state).sum(), values)
    assert (slope >= 0).all()
    assert (slope > 0).any()


def test_the_mixers_bias_and_weights_follow_the_state() -> None:
    mixer = zoo.QMIXMixer(2, 3)
    values = torch.ones(2, 2)
    a, b = mixer(values, torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]])).tolist()
    assert a != b
