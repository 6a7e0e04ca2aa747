"""A model that runs from its first chunk on, and gets better while it runs.

    with airloom.ProgressiveModel.open("https://host/models/resnet56", key="publisher.pub", deadline_s=0.2) as model:
        model.wait_ready()
        y = model(x)                 # in the configuration that is there now
        model.upgrade(accuracy=0.9)  # Step 4: only what is missing travels
        model.shrink(9)              # battery: fewer blocks, at once

The first and last layers come first, so that a part of the network answers before the whole is there (Accordion,
"Practical Implementation", Steps 1 to 6).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from airloom.core.progressive import Configuration, Manifest
from airloom.deliver.client.events import FetchEvent
from airloom.deliver.client.options import FetchOptions


class ProgressiveModel:
    """Callable as the network itself; see `open`. All methods may be called from any thread.

    Attributes:
        manifest: what there is to fetch, verified.
    """

    manifest: Manifest

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        key: str | Path | None = None,
        trust_first: bool = False,
        token: str | None = None,
        deadline_s: float | None = None,
        rate_bps: float | None = None,
        accuracy: float | None = None,
        max_nbytes: int | None = None,
        max_macs: int | None = None,
        depth: int | None = None,
        precision: str | None = None,
        on_event: Callable[[FetchEvent], None] | None = None,
        options: FetchOptions | None = None,
    ) -> Self:
        """Fetch and verify the manifest, then fetch the model in the background.

        Args:
            source: `https://host/path/of/folder`, a model of `airloom serve-model` (`https://host/v1/models/NAME`), or
                a folder.
            key: the publisher's public key: its file or its 64 hex digits.
            trust_first: take the key that comes with the model the first time, and only that key ever after.
            deadline_s, rate_bps, accuracy, max_nbytes, max_macs: what the configuration to aim at is chosen by
                (Steps 1 and 2); without any, the best.
            depth, precision: which configuration to aim at, where you know it.
            on_event: called from the background thread with everything that happens.

        Raises:
            UserError: no such model, no key, a signature that is not the key's, no configuration that fits.
            DeliveryError: the host cannot be reached.
        """
        raise NotImplementedError

    def __call__(self, *inputs: Any) -> Any:
        """The network's result in the configuration that is there now.

        Raises:
            DeliveryError: nothing is there yet (`wait_ready` waits), or the model is closed.
        """
        raise NotImplementedError

    @property
    def configuration(self) -> Configuration | None:
        """What calls run in now; None before the first is there."""
        raise NotImplementedError

    @property
    def target(self) -> Configuration:
        """What is aimed at."""
        raise NotImplementedError

    @property
    def fault(self) -> Exception | None:
        """Why fetching ended before the target, or None."""
        raise NotImplementedError

    @property
    def history(self) -> tuple[FetchEvent, ...]:
        """All events but those of single bytes, in order."""
        raise NotImplementedError

    def wait_ready(self, timeout_s: float | None = None) -> Configuration:
        """Wait for the first configuration, and return the one that is there.

        Raises:
            DeliveryError: it will not come, or not in time; the fault says why.
        """
        raise NotImplementedError

    def wait(self, timeout_s: float | None = None) -> Configuration:
        """Wait for the target; returns what runs then.

        Raises:
            DeliveryError: as `wait_ready`; the last good configuration goes on running.
        """
        raise NotImplementedError

    def upgrade(
        self,
        *,
        accuracy: float | None = None,
        deadline_s: float | None = None,
        rate_bps: float | None = None,
        max_nbytes: int | None = None,
        max_macs: int | None = None,
        depth: int | None = None,
        precision: str | None = None,
    ) -> Configuration:
        """Aim at another configuration (Steps 4 to 6) and fetch what is missing in the background; returns it."""
        raise NotImplementedError

    def shrink(self, depth: int, precision: str | None = None) -> Configuration:
        """Run with at most `depth` blocks from the next call on, without the network; stops what is being fetched."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop fetching and let go of the weights; what has arrived stays in the cache."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fetch_model(source: str | Path, **arguments: Any) -> ProgressiveModel:
    """`ProgressiveModel.open`, then wait until the configuration that it aims at is there."""
    model = ProgressiveModel.open(source, **arguments)
    try:
        model.wait()
    except BaseException:
        model.close()
        raise
    return model
