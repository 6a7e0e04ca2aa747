"""Do `flat_bp` and Sionna's own decoder decide alike? Prints blocks that fail in both on the same noise."""

from __future__ import annotations

import time

import torch
from flat_bp import install
from sionna.phy import config
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.fec.ldpc.decoding import LDPCBPDecoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper

CASES = ((7576, 15792, 4, 5.75, 16), (7576, 15792, 4, 5.9, 16), (528, 2640, 2, -3.3, 64))


def main() -> None:
    torch.set_num_threads(1)
    config.seed = 1
    theirs = LDPCBPDecoder.call
    for k, n, order, snr_db, blocks in CASES:
        encoder = LDPC5GEncoder(k, n, num_bits_per_symbol=order)
        bits, no = BinarySource()([blocks, k]), 10 ** (-snr_db / 10)
        symbols = Mapper("qam", order)(encoder(bits))
        noise = (no / 2) ** 0.5 * torch.complex(torch.randn(symbols.shape), torch.randn(symbols.shape))
        llr = Demapper("app", "qam", order)(symbols + noise, no)
        for name in ("sionna", "flat"):
            LDPCBPDecoder.call = theirs
            if name == "flat":
                install()
            decoder = LDPC5GDecoder(encoder, num_iter=20)
            start_s = time.perf_counter()
            wrong = (decoder(llr) != bits).any(-1)
            each_ms = 1e3 * (time.perf_counter() - start_s) / blocks
            failed = "".join("x" if w else "." for w in wrong.tolist())
            print(f"k={k} n={n} Qm={order} {snr_db} dB {name:6} {failed} {each_ms:.1f} ms a block", flush=True)


if __name__ == "__main__":
    main()
