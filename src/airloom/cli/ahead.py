"""The options that say how hosts look ahead, the same for every command that has them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.core.forecast import ForecastPolicy


def add_ahead_arguments(parser: argparse.ArgumentParser, beside: str = "") -> None:
    """`--forecast` and `--ask-wave`; `beside` ends their help."""
    parser.add_argument(
        "--forecast",
        metavar="METHOD",
        help="price links for the moment at which a task will use them: last, ewma, autoregressive or kalman, with "
        f"settings as in 'ewma,tau=300ms,when=beyond,coherence=50ms' (docs/prediction.md){beside}",
    )
    parser.add_argument(
        "--ask-wave",
        metavar="TIME",
        help=f"have every request ask for fresh tables first, and wait for them no longer than that: 50ms{beside}",
    )


def forecast_of(args: argparse.Namespace) -> ForecastPolicy | None:
    """The forecast that the options ask for.

    Raises:
        ConfigError: what is none; names the option.
    """
    from airloom.core.forecast import parse_forecast

    return None if args.forecast is None else parse_forecast(args.forecast)


def hold_of(args: argparse.Namespace) -> float | None:
    """For how long a request may wait for its wave; None where it asks for none.

    Raises:
        ConfigError: no time above 0; names the option.
    """
    from airloom import units
    from airloom.errors import ConfigError

    if args.ask_wave is None:
        return None
    seconds = units.parse_seconds(args.ask_wave, where="--ask-wave")
    if not 0.0 < seconds < float("inf"):
        raise ConfigError(f"a request waits for more than 0 s, got {args.ask_wave}", where="--ask-wave")
    return seconds
