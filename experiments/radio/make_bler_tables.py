"""Samples of block errors, made with Sionna (extra `phy`): python make_bler_tables.py [cdl] [awgn] [harq] [channels]

Counts go to samples.json after every point, so the run may be stopped and started again. Then
`build_tables.py` makes the file that Airloom ships. One core, `OMP_NUM_THREADS=1`; an hour or two.

SNR is Es/N0 of one layer: unit energy per layer (and per transmit antenna), SNR = 1 / N0.
"""

from __future__ import annotations

import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from flat_bp import install
from sionna.phy import config
from sionna.phy.channel import OFDMChannel
from sionna.phy.channel.tr38901 import CDL, AntennaArray
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.nr import PUSCHConfig, PUSCHReceiver, PUSCHTransmitter

from airloom.core.topology import Combining
from airloom.radio.nr.combining import REDUNDANCY_VERSIONS, accumulated, coded_bits
from airloom.radio.nr.information import snr_of_information
from airloom.radio.nr.tables import MCS_TABLES, Mcs, mcs
from airloom.radio.nr.tbs import Allocation, base_graph, code_block_bits, transport_block_bits

HERE = Path(__file__).parent
SAMPLES = HERE / "samples.json"
ALLOCATION = Allocation()
CARRIER_HZ, DELAY_SPREAD_S, SPEED_MPS = 3.5e9, 300e-9, 0.8
ITERATIONS = 20

# Link level over CDL-C: (table, index) -> SNRs in dB. MCS 13 of table 1 first.
CDL_POINTS = {
    (1, 13): ((4, 6, 8, 9, 10, 11, 12, 14, 16), 160),
    (1, 5): ((-1.0, 0.5, 2.0), 48),
    (1, 19): ((12.0, 14.0, 16.0), 48),
}
HARQ_ATTEMPTS = {(1, 22): (2, 4), (1, 5): (2, 4), (1, 13): (2, 3, 4, 8)}
AWGN_BLOCKS, HARQ_BLOCKS, PROBE, POINTS = 48, 24, 12, 3
ENOUGH = 140  # code blocks of a waterfall


def seed(text: str) -> None:
    config.seed = zlib.crc32(text.encode())


class Samples:
    """Counts by phase, case and SNR: {"awgn": {"4:490": {"5.75": [errors, blocks]}}}."""

    def __init__(self) -> None:
        self.counts = json.loads(SAMPLES.read_text()) if SAMPLES.exists() else {}

    def of(self, phase: str, case: str) -> dict[str, list[int]]:
        return self.counts.setdefault(phase, {}).setdefault(case, {})

    def take(self, phase: str, case: str, snr_db: float, blocks: int, simulate: Callable[[float, int], int]) -> float:
        """Sample until there are `blocks` at this SNR; returns the share of errors there."""
        point = self.of(phase, case).setdefault(f"{snr_db:.2f}", [0, 0])
        start_s = time.perf_counter()
        while point[1] < blocks:
            count = min(32, blocks - point[1])
            seed(f"{phase} {case} {snr_db:.2f} {point[1]}")
            point[0] += simulate(snr_db, count)
            point[1] += count
            SAMPLES.with_suffix(".new").write_text(json.dumps(self.counts, indent=1, sort_keys=True) + "\n")
            SAMPLES.with_suffix(".new").replace(SAMPLES)
        took_s = time.perf_counter() - start_s
        print(f"{time.strftime('%H:%M:%S')} {phase} {case} {snr_db:.2f} dB {point} {took_s:.1f} s", flush=True)
        return point[0] / point[1]


class CodeBlocks:
    """Code blocks of one MCS over AWGN, as the reference allocation segments and rate-matches them."""

    def __init__(self, row: Mcs, *, harq: bool = False) -> None:
        size = transport_block_bits(row, ALLOCATION)
        self.order = row.order
        self.k = code_block_bits(size, row.rate)
        self.sent = coded_bits(row, ALLOCATION)
        graph = base_graph(size, row.rate)
        # Sionna does not repeat the circular buffer: it encodes to rate 1/3 or 1/5 at least. QPSK's repeats are
        # made in `_llr`; the 0.6 % that 16QAM at 340/1024 would repeat are left out.
        self.n = min(self.sent, (3 if graph == 1 else 5) * self.k // row.order * row.order)
        self.encoder = LDPC5GEncoder(self.k, self.n, num_bits_per_symbol=row.order, bg=f"bg{graph}")
        self.decoder = LDPC5GDecoder(self.encoder, num_iter=ITERATIONS, harq_mode=harq)
        self.source = BinarySource()
        self.mapper, self.demapper = Mapper("qam", row.order), Demapper("app", "pam", row.order // 2)

    def _llr(self, coded: torch.Tensor, snr_db: float) -> torch.Tensor:
        no = 10.0 ** (-snr_db / 10.0)
        if (
            self.n < self.sent and self.order == 2
        ):  # QPSK that repeats its buffer: the sum of a bit's copies, each of amplitude sqrt(1/2)
            copies = torch.full((self.n,), float(self.sent // self.n))
            copies[: self.sent % self.n] += 1.0
            amplitude, variance = math.sqrt(0.5), no / 2.0
            level = amplitude * (1.0 - 2.0 * coded)
            total = copies * level + torch.sqrt(copies * variance) * torch.randn(coded.shape)
            return -2.0 * amplitude * total / variance
        symbols = self.mapper(coded)
        noise = torch.complex(torch.randn(symbols.shape), torch.randn(symbols.shape))
        return self.demapped(symbols + math.sqrt(no / 2.0) * noise, no)

    def demapped(self, symbols: torch.Tensor, no: float) -> torch.Tensor:
        """Exact bit metrics: square QAM is two PAMs of half the energy, whose bits take turns."""
        sides = [
            self.demapper(math.sqrt(2.0) * torch.complex(part, torch.zeros_like(part)), 2.0 * no)
            for part in (symbols.real, symbols.imag)
        ]
        return torch.stack(sides, dim=-1).reshape(*symbols.shape[:-1], -1)

    def once(self, snr_db: float, count: int) -> int:
        bits = self.source([count, self.k])
        return int((self.decoder(self._llr(self.encoder(bits), snr_db)) != bits).any(-1).sum())

    def attempts(self, versions: list[int]) -> Callable[[float, int], int]:
        """Errors that are left once all the versions have been received."""

        def simulate(snr_db: float, count: int) -> int:
            bits = self.source([count, self.k])
            llr = self._llr(self.encoder(bits, rv=versions), snr_db)
            return int((self.decoder(llr, rv=versions) != bits).any(-1).sum())

        return simulate


def waterfall(samples: Samples, phase: str, case: str, guess_db: float, k: int, blocks: int,
              simulate: Callable[[float, int], int]) -> float:  # fmt: skip
    """Find where half the blocks fail, and sample around it; returns that SNR."""
    slope = 14.0 * math.sqrt(k / 7584)  # of log-odds per dB, about
    at_db, step = guess_db, 4.0 / slope
    way = 0
    for _ in range(14):
        at_db = round(at_db, 2)
        p = samples.take(phase, case, at_db, PROBE, simulate)
        if 0.05 < p < 0.95:
            break
        new = 1 if p > 0.5 else -1
        step *= 0.5 if way and new != way else 1.0
        way = new
        at_db += new * step
    p = min(max(p, 0.02), 0.98)
    centre = at_db + math.log(p / (1 - p)) / slope
    for offset in (-0.8, 0.4, 1.6):
        samples.take(phase, case, round(centre + offset / slope, 2), blocks, simulate)
    return centre


def sample_awgn(samples: Samples) -> None:
    rows: dict[tuple[int, float], Mcs] = {}
    for table in MCS_TABLES.values():
        for row in table:
            rows.setdefault((row.order, row.rate_1024), row)
    gap_db = 0.6
    for (order, rate), row in sorted(rows.items()):
        case = f"{order}:{rate:g}"
        if sum(n for _, n in samples.of("awgn", case).values()) >= ENOUGH:
            continue
        blocks = CodeBlocks(row)
        ideal = float(snr_of_information(order, blocks.k / blocks.sent))
        found = waterfall(samples, "awgn", case, ideal + gap_db, blocks.k, AWGN_BLOCKS, blocks.once)
        gap_db = 0.5 * gap_db + 0.5 * (found - ideal)


def sample_harq(samples: Samples) -> None:
    for (table, index), numbers in HARQ_ATTEMPTS.items():
        row = mcs(table, index)
        blocks = CodeBlocks(row, harq=True)
        schemes: tuple[Combining, ...] = ("ir", "chase")
        for combining in schemes:
            gap = 1.12
            for attempts in numbers:
                if combining == "chase" and attempts == 1:
                    continue
                grid = np.arange(-20.0, 30.0, 0.02)
                needed = gap * blocks.k / blocks.sent
                have = accumulated(row, ALLOCATION, combining, np.repeat(grid[:, None], attempts, axis=1))
                guess = float(np.interp(needed, have, grid))
                versions = [REDUNDANCY_VERSIONS[i % 4] if combining == "ir" else 0 for i in range(attempts)]
                case = f"{order_rate(row)}:{combining}:{attempts}"
                if len([n for _, n in samples.of("harq", case).values() if n >= HARQ_BLOCKS]) >= POINTS:
                    continue
                simulate = blocks.attempts(versions)
                found = waterfall(samples, "harq", case, guess, blocks.k, HARQ_BLOCKS, simulate)
                gap = float(np.interp(found, grid, have)) * blocks.sent / blocks.k


def order_rate(row: Mcs) -> str:
    return f"{row.order}:{row.rate_1024:g}"


def pusch(row: Mcs) -> PUSCHConfig:
    """51 PRB, 30 kHz, 14 symbols of which one carries DMRS, two layers on two antenna ports."""
    given = PUSCHConfig()
    given.carrier.n_size_grid, given.carrier.subcarrier_spacing = ALLOCATION.prb, 30
    given.num_layers = given.num_antenna_ports = ALLOCATION.layers
    given.symbol_allocation, given.dmrs.dmrs_port_set = [0, ALLOCATION.symbols], [0, 1]
    given.tb.mcs_table, given.tb.mcs_index = row.table, row.index
    assert given.tb_size == transport_block_bits(row, ALLOCATION)
    return given


def antennas() -> AntennaArray:
    """Two omnidirectional elements, cross-polarised."""
    return AntennaArray(
        num_rows=1, num_cols=1, polarization="dual", polarization_type="cross", antenna_pattern="omni",
        carrier_frequency=CARRIER_HZ,
    )  # fmt: skip


def cdl_c() -> CDL:
    return CDL("C", DELAY_SPREAD_S, CARRIER_HZ, antennas(), antennas(), "uplink",
               min_speed=SPEED_MPS, max_speed=SPEED_MPS)  # fmt: skip


def sample_cdl(samples: Samples, which: tuple[tuple[int, int], ...]) -> None:
    for table, index in which:
        row = mcs(table, index)
        snrs, count = CDL_POINTS[table, index]
        sender = PUSCHTransmitter(pusch(row))
        channel = OFDMChannel(cdl_c(), sender.resource_grid, return_channel=True)
        receiver = PUSCHReceiver(sender, channel_estimator="perfect")

        def simulate(snr_db: float, blocks: int) -> int:
            no = torch.tensor(10.0 ** (-snr_db / 10.0))
            sent, bits = sender(blocks)  # noqa: B023 (called within this turn of the loop)
            received, h = channel(sent, no)  # noqa: B023
            return int((receiver(received, no, h) != bits).any(-1).sum())  # noqa: B023

        for snr_db in snrs:
            samples.take("cdl-c", order_rate(row), snr_db, count, simulate)


def draw_channels(count: int = 1000) -> None:
    """Channel matrices [count, PRB, rx, tx] in the middle of each PRB and of the slot, for the mapping."""
    seed("channels")
    sender = PUSCHTransmitter(pusch(mcs(1, 13)))
    channel = OFDMChannel(cdl_c(), sender.resource_grid, return_channel=True)
    found = []
    for _ in range(count // 20):
        sent, _bits = sender(20)
        _received, h = channel(sent, torch.tensor(0.1))
        found.append(h[:, 0, :, 0, :, 7, 6::12].permute(0, 3, 1, 2).numpy())
    np.save(HERE / "channels.npy", np.concatenate(found).astype(np.complex64))


def main() -> None:
    torch.set_num_threads(1)
    install()
    samples = Samples()
    phases = sys.argv[1:] or ["cdl13", "channels", "awgn", "harq", "cdl"]
    for phase in phases:
        if phase == "cdl13":
            sample_cdl(samples, ((1, 13),))
        elif phase == "cdl":
            sample_cdl(samples, tuple(CDL_POINTS))
        elif phase == "channels":
            draw_channels()
        elif phase == "awgn":
            sample_awgn(samples)
        elif phase == "harq":
            sample_harq(samples)
        else:
            raise SystemExit(f"no phase {phase!r}: cdl13, cdl, channels, awgn, harq")


if __name__ == "__main__":
    main()
