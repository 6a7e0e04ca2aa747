"""Build a network of the zoo by name, with weights, and inputs that fit it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from contextlib import ExitStack
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from airloom.errors import ConfigError
from airloom.zoo.pixels import CIFAR_SIZE
from airloom.zoo.qmix import qmix_agent
from airloom.zoo.rcnn import rcnn
from airloom.zoo.recurrent import gru_tagger
from airloom.zoo.resnet import resnet18, resnet20, resnet32, resnet44, resnet56, resnet110, wrn28_10
from airloom.zoo.vgg import vgg11

# Classifiers of 32x32 uint8 pictures; `num_classes` and `width` are their options, and `size` of some.
IMAGE_MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "vgg11": vgg11,
    "wrn28_10": wrn28_10,
}

MODELS: dict[str, Callable[..., nn.Module]] = {
    **IMAGE_MODELS,
    "gru_tagger": gru_tagger,
    "qmix_agent": qmix_agent,
    "rcnn": rcnn,
}

#: Before the names of tensors that a weights file has beside those of its network (`nn.elastic.files`).
BESIDE = "elastic:"


def _factory(name: str) -> Callable[..., nn.Module]:
    try:
        return MODELS[name]
    except KeyError:
        raise ConfigError(f"no model {name!r} in the zoo: it has {', '.join(sorted(MODELS))}") from None


def build(name: str, weights: str | Path | None = None, *, seed: int = 0, **options: int) -> nn.Module:
    """The network `name` in eval mode.

    Args:
        weights: a safetensors file, "bundled", or "random"; None takes the bundled weights where
            there are any for this network without options, else random ones.
        seed: of random weights; torch's global generator is left as it was.
        options: of the network: `num_classes`, `width`, `steps`, `hidden`, ...

    Raises:
        ConfigError: no such network, option or weights.
    """
    factory = _factory(name)
    known = inspect.signature(factory).parameters
    for option, value in options.items():
        least = 0 if option in known and known[option].default == 0 else 1
        if value < least:
            raise ConfigError(f"{name}: {option} is at least {least}, got {value}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = factory(**options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name}: {error}") from None
    model.eval()
    bundled = bundled_weights(name)
    if weights is None:
        weights = "bundled" if bundled is not None and not options else "random"
    if weights == "random":
        return model
    with ExitStack() as stack:
        if weights == "bundled":
            if bundled is None:
                raise ConfigError(f"no weights are bundled for {name}: name a file, or `random`")
            weights = stack.enter_context(resources.as_file(bundled))
        return load_weights(model, Path(weights))


def bundled_weights(name: str, *, elastic: bool = False) -> Traversable | None:
    """The weights file in the package for the network `name`, if there is one.

    Args:
        elastic: the weights of an elastic model (`nn.elastic.files`), any part of which answers.
    """
    folder = resources.files("airloom.zoo") / "weights"
    if not folder.is_dir():
        return None
    files = [f for f in folder.iterdir() if f.name.startswith(f"{name}_") and f.name.endswith(".safetensors")]
    files = [f for f in files if f.name.endswith("_elastic.safetensors") == elastic]
    return min(files, key=lambda f: f.name, default=None)


def weights_record(name: str, *, elastic: bool = False) -> dict[str, Any] | None:
    """How the bundled weights were made and their test accuracy, as recorded beside them."""
    bundled = bundled_weights(name, elastic=elastic)
    if bundled is None:
        return None
    record = resources.files("airloom.zoo") / "weights" / f"{Path(bundled.name).stem}.json"
    return json.loads(record.read_text()) if record.is_file() else None


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """Load the safetensors file into `model`, in the model's own precision; returns `model`.

    What an elastic model has beside the network's weights (`BESIDE`) is left aside.

    Raises:
        ConfigError: no such file, not safetensors, or the weights of another network.
    """
    where = str(path)
    try:
        found = safetensors.torch.load_file(path)
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror or error}", where=where) from None
    except safetensors.SafetensorError as error:
        raise ConfigError(f"not safetensors: {error}", where=where) from None
    found = {key: tensor for key, tensor in found.items() if not key.startswith(BESIDE)}
    wanted = model.state_dict()
    for key in sorted(wanted.keys() ^ found.keys()):
        problem = "lacks" if key in wanted else "has an unknown"
        raise ConfigError(f"the file {problem} weight {key!r}: it belongs to another network", where=where)
    for key, tensor in found.items():
        if tensor.shape != wanted[key].shape:
            raise ConfigError(
                f"weight {key!r} has shape {list(tensor.shape)}, the network {list(wanted[key].shape)}", where=where
            )
    model.load_state_dict({key: tensor.to(wanted[key].dtype) for key, tensor in found.items()})
    return model


def example_inputs(name: str, batch: int = 1, *, seed: int = 0, **options: int) -> tuple[Tensor, ...]:
    """Random inputs for the network `name` built with the same `options`; the same for the same seed."""
    defaults = {k: p.default for k, p in inspect.signature(_factory(name)).parameters.items()}
    if batch < 1:
        raise ConfigError(f"a batch is at least 1, got {batch}")
    rng = np.random.default_rng(seed)
    given = {**defaults, **options}
    if name in IMAGE_MODELS or name == "rcnn":
        size = given.get("size", CIFAR_SIZE)
        return (torch.from_numpy(rng.integers(0, 256, (batch, 3, size, size), dtype=np.uint8)),)
    steps, features, hidden = given["steps"], given["features"], given["hidden"]
    if given.get("tokens"):
        return (torch.from_numpy(rng.integers(0, given["tokens"], (batch, steps))),)
    shapes = [(batch, steps, features)] if steps else [(batch, features), (batch, hidden)]
    return tuple(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes)


def test_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """500 test images of CIFAR-10 `[500, 3, 32, 32]` and their labels `[500]`."""
    file = resources.files("airloom.zoo") / "data" / "cifar10_test500.npz"
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except FileNotFoundError:
        raise ConfigError("the test images are missing from this installation: install airloom again") from None
    return images.astype(np.uint8, copy=False), labels.astype(np.int64, copy=False)
