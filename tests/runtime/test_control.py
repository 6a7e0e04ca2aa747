"""The control plane over real sessions on 127.0.0.1, all in this process."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections import Counter

import pytest
import zenoh

from airloom.core.topology import Device, Link, Topology
from airloom.runtime import commands
from airloom.runtime.certs import make_ca, make_host
from airloom.runtime.control import Control, Operator, zenoh_config
from airloom.runtime.places import control_endpoint, with_local_addresses


class Host:
    """A listener that remembers what it was told."""

    def __init__(self, name):
        self.name, self.costs, self.keys, self.peers, self.commands = name, [], {}, [], []
        self.up = set()

    def on_cost(self, src, data):
        self.costs.append((src, data))

    def on_keys(self, keys):
        self.keys[keys.peer] = keys

    def on_keys_void(self, peer):
        self.keys.pop(peer, None)

    def on_peer(self, peer, up):
        self.peers.append((peer, up))
        (self.up.add if up else self.up.discard)(peer)

    def status(self):
        return commands.HostStatus(
            host=self.name,
            role="mec",
            incarnation=1,
            uptime_s=0.0,
            load=0.0,
            in_flight=0,
            jobs=0,
            up=tuple(sorted(self.up)),
        )

    def on_command(self, asker, command):
        self.commands.append((asker, command))
        return commands.Ack()


def line(*names):
    links = []
    for a, b in itertools.pairwise(names):
        links += [Link(src=a, dst=b, rate_bps=1e9), Link(src=b, dst=a, rate_bps=1e9)]
    devices = tuple(Device(id=n, role="mec") for n in names)
    return with_local_addresses(Topology(devices=devices, links=tuple(links), source=names[0], sink=names[-1]))


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certs")
    make_ca(folder)
    return {name: make_host(folder, name) for name in ("ue", "gnb", "mec", "operator", "other")}


async def until(condition, seconds=20.0):  # a busy machine takes its time
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(topology, certs, names=None):
    started = {}
    try:
        for name in names or [d.id for d in topology.devices]:
            host = Host(name)
            host.control = Control(name, topology, certs[name], host, counters=Counter())
            await host.control.start()
            started[name] = host
        yield started
    finally:
        for host in started.values():
            await host.control.close()


def test_hosts_find_each_other_agree_on_keys_and_talk(certs):
    async def main():
        topology = line("ue", "gnb", "mec")
        async with running(topology, certs) as hosts:
            ue, gnb, mec = hosts["ue"], hosts["gnb"], hosts["mec"]
            await until(lambda: ue.up == {"gnb", "mec"} and gnb.up == {"ue", "mec"} and mec.up == {"ue", "gnb"})
            assert set(ue.keys) == {"gnb"}
            assert set(gnb.keys) == {"ue", "mec"}
            assert ue.keys["gnb"].send == gnb.keys["ue"].receive
            mec.control.send_cost("gnb", b"cost")
            await until(lambda: gnb.costs)
            assert gnb.costs == [("mec", b"cost")]
            assert not ue.costs

    asyncio.run(main())


def test_a_host_that_goes_is_noticed_by_all_and_comes_back_with_new_keys(certs):
    async def main():
        topology = line("ue", "gnb", "mec")
        async with running(topology, certs) as hosts:
            ue, gnb = hosts["ue"], hosts["gnb"]
            await until(lambda: len(ue.up) == 2 and len(gnb.up) == 2)
            before = gnb.keys["mec"]
            began = time.monotonic()
            await hosts.pop("mec").control.close()
            await until(lambda: ue.up == {"gnb"} and gnb.up == {"ue"})
            assert time.monotonic() - began < 1.0
            again = Host("mec")
            again.control = Control("mec", topology, certs["mec"], again, counters=Counter())
            await again.control.start()
            hosts["mec"] = again
            await until(lambda: "mec" in ue.up and again.up == {"ue", "gnb"})
            assert gnb.keys["mec"].send != before.send
            assert gnb.keys["mec"].send == again.keys["gnb"].receive

    asyncio.run(main())


def test_a_host_restarted_under_the_same_name_is_first_reported_down(certs):
    async def main():
        topology = line("ue", "gnb")
        async with running(topology, certs) as hosts:
            ue = hosts["ue"]
            await until(lambda: ue.up)
            await hosts.pop("gnb").control.close()
            async with running(topology, certs, ["gnb"]):
                await until(lambda: ue.peers == [("gnb", True), ("gnb", False), ("gnb", True)])

    asyncio.run(main())


def test_strangers_cannot_join_and_members_cannot_speak_for_others(certs, tmp_path):
    async def main():
        topology = line("ue", "gnb", "mec")
        make_ca(tmp_path)
        async with running(topology, certs, ["ue", "gnb"]) as hosts:
            gnb = hosts["gnb"]
            await until(lambda: gnb.up == {"ue"})
            target = control_endpoint(topology.device("gnb"))

            def intrude(identity):
                session = zenoh.open(zenoh_config(identity, listen=[], connect=[target]))
                try:
                    time.sleep(0.4)
                    token = session.liveliness().declare_token("airloom/alive/mec/77")
                    session.put("airloom/cost/ue/gnb", b"forged")
                    session.put("airloom/cost/mec/gnb", b"forged")
                    answers = []
                    for key in ("airloom/key/mec/gnb", "airloom/command/operator/gnb", "airloom/status/operator/gnb"):
                        answers += [r for r in session.get(key, payload=b"{}", timeout=0.3) if r.ok]
                    token.undeclare()
                    return answers
                finally:
                    session.close()

            # A certificate of another authority with a member's name; one of ours with a name not in the topology.
            assert await asyncio.to_thread(intrude, make_host(tmp_path, "mec")) == []
            assert await asyncio.to_thread(intrude, certs["other"]) == []
            assert not gnb.costs
            assert gnb.up == {"ue"}
            assert not gnb.commands

    asyncio.run(main())


def test_only_the_operator_and_the_source_command(certs):
    topology = line("ue", "gnb", "mec")
    ready, stop, seen = threading.Event(), threading.Event(), {}

    async def main():
        async with running(topology, certs) as hosts:
            seen.update(hosts)
            await until(lambda: len(hosts["ue"].up) == 2)
            ready.set()
            await until(stop.is_set, 20)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(10)
        with Operator(topology, certs["operator"]) as operator:
            status = operator.status("mec")
            assert status is not None
            assert (status.host, status.up) == ("mec", ("gnb", "ue"))
            assert operator.command("gnb", commands.SetFactor(factor=3.0)).ok
        assert seen["gnb"].commands == [("operator", commands.SetFactor(factor=3.0))]
        with Operator(topology, certs["ue"], name="ue") as source:
            assert source.command("mec", commands.Pin()).ok
        with Operator(topology, certs["mec"], name="mec") as mec:
            assert not mec.command("gnb", commands.ShutDown(), timeout_s=0.5).ok
        with Operator(topology, certs["mec"], name="operator") as liar:
            assert not liar.command("gnb", commands.ShutDown(), timeout_s=0.5).ok
        assert len(seen["gnb"].commands) == 1
    finally:
        stop.set()
        thread.join()
