"""Keep torch's own prints off the terminal while it exports or loads: the error's one line says what they say."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what torch logs, and the warnings that concern nobody; print what else was printed if all goes well."""
    handlers = {handler for logger in _torch_loggers() for handler in logger.handlers}
    printed = io.StringIO()
    for handler in handlers:
        handler.addFilter(_drop)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(printed):
            # torch 2.13 warns of its own tree specs while it copies them,
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
            # and of the list of its own weights that nn.GRU and nn.LSTM keep.
            warnings.filterwarnings(
                "ignore", message="The tensor attributes? self.*_flat_weights", category=UserWarning
            )
            yield
        sys.stderr.write(printed.getvalue())  # the model's own prints
    finally:
        for handler in handlers:
            handler.removeFilter(_drop)


def _torch_loggers() -> list[logging.Logger]:
    # torch gives many of its loggers a handler of their own.
    known = list(logging.Logger.manager.loggerDict.items())
    return [found for name, found in known if name.partition(".")[0] == "torch" and isinstance(found, logging.Logger)]


def _drop(record: logging.LogRecord) -> bool:
    return False
