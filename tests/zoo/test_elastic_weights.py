"""The elastic weights that come with Airloom: found, small, and worth what their record says."""

from __future__ import annotations

import itertools
from importlib import resources

import pytest

from airloom import zoo
from airloom.nn.elastic.files import load_elastic
from airloom.nn.elastic.table import measure_accuracy
from airloom.nn.tolerance import Samples


def test_they_are_told_apart_from_ordinary_ones() -> None:
    ordinary, elastic = zoo.bundled_weights("resnet20"), zoo.bundled_weights("resnet20", elastic=True)
    assert ordinary is not None
    assert elastic is not None
    assert (ordinary.name, elastic.name) == ("resnet20_cifar10.safetensors", "resnet20_cifar10_elastic.safetensors")
    assert zoo.bundled_weights("vgg11", elastic=True) is None
    assert zoo.weights_record("vgg11", elastic=True) is None
    with resources.as_file(elastic) as path:
        assert path.stat().st_size < 700_000


def test_every_part_answers_as_the_record_says() -> None:
    bundled, record = zoo.bundled_weights("resnet20", elastic=True), zoo.weights_record("resnet20", elastic=True)
    assert bundled is not None
    assert record is not None
    with resources.as_file(bundled) as path:
        model, trained = load_elastic(path, "resnet20")
    assert trained.recipe is not None
    assert model.order.depths == tuple(range(1, 10))
    assert set(record["test_accuracy"]) == {str(depth) for depth in model.order.depths}
    images, labels = zoo.test_images()
    samples = Samples((images,), labels).first(250)
    for depth in (1, 5, 9):
        # Four standard deviations of 250 pictures.
        said = record["test_accuracy"][str(depth)]
        assert measure_accuracy(model, samples, depth) == pytest.approx(said, abs=4 * (said * (1 - said) / 250) ** 0.5)
    found = [record["test_accuracy"][str(depth)] for depth in model.order.depths]
    assert found[-1] > 0.85
    assert all(later > earlier - 0.01 for earlier, later in itertools.pairwise(found))
