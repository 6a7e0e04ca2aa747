"""Runs an ensemble of trees, as many as have arrived; needs numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airloom.core.progressive import Manifest
from airloom.deliver.runner import Arrays
from airloom.deliver.trees import Ensemble
from airloom.errors import ConfigError


class TreesRunner:
    """Every configuration is an ensemble of its own, over the arrays that have arrived."""

    def __init__(self, manifest: Manifest) -> None:
        self._model = manifest.model

    def prepare(self, depth: int, arrays: Arrays) -> Callable[..., Any]:
        return Ensemble.from_arrays(arrays)

    def settle(self) -> None:
        """What ran before goes with its last call."""

    def weights(self, depth: int, arrays: Arrays) -> dict[str, Any]:
        return dict(arrays)

    def captured(self, depth: int) -> Any:
        raise ConfigError(f"{self._model} is an ensemble of trees, no network that could be captured")
