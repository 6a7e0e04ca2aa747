"""The relay's parts without processes: runs for GSO, lines, the loop's clock, a link's counters."""

from __future__ import annotations

import math
import os
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.topology import Link
from airloom.core.trace import Event
from airloom.errors import ConfigError
from airloom.runtime import relay_control as said
from airloom.runtime.relay_link import EmulatedLink
from airloom.runtime.relay_loop import RelayLoop
from airloom.runtime.relay_udp import runs_for_gso


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 1, 300, 1200, 1472, 40_000]), max_size=150))
def test_runs_keep_every_packet_and_can_be_sent_as_segments(sizes: list[int]) -> None:
    packets = [bytes([i % 256]) * size for i, size in enumerate(sizes)]
    runs = runs_for_gso(packets)
    assert [p for run in runs for p in run] == packets
    for run in runs:
        *body, last = run
        assert len({len(p) for p in body}) <= 1
        assert not body or 0 < len(last) <= len(body[0])
        assert len(run) == 1 or (len(run) <= 64 and sum(map(len, run)) <= 65_507)
    if sizes == [1200] * len(sizes):
        assert len(runs) <= math.ceil(len(sizes) / 54)


# Files hold infinity as this very text.
names = st.text().filter(lambda t: "Infinity" not in t)
floats = st.floats(allow_nan=False)
commands = st.one_of(
    st.builds(said.SetLink, src=names, dst=names, rate_bps=st.none() | floats, up=st.none() | st.booleans()),
    st.builds(said.SetHost, host=names, address=st.just("127.0.0.1:1")),
    st.builds(said.GetStats),
    st.builds(said.Stop),
)


@settings(deadline=None)
@given(commands)
def test_commands_survive_their_line(command: said.Command) -> None:
    line = said.encode_line(command)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert said.decode_command(line) == command


def test_answers_survive_their_line() -> None:
    event = Event(at_s=1.5, host="relay", kind="condition", data={"links": [{"rate_bps": math.inf}]})
    stats = said.Stats(links=(said.LinkStats(src="a", dst="b", lost=3),), late_max_s=0.1)
    ready = said.Ready(addresses=(said.LinkAddress(src="a", dst="b", address="127.0.0.1:5"),))
    for value in (said.Happened(event=event), stats, ready, said.Done(), said.Refused(error="no")):
        assert said.decode_said(said.encode_line(value)) == value


@pytest.mark.parametrize("line", [b"", b"{}", b"\xff\xfe", b'{"do":"fly"}', b'{"do":"stop","now":1}', b'{"do":"link"}'])
def test_a_line_that_is_no_command_is_refused(line: bytes) -> None:
    with pytest.raises(ConfigError):
        said.decode_command(line)


class Collector:
    def __init__(self) -> None:
        self.batches: list[tuple[float, list[bytes]]] = []

    def deliver(self, packets: list[bytes]) -> None:
        self.batches.append((time.monotonic(), packets))


def test_the_loop_delivers_in_order_never_early_and_equal_times_as_given() -> None:
    loop, outlet = RelayLoop(), Collector()
    start = time.monotonic()
    dues = [0.03, 0.01, 0.01, 0.02, 0.0]
    for i, due in enumerate(dues):
        loop.schedule(start + due, outlet, bytes([i]))
    loop.call_at(start + 0.04, loop.stop)
    loop.run()
    loop.close()
    assert [p[0] for _, batch in outlet.batches for p in batch] == [4, 1, 2, 3, 0]
    for at, batch in outlet.batches:
        assert all(at >= start + dues[p[0]] for p in batch)
    assert loop.lateness.packets == 6
    assert 0 <= loop.lateness.mean_s <= loop.lateness.max_s < 1


def test_the_loop_sleeps_between_events() -> None:
    loop = RelayLoop()
    before = time.process_time()
    loop.call_at(time.monotonic() + 0.3, loop.stop)
    loop.run()
    loop.close()
    assert time.process_time() - before < 0.1


def test_a_handler_may_stop_watching_another_descriptor() -> None:
    loop = RelayLoop()
    (first, first_in), (second, second_in) = os.pipe(), os.pipe()
    read = []

    def take(mine: int, other: int) -> None:
        read.append(mine)
        loop.watch(other)
        loop.stop()

    loop.watch(first, on_read=lambda: take(first, second))
    loop.watch(second, on_read=lambda: take(second, first))
    os.write(first_in, b"x")
    os.write(second_in, b"x")
    loop.run()
    loop.close()
    for fd in (first, first_in, second, second_in):
        os.close(fd)
    assert len(read) == 1


def emulated(link: Link, seed: int = 0, index: int = 0) -> EmulatedLink:
    return EmulatedLink(link, seed=seed, index=index, origin_s=0.0)


def test_links_of_one_relay_have_their_own_randomness() -> None:
    link = Link(src="a", dst="b", rate_bps=1e9, loss=0.5)
    fates = [lost(emulated(link, seed, index)) for seed, index in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert fates[0] == fates[3]
    assert fates[0] != fates[1] != fates[2] != fates[0]


def lost(link: EmulatedLink) -> list[bool]:
    return [link.offer_packet(100, i * 0.001) is None for i in range(64)]


def test_a_stream_is_taken_while_there_is_room_and_priced_with_its_headers() -> None:
    link = emulated(Link(src="a", dst="b", rate_bps=8e6, delay_s=0.5))
    assert link.stream_room(0.0) == 1448  # a millisecond, but never less than a segment
    assert link.offer_stream(1448, 0.0) == pytest.approx(0.5015)
    assert link.offer_stream(1, 0.0) == pytest.approx(0.501553)
    for _ in range(1000):
        if not link.stream_room(0.0):
            break
        link.offer_stream(1448, 0.0)
    assert link.model.queue.backlog_bytes(0.0) == pytest.approx(262_144, abs=1500)
    assert link.stream_room(0.1) > 0
    link.model.up = False
    assert link.stream_room(10.0) == 0


def test_overhead_stays_when_the_delay_changes() -> None:
    link = emulated(Link(src="a", dst="b", rate_bps=math.inf, delay_s=0.01, overhead_s=0.002))
    assert link.offer_packet(100, 0.0) == pytest.approx(0.012)
    link.change(said.SetLink(src="a", dst="b", delay_s=0.1))
    assert link.offer_packet(100, 0.0) == pytest.approx(0.102)
    assert msgspec.to_builtins(link.state(0.0))["delay_s"] == pytest.approx(0.1)
