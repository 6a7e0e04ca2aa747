"""Training in virtual time: the closed form on ideal links, the same trace for the same seed."""

import msgspec
import pytest
from training_pump import SPEC, plan_of, profile, star

from airloom.core.topology import Conditions, DeviceState
from airloom.errors import ConfigError, StageFailed
from airloom.sim.training import simulate_training


def test_a_step_on_ideal_links_takes_what_its_stages_take():
    ideal = msgspec.structs.replace(
        star(), links=tuple(msgspec.structs.replace(x, rate_bps=float("inf")) for x in star().links)
    )
    plan = plan_of(profile(), ("ue", "mec", "cloud"), (2, 4, 6))
    found = simulate_training(ideal, profile(), SPEC, plan, 3)
    assert found.error is None
    assert found.step_s == pytest.approx([6 * 0.001 + 6 * 0.002] * 3, rel=1e-9)


def test_links_and_plans_count_and_seeds_repeat():
    slow = msgspec.structs.replace(star(), links=tuple(msgspec.structs.replace(x, rate_bps=1e5) for x in star().links))
    plan, then = plan_of(profile(), ("ue", "cloud"), (3, 6)), plan_of(profile(), ("ue",), (6,))
    first, again = (simulate_training(slow, profile(), SPEC, plan, 4, replan={2: then}, seed=5) for _ in range(2))
    assert first.trace == again.trace
    assert len(first.moved_s) == 2
    assert first.moved_s[1] > 0.01
    assert first.step_s[0] == pytest.approx(first.step_s[1])
    assert first.step_s[2] == pytest.approx(0.018)
    assert first.step_s[0] > first.step_s[2]
    kinds = {e.data["what"] for e in first.trace if e.kind == "send"}
    assert kinds >= {"forward", "backward", "values", "parameters", "word"}


def test_a_host_that_goes_down_ends_it():
    plan = plan_of(profile(), ("ue", "mec"), (3, 6))
    down = Conditions(at_s=0.05, devices=(DeviceState(id="mec", up=False),))
    found = simulate_training(star(), profile(), SPEC, plan, 100, changes=[down])
    assert isinstance(found.error, StageFailed)
    assert "mec went down" in str(found.error)
    assert 0 < len(found.step_s) < 100


def test_no_steps():
    with pytest.raises(ConfigError, match="at least 1 step"):
        simulate_training(star(), profile(), SPEC, plan_of(profile(), ("ue",), (6,)), 0)
