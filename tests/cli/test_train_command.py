"""What `airloom train` refuses before any host is started, and what it shows; hosts are run in tests/e2e."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from airloom.cli import profile as profile_command
from airloom.cli.main import main
from airloom.cli.trained import show
from airloom.core.plan import Plan, Stage
from airloom.deployment.training import Step
from airloom.training import Followed, Trained
from airloom.training.course import merged

TWO = """\
name: two
source: ue
sink: cloud
devices:
  - {id: ue, role: ue, speed: 0.5}
  - {id: cloud, role: cloud}
links:
  - {from: ue, to: cloud, rate: 100 Mbit/s, delay: 1 ms, both: true}
"""
TINY = """\
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    layers = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
    return nn.Sequential(*layers), torch.zeros(2, 4)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(TWO)
    (tmp_path / "tiny_net_for_training.py").write_text(TINY)
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((20, 4), dtype=np.float32), rng.integers(0, 3, 20)
    np.savez(tmp_path / "samples.npz", x=x, labels=labels)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", labels)
    return tmp_path


MODEL = "tiny_net_for_training:make"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([MODEL], "name the topology's file"),
        ([MODEL, "none.yaml"], "none.yaml"),
        ([MODEL, "two.yaml"], "no samples come with Airloom"),
        ([MODEL, "two.yaml", "--labels", "y.npy"], "labels of what"),
        ([MODEL, "two.yaml", "--data", "x.npy"], "labels"),
        ([MODEL, "two.yaml", "--data", "samples.npz", "--steps", "0"], "at least 1 step"),
        ([MODEL, "two.yaml", "--data", "samples.npz", "--plan2", "b.json"], "from which step on"),
        ([MODEL, "two.yaml", "--data", "samples.npz", "--plan", "none.json"], "none.json"),
        ([MODEL, "two.yaml", "--data", "samples.npz", "--batch", "99"], "a batch has 99"),
        ([MODEL, "two.yaml", "--data", "samples.npz", "--lr", "-1"], "learning rate"),
        ([MODEL, "two.yaml", "--data", "samples.npz", "--optimizer", "adam", "--momentum", "0.9"], "betas"),
        ([MODEL, "two.yaml", "--data", "samples.npz", "--loss", "mse"], "a label is"),
        ([MODEL, "two.yaml", "--data", "samples.npz", "--resume", "x.npy"], "no checkpoint"),
    ],
)
def test_one_line_says_what_is_wrong(here, capsys, arguments, line):
    assert main(["train", *arguments]) == 2
    said = capsys.readouterr().err
    assert line in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_profile_of_training(here, capsys):
    assert main(["profile", MODEL, "--train", "adam", "--seconds", "0.2", "--batch", "4", "--out", "t.json"]) == 0
    assert "training with adam" in capsys.readouterr().out
    found = json.loads((here / "t.json").read_text())
    assert found["optimizer"] == "adam"
    assert found["backward_scale"] > 0
    assert sum(op["backward_s"] for op in found["operators"]) > 0
    trained = [w for w in found["weights"] if w["trained"]]
    assert [w["state_nbytes"] for w in trained] == [2 * w["nbytes"] + 4 for w in trained]
    assert len(trained) == 6
    # The cheapest step can be planned from it, and from it alone.
    assert main(["plan", "t.json", "two.yaml", "--train", "--json", "plan.json"]) == 0
    # Factors make both ways longer.
    assert main(["profile", MODEL, "--momentum", "0.9"]) == 2
    assert "add --train sgd" in capsys.readouterr().err
    assert profile_command.HELP


def _trained():
    plan = Plan(
        model="m", graph_digest="", problem_digest="", chain=("ue", "cloud"), stops=(2, 5),
        stages=(Stage(id="a", device="ue", start=0, stop=2), Stage(id="b", device="cloud", start=2, stop=5)),
        transfers=(), predicted_s=0.1,
    )  # fmt: skip
    return Trained(
        weights={}, losses=(2.0, 1.5, 1.25), step=3,
        steps=tuple(Step(k, (2.0, 1.5, 1.25)[k], 0.1 * (k + 1)) for k in range(3)),
        plans=(Followed(0, plan, 0.09, 0.5, 0), Followed(2, plan, None, 0.25, 2048)), state={}, spec=None,
    )  # fmt: skip


def test_what_it_shows(here, capsys):
    args = SimpleNamespace(json=False, save=here / "w.safetensors", checkpoint=None, out=here / "run")
    show(args, _trained(), True)
    said = capsys.readouterr().out
    assert "ue 0..1, cloud 2..4" in said
    assert "2.0000" in said
    assert "1.2500" in said
    assert "bit for bit" in said
    assert "2.00 KiB" in said or "2 KiB" in said
    args.json = True
    show(args, _trained(), False)
    found = json.loads(capsys.readouterr().out)
    assert [one["steps"] for one in found["plans"]] == [2, 1]
    assert found["same_as_in_one_piece"] is False


def test_changes_of_the_network_add_up():
    from airloom.core.topology import Conditions, DeviceState, LinkState

    first = Conditions(at_s=1, links=(LinkState(src="a", dst="b", rate_bps=5.0),))
    second = Conditions(
        at_s=2, links=(LinkState(src="a", dst="b", loss=0.1),), devices=(DeviceState(id="x", load=1.0),)
    )
    both = merged(merged(None, first), second)
    assert both.at_s == 2
    (link,) = both.links
    assert (link.rate_bps, link.loss) == (5.0, 0.1)
    assert both.devices == second.devices


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--lr", "-1"], "--lr: a learning rate is above 0"),
        (["--patience", "0"], "--patience: "),
        (["--weight-decay", "-1"], "--weight-decay: "),
        (["--optimizer", "adam", "--momentum", "0.9"], "--momentum: adam has betas"),
        (["--every", "2"], "--every: say where checkpoints go: --checkpoint FILE"),
        (["--batch", "0"], "--batch: at least 1 sample"),
        (["--save", "."], "--save: . is a folder"),
    ],
)
def test_options_are_refused_by_name_before_anything_is_measured(here, capsys, options, line):
    assert main(["train", "resnet20", "two.yaml", *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"airloom: {line}"), said
    assert said.count("\n") == 1


def test_a_model_that_is_none_is_not_blamed_on_samples(here, capsys):
    assert main(["train", "vgg99", "two.yaml"]) == 2
    assert "no model 'vgg99'" in capsys.readouterr().err


def test_what_is_private_stays_on_the_source():
    from training_cases import batches_of, line_of, profile_for, small, spec_of
    from training_pump import plan_of

    from airloom.deployment import DeployOptions
    from airloom.errors import ConfigError
    from airloom.training import train_split
    from airloom.training.course import Course

    captured = small("branches")
    spec = spec_of(captured)
    profile, topology = profile_for(captured, spec, seconds=0.1), line_of("ue", "cloud", ue=8.0)
    course = Course(captured, topology, batches_of(captured, spec), spec, {"": profile}, 3, 0, [], None)
    assert course.decided(None, None).stages[0].device == "cloud"
    course.private = 3
    first = course.decided(None, None).stages[0]
    assert (first.device, first.stop) == ("ue", 3)
    last = captured.graph.num_operators
    with pytest.raises(ConfigError, match=r"plan: the first 3 operators stay on ue: the plan has cloud run 2\.\."):
        train_split(
            captured, topology, batches_of(captured, spec), spec, 2, profiles={"": profile},
            plan=plan_of(profile, ("ue", "cloud"), (2, last)), options=DeployOptions(private_operators=3),
        )  # fmt: skip
