"""How right an answer is: top-1, or a function of the user's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from airloom.errors import ConfigError
from airloom.nn.source import error_line, first_line

#: What the model returns for a batch, in its own form, and the labels of that batch -> a value from 0
#: (wrong) to 1 (right) for each sample.
Score = Callable[[Any, NDArray[Any]], Any]


def top1(outputs: Any, labels: NDArray[Any]) -> NDArray[np.float64]:
    """1 where the largest value of a sample's row is at its label's place, else 0.

    Args:
        outputs: logits `[N, classes]`, or a tuple or list that begins with them.
        labels: `[N]`.
    """
    logits = outputs[0] if isinstance(outputs, tuple | list) else outputs
    # A row with NaN has no largest value: wrong.
    right: NDArray[np.bool_] = (logits.argmax(1).cpu().numpy() == labels) & torch.isfinite(logits).all(1).cpu().numpy()
    return right.astype(np.float64)


def judged(score: Score, outputs: Any, labels: NDArray[Any]) -> NDArray[np.float64]:
    """What `score` says of a batch, checked.

    Raises:
        ConfigError: it raised, or gave something else than a number from 0 to 1 for each sample.
    """
    name = getattr(score, "__name__", "score")
    try:
        given = score(outputs, labels)
        values = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given, dtype=np.float64)
    except Exception as error:  # whatever the user's own function raises
        if score is top1:
            raise
        raise ConfigError(
            f"score {name} raised {type(error).__name__}: {first_line(error)}{error_line(error.__traceback__)}"
        ) from error
    if values.shape != (len(labels),):
        raise ConfigError(f"score {name} gave shape {list(values.shape)} for {len(labels)} samples: one number each")
    if not ((values >= 0) & (values <= 1)).all():  # NaN is neither
        raise ConfigError(f"score {name} gave a value outside 0 to 1: 1 is right, 0 is wrong")
    return values


def load_score(spec: str) -> Score:
    """The function that `package.module:function` names; the working directory is searched too.

    It is a program: take it from people you trust.

    Raises:
        ConfigError: there is none.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"expected module:function, got {spec!r}", where="--score")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(first_line(error), where=f"--score {spec}") from None
    if not callable(found):
        raise ConfigError(f"a {type(found).__name__} is no function of outputs and labels", where=f"--score {spec}")
    score: Score = found
    return score
