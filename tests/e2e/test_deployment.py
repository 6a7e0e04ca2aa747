"""Real processes on 127.0.0.1: four hosts, sealed UDP through a relay, split cost waves, a killed host.

The deployment is shared by the tests of this file; each leaves it as it found it.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import line

from airloom.core.topology import Conditions, Device, DeviceState
from airloom.deployment import Deployment, DeployOptions
from airloom.errors import Cancelled, ConfigError, DeadlineExceeded, DeploymentError, Overloaded
from airloom.planner.chain import Solution
from airloom.planner.planning import make_plan
from airloom.planner.pricing import build_problem
from airloom.planner.route import chain
from airloom.runtime.certs import make_ca, make_host
from airloom.runtime.places import data_address


@pytest.fixture(scope="module")
def net(resnet20, four_hosts, profile):
    with Deployment(resnet20, four_hosts, profile, options=DeployOptions(in_flight=4, seed=3)) as deployment:
        yield deployment


def plan_of(four_hosts, profile, stops):
    problem = build_problem(four_hosts, chain(four_hosts), {"": profile})
    return make_plan(problem, Solution(stops, problem.chain_s(stops)), four_hosts, profile)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.02)


def stages_of(net, requests):
    """Which host ran which operators for these requests, from the traces."""
    numbers = {request.number for request in requests}
    time.sleep(0.7)  # hosts write their traces every half second
    return {
        (e.host, e.data["start"], e.data["stop"]) for e in net.trace() if e.kind == "stage" and e.request in numbers
    }


def ask_all(net, pictures, **options):
    requests = [net.submit(picture, **options) for picture in pictures]
    wait(requests, 60)
    return requests


def test_results_are_those_of_the_local_run_bit_for_bit(net, pictures, expected):
    requests = ask_all(net, pictures)
    for request, want in zip(requests, expected, strict=True):
        assert torch.equal(request.result(), want)
        assert request.missing == 0
    assert torch.equal(net(torch.from_numpy(pictures[0])), expected[0])
    assert any(host != "ue" for host, _, _ in stages_of(net, requests))


def test_a_pinned_plan_is_followed_and_gives_the_same_bits(net, four_hosts, profile, pictures, expected):
    last = profile.num_operators
    plan = plan_of(four_hosts, profile, (10, 30, 50, last))
    net.pin(plan)
    try:
        requests = ask_all(net, pictures[:8])
        for request, want in zip(requests, expected, strict=False):
            assert torch.equal(request.result(), want)
        assert stages_of(net, requests) == {("ue", 0, 10), ("gnb", 10, 30), ("mec", 30, 50), ("cloud", 50, last)}
    finally:
        net.pin(None)


def test_bounds_deadlines_and_cancelling(net, pictures):
    with pytest.raises(ConfigError, match="captured with"):
        net(pictures[0].astype(np.float32))
    with pytest.raises(ConfigError, match="takes 1 inputs"):
        net(pictures[0], pictures[0])
    with pytest.raises(ConfigError, match="deadline"):
        net.submit(pictures[0], deadline_s=-1.0)

    def flood():
        for _ in range(100):
            net.submit(pictures[0], block=False)

    with pytest.raises(Overloaded):
        flood()
    until(lambda: net.stats().in_flight == 0)
    late = net.submit(pictures[0], deadline_s=1e-6)
    with pytest.raises(DeadlineExceeded):
        late.result(5)
    gone = net.submit(pictures[0])
    assert gone.cancel()
    with contextlib.suppress(Cancelled):  # the result may have been nearer
        gone.result(5)
    assert not gone.cancel()


def test_a_host_killed_in_the_middle_loses_no_request_and_is_used_again(net, pictures, expected):
    before = Counter(net.stats().outcomes)
    requests = []
    for k in range(120):
        requests.append(net.submit(pictures[k % 40], deadline_s=20.0))
        if k == 30:
            net.kill("mec")
    for k, request in enumerate(requests):
        assert torch.equal(request.result(30), expected[k % 40])
    # Exactly one outcome each.
    assert Counter(net.stats().outcomes) - before == {"result": 120}
    net.wait_for("mec", up=False)
    assert net.up == {"gnb"}
    while_down = ask_all(net, pictures[:6])
    assert {host for host, _, _ in stages_of(net, while_down)} <= {"ue", "gnb"}

    net.revive("mec")
    net.wait_for("cloud")
    assert net.up == {"gnb", "mec", "cloud"}
    until(lambda: net.status()["gnb"].parent == "mec" and net.status()["mec"].parent == "cloud")

    def used_again():
        again = ask_all(net, pictures[:4])
        return {host for host, _, _ in stages_of(net, again)} & {"mec", "cloud"}

    until(used_again)


def test_with_everyone_else_gone_the_source_runs_the_model_itself(net, pictures, expected):
    net.kill("gnb")
    requests = ask_all(net, pictures[:5], deadline_s=20.0)
    for request, want in zip(requests, expected, strict=False):
        assert torch.equal(request.result(), want)
    net.wait_for("gnb", up=False)
    assert stages_of(net, ask_all(net, pictures[:3])) == {("ue", 0, net.graph.num_operators)}
    net.revive("gnb")
    net.wait_for("cloud")


def test_a_stranger_cannot_take_a_hosts_place(net, pictures, expected, tmp_path):
    make_ca(tmp_path)
    make_host(tmp_path, "cloud")
    net.kill("cloud")
    net.wait_for("cloud", up=False)
    line = net._command_line(type("Node", (), {"host": "cloud", "routes": {}}), Path(net._temporary.name))
    line[line.index("--certs") + 1] = str(tmp_path)
    line[line.index("--trace") + 1] = str(tmp_path / "cloud.jsonl")
    stranger = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert b"ready" in stranger.stdout.readline()
        time.sleep(1.5)
        assert "cloud" not in net.up
        assert torch.equal(net(pictures[0]), expected[0])
    finally:
        stranger.communicate()
    net.revive("cloud")


def test_a_link_that_slows_down_moves_the_plan(net, pictures):
    def cloud_computes():
        requests = ask_all(net, pictures[:10])
        return "cloud" in {host for host, _, _ in stages_of(net, requests)}

    until(cloud_computes)
    for ends in (("mec", "cloud"), ("cloud", "mec")):
        net.set_link(*ends, rate_bps=1e6)
    try:
        until(lambda: not cloud_computes(), 20)
    finally:
        for ends in (("mec", "cloud"), ("cloud", "mec")):
            net.set_link(*ends, rate_bps=100e6)
    # Nobody tells the hosts that the link is well again: they find out.
    until(cloud_computes, 30)
    assert {e.data["links"][0]["rate_bps"] for e in net.trace() if e.kind == "condition"} == {1e6, 100e6}


def test_a_busy_host_is_left_alone(net, pictures):
    net.apply(Conditions(devices=(DeviceState(id="cloud", load=30.0),)))
    try:

        def elsewhere():
            return "cloud" not in {host for host, _, _ in stages_of(net, ask_all(net, pictures[:10]))}

        until(elsewhere, 20)
    finally:
        net.apply(Conditions(devices=(DeviceState(id="cloud"),)))


def gone(pid):
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_children_do_not_outlive_a_launcher_that_is_killed(tmp_path):
    script = tmp_path / "launch.py"
    script.write_text(
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import torch\n"
        "from small_network import line, profile_of_graph\n"
        "from airloom.core.topology import Device\n"
        "from airloom.nn.capture import capture\n"
        "from airloom.zoo.build import build\n"
        "from airloom.deployment import Deployment, DeployOptions\n"
        "picture = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)\n"
        "model = capture(build('resnet20', 'random'), (picture,), name='resnet20')\n"
        "topology = line(Device(id='ue', role='ue'), Device(id='mec', role='mec'))\n"
        "net = Deployment(model, topology, profile_of_graph(model.graph))\n"
        "print(net.pid('mec'), net._launcher.relay.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    launcher = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    pids = [int(word) for word in launcher.stdout.readline().split()]
    assert len(pids) == 2
    launcher.kill()
    launcher.communicate()
    until(lambda: all(gone(pid) for pid in pids))


def test_over_tcp_and_closing_leaves_no_process_and_no_socket(resnet20, profile, pictures, expected):
    topology = line(Device(id="ue", role="ue", factor=8.0), Device(id="mec", role="mec"), rate_bps=50e6, delay_s=0.002)
    net = Deployment(resnet20, topology, profile, options=DeployOptions(transport="tcp", in_flight=2))
    try:
        requests = ask_all(net, pictures[:20])
        for request, want in zip(requests, expected, strict=False):
            assert torch.equal(request.result(), want)
        assert "mec" in {host for host, _, _ in stages_of(net, requests)}
        status = net.status()["mec"]
        assert status.transport == "tcp"
        assert status.counters["data_received_messages"] >= 20
        pids = [net.pid("mec"), net._launcher.relay.pid]
        folder, addresses = Path(net._temporary.name), [data_address(d) for d in net.topology.devices]
        flying = [net.submit(pictures[0]) for _ in range(2)]
    finally:
        net.close()
    net.close()
    assert all(gone(pid) for pid in pids)
    assert not folder.exists()
    assert all(request.done() for request in flying)  # each has an outcome
    for host, port in [(h, p + k) for h, p in addresses for k in (0, 1)]:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((host, port))
    with pytest.raises(DeploymentError, match="closed"):
        net(pictures[0])
