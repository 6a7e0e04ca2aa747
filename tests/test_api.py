"""What a program or a notebook calls: each step by itself, from files, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import airloom
from airloom import api
from airloom.core.profile import Profile
from airloom.core.tolerance import Tolerance
from airloom.errors import ConfigError, Infeasible, ProfileMismatch
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


def test_an_accuracy_floor_from_measuring_to_simulating(tmp_path: Path) -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 24 * 24, 3)
    )
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((24, 1, 24, 24)).astype(np.float32)
    with torch.no_grad():
        classes = model(torch.from_numpy(pictures)).argmax(dim=1).numpy()
    captured = airloom.capture(model, torch.zeros(1, 1, 24, 24), name="small")
    large = airloom.capture(model, torch.zeros(8, 1, 24, 24), name="small")
    measured = airloom.tolerance(
        captured, pictures, classes, cuts=(2,), codings=("raw", "int8+structured+neighbours"),
        error_rates=(0.0, 0.2, 0.4, 0.6, 0.8), draws=2, large=large,
    )  # fmt: skip
    assert measured.clean == 1.0
    assert [(entry.cut, entry.coding.name) for entry in measured.cuts] == [
        (2, "raw"), (2, "int8+structured+neighbours"),
    ]  # fmt: skip
    path = tmp_path / "tolerance.json"
    write_value(path, measured)
    assert airloom.load_tolerance(path) == measured

    profile = airloom.profile(captured, seconds_budget=0.2)
    *others, linear = (msgspec.structs.replace(op, compute_s=0.0) for op in profile.operators)
    costs = (*others, msgspec.structs.replace(linear, compute_s=0.001))
    slow = msgspec.structs.replace(profile, operators=costs, stage_constant_s=0.0, rest_s=0.0)
    net = tmp_path / "net.yaml"
    net.write_text(
        "source: ue\nsink: mec\ndevices: [{id: ue, role: ue, factor: 1000}, {id: mec, role: mec}]\n"
        "links: [{from: ue, to: mec, rate: 1 Mbit/s, loss: 30 %}, {from: mec, to: ue, rate: 1 Mbit/s}]\n"
    )
    whole = airloom.plan(slow, net, private_operators=2)
    planned = airloom.plan(slow, net, private_operators=2, tolerance=path, min_accuracy=0.7)
    assert whole.predicted_accuracy is None
    assert planned.predicted_accuracy is not None
    assert 0.7 <= planned.predicted_accuracy <= 1.0
    assert planned.predicted_s < whole.predicted_s
    results = [event for event in airloom.simulate(planned, requests=5) if event.kind == "result"]
    assert len(results) == 5
    assert all(event.data["predicted_accuracy"] >= 0.7 - 1e-3 for event in results)


def test_floors_that_make_no_sense(captured: Captured, profile: Profile) -> None:
    known = Tolerance(
        model="Two", graph_digest=captured.graph.digest, weights_digest="", metric="top-1", clean=0.9, samples=1
    )
    with pytest.raises(ConfigError, match="give a tolerance profile"):
        airloom.plan(profile, LINE, min_accuracy=0.8)
    for floor in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="above 0 and at most 1"):
            airloom.plan(profile, LINE, tolerance=known, min_accuracy=floor)
    with pytest.raises(Infeasible, match=r"reaches 0\.9"):
        airloom.plan(profile, LINE, tolerance=known, min_accuracy=0.95)
    other = msgspec.structs.replace(known, graph_digest="sha256:0")
    with pytest.raises(ProfileMismatch, match="tolerance profile is of Two"):
        airloom.plan(profile, LINE, tolerance=other, min_accuracy=0.8)
    # Weights of another training bear something else.
    trained = msgspec.structs.replace(known, weights_digest="sha256:0")
    plan = airloom.plan(captured, LINE, profile=profile, tolerance=trained, min_accuracy=0.8)
    with pytest.raises(ProfileMismatch, match="with other weights"):
        airloom.deploy(plan)
