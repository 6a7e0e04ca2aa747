"""What a program or a notebook calls: each step by itself, from files, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

import airloom
from airloom import api
from airloom.core.profile import Profile
from airloom.errors import ConfigError, ProfileMismatch
from airloom.files import write_value
from airloom.nn.captured import Captured

ROOT = Path(__file__).parents[1]
LINE = ROOT / "examples" / "line4.yaml"


class Two(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x).relu())


@pytest.fixture(scope="module")
def captured() -> Captured:
    return airloom.capture(Two(), torch.zeros(1, 8))


@pytest.fixture(scope="module")
def profile(captured: Captured) -> Profile:
    return airloom.profile(captured, device="here", seconds_budget=0.2)


def test_capture_profile_plan_simulate_report(captured: Captured, profile: Profile, tmp_path: Path) -> None:
    assert captured.graph.model == "Two"
    assert (profile.device, profile.graph_digest) == ("here", captured.graph.digest)
    plan = airloom.plan(captured, LINE, profile=profile, runner_ups=1)
    assert plan.predicted_s == plan.plan.predicted_s > 0
    assert plan.stops[-1] == 3
    # A notebook shows both in a line.
    assert repr(captured).startswith("<Captured Two: 3 operators, ")
    assert repr(plan).startswith("<Planned Two: ")
    assert "\n" not in repr(plan)
    events = airloom.simulate(plan, requests=5)
    results = [e for e in events if e.kind == "result"]
    assert len(results) == 5
    assert all(e.took_s == pytest.approx(plan.predicted_s, rel=1e-3) for e in results)
    trace = tmp_path / "ue.jsonl"
    trace.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events if event.host == "ue"))
    page = airloom.write_report(trace)
    assert page == tmp_path / "report.html"
    assert page.read_text().startswith("<!doctype html>")


def test_a_named_model_takes_options() -> None:
    assert airloom.capture("gru_tagger", steps=2, batch=3).graph.model == "gru_tagger"
    with pytest.raises(ConfigError, match="brings its inputs"):
        airloom.capture("gru_tagger", torch.zeros(1))
    with pytest.raises(ConfigError, match="example_inputs"):
        airloom.capture(Two())


def test_a_plan_from_a_profile_alone_says_what_deploying_needs(profile: Profile, tmp_path: Path) -> None:
    write_value(tmp_path / "p.json", profile)
    plan = airloom.plan(airloom.load_profile(tmp_path / "p.json"), airloom.load_topology(LINE))
    write_value(tmp_path / "plan.json", plan.plan)
    assert airloom.load_plan(tmp_path / "plan.json") == plan.plan
    with pytest.raises(ConfigError, match="plan with the captured model"):
        airloom.deploy(plan)


def test_a_profile_of_another_model_is_refused(captured: Captured, profile: Profile) -> None:
    other = msgspec.structs.replace(profile, graph_digest="sha256:other")
    with pytest.raises(ProfileMismatch, match="the profile is of another model than Two"):
        airloom.plan(captured, LINE, profile=other)


def test_privacy_and_a_result_that_stays(captured: Captured, profile: Profile) -> None:
    assert airloom.plan(captured, LINE, profile=profile, private_operators=2).stops[0] >= 2
    stays = airloom.plan(captured, LINE, profile=profile, result_returns=False)
    assert stays.predicted_s <= airloom.plan(captured, LINE, profile=profile).predicted_s


def test_what_deploy_cannot_use(captured: Captured, profile: Profile) -> None:
    plan = airloom.plan(captured, LINE, profile=profile)
    with pytest.raises(ConfigError, match="plan again for others"):
        airloom.deploy(plan, plan.topology)
    with pytest.raises(ConfigError, match="plan again for others"):
        airloom.deploy(plan, plan=plan.plan)
    with pytest.raises(ConfigError, match="topology and profiles"):
        airloom.deploy(captured)
    with pytest.raises(ConfigError, match="no plan to follow"):
        airloom.deploy(captured, plan.topology, profiles=profile, follow="plan")


def test_a_kept_plan_is_pinned(
    captured: Captured, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = airloom.plan(captured, LINE, profile=profile)
    write_value(tmp_path / "plan.json", planned.plan)
    pinned = []
    monkeypatch.setattr("airloom.deployment.Deployment", lambda *args, plan, **settings: pinned.append(plan))
    api.deploy(captured, planned.topology, profiles=profile, plan=tmp_path / "plan.json")
    api.deploy(captured, planned.topology, profiles=profile, plan=planned.plan)
    api.deploy(planned, follow="plan")
    api.deploy(planned)
    assert pinned == [planned.plan, planned.plan, planned.plan, None]
