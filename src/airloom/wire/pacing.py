"""How fast blocks leave: the rate that is told and the one that is measured, on a virtual clock."""

from __future__ import annotations

import math

from airloom.wire.blocks import BLOCK_BYTES, PACKET_OVERHEAD
from airloom.wire.meters import DeliveryMeter

_PACKET_BITS = 8 * (BLOCK_BYTES + PACKET_OVERHEAD)
_DEFAULT_RATE_BPS = 20e6  # where neither the topology nor a measurement tells
_TRAIN_S = 0.004  # a train lasts about this long on the link: several times what a host's timers miss
_MIN_TRAIN, _MAX_TRAIN = 4, 54  # blocks; 54 fill one datagram of 64 KB that the kernel cuts up
_SLOW_TRAIN, _SLOW_TRAIN_S = 16, 0.02  # a slow link's trains are longer, or a host's noise drowns them
_CATCH_UP_S = 0.01
_NEAR = 0.2  # a measured rate this near to the told one confirms it
_GAIN = 1.15  # over a measured rate that nothing confirms, so that more shows where there is more
_PROBE_SHARE = 0.01  # of the rate


class Pace:
    """The pace of one sender.

    Attributes:
        bps: bit/s of IP packets; infinity is as fast as the window allows.
        measured_bps: the link's rate by its receiver's word, 0 before there is one.
        train_blocks: how many blocks leave back to back.
        free_s: virtual time at which the link is free again.
    """

    def __init__(self, told_bps: float | None) -> None:
        self.free_s = -math.inf
        self.tell(told_bps)

    def tell(self, told_bps: float | None) -> None:
        """What the link should carry; a measurement made before no longer counts."""
        self._told_bps = told_bps
        self.measured_bps = 0.0
        self._delivery = DeliveryMeter()
        self._decide()

    def restart(self) -> None:
        """There was nothing to send until now."""
        self._delivery.restart()

    def delivered(self, blocks: int, at_s: float) -> None:
        """So many more blocks had arrived at `at_s`."""
        self._delivery.delivered(blocks, _PACKET_BITS, at_s, self.bps)

    def measured(self, rate_bps: float, *, lossy: bool = False) -> None:
        """The receiver measured `rate_bps` (0: it could not); what was delivered counts where it is more.

        On a link that loses much of its own, `lossy`, what was delivered alone slows nothing down.
        """
        delivered_bps = self._delivery.rate_bps
        if not rate_bps and lossy:
            # While repairs leave, hardly a block arrives for the first time.
            told = self._told_bps if self._told_bps is not None and math.isfinite(self._told_bps) else 0.0
            if delivered_bps <= (self.measured_bps or told):
                return
        rate_bps = max(rate_bps, delivered_bps)
        if not rate_bps:
            return
        # One noisy sample must not open the gates.
        rate_bps = min(rate_bps, 4 * self.bps)
        old = self.measured_bps
        # A small change is mostly noise, a large one is news.
        self.measured_bps = old + (rate_bps - old) / 4 if old and abs(rate_bps - old) < 0.25 * old else rate_bps
        self._decide()

    def _decide(self) -> None:
        told, measured = self._told_bps, self.measured_bps
        if not measured:
            pace = _DEFAULT_RATE_BPS if told is None else told
        elif told is not None and abs(measured - told) <= _NEAR * told:
            pace = told
        else:
            pace = _GAIN * measured
        self.bps = pace
        if math.isinf(pace):
            self.train_blocks = _MAX_TRAIN
        else:
            least = max(_MIN_TRAIN, min(_SLOW_TRAIN, int(pace * _SLOW_TRAIN_S / _PACKET_BITS)))
            self.train_blocks = max(least, min(_MAX_TRAIN, int(pace * _TRAIN_S / _PACKET_BITS)))

    def departed(self, packets: int, nbytes: int, now_s: float) -> None:
        """Move the virtual clock on by what `packets` of together `nbytes` take on the link."""
        if math.isinf(self.bps):
            self.free_s = now_s
            return
        bits = 8 * (nbytes + packets * PACKET_OVERHEAD)
        self.free_s = max(self.free_s, now_s - _CATCH_UP_S) + bits / self.bps

    def window_blocks(self, most_bytes: int, rtt_s: float | None) -> int:
        """Blocks that may be on their way at once: enough for a round trip and some.

        A link that slows down must not fill its buffer.
        """
        window = float(most_bytes)
        if math.isfinite(self.bps):
            window = min(window, max(128e3, self.bps / 8 * ((0.1 if rtt_s is None else rtt_s) + 0.1)))
        return int(window / BLOCK_BYTES)

    @property
    def probe_blocks(self) -> int:
        """Length of a train of padding."""
        pace = self.bps if math.isfinite(self.bps) else 1e8
        return max(8, min(32, int(2 * pace * _TRAIN_S / _PACKET_BITS)))

    @property
    def probe_gap_s(self) -> float:
        """The pause between such trains, so that they take a small share of the rate."""
        pace = self.bps if math.isfinite(self.bps) else 1e8
        return max(0.25, self.probe_blocks * _PACKET_BITS / (_PROBE_SHARE * pace))
