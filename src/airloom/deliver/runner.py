"""What runs a configuration, made of the arrays that have arrived: what networks and ensembles have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]


class Moved(Exception):
    """What was called is not what runs any more: call what runs now."""


class Runner(Protocol):
    """Prepares configurations beside the one that runs."""

    def prepare(self, depth: int, arrays: Arrays) -> Callable[..., Any]:
        """What runs `depth` blocks with the weights and statistics `arrays`, by name; what ran before runs on.

        Arrays are used as they are, not copied: nobody may write to them afterwards.

        Raises:
            ChunkError: the arrays are not the model's.
        """

    def settle(self) -> None:
        """What was prepared last is called from now on: let go of what ran before, once its last call has ended.

        What ran before raises `Moved` where it is called still.
        """

    def weights(self, depth: int, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """`arrays`, those of what runs at `depth`, by the names of the network's own state dict and as whole as it."""

    def captured(self, depth: int) -> Any:
        """What runs now as an `nn.captured.Captured`.

        Raises:
            ConfigError: it is no network.
        """
