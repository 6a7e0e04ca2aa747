"""A model as a graph, and what is measured of it: its times, and the losses it bears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airloom.core.profile import Profile
from airloom.core.tolerance import Pattern, Tolerance
from airloom.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from airloom.core.coding import Coding
    from airloom.nn.captured import Captured


def capture(
    model: str | nn.Module,
    example_inputs: tuple[Tensor, ...] | Tensor | None = None,
    *,
    name: str | None = None,
    mode: Literal["eval", "train"] = "eval",
    batch: int | None = None,
    weights: str | Path | None = None,
    **options: int,
) -> Captured:
    """A model as a graph with its cuts.

    Args:
        model: a module with its `example_inputs`; or a zoo name, `package.module:factory`, a `.pt2` file,
            or the folder of an artifact.
        batch, weights, options: of a model given by name: size of the inputs' first axis, a safetensors
            file, and the network's own options (`num_classes=100`).

    Raises:
        CaptureError: torch cannot export the model; the line has its reason and the place.
        ConfigError: there is no such model.
    """
    if isinstance(model, str):
        if example_inputs is not None or name is not None or mode != "eval":
            raise ConfigError("a model given by name brings its inputs, name and mode: pass a module to choose them")
        from airloom.nn.models import load_captured

        return load_captured(model, batch=batch, weights=weights, options=options)
    if example_inputs is None or batch is not None or weights is not None or options:
        raise ConfigError("a module is captured with its own weights and `example_inputs`: pass those, and only those")
    from airloom.nn.capture import capture as capture_module

    given = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    return capture_module(model, given, name=name or type(model).__name__, mode=mode)


def profile(
    model: str | Captured,
    *,
    device: str = "this",
    threads: int = 1,
    torch_device: str = "cpu",
    seconds_budget: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:
    """Measure `model` on this host, through the executor that will run it; about `seconds_budget` seconds.

    Args:
        device: what to call this host in the profile.
        threads: torch's own within one operator; hosts run the model with as many.
        progress: called with passes done and passes to do.
    """
    from airloom.nn.executor import StageExecutor
    from airloom.nn.measure import measure

    captured = capture(model) if isinstance(model, str) else model
    executor = StageExecutor(captured, torch_device=torch_device, threads=threads)
    return measure(executor, device_name=device, seconds_budget=seconds_budget, progress=progress)


def tolerance(
    model: str | Captured,
    inputs: Sequence[Any] | Any,
    labels: Any,
    *,
    cuts: Sequence[int] | None = None,
    codings: Sequence[str | Coding] = ("raw", "structured+neighbours"),
    patterns: Sequence[Pattern] = ("burst",),
    error_rates: Sequence[float] | None = None,
    draws: int | None = None,
    block_bytes: Sequence[int] | None = None,
    large: Captured | None = None,
    batch: int = 100,
    score: Callable[[Any, Any], Any] | None = None,
    metric: str = "top-1",
    seed: int = 0,
    threads: int = 1,
    torch_device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Tolerance:
    """Measure how much loss the cuts of `model` may bear: accuracy against the share of lost blocks.

    `airloom tolerance` does the same from the command line, and fine-tunes the receiving half.

    Args:
        model: as hosts will run it: its graph's digest is the profile's.
        inputs: test samples, one array an input of the model, row k of each is sample k.
        labels: the right class of each sample, or what `score` takes.
        cuts: None takes a handful that are worth measuring.
        codings: by name (`core.coding`) or value; a cut that cannot have one is left out there.
        patterns: `burst` loses whole blocks, `random` single elements.
        error_rates, draws, block_bytes: at which rates, how many draws of errors at each, how large a block is.
        large: the same model captured at a batch to measure with, which is faster; a model given
            by name is captured at `batch` for it.
        score: how right each answer is, 0 to 1, from the model's outputs and the labels; top-1 where None.
        progress: called with how many more samples one pass has evaluated.

    Raises:
        ConfigError: no samples or labels that are none, NaN, a rate outside [0, 1], a cut that is not there.
    """
    import numpy as np

    from airloom.core.coding import parse_coding
    from airloom.nn import tolerance as measuring
    from airloom.nn.tolerance.profile import chosen_cuts, measure

    captured = capture(model) if isinstance(model, str) else model
    if large is None:
        large = capture(model, batch=batch) if isinstance(model, str) else captured
    arrays = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    samples = measuring.Samples(tuple(np.asarray(array) for array in arrays), np.asarray(labels))
    samples = measuring.check_samples(samples, captured.graph, classes=score is None, where="labels")
    return measure(
        measuring.Halves(captured, large, torch_device=torch_device, threads=threads),
        samples,
        cuts=chosen_cuts(captured.graph) if cuts is None else cuts,
        codings=[parse_coding(coding) if isinstance(coding, str) else coding for coding in codings],
        patterns=patterns,
        error_rates=measuring.DEFAULT_RATES if error_rates is None else error_rates,
        draws=measuring.DEFAULT_DRAWS if draws is None else draws,
        block_bytes=(measuring.WIRE_BLOCK_BYTES,) if block_bytes is None else block_bytes,
        score=measuring.top1 if score is None else score,
        metric=metric,
        seed=seed,
        advance=progress,
    )
