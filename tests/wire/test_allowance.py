"""What may stay missing stays missing: no block is asked for that the allowance spares, none too few arrives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from fake_network import Network, lossy, perfect
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.messages import BLOB, GAPS, Allowance, Frame, FrameKind, Parcel
from airloom.core.repair import MOST_COPIES, head_copies
from airloom.wire.blocks import DATA, PARTIAL, ROOM, MessageState, Report, num_blocks
from airloom.wire.incoming import Incoming
from airloom.wire.limits import ReceiverLimits
from airloom.wire.message import pack_message, unpack_message
from airloom.wire.receiver import Allow
from airloom.wire.sender import SenderLimits

PATIENT = ReceiverLimits(rounds=2, patience_s=30.0)
TIRELESS = SenderLimits(resends=255, give_up_s=30.0)


def message(blocks: int, gaps: bytes = b"", *, seed: int = 0) -> list[bytes]:
    """A coded message of so many blocks."""
    nbytes = blocks * ROOM - 64 - 2 * 16 - len(gaps) - ROOM // 3
    blob = np.random.default_rng(seed).integers(0, 256, max(1, nbytes), dtype=np.uint8).tobytes()
    frame = Frame(kind=FrameKind.TASK, source=0, request=1, coding=1)
    return [bytes(part) for part in pack_message(frame, Parcel((BLOB, GAPS), (memoryview(blob), memoryview(gaps))))]


def always(missing: float, rounds: int = 255) -> Allow:
    return lambda frame, blocks, loss: Allowance(missing, rounds)


def lose(blocks: set[int], tries: int = 1):
    """A path that loses these data blocks so many times each."""
    left = dict.fromkeys(blocks, tries)

    def path(datagram: bytes, at_s: float) -> list[float]:
        index = int.from_bytes(datagram[20:24], "little")
        if datagram[1] == DATA and left.get(index, 0) > 0:
            left[index] -= 1
            return []
        return [at_s + 0.01]

    return path


def repairs(network: Network) -> int:
    return round(network.sent["repair"] / (1200 + 28))


def test_losses_within_the_allowance_cost_no_repair_and_no_time() -> None:
    network = Network(lose({3, 9, 10}), perfect(0.01), rate_bps=50e6, allow=always(0.3))
    network.send(*message(12))
    network.run()
    ((at_s, complete),) = network.arrived
    assert complete.missing == ((3 * ROOM, 4 * ROOM), (9 * ROOM, 11 * ROOM))
    assert repairs(network) == 0
    clean = Network(perfect(0.01), perfect(0.01), rate_bps=50e6)
    clean.send(*message(12))
    clean.run()
    assert at_s == pytest.approx(clean.arrived[0][0], abs=1e-4)


@pytest.mark.parametrize("head_room", [False, True])
def test_only_what_is_too_much_is_asked_for(head_room: bool) -> None:
    """7 of 20 are lost and 5 may be: 2 are asked for; with head room, at a loss of 0.35 and more, 6."""
    limits = ReceiverLimits(rounds=2, head_room=head_room)
    path = lose({2, 3, 5, 7, 8, 11, 12})
    network = Network(path, perfect(0.01), rate_bps=50e6, limits=limits, allow=always(0.25))
    network.send(*message(20))
    network.run()
    ((_, complete),) = network.arrived
    assert sum(stop - start for start, stop in complete.missing) <= 5 * ROOM
    assert repairs(network) == (6 if head_room else 2)


@pytest.mark.parametrize(("loss", "allowed", "limit_s"), [(0.5, 0.3, 0.15), (0.9, 0.25, 1.5)])
def test_a_link_that_loses_most_is_not_taken_for_a_slow_one(loss: float, allowed: float, limit_s: float) -> None:
    """Its rate is known; repairs keep to it. 300 blocks at 50 Mbit/s take 59 ms, of 0.9 lost 450 ms."""
    rng = np.random.default_rng(3)

    def path(datagram: bytes, at_s: float) -> list[float]:
        return [] if datagram[1] == DATA and rng.random() < loss else [at_s + 0.01]

    network = Network(
        path, perfect(0.01), rate_bps=50e6, limits=PATIENT, allow=always(allowed), sender_limits=TIRELESS,
        known_loss=loss,
    )  # fmt: skip
    network.send(*message(300))
    network.run()
    assert network.arrived[0][0] - 100.0 < limit_s
    assert network.a.sender.pace_bps == 50e6


def test_without_an_allowance_everything_is_repaired() -> None:
    network = Network(lose({0, 2, 3, 19}), perfect(0.01), rate_bps=50e6, allow=always(0.0))
    network.send(*message(20))
    network.run()
    assert network.arrived[0][1].missing == ()
    assert repairs(network) == 4


def test_block_0_and_the_list_of_gaps_always_arrive() -> None:
    """All the others may be missing."""
    gaps = bytes(3 * ROOM)
    network = Network(lose({0, 4, *range(36, 40)}, tries=5), perfect(0.01), rate_bps=50e6, allow=always(1.0))
    parts = message(40, gaps)
    network.send(*parts)
    network.run()
    ((_, complete),) = network.arrived
    _, parcel = unpack_message(complete.buffer, complete.missing)
    assert {gap.tensor for gap in parcel.missing} == {BLOB}
    assert bytes(parcel.data[1]) == gaps
    assert complete.missing == ((4 * ROOM, 5 * ROOM),)


def test_a_list_of_gaps_that_never_arrives_loses_the_message() -> None:
    """Without it lost bytes would pass for data."""
    limits = ReceiverLimits(rounds=2, patience_s=1.0)
    network = Network(lose({39}, tries=1000), perfect(0.01), rate_bps=50e6, limits=limits, allow=always(1.0, 2))
    network.send(*message(40, bytes(100)))
    network.run()
    assert network.arrived == []
    assert network.b.drops()["incomplete"] == 1


def test_a_block_given_up_is_made_up_for_by_another() -> None:
    """Block 2 never comes; of the three that were lost one may be missing."""
    network = Network(lose({2}, tries=1000), perfect(0.01), rate_bps=50e6, limits=PATIENT, allow=always(0.05, 2))
    first = network._paths[id(network.a)][0]
    also = lose({5, 9})
    network._paths[id(network.a)] = (
        lambda data, at_s: first(data, at_s) if also(data, at_s) else [], network.b,
    )  # fmt: skip
    network.send(*message(20))
    network.run()
    assert network.arrived[0][1].missing == ((2 * ROOM, 3 * ROOM),)


@given(
    st.integers(1, 120), st.floats(0.0, 0.9), st.floats(0.0, 0.4), st.booleans(), st.booleans(),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_law_6_with_allowances(
    blocks: int, loss: float, allowed: float, head_room: bool, reorder: bool, seed: int
) -> None:
    """Whatever is lost: what is delivered is what was sent, the rest is listed and zero, and not more than allowed."""
    rng = np.random.default_rng(seed)
    limits = ReceiverLimits(rounds=2, patience_s=60.0, head_room=head_room)
    network = Network(
        lossy(rng, loss=loss, duplicate=0.1, jitter_s=0.003 if reorder else 0.0), lossy(rng, loss=loss / 2),
        rate_bps=50e6, limits=limits, allow=always(allowed), sender_limits=TIRELESS,
    )  # fmt: skip
    gaps = rng.integers(0, 2, 24, dtype=np.uint8).tobytes() if seed % 2 else b""
    parts = message(blocks, gaps, seed=seed)
    network.send(*parts)
    network.run(120.0)
    ((_, complete),) = network.arrived
    sent, got = bytearray(b"".join(parts)), bytes(complete.buffer)
    for start, stop in complete.missing:
        assert got[start:stop] == bytes(stop - start)
        sent[start:stop] = bytes(stop - start)
    assert got == bytes(sent)
    assert all(low[1] < high[0] for low, high in itertools.pairwise(complete.missing))
    lacking = sum(-(-(stop - start) // ROOM) for start, stop in complete.missing)
    assert lacking <= math.floor(allowed * num_blocks(len(sent)) + 1e-9)
    assert network.b.receiver.held_bytes == 0


@pytest.mark.parametrize(
    ("loss", "copies"), [(0.0, 0), (0.02, 0), (0.05, 1), (0.2, 2), (0.5, 5), (0.9, 12), (1.0, 12), (0.99, 12)]
)
def test_the_head_leaves_again_as_often_as_the_loss_makes_it_worth(loss: float, copies: int) -> None:
    assert head_copies(loss) == copies
    assert loss ** (copies + 1) <= 0.02 or copies == 12


def test_a_lost_head_costs_no_round_trip_where_losses_are_known() -> None:
    """Block 0 is lost once; a copy follows the message's last block, before anybody asks."""
    seconds = []
    for copies in (False, True):
        network = Network(
            lose({0}), perfect(0.01), rate_bps=50e6, allow=always(0.5), known_loss=0.2,
            sender_limits=SenderLimits(head_copies=copies),
        )  # fmt: skip
        network.send(*message(10))
        network.run()
        seconds.append(network.arrived[0][0] - 100.0)
        assert network.arrived[0][1].missing == ()
    assert seconds[1] < seconds[0] - 0.008


@pytest.mark.parametrize("missing", [math.nan, -1.0, math.inf])
def test_an_allowance_that_means_nothing_spares_at_most_all(missing: float) -> None:
    network = Network(lose({2, 3}), perfect(0.01), rate_bps=50e6, allow=always(missing))
    network.send(*message(10))
    network.run()
    assert len(network.arrived[0][1].missing) == (1 if missing == math.inf else 0)


def test_a_window_does_not_fill_with_blocks_that_nobody_wants() -> None:
    """Blocks that stay missing must not count as on their way: 600 of them exceed the sender's window here."""
    rng = np.random.default_rng(1)
    network = Network(
        lossy(rng, loss=0.6), perfect(0.01), rate_bps=50e6, allow=always(0.8),
        sender_limits=SenderLimits(window_bytes=200 * 1200),
    )  # fmt: skip
    network.send(*message(1000))
    network.run(20.0)
    assert len(network.arrived) == 1
    assert repairs(network) <= 4
    assert network.now_s < 100.0 + 2.0


def test_where_a_round_trip_costs_more_each_block_is_asked_for_several_times_at_once() -> None:
    """Nine blocks of ten are lost, and a round trip carries a hundred: with one copy a round it took twice as long."""
    took = {}
    for head_room in (False, True):
        rng = np.random.default_rng(3)
        network = Network(
            lossy(rng, loss=0.9), perfect(0.01), rate_bps=50e6, allow=always(0.3), known_loss=0.9,
            limits=ReceiverLimits(rounds=2, patience_s=30.0, head_room=head_room), sender_limits=TIRELESS,
        )  # fmt: skip
        for number in range(8):
            network.send(*message(50, seed=number))
            network.run(30.0)
        assert len(network.arrived) == 8
        for _, complete in network.arrived:
            assert sum(stop - start for start, stop in complete.missing) <= 15 * ROOM
        took[head_room] = network.now_s - 100.0
    assert took[True] < 0.7 * took[False]


def test_a_report_that_asks_for_everything_again_and_again_is_cut_short() -> None:
    network = Network(perfect(0.01), perfect(0.01), rate_bps=50e6, allow=always(0.0), sender_limits=TIRELESS)
    number = network.send(*message(50))
    assert number is not None
    network.service(network.a)
    while network.a.poll(network.now_s) is not None or network.a.sender.next_time(network.now_s) < network.now_s + 1:
        network.now_s += 0.001
        if network.now_s > 100.1:
            break
    stamp = network.a.sender.stamp(network.now_s)
    state = MessageState(number, PARTIAL, 0, ((0, 50),) * 180)
    network.a.sender.report(Report(1, stamp, 0, 0.0, 0, 0, (state,)), network.now_s)
    queued = sum(count for _, _, count in network.a.sender._repairs)
    assert queued == MOST_COPIES * 50


@pytest.mark.parametrize(("loss", "may"), [(0.5, 0.25), (0.7, 0.4), (0.9, 0.6)])
def test_what_stays_missing_is_spread_over_the_message(loss: float, may: float) -> None:
    """The last blocks may hold all of a small tensor: its share of what is missing is that of the message."""
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(40):
        incoming = Incoming(0, 160 * ROOM, 0.0, rounds=4, head_rounds=4, known=True)
        incoming.allow(int(may * 160), 255, range(0))
        lost = rng.random(160) < loss
        for index in range(160):  # as they come, in mid-stream
            if lost[index]:
                incoming.gaps.append((index, index + 1))
            else:
                incoming.got[index] = 1
                incoming.left -= 1
            incoming.high = index + 1
            incoming.confirm(index - 2)
            incoming.choose()
        incoming.confirm(160)
        incoming.choose()
        left = np.zeros(160)
        left[sorted(incoming.spared)] = 1
        assert left.sum() == int(may * 160)
        shares.append(left.reshape(8, 20).mean(1))
    assert np.abs(np.mean(shares, axis=0) - may).max() < 0.1
