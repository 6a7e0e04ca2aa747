"""The commands as a user types them: certificates, hosts on their own, status, metrics, a run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest
import torch
from small_network import line, profile_of_graph

from airloom.config import dump_topology
from airloom.core.topology import Device
from airloom.deployment import Deployment, DeployOptions
from airloom.files import write_value
from airloom.planner.inputs import load_profile
from airloom.runtime.places import free_port_pair, with_local_addresses

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def airloom(*words, check=True, timeout=120):
    line = [sys.executable, "-m", "airloom.cli.main", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout)
    if check:
        assert done.returncode == 0, done.stderr
    return done


@contextlib.contextmanager
def node(*words):
    """A host in the foreground of its own terminal, as on a real machine."""
    command = [sys.executable, "-m", "airloom.cli.main", "node", *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        process.ready = process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def place(tmp_path_factory, resnet20):
    """What a user has prepared: topology with addresses, artifact, profile, certificates."""
    folder = tmp_path_factory.mktemp("place")
    topology = with_local_addresses(line(Device(id="ue", role="ue"), Device(id="edge", role="mec"), rate_bps=200e6))
    (folder / "topology.yaml").write_text(dump_topology(topology))
    resnet20.save(folder / "model")
    write_value(folder / "ue.json", profile_of_graph(resnet20.graph, device="ue", per_mac_s=1e-8))
    write_value(folder / "edge.json", profile_of_graph(resnet20.graph, device="edge"))
    airloom("certs", folder / "certs", "--topology", folder / "topology.yaml")
    return folder, topology


def options(folder, host):
    yield from (host, "--topology", folder / "topology.yaml", "--artifact", folder / "model")
    yield from ("--profile", folder / f"{host}.json", "--certs", folder / "certs")


def test_two_machines_as_the_documentation_has_it(place, resnet20, pictures, expected):
    folder, topology = place
    profiles = {host: load_profile(folder / f"{host}.json") for host in ("ue", "edge")}
    port = free_port_pair(set())
    with node(*options(folder, "edge"), "--metrics-port", port) as edge:
        assert edge.ready.startswith("edge: resnet20; tensors udp 127.0.0.1:")
        settings = DeployOptions(launch=False, certs=folder / "certs")
        with Deployment(resnet20, topology, profiles, options=settings) as net:
            for picture, want in zip(pictures[:10], expected, strict=False):
                assert torch.equal(net(picture), want)
            status = airloom("status", "--topology", folder / "topology.yaml", "--certs", folder / "certs", "--json")
            hosts = json.loads(status.stdout)["hosts"]
            assert hosts["edge"]["up"] == ["ue"]
            assert hosts["edge"]["counters"]["stages"] > 0
            assert hosts["ue"]["parent"] == "edge"
            text = airloom("status", "--topology", folder / "topology.yaml", "--certs", folder / "certs").stdout
            assert "ue->edge" in text
            metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
            assert 'airloom_up_hosts{host="edge"} 1' in metrics
            assert 'airloom_stages_total{host="edge"}' in metrics
        edge.send_signal(signal.SIGTERM)
        assert edge.wait(10) == 0
    # Nobody there any more: it says so, and does not hang.
    away = airloom("status", "--topology", folder / "topology.yaml", "--certs", folder / "certs", check=False)
    assert away.returncode == 1
    assert "no answer" in away.stdout


def test_a_port_that_is_taken_is_one_line(place):
    folder, _ = place
    with node(*options(folder, "edge")) as first:
        assert first.ready
        second = airloom("node", *options(folder, "edge"), check=False)
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert "cannot" in second.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({0: "nobody"}, "no device 'nobody'"),
        ({"--certs": "elsewhere"}, "airloom certs"),
        ({"--artifact": "elsewhere"}, "elsewhere"),
        ({"--profile": "other.json"}, "another model"),
        ({"--route": "mars=1.2.3.4:5"}, "PEER=HOST:PORT"),
        ({"--listen": "nowhere"}, "HOST:PORT"),
    ],
)
def test_what_a_node_cannot_use_is_one_line_and_exit_code_2(place, change, says, resnet20):
    folder, _ = place
    stranger = msgspec.structs.replace(profile_of_graph(resnet20.graph), graph_digest="sha256:" + "0" * 64)
    write_value(folder / "other.json", stranger)
    words = list(options(folder, "edge"))
    for key, value in change.items():
        if key == 0:
            words[0] = value
        elif key in words:
            words[words.index(key) + 1] = folder / value
        else:
            words += [key, value]
    done = airloom("node", *words, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


RUN = """\
topology: topology.yaml
model: resnet20
profile: profile.json
requests: 30
in_flight: 2
changes:
  - {at: 50 ms, link: ue->cloud, rate: 2 Mbit/s, both: true}
"""
TOPOLOGY = """\
source: ue
sink: cloud
devices:
  - {id: ue, role: ue, speed: 0.1}
  - {id: cloud, role: cloud}
links:
  - {from: ue, to: cloud, rate: 50 Mbit/s, delay: 1 ms, both: true}
"""


@pytest.fixture
def run_folder(tmp_path, resnet20):
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    (tmp_path / "run.yaml").write_text(RUN)
    write_value(tmp_path / "profile.json", profile_of_graph(resnet20.graph))
    return tmp_path


def test_a_run_from_its_file_to_its_folder(run_folder):
    out = run_folder / "out"
    done = airloom("run", run_folder / "run.yaml", "--out", out, "--json")
    summary = json.loads(done.stdout)
    assert summary["schemes"][0]["results"] == 30
    record = json.loads((out / "run.json").read_text())
    assert [c["title"] for c in record["changes"]] == ["ue->cloud at 2.00 Mbit/s; cloud->ue at 2.00 Mbit/s"]
    assert {p.name for p in (out / "traces" / "airloom").iterdir()} == {
        "ue.jsonl", "cloud.jsonl", "relay.jsonl",
    }  # fmt: skip
    assert sorted(p.name for p in out.iterdir()) == ["run.json", "traces"]


def test_a_run_that_is_ended_takes_its_hosts_along(run_folder):
    (run_folder / "run.yaml").write_text(RUN.replace("requests: 30", "requests: 100000").split("changes")[0])
    words = ["run", str(run_folder / "run.yaml"), "--out", str(run_folder / "o")]
    command = [sys.executable, "-m", "airloom.cli.main", *words]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    folder = run_folder / "o"
    end = time.monotonic() + 60
    while not list(folder.glob(".run-*/traces/cloud.jsonl")):
        assert time.monotonic() < end
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.1)
    time.sleep(1.0)
    # The relay and the cloud: whichever thread started them.
    tasks = Path(f"/proc/{run.pid}/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    assert len(children) == 2
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=20)
    assert run.returncode == 130, errors
    assert "Traceback" not in errors
    for pid in children:
        assert not Path(f"/proc/{pid}").exists()
    assert not list(folder.glob(".run-*"))
