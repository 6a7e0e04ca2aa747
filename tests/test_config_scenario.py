"""Scenario files: what they mean, and one clear line that names the place for what they cannot mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from airloom.config.scenario import is_scenario, load_scenario
from airloom.core.forecast import parse_forecast
from airloom.errors import ConfigError

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(p.name for p in (EXAMPLES / "scenarios").glob("*.yaml") if p.name != "iab.yaml")

TEXT = """
topology:
  source: ue
  sink: cloud
  devices:
    - {id: ue, role: ue}
    - {id: gnb, role: gnb}
    - {id: cloud, role: cloud}
  links:
    - {from: gnb, to: cloud, rate: 100 Mbit/s, both: true}
model: resnet20
duration: 10 s
area: [1 km, 1 km]
cell: {capacity: 200 Mbit/s, radio: {carrier: 28 GHz, bandwidth: 50 MHz, loss: 20 dB}}
cells:
  - {device: gnb, at: [500 m, 500 m]}
ues:
  - {id: ue, path: [[100 m, 500 m], [900 m, 500 m]], speed: 40 km/h}
links:
  - {link: gnb->cloud, background: {users: 2, rate: 10 Mbit/s}, both: true}
"""


def _load(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    return load_scenario(path)


@pytest.mark.parametrize("name", NAMES)
def test_examples_load(name: str) -> None:
    path = EXAMPLES / "scenarios" / name
    assert is_scenario(path)
    found = load_scenario(path)
    large = ("resnet18", {"size": 224, "num_classes": 1000})
    assert (found.run.model, found.run.options) == (("resnet20", {}) if name == "run_here.yaml" else large)
    assert found.scenario.ues[0].id == found.scenario.topology.source


def test_run_files_are_no_scenarios() -> None:
    assert not is_scenario(EXAMPLES / "loss_tolerant_run.yaml")


def test_what_is_said_is_what_comes(tmp_path: Path) -> None:
    found = _load(tmp_path, TEXT + "minimize: bytes\nseed: 4\nload: high\ncoherence: 10 ms\n")
    scenario, run = found.scenario, found.run
    assert (scenario.area_m, scenario.load, scenario.seed, scenario.duration_s) == ((1000.0, 1000.0), "high", 4, 10.0)
    assert scenario.objective == run.objective
    assert scenario.objective.minimize[0].metric == "bytes"
    assert scenario.ues[0].path.speed_mps == pytest.approx(40 / 3.6)
    assert scenario.cells[0].antenna.loss_db == 20.0
    assert [(link.src, link.dst, link.kind) for link in scenario.links] == [
        ("gnb", "cloud", "wired"), ("cloud", "gnb", "wired"),
    ]  # fmt: skip
    assert {(ln.src, ln.dst) for ln in scenario.topology.links} >= {("ue", "gnb"), ("gnb", "ue")}
    assert scenario.topology.link("ue", "gnb").rate_bps == 200e6
    assert run.requests == 20  # one every 0.5 s


def test_many_ues_are_copies_of_the_source(tmp_path: Path) -> None:
    text = TEXT.replace(
        "  - {id: ue, path", "  - {id: car, count: 3, wander: 4, speed: 5 km/h, activity: 20 %}\n  - {id: ue, path"
    )
    scenario = _load(tmp_path, text).scenario
    assert [ue.id for ue in scenario.ues] == ["car", "car2", "car3", "ue"]
    assert [d.id for d in scenario.topology.devices if d.role == "ue"] == ["ue", "car", "car2", "car3"]
    assert scenario.ues[0].activity == 0.2
    assert len({ue.path.waypoints for ue in scenario.ues}) == 4
    assert scenario.topology.link("car2", "gnb").rate_bps == 200e6


def test_radio_figures_of_a_cell_go_over_the_common_ones(tmp_path: Path) -> None:
    text = TEXT.replace(
        "at: [500 m, 500 m]}", "at: [500 m, 500 m], radio: {eirp: 43 dBm}, uplink: {users: 3, rate: 1 Mbit/s}}"
    )
    cell = _load(tmp_path, text).scenario.cells[0]
    assert (cell.antenna.eirp_dbm, cell.antenna.carrier_hz) == (43.0, 28e9)
    assert (cell.uplink.users, cell.downlink.users) == (3.0, 0.0)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  sink: cloud\n", "", r"\$\.topology: `sink` is missing"),
        ("sink: cloud", "sink: moon", r"\$\.topology\.sink: no device 'moon'"),
        ("  links:\n    - {from: gnb, to: cloud, rate: 100 Mbit/s, both: true}\n", "  links: []\n",
         r"no link gnb->cloud|no links lead from ue to cloud"),
        ("loss: 20 dB}", "loss: 20 dB, min_snr: 12 dB}",
         r"\$\.ues\[0\]\.path: out of coverage: 0 s after the start ue is at \(100 m, 500 m\), where the best"),
        ("[900 m, 500 m]", "[500 m, 500 m], [500 m, 1001 m]", r"\$\.ues\[0\]\.path\[2\]: \(500 m, 1001 m\) lies out"),
        ("duration: 10 s", "duration: -1 s", r"\$\.duration: a time cannot be negative"),
        ("duration: 10 s", "duration: 10 s\nwarm_up: -3 s", r"\$\.warm_up: a time cannot be negative"),
        ("duration: 10 s", "changes: [{at: -1 s, device: gnb, up: false}]", r"changes\[0\]\.at: a time cannot be"),
        ("speed: 40 km/h", "speed: 40000 km/h", r"\$\.ues\[0\]\.speed: 5G is made for at most 500 km/h"),
        ("speed: 40 km/h", "speed: -4 km/h", r"\$\.ues\[0\]\.speed: a speed cannot be negative"),
        (", speed: 40 km/h", "", r"\$\.ues\[0\]: `speed` is missing"),
        ("speed: 40 km/h", "speed: 40", r"needs its unit"),
        ("device: gnb, at", "device: gnb9, at", r"\$\.cells\[0\]\.device: no device 'gnb9': there are cloud, gnb, ue"),
        ("device: gnb, at", "device: ue, at", r"\$\.cells\[0\]\.device: ue is a UE"),
        ("link: gnb->cloud", "link: gnb->moon", r"\$\.links\[0\]\.link: no link gnb->moon: there are cloud->gnb"),
        ("link: gnb->cloud", "link: ue->gnb", r"\$\.links\[0\]\.link: others on an access link are its cell's"),
        ("ues:\n  - {id: ue,", "ues:\n  - {id: phone, device: {speed: 2},", r"\$\.ues: where is ue, the source"),
        ("{users: 2, rate: 10 Mbit/s}", "{users: 2}", r"\$\.links\[0\]\.background: users without a `rate`"),
        ("{users: 2, rate", "{users: -2, rate", r"\$\.links\[0\]\.background\.users: must be at least 0"),
        ("bandwidth: 50 MHz", "bandwidth: 51 MHz", r"\$\.cells\[0\]\.radio\.bandwidth: carriers of 120 kHz"),
        ("carrier: 28 GHz, ", "", r"\$\.cells\[0\]\.radio: `carrier` is missing"),
        ("capacity: 200 Mbit/s, ", "", r"\$\.cells\[0\]: `capacity` is missing"),
        ("duration: 10 s", "coherence: {access: 20 ms, wired: 50 ms, backhaul: 40 ms}",
         r"\$\.coherence\.wired: must be a multiple of the shortest, 20\.0 ms"),
        ("duration: 10 s", "coherence: 0", r"\$\.coherence\.access: a coherence time is from 1 ms"),
        ("duration: 10 s", "tasks: {every: 1 s, poisson: 1 s}", r"\$\.tasks: `every` and `poisson` say the same"),
        ("duration: 10 s", "tasks: {every: 0}", r"\$\.tasks\.every: no time between tasks"),
        ("duration: 10 s", "load: full", r"\$\.load: .*low, mid, high"),
        ("duration: 10 s", "forecast: crystal ball", r"\$\.forecast: no forecast 'crystal ball'"),
        ("duration: 10 s", "forecast: {method: kalman, when: never}", r"forecast\.when: no rule .*within, always"),
        ("duration: 10 s", "forecast: {method: ewma, order: 99}", r"\$\.forecast: order of a forecast is from 1 to 16"),
        ("duration: 10 s", "forecast: {method: ewma, tau: 3}", r"\$\.forecast\.tau: .*write 3 ms \(or s\)"),
        ("duration: 10 s", "durration: 10 s", r"did you mean `duration`"),
        ("path: [[100 m, 500 m], [900 m, 500 m]]", "at: [1 m, 1 m], path: [[100 m, 500 m]]", r"ues\[0\]: say where"),
        ("duration: 10 s", "changes: [{at: 1 s, link: ue->gnb, delay: 3 ms}]", r"is an access link: a change gives"),
        ("at: [500 m, 500 m]}", "at: [500 m, 500 m]}\n  - {device: gnb, at: [0, 0]}", r"cells\[1\]\.device: a second"),
        ("both: true}\n", "kind: backhaul, radio: {gain: 20 dBi}, both: true}\n", r"cloud has no position|unknown key"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_names_the_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=says) as caught:
        _load(tmp_path, TEXT.replace(old, new) if old != "both: true}\n" else TEXT.replace(
            "10 Mbit/s}, both: true}\n", "10 Mbit/s}, kind: backhaul, radio: {gain: 20 dBi}, both: true}\n"
        ))  # fmt: skip
    assert "\n" not in str(caught.value)
    assert "scenario.yaml" in str(caught.value)


def test_a_forecast_has_all_settings_of_the_option(tmp_path: Path) -> None:
    settings = "when: within, coherence: 50 ms, tick: 20 ms, order: 4, forget: 0.9"
    said = f"forecast: {{method: autoregressive, past: 5, {settings}}}"
    asked = parse_forecast("autoregressive,gaps=5,when=within,coherence=50ms,tick=20ms,order=4,forget=0.9")
    assert _load(tmp_path, TEXT + said).scenario.forecast.policy == asked
    trend = _load(tmp_path, TEXT + "forecast: {method: kalman, trend: true, past: 16}").scenario.forecast
    assert trend.policy == parse_forecast("kalman,trend")
    ewma = _load(tmp_path, TEXT + "forecast: {method: ewma, past: 16, tau: 300 ms}").scenario.forecast
    assert ewma.policy == parse_forecast("ewma,tau=300ms")
    assert _load(tmp_path, TEXT).scenario.forecast.policy is None


def test_a_perfect_forecast_is_used_always_unless_said_otherwise(tmp_path: Path) -> None:
    perfect = _load(tmp_path, TEXT + "forecast: perfect").scenario.forecast
    assert perfect.is_perfect
    assert perfect.policy is not None
    assert perfect.policy.when == "always"
    within = _load(tmp_path, TEXT + "forecast: {method: perfect, when: within}").scenario.forecast
    assert within.policy is not None
    assert within.policy.when == "within"
