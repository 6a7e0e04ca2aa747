"""`--slow-motion`: what it takes, and the line that says which one a network needs."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import pytest

from airloom.cli.main import main
from airloom.cli.slow import add_slow_argument, motion_for, slow_of
from airloom.config.scenario import load_scenario
from airloom.core.profile import Profile
from airloom.deployment.setup import DeployOptions, check_speeds
from airloom.errors import ConfigError, Infeasible
from airloom.files import read_value
from airloom.playing.basis import short_notes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def given(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_slow_argument(parser)
    return parser.parse_args(words)


def test_what_the_option_takes() -> None:
    assert slow_of(given()) == 1.0
    assert slow_of(given("--slow-motion", "12.5")) == 12.5
    assert slow_of(given("--slow-motion", "auto")) is None
    for text in ("0.5", "-3", "1e9", "fast"):
        with pytest.raises(ConfigError, match="--slow-motion"):
            slow_of(given("--slow-motion", text))


def test_machines_that_are_faster_than_this_one_are_named_with_the_motion_they_take() -> None:
    scenario = load_scenario(EXAMPLES / "scenarios" / "handover.yaml").scenario
    profiles = {"": read_value(EXAMPLES / "resnet18.json", Profile)}
    with pytest.raises(Infeasible, match=r"core7 is 26\.4 times as fast .* --slow-motion 27") as caught:
        motion_for(1.0, scenario.topology, profiles, scenario)
    assert caught.value.device == "core7"
    with pytest.raises(Infeasible, match=r"in slow motion 10, .* --slow-motion 27"):
        motion_for(10.0, scenario.topology, profiles, scenario)
    assert motion_for(None, scenario.topology, profiles, scenario) == 27.0
    assert motion_for(30.0, scenario.topology, profiles, scenario) == 30.0


def test_tasks_that_come_faster_than_this_machine_computes_are_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario(EXAMPLES / "scenarios" / "run_here.yaml").scenario
    profiles = {"": read_value(EXAMPLES / "resnet18.json", Profile)}
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert motion_for(None, scenario.topology, profiles, scenario) == 1.0
    often = msgspec.structs.replace(scenario, tasks=msgspec.structs.replace(scenario.tasks, every_s=0.01))
    work_s = profiles[""].stage_s(0, profiles[""].num_operators)
    assert motion_for(None, often.topology, profiles, often) == pytest.approx(work_s / 0.01, abs=1.0)


def test_devices_that_only_pass_on_may_be_as_fast_as_they_like() -> None:
    topology = load_scenario(EXAMPLES / "scenarios" / "sub6.yaml").scenario.topology
    devices = tuple(
        msgspec.structs.replace(device, factor=0.01 if not device.computes else 1.0) for device in topology.devices
    )
    check_speeds(msgspec.structs.replace(topology, devices=devices))


def test_a_scenario_is_refused_before_anything_takes_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(EXAMPLES / "scenarios" / "mmwave_iab.yaml"), "--seconds", "8"]) == 2
    assert "play it in slow motion, --slow-motion 27" in capsys.readouterr().err


def test_links_that_run_as_they_are_cannot_be_slowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.yaml").write_text(
        "source: a\nsink: b\ndevices: [{id: a, role: ue}, {id: b, role: mec}]\n"
        "links: [{from: a, to: b, rate: 9 Mbit/s, both: true}]\n"
    )
    file = tmp_path / "run.yaml"
    file.write_text("topology: net.yaml\nmodel: resnet20\nemulate: false\n")
    assert main(["run", str(file), "--slow-motion", "3"]) != 0
    assert "--slow-motion: needs `emulate: true`" in capsys.readouterr().err


def test_handling_counts_less_in_slow_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handling(kind: str) -> float:
        return 2e-3

    monkeypatch.setattr("airloom.deployment.setup.measure_handling", handling)
    assert DeployOptions(slow_motion=10.0).calibrated().handling_s == pytest.approx(2e-4)


def test_short_lines_for_kinds_of_devices() -> None:
    from airloom.core.speed import with_class_factors

    scenario = load_scenario(EXAMPLES / "scenarios" / "handover.yaml").scenario
    topology = with_class_factors(scenario.topology, {"": read_value(EXAMPLES / "resnet18.json", Profile)})
    lines = short_notes(topology)
    assert lines[0] == "ue: class raspberry-pi-3b+, 4.6 times as slow as the profile's machine, energy"
    assert "core7, core8: class rtx2080-pc, 26.4 times as fast as the profile's machine, energy" in lines
    assert len(lines) == 4
    assert all(len(line) <= 120 for line in lines)
