from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.config import dump_topology, load_run, load_topology, merged, parse_change, parse_topology
from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Power, Topology
from airloom.errors import ConfigError

GOOD = """
name: two
source: ue
sink: cloud
devices:
  - {id: ue, role: ue, speed: 0.125, memory: 512 MiB, power: {idle: 1W, busy: 2500mW, radio_per_bit: 100 nJ, source: a}}
  - {id: gnb, role: gnb, computes: false}
  - {id: cloud, role: cloud, factor: 0.5, address: "10.0.0.7:7447"}
links:
  - {from: ue, to: gnb, rate: 50 Mbit/s, delay: 10 ms, overhead: 1ms, loss: 5 %, burst: 5 ms, both: true}
  - {from: gnb, to: cloud, rate: unlimited}
  - {from: cloud, to: gnb, rate: 2e6 bit/s}
"""


def test_a_topology_in_si() -> None:
    net = parse_topology(GOOD)
    assert net == Topology(
        name="two",
        source="ue",
        sink="cloud",
        devices=(
            Device(
                id="ue",
                role="ue",
                factor=8.0,
                memory_bytes=512 * 2**20,
                power=Power(idle_w=1.0, busy_w=2.5, radio_j_per_bit=100 * 1e-9, source="a"),
            ),
            Device(id="gnb", role="gnb", computes=False),
            Device(id="cloud", role="cloud", factor=0.5, address="10.0.0.7:7447"),
        ),
        links=(
            Link(src="ue", dst="gnb", rate_bps=50e6, delay_s=0.01, overhead_s=0.001, loss=0.05, burst_s=0.005),
            Link(src="gnb", dst="ue", rate_bps=50e6, delay_s=0.01, overhead_s=0.001, loss=0.05, burst_s=0.005),
            Link(src="gnb", dst="cloud", rate_bps=math.inf),
            Link(src="cloud", dst="gnb", rate_bps=2e6),
        ),
    )


HEAD = "source: ue\nsink: c\n"
DEVICES = "devices: [{id: ue, role: ue}, {id: c, role: cloud}]\n"
LINKS = "links: [{from: ue, to: c, rate: 1 Mbit/s, both: true}]\n"


def link(**fields: Any) -> str:
    text = ", ".join(
        f"{key}: {value}" for key, value in ({"from": "ue", "to": "c", "rate": "1 Mbit/s"} | fields).items()
    )
    return f"{HEAD}{DEVICES}links: [{{{text}, both: true}}]"


def ue(**fields: Any) -> str:
    text = ", ".join(f"{key}: {value}" for key, value in ({"id": "ue", "role": "ue"} | fields).items())
    return f"{HEAD}{LINKS}devices: [{{id: c, role: cloud}}, {{{text}}}]"


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("", "", "empty: write one"),
        ("# nothing\n", "", "empty"),
        ("- 1\n", "$", "expected a mapping, got a list"),
        ("source: [ue\nsink: c\n", "", "not YAML: .* in line 2"),
        ("source: ue\n\tsink: c\n", "", "not YAML: .* in line 2"),
        ("source: *ue", "", "not YAML: found undefined alias"),
        ("source: !!python/object:os.system {}", "", "not YAML: could not determine a constructor"),
        ("source: 2022-99-01", "", "not YAML"),
        ("source: ue\nsource: c\n", "", "key `source` twice in line 2"),
        (f"{HEAD}{DEVICES}{LINKS}speed: 1\n", "$", "unknown key `speed`: there are source, sink"),
        (link(dealy="3 ms"), "$.links[0]", "unknown key `dealy`: did you mean `delay`?"),
        (ue(power="{bussy: 1}"), "$.devices[1].power", "unknown key `bussy`: did you mean `busy`?"),
        (f"sink: c\n{DEVICES}{LINKS}", "$", "`source` is missing: add it"),
        (f"source: ue\n{DEVICES}{LINKS}", "$", "`sink` is missing: add it"),
        (f"{HEAD}{LINKS}devices: []", "$.devices", "no devices"),
        (f"{HEAD}{LINKS}devices: 3", "$.devices", "expected a list, got `int`"),
        (f"source: ue\nsink: x\n{DEVICES}{LINKS}", "$.sink", "no device 'x': there are c, ue"),
        (f"source: x\nsink: c\n{DEVICES}{LINKS}", "$.source", "no device 'x'"),
        (ue(id="c"), "$.devices[1].id", "a second device 'c'"),
        (ue(id='"a b"'), "$.devices[1].id", "letters, digits"),
        (ue(id="12"), "$.devices[1].id", "expected `str`, got `int`"),
        (ue(role="phone"), "$.devices[1].role", "invalid enum value 'phone': there are ue, gnb, mec, cloud"),
        (ue(speed="1", factor="1"), "$.devices[1].speed", "keep one of them"),
        (ue(speed="0"), "$.devices[1].speed", "a speed must be above 0, got 0"),
        (ue(speed="-2"), "$.devices[1].speed", "a speed must be above 0"),
        (ue(factor=".nan"), "$.devices[1].factor", "finite"),
        (ue(speed=".inf"), "$.devices[1].speed", "finite"),
        (ue(factor="1" + "0" * 400), "$.devices[1].factor", "finite"),
        (ue(memory="lots"), "$.devices[1].memory", "expected a size"),
        (ue(memory="-1"), "$.devices[1].memory", "cannot be negative"),
        (ue(computes="3"), "$.devices[1].computes", "expected `bool`, got `int`"),
        (ue(profile="gone.json"), "$.devices[1].profile", "no file .*gone.json: paths are relative"),
        (ue(power="{busy: -1}"), "$.devices[1].power.busy", "cannot be negative"),
        (link(to="x"), "$.links[0].to", "no device 'x'"),
        (link(**{"from": "x"}), "$.links[0].from", "no device 'x'"),
        (link(to="ue"), "$.links[0]", "from ue to itself"),
        (link(rate="0"), "$.links[0].rate", "a rate must be above 0, got 0: leave the link out"),
        (link(rate="-5"), "$.links[0].rate", "a rate must be above 0, got -5"),
        (link(rate="fast"), "$.links[0].rate", "expected a rate"),
        (link(rate="true"), "$.links[0].rate", "expected"),
        (link(delay="-1 ms"), "$.links[0].delay", "cannot be negative"),
        (link(delay="3 apples"), "$.links[0].delay", "expected a time with one of s, ms"),
        (link(rate="20"), "$.links[0].rate", "a rate needs its unit, got 20: write 20 Mbit/s"),
        (link(delay="4"), "$.links[0].delay", r"a time needs its unit, got 4: write 4 ms \(or s\)"),
        (link(overhead="1e-3"), "$.links[0].overhead", "a time needs its unit, got"),
        (link(burst="5"), "$.links[0].burst", "a time needs its unit"),
        (ue(memory="512"), "$.devices[1].memory", r"a size needs its unit, got 512: write 512 MiB \(or B\)"),
        (ue(power="{busy: 3}"), "$.devices[1].power.busy", "a power needs its unit, got 3: write 3 W"),
        (ue(power="{radio_per_bit: 1.0e-7}"), "$.devices[1].power.radio_per_bit", "an energy needs its unit"),
        (link(loss="120 %"), "$.links[0].loss", "lies in"),
        (link(loss="1"), "$.links[0].loss", "loses everything"),
        (link(trace="gone.csv"), "$.links[0].trace", "no file"),
        (f"{HEAD}{DEVICES}links: [{{from: ue, to: c}}]", "$.links[0]", "`rate` is missing"),
        (f"{HEAD}{DEVICES}", "$.links", "no links lead from ue to c: ue reaches nothing"),
        (f"{HEAD}{DEVICES}links: [{{from: c, to: ue, rate: 1 bps}}]", "$.links", "no links lead from ue to c"),
        (f"{HEAD}{DEVICES}links: [{{from: ue, to: c, rate: 1 bps}}]", "$.links", "add the link c->ue, or write `both"),
        (
            f"{HEAD}{DEVICES}links: [{{from: ue, to: c, rate: 1 bps, both: true}}, {{from: c, to: ue, rate: 2 bps}}]",
            "$.links[1]",
            "a second link c->ue",
        ),
    ],
)  # fmt: skip
def test_a_mistake_names_its_place_and_the_remedy(text: str, where: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")) as caught:
        parse_topology(text, where="net.yaml")
    assert caught.value.where == ("net.yaml: " + where if where else "net.yaml")
    assert "\n" not in str(caught.value)


def test_one_way_is_enough_where_the_result_stays() -> None:
    one_way = f"{HEAD}{DEVICES}links: [{{from: ue, to: c, rate: 1 bps}}]"
    assert len(parse_topology(one_way, result_returns=False).links) == 1


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read: No such file"):
        load_topology(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_topology(tmp_path / "bytes.yaml")


def test_a_trace_that_is_none_is_refused_with_its_link_and_line(tmp_path: Path) -> None:
    (tmp_path / "cell.txt").write_text("0 12.5\n1 fast\n")
    (tmp_path / "net.yaml").write_text(link(trace="cell.txt"))
    with pytest.raises(ConfigError, match=r"links\[0\].trace: .*cell.txt, line 2: expected `second Mbit/s`"):
        load_topology(tmp_path / "net.yaml")
    (tmp_path / "cell.txt").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ConfigError, match=r"links\[0\].trace: .*cell.txt: a rate trace is text"):
        load_topology(tmp_path / "net.yaml")


def test_files_are_relative_to_the_topology(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text("{}")
    (tmp_path / "net.yaml").write_text(ue(profile="own.json"))
    assert load_topology(tmp_path / "net.yaml").device("ue").profile == str(tmp_path / "own.json")


@given(text=st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_topology_or_one_clear_line(text: str) -> None:
    line = ""
    try:
        parse_topology(text)
    except ConfigError as error:
        line = str(error)
    assert "\n" not in line


_ids = st.sampled_from(["ue", "no", "on", "a.b", "gnb-1", "7", "null", "x_1"])
_amounts = st.one_of(st.just(0.0), st.floats(1e-9, 1e9), st.sampled_from([0.001, 0.25, 1.5, 0.05]))


@given(
    ids=st.lists(_ids, min_size=2, max_size=4, unique=True),
    figures=st.lists(st.tuples(_amounts, _amounts, st.floats(0, 0.99), st.booleans()), min_size=8, max_size=8),
    factor=st.floats(1e-3, 1e3),
    name=st.text(max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_a_topology_dumped_reads_back_equal(
    ids: list[str], figures: list[tuple[float, float, float, bool]], factor: float, name: str
) -> None:
    devices = tuple(
        Device(
            id=id,
            role="mec",
            factor=factor if i else 1.0,
            memory_bytes=round(figures[i][0]) if i else None,
            computes=i != 1,
            power=Power(busy_w=figures[i][0], radio_j_per_bit=figures[i][1], source=name) if i % 2 else Power(),
        )
        for i, id in enumerate(ids)
    )
    links = []
    for i, (a, b) in enumerate(itertools.pairwise(ids)):
        rate, delay, loss, same = figures[i]
        link = Link(src=a, dst=b, rate_bps=rate or math.inf, delay_s=delay, loss=loss, burst_s=delay)
        links += [link, Link(src=b, dst=a, rate_bps=rate or math.inf, delay_s=delay, loss=loss if same else 0.0)]
    net = Topology(devices=devices, links=tuple(links), source=ids[0], sink=ids[-1], name=name)
    assert parse_topology(dump_topology(net)) == net


def test_nothing_is_nothing_in_any_unit() -> None:
    net = parse_topology(link(delay="0", overhead="0.0", burst='"0"', loss="0"))
    assert (net.links[0].delay_s, net.links[0].overhead_s, net.links[0].burst_s) == (0.0, 0.0, 0.0)
    assert parse_topology(ue(memory="0")).device("ue").memory_bytes == 0


def test_dump_is_for_people() -> None:
    text = dump_topology(parse_topology(GOOD))
    assert (
        "{from: ue, to: gnb, rate: 50 Mbit/s, delay: 10 ms, overhead: 1 ms, loss: 0.05, burst: 5 ms, both: true}"
        in text
    )
    assert "{from: gnb, to: cloud, rate: unlimited}" in text
    assert "memory: 512 MiB, power: {idle: 1 W, busy: 2.5 W, radio_per_bit: 100 nJ, source: a}" in text


RUN = """
topology: net.yaml
model: resnet20
profile: own.json
scheme: single-split
requests: 50
deadline: 500 ms
in_flight: 4
transport: tcp
congestion: bbr
repair_rounds: 1
seed: 3
private_operators: 2
emulate: false
changes:
  - {at: 10 s, link: ue->c, rate: 100 kbit/s, both: true}
  - {at: 5 s, device: c, up: false}
"""


def _run_file(tmp_path: Path, text: str) -> Path:
    (tmp_path / "net.yaml").write_text(f"{HEAD}{DEVICES}{LINKS}")
    (tmp_path / "own.json").write_text("{}")
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_a_run_file(tmp_path: Path) -> None:
    run = load_run(_run_file(tmp_path, RUN))
    assert (run.topology, run.profile) == (str(tmp_path / "net.yaml"), str(tmp_path / "own.json"))
    assert (run.scheme, run.requests, run.deadline_s, run.in_flight) == ("single-split", 50, 0.5, 4)
    assert (run.transport, run.congestion, run.repair_rounds, run.seed) == ("tcp", "bbr", 1, 3)
    assert (run.private_operators, run.emulate, run.result_returns) == (2, False, True)
    assert run.changes == (
        Conditions(at_s=5.0, devices=(DeviceState(id="c", up=False),)),
        Conditions(
            at_s=10.0,
            links=(LinkState(src="ue", dst="c", rate_bps=1e5), LinkState(src="c", dst="ue", rate_bps=1e5)),
        ),
    )


def test_an_accuracy_floor_in_a_run_file(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    for text in ("88 %", "0.88"):
        path = _run_file(tmp_path, f"topology: net.yaml\nmodel: m\ntolerance: t.json\nmin_accuracy: {text}")
        run = load_run(path)
        assert (run.tolerance, run.min_accuracy) == (str(tmp_path / "t.json"), 0.88)
    assert load_run(_run_file(tmp_path, "topology: net.yaml\nmodel: m")).min_accuracy is None


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("topology: net.yaml\n", "$", "`model` is missing"),
        ("model: m\ntopology: net.yaml\nmin_accuracy: 0.8", "$.min_accuracy", "name a `tolerance` profile"),
        ("model: m\ntopology: net.yaml\nmin_accuracy: 120 %", "$.min_accuracy", "lies in"),
        ("model: m\ntopology: net.yaml\ntolerance: none.json", "$.tolerance", "no file"),
        ("model: m\ntopology: none.yaml", "$.topology", "no file"),
        ("model: m\ntopology: net.yaml\nprofile: none.json", "$.profile", "no file"),
        ("model: m.pt2\ntopology: net.yaml", "$.model", "no file"),
        ("model: m\ntopology: net.yaml\nrequests: 0", "$.requests", "at least 1, got 0"),
        ("model: m\ntopology: net.yaml\nin_flight: 0", "$.in_flight", "at least 1"),
        ("model: m\ntopology: net.yaml\nrepair_rounds: -1", "$.repair_rounds", "at least 0"),
        ("model: m\ntopology: net.yaml\nrequests: 2.5", "$.requests", "expected `int`"),
        ("model: m\ntopology: net.yaml\ndeadline: 0", "$.deadline", "leaves no time"),
        ("model: m\ntopology: net.yaml\ndeadline: 2", "$.deadline", "a time needs its unit, got 2: write 2 ms"),
        ("model: m\ntopology: net.yaml\nchanges: [{link: ue->c, rate: 5}]", "$.changes[0].rate", "write 5 Mbit/s"),
        ("model: m\ntopology: net.yaml\nchanges: [{at: 9, device: c}]", "$.changes[0].at", "needs its unit"),
        ("model: m\ntopology: net.yaml\ntransport: quic", "$.transport", "there are udp, tcp"),
        ("model: m\ntopology: net.yaml\nscheme: best", "$.scheme", "there are airloom, ue-only"),
        ("model: m\ntopology: net.yaml\ncongestion: bbr", "$.congestion", "write `transport: tcp`"),
        ("model: m\ntopology: net.yaml\nchanges: [{at: 1 s}]", "$.changes[0]", "of a `link` or of a `device`"),
        ("model: m\ntopology: net.yaml\nchanges: [{link: ue-c}]", "$.changes[0].link", "SRC->DST"),
        (
            "model: m\ntopology: net.yaml\nchanges: [{link: ue->c, both: true}]",
            "$.changes[0]",
            "nothing changes",
        ),
        ("model: m\ntopology: net.yaml\nchanges: [{device: c}]", "$.changes[0]", "nothing changes: .*`load`"),
        ("model: m\ntopology: net.yaml\nchanges: [{link: ue->x, up: true}]", "$.changes[0]", "no link ue->x"),
        ("model: m\ntopology: net.yaml\nchanges: [{device: x, up: false}]", "$.changes[0]", "no device 'x'"),
        ("model: m\ntopology: net.yaml\nchanges: [{link: ue->c, rate: 0}]", "$.changes[0].rate", "above 0"),
        ("model: m\ntopology: net.yaml\nchanges: [{link: ue->c, load: 1}]", "$.changes[0].load", "no load"),
        ("model: m\ntopology: net.yaml\nchanges: [{device: c, rate: 1 bps}]", "$.changes[0]", "a link's"),
        ("model: m\ntopology: net.yaml\nchanges: [{device: c, load: -1}]", "$.changes[0].load", "negative"),
        ("model: m\ntopology: net.yaml\nchanges: [{device: c, lod: 1}]", "$.changes[0]", "did you mean `load`"),
    ],
)
def test_a_mistake_in_a_run_file(tmp_path: Path, text: str, where: str, says: str) -> None:
    path = _run_file(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_run(path)
    assert caught.value.where == f"{path}: {where}"


def test_changes_on_the_command_line() -> None:
    assert parse_change("link=mec->cloud, rate=5 Mbit/s,loss=2 %") == Conditions(
        links=(LinkState(src="mec", dst="cloud", rate_bps=5e6, loss=0.02),)
    )
    assert parse_change("link=a->b,up=false,both=true").links == (
        LinkState(src="a", dst="b", up=False),
        LinkState(src="b", dst="a", up=False),
    )
    assert parse_change("device=mec,load=2").devices == (DeviceState(id="mec", load=2.0),)
    for text, says in (
        ("link", "KEY=VALUE"),
        ("link=a->b,rate=1,rate=2", "each key once"),
        ("rate=1", "name one of them"),
        ("link=a->b,rat=1", "did you mean `rate`"),
        ("link=a->b,up=perhaps", "expected `bool`"),
        ("link=->b", "SRC->DST"),
        ("link=a->b,rate=5", "--set: .*a rate needs its unit, got 5: write 5 Mbit/s"),
        ("link=a->b,delay=3", "a time needs its unit"),
    ):
        with pytest.raises(ConfigError, match=says):
            parse_change(text, where="--set")


def test_later_changes_leave_what_they_do_not_name() -> None:
    first = parse_change("link=a->b,rate=5 Mbit/s,delay=1 ms")
    both = merged(merged(first, parse_change("link=a->b,delay=2 ms")), parse_change("device=a,load=1"))
    assert both.links == (LinkState(src="a", dst="b", rate_bps=5e6, delay_s=0.002),)
    assert both.devices == (DeviceState(id="a", load=1.0),)
    assert merged(both, parse_change("link=a->b,up=false")).links[0].up is False


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "examples").glob("*.yaml")), ids=lambda p: p.stem)
def test_examples_load(path: Path) -> None:
    if "model:" in path.read_text():
        assert load_run(path).requests > 0
    else:
        net = load_topology(path)
        assert parse_topology(dump_topology(net)) == net
