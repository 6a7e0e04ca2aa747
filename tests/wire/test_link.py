"""The protocol of a link over a fake network: whole or exactly missing, never wrong, always bounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_network import BACK, THERE, Network, lossy, perfect
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.framing import Framing
from airloom.core.messages import Frame, FrameKind, Parcel
from airloom.radio.gilbert_elliott import GilbertElliott
from airloom.radio.queue import ConstantRate, FifoQueue
from airloom.wire.blocks import BLOCK_BYTES, BLOCK_HEADER, DATA, HEADER_BYTES, MARK, PACKET_OVERHEAD, REPORT, ROOM
from airloom.wire.link import LinkProtocol
from airloom.wire.message import pack_message
from airloom.wire.receiver import Budget, ReceiverLimits
from airloom.wire.seal import LinkKey
from airloom.wire.sender import Burst, SenderLimits


def message(nbytes: int, seed: int = 0) -> bytes:
    """A message with `nbytes` of payload no two blocks of which are alike."""
    data = np.random.default_rng(seed).bytes(nbytes)
    frame = Frame(kind=FrameKind.TASK, source=0, request=seed)
    return b"".join(pack_message(frame, Parcel((0,), (memoryview(data),))))


def check(network: Network, sent: list[bytes]) -> int:
    """Every arrived message is one that was sent, but for its exact missing ranges; returns missing bytes."""
    missing_bytes = 0
    for _, complete in network.arrived:
        candidates = [m for m in sent if len(m) == len(complete.buffer)]
        expected = None
        for original in candidates:
            blanked = bytearray(original)
            for start, stop in complete.missing:
                blanked[start:stop] = bytes(stop - start)
            if blanked == complete.buffer:
                expected = original
        assert expected is not None, "bytes that nobody sent"
        edges = [0, *(edge for gap in complete.missing for edge in gap), len(complete.buffer)]
        assert edges == sorted(edges)
        assert all(start % ROOM == 0 and stop > start for start, stop in complete.missing)
        missing_bytes += sum(stop - start for start, stop in complete.missing)
    return missing_bytes


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=5),
    loss=st.sampled_from([0.0, 0.05, 0.3, 0.6]),
    back_loss=st.sampled_from([0.0, 0.05, 0.3, 0.6]),
    duplicate=st.sampled_from([0.0, 0.2]),
    jitter_s=st.sampled_from([0.0, 0.0005, 0.01]),
    rate_bps=st.sampled_from([math.inf, 5e7, None]),
)
@settings(max_examples=200, deadline=None)
def test_whole_or_exactly_missing_over_any_network(
    seed: int, sizes: list[int], loss: float, back_loss: float, duplicate: float, jitter_s: float,
    rate_bps: float | None,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    network = Network(
        lossy(rng, loss=loss, duplicate=duplicate, jitter_s=jitter_s),
        lossy(rng, loss=back_loss, duplicate=duplicate, jitter_s=jitter_s),
        rate_bps=rate_bps,
    )
    sent = [message(size, k) for k, size in enumerate(sizes)]
    for one in sent:
        network.send(one)
    network.run(60)
    assert network.a.idle, "the sender never learnt how it ended"
    assert network.b.idle
    missing = check(network, sent)
    assert len({complete.id for _, complete in network.arrived}) == len(network.arrived) <= len(sent)
    # Bounded repair: no block leaves more often than the rounds and the echoes of small messages allow.
    blocks = sum(-(-len(one) // ROOM) for one in sent)
    assert network.sent["repair"] <= (SenderLimits().resends + 3) * blocks * (BLOCK_BYTES + PACKET_OVERHEAD)
    if loss == 0.0:
        assert len(network.arrived) == len(sent)
        assert missing == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
def test_large_messages_over_any_network(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = Network(
        lossy(rng, loss=float(rng.random()) * 0.5, duplicate=0.1, jitter_s=float(rng.choice([0, 1e-4, 1e-2]))),
        lossy(rng, loss=float(rng.random()) * 0.5, duplicate=0.1),
        rate_bps=float(rng.choice([math.inf, 1e7, 1e9])),
    )
    sent = [message(int(rng.integers(0, 1_000_000)), k) for k in range(3)]
    for one in sent:
        network.send(one)
    network.run(300)
    assert network.a.idle
    check(network, sent)


def test_more_gaps_than_a_report_holds_are_asked_for_in_several() -> None:
    rng = np.random.default_rng(0)
    lose_every_other = lambda data, at_s: (  # noqa: E731
        [] if BLOCK_HEADER.unpack_from(data)[6] % 2 and rng.random() < 0.9 else [at_s + 0.001]
    )
    network = Network(lose_every_other, perfect(0.001), limits=ReceiverLimits(rounds=40))
    sent = [message(700_000, k) for k in range(3)]
    for one in sent:
        network.send(one)
    network.run()
    assert len(network.arrived) == 3
    check(network, sent)


@given(sizes=st.lists(st.integers(0, 60_000), max_size=4), tensors=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_law_4_bytes_on_the_wire_are_those_planned(sizes: list[int], tensors: int) -> None:
    network = Network(perfect(0.005), perfect(0.005))
    planned = 0
    for size in sizes:
        parcel = Parcel(tuple(range(tensors)), tuple(memoryview(bytes(size)) for _ in range(tensors)))
        network.send(*map(bytes, pack_message(Frame(kind=FrameKind.TASK, source=0, request=0), parcel)))
        planned += Framing().wire_nbytes((size,) * tensors)
    network.run()
    assert len(network.arrived) == len(sizes)
    assert network.sent["first"] == planned


@pytest.mark.parametrize("edge", [-1, 0, 1])
@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_sizes_around_a_blocks_edge(blocks: int, edge: int) -> None:
    network = Network(perfect(), perfect())
    sent = message(blocks * ROOM - 80 + edge)
    network.send(sent)
    network.run()
    [(_, complete)] = network.arrived
    assert bytes(complete.buffer) == sent


class Emulated:
    """A link with a rate, a delay, and losses in bursts of time, as the relay has it."""

    def __init__(self, rate_bps: float, delay_s: float, seed: int, *, loss: float = 0.0) -> None:
        self._queue = FifoQueue(ConstantRate(rate_bps))
        self._rng = np.random.default_rng(seed)
        self._bursts = GilbertElliott(loss=loss, burst_s=0.005) if loss else None
        self._delay_s = delay_s
        self.overflowed = 0

    def __call__(self, data: bytes, at_s: float) -> list[float]:
        left_s = self._queue.offer(len(data) + PACKET_OVERHEAD, at_s)
        if left_s is None:
            self.overflowed += 1
            return []
        if self._bursts is not None and self._bursts.lost(left_s, self._rng):
            return []
        return [left_s + self._delay_s]


def latencies(network: Network, data: bytes, count: int, *, pause_s: float = 0.1) -> list[float]:
    taken = []
    for _ in range(count):
        began_s = network.now_s
        network.send(data)
        network.run(10)
        [(at_s, complete)] = network.arrived
        assert bytes(complete.buffer) == data
        taken.append(at_s - began_s)
        network.arrived.clear()
        network.run(pause_s, until_idle=False)
    return taken


def test_bursts_of_loss_cost_little() -> None:
    """400 KB, 50 Mbit/s, 10 ms, 5 % loss in bursts of mean 5 ms: the issue's target, in virtual time."""
    late = np.random.default_rng(3)
    network = Network(
        Emulated(5e7, 0.01, 1, loss=0.05), Emulated(5e7, 0.01, 2, loss=0.05), rate_bps=5e7,
        late_s=lambda: 0.002 * float(late.random()), probe=True,
    )  # fmt: skip
    data = message(400_000)
    taken = latencies(network, data, 100)
    ideal_s = 400_000 * 8 / 5e7 + 0.01
    assert np.percentile(taken, 50) <= 1.15 * ideal_s
    assert np.percentile(taken, 95) <= 0.150
    # Repairs are what was lost, and little more.
    assert network.sent["repair"] <= 0.08 * network.sent["first"]
    assert network.sent["control"] <= 0.01 * network.sent["first"]


def test_a_lost_tail_costs_a_round_trip_not_a_timeout() -> None:
    there = perfect(0.010)
    lost_until_s = 0.0

    def path(data: bytes, at_s: float) -> list[float]:
        return [] if at_s < lost_until_s and BLOCK_HEADER.unpack_from(data)[6] >= 30 else there(data, at_s)

    network = Network(path, perfect(0.010), rate_bps=5e7)
    lost_until_s = network.now_s + 1.0
    data = message(40_000)
    began_s = network.now_s
    network.send(data)
    # The last blocks are lost at first transmission; marks (of index 0) get through.
    lost_until_s = began_s + 0.012
    network.run()
    [(at_s, complete)] = network.arrived
    assert bytes(complete.buffer) == data
    assert at_s - began_s < 40_000 * 8 / 5e7 + 3 * 0.010 + 0.01


@pytest.mark.parametrize("told", [None, 5e6, 5e7, 5e8])
def test_the_links_rate_is_found_whatever_was_told(told: float | None) -> None:
    there = Emulated(5e7, 0.01, 1)
    network = Network(there, Emulated(5e7, 0.01, 2), rate_bps=told, probe=True)
    data = message(400_000)
    latencies(network, data, 10)
    assert network.a.sender.rate_bps == pytest.approx(5e7, rel=0.1)
    assert network.a.sender.rtt.least_s == pytest.approx(0.020, abs=0.001)
    overflowed = there.overflowed
    assert np.median(latencies(network, data, 5)) <= 0.085
    assert there.overflowed == overflowed


def test_an_idle_link_shows_its_rate_at_1_percent_of_it() -> None:
    for told in (5e7, 5e6):
        network = Network(Emulated(5e7, 0.01, 1), Emulated(5e7, 0.01, 2), rate_bps=told, probe=True)
        network.a.sender.start(network.now_s)
        network.service(network.a)
        network.run(10, until_idle=False)
        assert network.a.sender.rate_bps == pytest.approx(5e7, rel=0.1)
        assert network.sent["control"] * 8 <= 0.0125 * 5e7 * 10


def test_messages_too_short_to_tell_a_rate_do_not_put_off_probes() -> None:
    network = Network(Emulated(5e7, 0.01, 1), Emulated(5e7, 0.01, 2), rate_bps=5e6, probe=True)
    network.a.sender.start(network.now_s)
    for _ in range(100):
        network.send(message(600))
        network.run(0.05, until_idle=False)
    assert network.a.sender.rate_bps == pytest.approx(5e7, rel=0.1)


def test_a_host_that_sleeps_does_not_make_the_link_look_slow() -> None:
    """Packets held up for 15 ms at a time, as by a relay on a busy machine: the pace stays what it was."""
    rng = np.random.default_rng(4)

    class Sleepy(Emulated):
        until_s, next_s, last_s = 0.0, 100.0, 0.0

        def __call__(self, data: bytes, at_s: float) -> list[float]:
            arrivals = super().__call__(data, at_s)
            for k, due_s in enumerate(arrivals):
                while due_s > self.until_s:
                    self.next_s = self.until_s + float(rng.exponential(0.05))
                    self.until_s = self.next_s + float(rng.exponential(0.015))
                self.last_s = max(self.last_s, self.until_s if due_s >= self.next_s else due_s)
                arrivals[k] = self.last_s
            return arrivals

    network = Network(
        Sleepy(5e7, 0.01, 1), Sleepy(5e7, 0.01, 2), rate_bps=5e7,
        late_s=lambda: float(rng.exponential(0.005)), probe=True,
    )  # fmt: skip
    network.a.sender.start(network.now_s)
    taken = latencies(network, message(400_000), 100)
    assert network.a.sender.pace_bps == pytest.approx(5e7, rel=0.25)
    assert np.percentile(taken, 95) < 0.25
    assert max(taken) < 0.6


def test_a_link_that_drops_to_a_tenth_is_followed() -> None:
    class Changing:
        def rate_bps(self, at_s: float) -> float:
            return 5e7 if at_s < 102.0 else 5e6

        def finish_s(self, start_s: float, nbytes: float) -> float:
            return start_s + nbytes * 8 / self.rate_bps(start_s)

        def nbytes_between(self, start_s: float, stop_s: float) -> float:
            return max(0.0, stop_s - start_s) * self.rate_bps(start_s) / 8

        def expected_s(self, nbytes: float) -> float:
            return nbytes * 8 / 5e7

        def mean_rate_bps(self) -> float:
            return 5e7

    there = Emulated(5e7, 0.01, 1)
    there._queue = FifoQueue(Changing())
    network = Network(there, perfect(0.01), rate_bps=5e7)
    data = message(400_000)
    latencies(network, data, 10)
    assert network.now_s < 102.0
    network.run(102.0 - network.now_s - 0.03, until_idle=False)
    [first, second] = latencies(network, data, 2)
    assert network.a.sender.rate_bps == pytest.approx(5e6, rel=0.1)
    assert max(first, second) < 1.2 * 400_000 * 8 / 5e6


def test_memory_for_partial_messages_is_bounded() -> None:
    limits = ReceiverLimits(partial_bytes=100_000, partial_messages=3, patience_s=0.5)
    hole = lambda data, at_s: [] if BLOCK_HEADER.unpack_from(data)[6] == 1 else [at_s]  # noqa: E731
    network = Network(hole, perfect(), limits=limits)
    sent = [message(30_000, k) for k in range(8)]
    for one in sent:
        network.send(one)
    network.run(20)
    assert 0 < network.largest_held <= 100_000
    assert network.b.receiver.held_bytes == 0
    assert network.b.drops()["memory"] > 0
    check(network, sent)


def test_a_budget_is_shared_and_given_back() -> None:
    budget = Budget(50_000)
    links = [LinkProtocol(BACK, THERE, budget=budget, rate_bps=math.inf) for _ in range(2)]
    sender = LinkProtocol(THERE, BACK, rate_bps=math.inf)
    sender.send([message(40_000)], 0.0)
    burst = sender.poll(0.0)
    assert burst is not None
    first = burst.data[:BLOCK_BYTES]
    for link in links:
        link.datagrams(first, BLOCK_BYTES, 0.0, 0.0)
    assert links[1].drops() == {"memory": 1}
    links[0].close()
    assert budget.left == 50_000


def test_a_message_above_the_limit_is_refused_and_its_sender_told() -> None:
    network = Network(perfect(0.001), perfect(0.001), limits=ReceiverLimits(message_bytes=10_000))
    network.send(message(20_000))
    network.run(5)
    assert network.arrived == []
    assert network.b.drops()["oversized"] >= 1
    assert network.a.idle
    assert network.largest_held == 0


def test_repair_rounds_are_bounded_and_the_rest_reported_missing() -> None:
    tries: dict[int, int] = {}

    def hole(data: bytes, at_s: float) -> list[float]:
        header = BLOCK_HEADER.unpack_from(data)
        if header[1] == DATA and header[6] in (3, 4, 7):
            tries[header[6]] = tries.get(header[6], 0) + 1
            return []
        return [at_s + 0.005]

    network = Network(hole, perfect(0.005), limits=ReceiverLimits(rounds=2), rate_bps=5e7)
    sent = message(12_000)
    network.send(sent)
    network.run()
    [(_, complete)] = network.arrived
    assert complete.missing == ((3 * ROOM, 5 * ROOM), (7 * ROOM, 8 * ROOM))
    check(network, [sent])
    assert tries == {3: 3, 4: 3, 7: 3}  # the first transmission and two repairs


def test_a_message_without_its_head_is_never_delivered() -> None:
    network = Network(
        lambda data, at_s: [] if BLOCK_HEADER.unpack_from(data)[1:7:5] == (DATA, 0) else [at_s], perfect(),
        limits=ReceiverLimits(rounds=1, patience_s=0.3),
    )  # fmt: skip
    network.send(message(12_000))
    network.run()
    assert network.arrived == []
    assert network.b.drops()["incomplete"] == 1
    assert network.a.idle


def test_a_silent_peer_is_given_up() -> None:
    network = Network(lambda *_: [], perfect())
    network.send(message(400_000))
    network.run(30)
    assert network.a.idle
    assert network.a.drops() == {"unanswered": 1}


def test_a_full_queue_drops_and_counts() -> None:
    link = LinkProtocol(THERE, BACK, rate_bps=1e6, sender_limits=SenderLimits(queue_bytes=1000))
    assert link.send([bytes(900)], 0.0) is not None
    assert link.send([bytes(200)], 0.0) is None
    assert link.drops() == {"queue_full": 1}


def test_a_small_message_passes_a_large_one() -> None:
    network = Network(Emulated(5e6, 0.0, 1), perfect(), rate_bps=5e6)
    large, small = message(400_000, 1), message(40, 2)
    network.send(large)
    network.run(0.05)
    network.send(small)
    network.run()
    assert [len(complete.buffer) for _, complete in network.arrived] == [len(small), len(large)]
    assert network.arrived[0][0] < 100.15


# --- what an enemy, or an accident, may put on the wire -----------------------------------------


def pair() -> tuple[LinkProtocol, LinkProtocol, Burst]:
    a = LinkProtocol(THERE, BACK, rate_bps=math.inf, probe=False)
    b = LinkProtocol(BACK, THERE, rate_bps=math.inf, probe=False)
    a.send([message(9000)], 0.0)
    burst = a.poll(0.0)
    assert burst is not None
    return a, b, burst


def take(link: LinkProtocol, *datagrams: bytes) -> None:
    for datagram in datagrams:
        link.datagrams(memoryview(datagram), max(1, len(datagram)), 0.0, 0.0)


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_one_changed_bit_anywhere_is_refused(draw: st.DataObject) -> None:
    a, b, burst = pair()
    mark = a.sender.control(MARK, bytes(8), 0.0)
    report = a.sender.control(REPORT, bytes(28), 0.0)
    datagram = bytearray(
        draw.draw(st.sampled_from([bytes(burst.data[:BLOCK_BYTES]), bytes(mark.data), bytes(report.data)]))
    )
    bit = draw.draw(st.integers(0, 8 * len(datagram) - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    take(b, bytes(datagram))
    assert sum(b.drops().values()) == 1
    assert b.receiver.held_bytes == 0
    assert b.idle


@pytest.mark.parametrize("cut", [0, 1, HEADER_BYTES, HEADER_BYTES + 15, HEADER_BYTES + 16, 1000, BLOCK_BYTES - 1])
def test_a_truncated_datagram_is_refused(cut: int) -> None:
    _, b, burst = pair()
    data = memoryview(bytes(burst.data[:cut]))
    b.datagrams(data, max(1, cut), 0.0, 0.0)
    assert sum(b.drops().values()) == (1 if cut else 0)
    assert b.idle


def test_what_is_refused_is_counted_by_its_reason() -> None:
    a, b, burst = pair()
    first = bytes(burst.data[:BLOCK_BYTES])
    second = bytes(burst.data[BLOCK_BYTES : 2 * BLOCK_BYTES])
    other = LinkProtocol(LinkKey(b"x" * 32, b"salt"), BACK, rate_bps=math.inf)
    other.send([message(9000)], 0.0)
    foreign_burst = other.poll(0.0)
    assert foreign_burst is not None
    foreign = bytes(foreign_burst.data[2 * BLOCK_BYTES : 3 * BLOCK_BYTES])
    mark = bytes(a.sender.control(MARK, bytes(8), 0.0).data)
    take(b, first)  # good
    take(b, first)  # again
    take(b, second[:-1] + bytes([second[-1] ^ 1]))
    take(b, b"\0" + second[1:])
    take(b, second + b"\0")
    take(b, foreign)
    take(b, foreign[:4] + first[4:8] + foreign[8:])  # claims the right key
    take(b, mark, mark)
    assert b.drops() == {
        "duplicate": 1, "unauthentic": 2, "malformed": 1, "oversized": 1, "unknown_peer": 1, "replayed": 1,
    }  # fmt: skip
    # None of it stands in the way of the message.
    b.datagrams(burst.data, BLOCK_BYTES, 0.0, 0.0)
    [complete] = b.take_events()
    assert bytes(complete.buffer) == message(9000)


def test_a_bad_block_inside_a_train_spoils_only_itself() -> None:
    _, b, burst = pair()
    data = bytearray(burst.data)
    data[3 * BLOCK_BYTES + 100] ^= 1
    b.datagrams(memoryview(data), BLOCK_BYTES, 0.0, 0.0)
    assert b.drops() == {"unauthentic": 1}
    take(b, bytes(burst.data[3 * BLOCK_BYTES : 4 * BLOCK_BYTES]))
    [complete] = b.take_events()
    assert bytes(complete.buffer) == message(9000)


def test_a_whole_message_replayed_later_is_not_delivered_again() -> None:
    _, b, burst = pair()
    b.datagrams(burst.data, BLOCK_BYTES, 0.0, 0.0)
    assert len(b.take_events()) == 1
    for _ in range(2):
        b.datagrams(burst.data, BLOCK_BYTES, 5.0, 5.0)
    assert b.take_events() == []
    assert b.idle


def test_a_message_older_than_what_is_remembered_is_refused() -> None:
    a = LinkProtocol(THERE, BACK, rate_bps=math.inf, sender_limits=SenderLimits(window_bytes=1 << 24))
    b = LinkProtocol(BACK, THERE, rate_bps=math.inf)
    recorded = []
    for k in range(1200):
        a.send([message(10, k)], 0.0)
        burst = a.poll(0.0)
        assert burst is not None
        recorded.append(bytes(burst.data))
    take(b, *recorded)
    assert len(b.take_events()) == 1200
    take(b, *recorded)
    assert b.take_events() == []
    drops = b.drops()
    assert drops["replayed"] + drops["duplicate"] == 1200


def test_data_sent_back_at_its_sender_is_refused() -> None:
    a, _, burst = pair()
    take(a, bytes(burst.data[:BLOCK_BYTES]))
    assert a.drops() == {"unknown_peer": 1}
    with pytest.raises(ValueError, match="each direction"):
        LinkProtocol(THERE, THERE)


def fuzz(seed: int, count: int) -> None:
    """Mutants of authentic datagrams, none of which may change what arrives or raise."""
    rng = np.random.default_rng(seed)
    a, b, burst = pair()
    mark = bytes(a.sender.control(MARK, bytes(8), 0.0).data)
    pieces = [bytes(burst.data[k : k + BLOCK_BYTES]) for k in range(0, len(burst.data), BLOCK_BYTES)] + [mark]
    for _ in range(count):
        data = bytearray(pieces[rng.integers(len(pieces))])
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(HEADER_BYTES) if rng.random() < 0.7 else rng.integers(len(data))
            data[place] ^= rng.integers(1, 256)
        if rng.random() < 0.1:
            data = data[: rng.integers(len(data))]
        if bytes(data) not in pieces:  # two changes may undo each other
            b.datagrams(memoryview(data), BLOCK_BYTES, 0.0, 0.0)
    assert b.idle
    assert b.receiver.held_bytes == 0
    b.datagrams(burst.data, BLOCK_BYTES, 0.0, 0.0)
    [complete] = b.take_events()
    assert bytes(complete.buffer) == message(9000)


def test_mutants_change_nothing() -> None:
    fuzz(0, 3000)


@pytest.mark.long
def test_a_hundred_thousand_mutants_change_nothing() -> None:
    fuzz(1, 100_000)


@pytest.mark.parametrize("plain", [b"", b"\xff" * 28, b"\xff" * 8, bytes(100)])
@pytest.mark.parametrize("type_", [MARK, REPORT])
def test_an_authentic_but_senseless_control_block_is_malformed(type_: int, plain: bytes) -> None:
    """A peer that has the key may still be broken."""
    a, b, _ = pair()
    take(b, bytes(a.sender.control(type_, plain, 0.0).data))
    assert b.drops() == {"malformed": 1}
    assert b.idle
