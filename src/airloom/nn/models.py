"""A model by what a user calls it: a zoo name, `package.module:factory`, a `.pt2` file, an artifact."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from airloom import zoo
from airloom.errors import CaptureError, ConfigError
from airloom.nn.artifact import GRAPH_FILE, load_artifact
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.program import DTYPES
from airloom.nn.quiet import quiet
from airloom.nn.source import error_line, first_line

_NO_OPTIONS: Mapping[str, int] = {}
_SHAPE = re.compile(r"(\d+(?:x\d+)*):?(\w+)?")


@dataclass(frozen=True)
class LoadedModel:
    """A module, inputs that fit it, and its name."""

    module: nn.Module
    example_inputs: tuple[Tensor, ...]
    name: str


def load_model(
    spec: str,
    *,
    batch: int | None = None,
    weights: str | Path | None = None,
    inputs: Sequence[str] = (),
    options: Mapping[str, int] = _NO_OPTIONS,
) -> LoadedModel:
    """The model that `spec` names, with example inputs.

    A factory is called without arguments (`options` apart) and returns a module, or a pair of a
    module and a tuple of example inputs. It and a `.pt2` file are programs: take them from people
    you trust. An artifact is data and needs no trust, see `load_captured`.

    Args:
        spec: a zoo name, `package.module:factory` (the working directory is searched too), or a file `.pt2`.
        batch: size of the inputs' first axis; None keeps that of the factory's or file's inputs, or 1.
        weights: a safetensors file; for the zoo also `bundled` or `random`.
        inputs: `1x3x32x32:uint8`, one for each input, for a factory that gives none.
        options: of the zoo's network or of the factory, `width=8`.

    Raises:
        ConfigError: there is no such model, or what the factory returns is not one.
    """
    if batch is not None and batch < 1:
        raise ConfigError(f"a batch is at least 1, got {batch}")
    if spec in zoo.MODELS:
        if inputs:
            raise ConfigError(f"{spec} brings its own inputs: leave --input out")
        return LoadedModel(zoo.build(spec, weights, **options), zoo.example_inputs(spec, batch or 1, **options), spec)
    if spec.endswith(".pt2"):
        if weights is not None or options:
            raise ConfigError("an exported file has its weights and options in it", where=spec)
        module, example = _load_exported(Path(spec))
        name = Path(spec).stem
    elif re.fullmatch(r"[\w.]+:[\w.]+", spec):
        module, example = _call_factory(spec, options)
        name = spec.rpartition(":")[2].rpartition(".")[2]
        if weights is not None:
            zoo.load_weights(module, Path(weights))
    else:
        raise ConfigError(
            f"no model {spec!r}: expected package.module:factory, a .pt2 file, the folder of an artifact, "
            f"or one of the zoo ({', '.join(sorted(zoo.MODELS))})"
        )
    if inputs:
        example = tuple(_input(text) for text in inputs)
    if example is None:
        raise ConfigError(f"{spec} gives no example inputs: name their shapes (--input 1x3x32x32:float32)")
    return LoadedModel(module, example if batch is None else tuple(_batched(x, batch) for x in example), name)


def load_captured(
    spec: str,
    *,
    batch: int | None = None,
    weights: str | Path | None = None,
    inputs: Sequence[str] = (),
    options: Mapping[str, int] = _NO_OPTIONS,
) -> Captured:
    """The captured model that `spec` names: the folder of an artifact, or what `load_model` takes.

    Raises:
        ConfigError: as `load_model`, or the artifact cannot be used.
        CaptureError: the model cannot be captured.
    """
    folder = Path(spec)
    if (folder / GRAPH_FILE).is_file():
        if batch is not None or weights is not None or inputs or options:
            raise ConfigError(
                "an artifact has its batch, weights and options in it: capture the model again", where=spec
            )
        return load_artifact(folder)
    if folder.is_dir() and spec not in zoo.MODELS:
        raise ConfigError(f"no {GRAPH_FILE} in it: make one with `airloom capture MODEL --out {spec}`", where=spec)
    model = load_model(spec, batch=batch, weights=weights, inputs=inputs, options=options)
    return capture(model.module, model.example_inputs, name=model.name)


def _call_factory(spec: str, options: Mapping[str, int]) -> tuple[nn.Module, tuple[Tensor, ...] | None]:
    module_name, _, attribute = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does; forward may import later
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(first_line(error), where=spec) from None
    if not callable(found):
        raise ConfigError(f"a {type(found).__name__} is no factory: name a function that returns the model", where=spec)
    try:
        made = found(**options)
    except Exception as error:  # whatever the user's own code raises
        raise ConfigError(
            f"{type(error).__name__}: {first_line(error)}{error_line(error.__traceback__)}", where=spec
        ) from error
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if isinstance(example, Tensor):
        example = (example,)
    if not isinstance(module, nn.Module) or not (
        example is None or (isinstance(example, tuple) and all(isinstance(x, Tensor) for x in example))
    ):
        raise ConfigError("a factory returns an nn.Module, or (nn.Module, tuple of tensors)", where=spec)
    return module, example


def _load_exported(path: Path) -> tuple[nn.Module, tuple[Tensor, ...] | None]:
    if not path.is_file():
        raise ConfigError("cannot read: no such file", where=str(path))
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own older formats
        try:
            program = torch.export.load(path)
            module: nn.Module = program.module()
        except Exception as error:  # torch raises what it likes about a file that is none
            reason = first_line(error) or type(error).__name__
            # What torch refers to here is what it logged, which nobody sees.
            reason = reason.removesuffix(" Please check the warnings above for possible errors.")
            raise ConfigError(f"not a file of torch.export.save: {reason}", where=str(path)) from error
    if program.example_inputs is None:
        return module, None
    args, kwargs = program.example_inputs
    if kwargs or not all(isinstance(x, Tensor) for x in args):
        raise CaptureError(f"{path}: it takes inputs that are not tensors, or named ones: export it with tensors alone")
    return module, tuple(args)


def _input(text: str) -> Tensor:
    match = _SHAPE.fullmatch(text)
    if match is None or (match[2] or "float32") not in DTYPES:
        raise ConfigError(f"expected a shape and a type such as 1x3x32x32:uint8, got {text!r}")
    shape, dtype = tuple(int(n) for n in match[1].split("x")), DTYPES[match[2] or "float32"]
    rng = np.random.default_rng(0)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(dtype)
    return torch.zeros(shape, dtype=dtype)


def _batched(example: Tensor, batch: int) -> Tensor:
    if example.ndim == 0 or example.shape[0] == batch:
        return example
    return torch.cat([example] * -(-batch // max(example.shape[0], 1)))[:batch]
