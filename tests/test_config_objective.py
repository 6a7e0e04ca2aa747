"""Objectives, power curves and prices as people write them; every mistake names its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airloom.config import dump_topology, load_run, parse_topology
from airloom.config.objective import ARGUMENTS, check_objective, parse_objective
from airloom.core.objective import Bound, Objective, Term, parse_bound, parse_term
from airloom.errors import ConfigError

NET = """
source: ue
sink: cloud
devices:
  - {{id: ue, role: ue, power: {power}}}
  - {{id: cloud, role: cloud, price: {price}}}
links:
  - {{from: ue, to: cloud, rate: 10 Mbit/s, delay: 1 ms, both: true}}
"""
CURVES = "{busy: 3 W, send: [[1 Mbit/s, 1.2 W], [50.5 Mbit/s, 2500 mW]], receive: [[10 Mbit/s, 0.8 W]]}"


def net(power: str = CURVES, price: str = "0.1 per hour") -> str:
    return NET.format(power=power, price=price)


def run_file(folder: Path, **keys: str) -> Path:
    (folder / "net.yaml").write_text(net())
    lines = ["topology: net.yaml", "model: resnet20", *(f"{key}: {value}" for key, value in keys.items())]
    (folder / "run.yaml").write_text("\n".join(lines) + "\n")
    return folder / "run.yaml"


def test_power_curves_and_prices_are_read_and_written() -> None:
    topology = parse_topology(net())
    ue, cloud = topology.devices
    assert ue.power.send_w == ((1e6, 1.2), (50.5e6, 2.5))
    assert ue.power.receive_w == ((1e7, 0.8),)
    assert cloud.price_per_s == pytest.approx(0.1 / 3600)
    assert parse_topology(dump_topology(topology)) == topology
    assert parse_topology(net(price="2 per min")).devices[1].price_per_s == pytest.approx(2 / 60)


@pytest.mark.parametrize(
    ("power", "price", "line"),
    [
        ("{send: [[10 Mbit/s, 1 W], [5 Mbit/s, 2 W]]}", "0", r"\$\.devices\[0\]\.power\.send\[1\]\[0\]: rates ascend"),
        ("{send: [[0, 1 W]]}", "0", r"\$\.devices\[0\]\.power\.send\[0\]\[0\]: a rate must be above 0"),
        ("{receive: [[1 Mbit/s, -1 W]]}", "0", r"\$\.devices\[0\]\.power\.receive\[0\]\[1\]: a power cannot be negati"),
        ("{receive: [[1 Mbit/s, 3]]}", "0", r"\$\.devices\[0\]\.power\.receive\[0\]\[1\]: a power needs its unit"),
        ("{radio_per_bit: 1 nJ, send: [[1 Mbit/s, 1 W]]}", "0", r"\$\.devices\[0\]\.power: .* keep one of them"),
        ("{busy: 1 W}", "0.5", r"\$\.devices\[1\]\.price: a price needs its unit, got 0.5: write 0.5 per hour"),
        ("{busy: 1 W}", "-1 per s", r"\$\.devices\[1\]\.price: a price cannot be negative"),
    ],
)
def test_bad_figures_name_their_place(power: str, price: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        parse_topology(net(power, price))


def test_an_objective_is_read() -> None:
    found = parse_objective(["energy@ue=0.2", "money"], ["latency<=120ms", "bytes <= 2 MiB", "energy@ue<=0.5 J"])
    assert found is not None
    assert found.minimize == (Term("energy", 0.2, ("ue",)), Term("money"))
    assert found.require == (Bound("latency", 0.12), Bound("bytes", 2.0**21), Bound("energy", 0.5, ("ue",)))
    assert found.solver == "exact"
    assert parse_objective() is None
    # A bound alone leaves the least latency.
    assert parse_objective(require=["energy<=1 J"]) == Objective(require=(Bound("energy", 1.0),))
    assert parse_objective(solver="convex") == Objective(solver="convex")


def test_terms_and_bounds_are_written_as_they_are_read() -> None:
    for term in (Term("energy", 1e-7, ("ue", "gnb")), Term("latency", 2.5)):
        assert parse_term(term.text) == term
    for bound in (
        Bound("latency", 0.123456789),
        Bound("energy", 1e-6, ("ue",)),
        Bound("bytes", 4097.0),
        Bound("money", 1e-9),
    ):
        assert parse_bound(bound.text) == bound


@pytest.mark.parametrize(
    ("minimize", "require", "solver", "line"),
    [
        (["speed"], [], None, r"^--minimize: no metric 'speed': there are latency, energy, bytes, money"),
        (["energy=0"], [], None, r"^--minimize: a weight is above 0"),
        (["energy=x"], [], None, r"^--minimize: expected a number"),
        (["energy", "energy=2"], [], None, r"^--minimize: energy is there twice"),
        (["latency@ue"], [], None, r"^--minimize: latency is that of the whole request"),
        ([], ["latency=120ms"], None, r"^--require: expected METRIC<=LIMIT"),
        ([], ["latency<=120"], None, r"^--require: a time needs its unit"),
        ([], ["energy<=0"], None, r"^--require: a bound is above 0"),
        ([], ["energy<=1 J", "energy<=2 J"], None, r"^--require: energy has two bounds: keep the smaller"),
        ([], [], "best", r"^--solver: no solver 'best': there are exact, convex, linear"),
    ],
)
def test_bad_objectives_name_the_option(minimize: list[str], require: list[str], solver: str | None, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        parse_objective(minimize, require, solver)


@pytest.mark.parametrize(
    ("minimize", "line"),
    [
        (
            "energy@phone",
            r"^minimize: no device or role 'phone': there are cloud, ue, and the roles ue",
        ),
        ("energy@mec", r"^minimize: no device has the role mec: there are cloud, ue$"),
        ("energy@cloud", r"^minimize: no device of energy@cloud has power figures: give one of them `power:`"),
        ("money@ue", r"^minimize: no device of money@ue has a price: give one of them `price:`"),
    ],
)
def test_names_and_figures_that_the_topology_lacks(minimize: str, line: str) -> None:
    objective = parse_objective([minimize], places=ARGUMENTS)
    with pytest.raises(ConfigError, match=line):
        check_objective(objective, parse_topology(net()), places=ARGUMENTS)


def test_what_the_topology_has_is_accepted() -> None:
    check_objective(parse_objective(["energy@ue", "money", "bytes@cloud"]), parse_topology(net()))
    check_objective(None, parse_topology(net()))


def test_a_run_file_says_what_it_is_to_be_good_at(tmp_path: Path) -> None:
    path = run_file(tmp_path, minimize="energy@ue", require="[latency<=120ms, money<=0.001]", solver="linear")
    objective = load_run(path).objective
    assert objective is not None
    assert [term.name for term in objective.minimize] == ["energy@ue"]
    assert [bound.limit for bound in objective.require] == [0.12, 0.001]
    assert objective.solver == "linear"
    assert load_run(run_file(tmp_path)).objective is None


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"minimize": "[energy, power]"}, r"run\.yaml: \$\.minimize\[1\]: no metric 'power'"),
        ({"minimize": "power"}, r"run\.yaml: \$\.minimize: no metric 'power'"),
        ({"require": "[latency<=1 s, energy@x<=1 J]"}, r"run\.yaml: \$\.require\[1\]: no device or role 'x'"),
        ({"require": "latency<120ms"}, r"run\.yaml: \$\.require: expected METRIC<=LIMIT"),
        ({"solver": "simplex"}, r"run\.yaml: \$\.solver: no solver 'simplex'"),
    ],
)
def test_mistakes_of_a_run_file_name_the_key(tmp_path: Path, keys: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_run(run_file(tmp_path, **keys))
    assert re.search(line, str(error.value)), error.value
