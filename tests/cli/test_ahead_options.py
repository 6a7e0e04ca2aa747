"""How hosts look ahead, from the command line to what a host is told."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.cli.ahead import add_ahead_arguments, forecast_of, hold_of
from airloom.cli.main import main
from airloom.core.forecast import ForecastPolicy
from airloom.deployment.setup import DeployOptions
from airloom.engine.config import WavePolicy
from airloom.errors import ConfigError


def parsed(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_ahead_arguments(parser)
    return parser.parse_args(given)


def test_nothing_is_forecast_and_nobody_asks_unless_told() -> None:
    assert (forecast_of(parsed()), hold_of(parsed())) == (None, None)
    assert WavePolicy.asked(None) == WavePolicy()


@given(st.floats(1e-6, 1e3))
def test_what_a_deployment_tells_its_hosts_is_what_they_read(hold_s: float) -> None:
    options = DeployOptions(forecast=ForecastPolicy(method="kalman", trend=True, coherence_s=0.05), ask_wave_s=hold_s)
    assert options.forecast is not None
    args = parsed("--forecast", options.forecast.text, "--ask-wave", f"{options.ask_wave_s!r} s")
    assert forecast_of(args) == options.forecast
    assert WavePolicy.asked(hold_of(args)) == WavePolicy(per_request=True, hold_s=hold_s)


@pytest.mark.parametrize("text", ["0 s", "-1 s", "soon", "5", "inf s"])
def test_no_time_to_wait_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--ask-wave"):
        hold_of(parsed(f"--ask-wave={text}"))


@pytest.mark.parametrize("options", [("--forecast", "magic"), ("--ask-wave", "0 s")])
def test_a_command_says_it_in_one_line(options: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--topology", "examples/hivemind_mmwave_iab.yaml", "--profile", "examples/resnet20.json"]
    assert main(["simulate", *files, *options, "--out", "/nonexistent/run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert options[0] in line
