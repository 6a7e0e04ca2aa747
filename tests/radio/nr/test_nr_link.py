"""The 5G link model: law 5, blocks lost whole, slots, HARQ's round trips and processes, changes, seeds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.topology import Link, NrRadio
from airloom.radio.link import LinkModel, link_model, offer_datagram
from airloom.radio.nr.adaptation import PACKET_BYTES, nr_choices
from airloom.radio.nr.link import NrLink
from airloom.radio.nr.timing import expected_slots, spacing_slots, usable_share

SLOT_S = 0.0005


def clean(**kwargs: object) -> NrRadio:
    """A radio whose blocks always arrive."""
    return NrRadio(snr_db=40.0, mcs=13, **kwargs)  # type: ignore[arg-type]


def stream(model: NrLink, packets: int, nbytes: int, seed: int, at_s: float = 0.0) -> list[float | None]:
    rng = np.random.default_rng(seed)
    return [model.offer(nbytes, at_s, rng) for _ in range(packets)]


def test_a_topology_link_with_a_radio_gives_one() -> None:
    link = Link(src="ue", dst="gnb", rate_bps=1e6, delay_s=0.002, overhead_s=0.001, nr=clean())
    model: LinkModel = link_model(link)
    assert isinstance(model, NrLink)
    assert model.delay_s == pytest.approx(0.003)


def test_a_block_leaves_at_the_next_slot_and_arrives_at_its_end() -> None:
    model = NrLink(clean(processing_s=0.001), delay_s=0.01)
    rng = np.random.default_rng(0)
    assert model.offer(1000, 0.00012, rng) == pytest.approx(0.0005 + SLOT_S + 0.001 + 0.01)
    # 3777 bytes a slot: what fits into the same block arrives with it, what does not with the next.
    assert model.offer(2777, 0.0002, rng) == pytest.approx(0.0005 + SLOT_S + 0.011)
    assert model.offer(1, 0.0003, rng) == pytest.approx(0.0010 + SLOT_S + 0.011)
    # A block that has begun takes nothing more.
    assert model.offer(1, 0.0011, rng) == pytest.approx(0.0015 + SLOT_S + 0.011)
    assert model.blocks == 3


def test_a_packet_larger_than_a_block_arrives_with_its_last_piece() -> None:
    model = NrLink(clean())
    assert stream(model, 1, 3 * 3777 + 1, seed=0) == [pytest.approx(4 * SLOT_S + 0.0005)]


@settings(deadline=None, max_examples=30)
@given(nbytes=st.integers(1, 200_000), seed=st.integers(0, 2**32))
def test_transfer_time_without_loss_is_its_slots(nbytes: int, seed: int) -> None:
    """Law 5 for time: over all moments of a slot the mean is what planners price with."""
    phases = (np.arange(64) + 0.5) / 64 * SLOT_S
    seen = []
    for k, phase in enumerate(phases):
        model = NrLink(clean(), buffer_bytes=math.inf)
        start_s = k + float(phase)
        arrival = model.offer(nbytes, start_s, np.random.default_rng(seed))
        assert arrival is not None
        seen.append(arrival - start_s)
    assert np.mean(seen) == pytest.approx(NrLink(clean()).expected_transfer_s(nbytes), abs=1e-6)


@settings(deadline=None, max_examples=12)
@given(
    snr_db=st.floats(7.0, 13.0),
    attempts=st.sampled_from([1, 2]),
    combining=st.sampled_from(["ir", "chase", "none"]),
    mcs=st.sampled_from([0, 9, 13, 20]),
    nbytes=st.sampled_from([PACKET_BYTES, 100, 1500]),
    seed=st.integers(0, 2**32),
)
def test_loss_converges_to_expected(
    snr_db: float, attempts: int, combining: str, mcs: int, nbytes: int, seed: int
) -> None:
    """Law 5 for loss, of packets of any size and of blocks."""
    radio = NrRadio(snr_db=snr_db, channel="cdl-c", mcs=mcs, attempts=attempts, combining=combining)  # type: ignore[arg-type]
    model = NrLink(radio, buffer_bytes=math.inf)
    packets = 3000 * max(1, model.block_bytes // nbytes)
    lost = stream(model, packets, nbytes, seed).count(None)
    p = model.block_loss
    sigma = math.sqrt(max(p * (1 - p), 1e-9) / model.blocks)
    assert abs(model.blocks_lost / model.blocks - p) <= 6 * sigma + 1e-9
    # Packets of a block share its fate: their mean is no surer than that of the blocks they touch.
    assert abs(lost / packets - model.packet_loss(nbytes)) <= 6 * sigma * (1 + nbytes / model.block_bytes) + 3 / packets
    if nbytes == PACKET_BYTES:
        assert model.expected_loss == model.packet_loss(nbytes)
    assert model.lost == lost


@pytest.mark.parametrize(("snr_db", "attempts"), [(8.0, 2), (10.0, 4), (6.0, 4), (4.0, 16)])
def test_transfer_time_with_harq_converges_to_expected(snr_db: float, attempts: int) -> None:
    """Law 5 for time with repeats: up to what repeats wait for one another."""
    radio = NrRadio(snr_db=snr_db, channel="cdl-c", mcs=13, attempts=attempts)
    for nbytes in (3777, 20 * 3777, 100 * 3777):
        rng, seen = np.random.default_rng(1), []
        for _ in range(300):
            model = NrLink(radio, buffer_bytes=math.inf)
            last_s = 0.0
            for _ in range(nbytes // 3777):
                arrival = model.offer(3777, 0.0, rng)
                last_s = max(last_s, arrival or 0.0)
            seen.append(last_s)
        expected = NrLink(radio).expected_transfer_s(nbytes) - 0.5 * SLOT_S  # offered as a slot begins
        lost = NrLink(radio).block_loss
        assert np.mean(seen) == pytest.approx(expected, rel=0.06 + lost, abs=2 * SLOT_S)


def test_a_busy_link_carries_its_rate() -> None:
    for attempts, processes in ((1, 16), (4, 16), (16, 16), (4, 4)):
        radio = NrRadio(snr_db=8.0, channel="cdl-c", mcs=13, attempts=attempts, processes=processes)
        model = NrLink(radio, buffer_bytes=math.inf)
        rng = np.random.default_rng(0)
        arrivals = [model.offer(3777, 0.0, rng) for _ in range(8000)]
        last_s = max(a for a in arrivals if a is not None)
        assert 8 * 3777 * 8000 / last_s == pytest.approx(model.rate_bps, rel=0.03)
        assert model.attempts / model.blocks == pytest.approx(nr_choices(radio)[0].attempts, rel=0.03)


def test_a_repeat_comes_a_round_trip_later() -> None:
    """At 5 dB over AWGN MCS 13 always fails at first and never a second time."""
    radio = NrRadio(snr_db=5.0, mcs=13, attempts=2, round_trip_s=0.0041, processing_s=0.0)
    assert spacing_slots(radio) == 10  # one slot, and 8.2 rounded up
    assert nr_choices(radio)[0].bler == pytest.approx(1.0, abs=1e-3)
    model = NrLink(radio)
    assert stream(model, 1, 3777, seed=3) == [pytest.approx(11 * SLOT_S)]
    assert model.attempts == 2
    assert expected_slots(1, np.array([1.0, 0.0]), radio) == pytest.approx(11.0)


def test_few_processes_hold_the_link_up() -> None:
    radio = NrRadio(snr_db=40.0, mcs=13, attempts=2, processes=2, round_trip_s=0.0045)
    assert usable_share(radio) == pytest.approx(0.2)
    slots = [round((a or 0.0) / SLOT_S) for a in stream(NrLink(radio), 6, 3777, seed=0)]
    assert slots == [2, 3, 12, 13, 22, 23]  # the end of the slot, and one slot of processing


def test_everything_in_a_lost_block_is_lost_and_nothing_else() -> None:
    radio = NrRadio(snr_db=9.0, channel="cdl-c", mcs=13)
    model = NrLink(radio, buffer_bytes=math.inf)
    fates = [f is None for f in stream(model, 3000, 1259, seed=5)]  # three packets fill a block exactly
    for block in itertools.batched(fates, 3) if hasattr(itertools, "batched") else zip(*[iter(fates)] * 3, strict=True):
        assert len(set(block)) == 1
    assert 0.2 < sum(fates) / len(fates) < 0.7


def test_same_seed_same_fates() -> None:
    radio = NrRadio(snr_db=9.0, channel="cdl-c", mcs=13, attempts=2)
    assert stream(NrLink(radio), 400, 1228, seed=7) == stream(NrLink(radio), 400, 1228, seed=7)
    assert stream(NrLink(radio), 400, 1228, seed=7) != stream(NrLink(radio), 400, 1228, seed=8)


def test_the_buffer_is_bounded() -> None:
    model = NrLink(clean(), buffer_bytes=10_000)
    rng = np.random.default_rng(0)
    fates = [model.offer(1000, 0.0001, rng) for _ in range(20)]
    assert fates.count(None) == model.overflowed == 10
    assert model.lost == 0
    assert model.backlog_bytes(0.0001) == 10_000
    assert model.backlog_bytes(0.0005) == 10_000 - 3777
    assert model.backlog_bytes(1.0) == 0
    assert model.offer(50_000, 1.0, rng) is not None  # an idle link takes a packet of any size


def test_snr_and_mcs_change_for_the_blocks_after() -> None:
    model = NrLink(NrRadio(snr_db=30.0, channel="cdl-c"))
    fast = model.mcs
    model.use_snr(5.0)
    assert model.mcs < fast
    model.use_mcs(20)
    assert (model.mcs, model.radio.mcs, model.block_loss) == (20, 20, pytest.approx(1.0, abs=1e-3))
    assert stream(model, 20, 1228, seed=0) == [None] * 20
    model.use_mcs(None)
    assert model.block_loss <= 0.1
    with pytest.raises(ValueError, match="indices 0 to 28"):
        model.use_mcs(40)
    with pytest.raises(ValueError, match="finite"):
        model.use_snr(math.inf)


def test_a_link_that_is_down_takes_nothing() -> None:
    model = NrLink(clean())
    model.up = False
    assert stream(model, 3, 1228, seed=0) == [None] * 3
    assert (model.cut_off, model.blocks, model.expected_loss) == (3, 0, 1.0)
    assert math.isinf(model.expected_transfer_s(1))


def test_a_datagram_of_several_packets_needs_all_of_them() -> None:
    model = NrLink(NrRadio(snr_db=9.0, channel="cdl-c", mcs=13), buffer_bytes=math.inf)
    rng = np.random.default_rng(0)
    lost = [offer_datagram(model, 30_000, 0.0, rng) for _ in range(200)].count(None)
    assert lost > 190  # nine blocks, each lost with probability 0.4
