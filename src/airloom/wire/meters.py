"""What a link's own traffic shows: rate from the spread of trains, round trip and loss from reports."""

from __future__ import annotations

from collections import deque

# Two spaces between blocks tell a rate; one is mostly a host's noise.
MIN_BLOCKS = 3
# Below this the receiver's clock, not the link, sets the spread.
_MIN_SPREAD_S = 50e-6
_PAUSE_S = 0.01
_NEWS_TRAINS, _NEWS_S = 3, 0.06
_MAX_LOSS_CORRECTED, _MORE_LOSS = 0.3, 0.2


class TrainMeter:
    """Rate of a link by packet train dispersion (Jain and Dovrolis, 2003), at the receiver.

    Blocks of a train left back to back, so the link's own rate spaces them. Hosts delay single
    packets by a millisecond or so, and busy hosts by far more; the estimate is that of the middle
    half of the last trains.

    `loss` is the share that the link itself is known to lose: trains with far more met a full buffer.
    """

    def __init__(self, *, trains: int = 12, age_s: float = 10.0, loss: float = 0.0) -> None:
        self._most_loss = max(_MAX_LOSS_CORRECTED, min(loss + _MORE_LOSS, 0.99))
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=trains)  # (bit/s, spread_s, at_s)
        self._age_s = age_s
        self._train = -1
        self._first_index = self._last_index = 0
        self._first_s = self._last_s = 0.0
        self._nbytes = self._batch_nbytes = 0
        self._blocks = 0

    def arrived(self, train: int, index: int, nbytes: int, at_s: float, blocks: int = 1) -> None:
        """Blocks `index..index+blocks-1` came first hand, at once; `nbytes` are those of their IP packets."""
        if train != self._train:
            self.close()
            self._train, self._first_index, self._first_s = train, index, at_s
            self._last_s, self._nbytes, self._batch_nbytes, self._blocks = at_s, 0, 0, 0
        elif at_s > self._last_s:
            # What came with the last stamp was on the link from that stamp to this one.
            self._nbytes += self._batch_nbytes
            self._batch_nbytes, self._last_s = 0, at_s
        self._last_index = index + blocks - 1
        self._batch_nbytes += nbytes
        self._blocks += blocks

    def close(self) -> None:
        """The train is over; take its sample."""
        spread_s = self._last_s - self._first_s
        if self._blocks >= MIN_BLOCKS and spread_s >= _MIN_SPREAD_S:
            nbytes = float(self._nbytes)
            # Blocks lost on the way took their time on the link; a train with many losses met a
            # full buffer instead, and those never did.
            expected = self._last_index - self._first_index + 1
            if self._blocks < expected <= self._blocks / (1.0 - self._most_loss):
                nbytes *= (expected - 1) / (self._blocks - 1)
            if nbytes:
                self._samples.append((nbytes * 8.0 / spread_s, spread_s, self._last_s))
        self._train, self._blocks = -1, 0

    def flush(self, at_s: float) -> None:
        """Close a train whose rest would have come by now."""
        if self._blocks and at_s - self._last_s > _PAUSE_S:
            self.close()

    def rate_bps(self, at_s: float) -> float:
        """The estimate, or 0 where no train told anything of late."""
        recent = [s for s in self._samples if at_s - s[2] <= self._age_s]
        # Trains that all say the link is far slower, for longer than any host sleeps: it is.
        news = recent[-_NEWS_TRAINS:]
        if len(recent) > len(news) and sum(s[1] for s in news) >= _NEWS_S:
            slowest = min(s[0] for s in recent[:-_NEWS_TRAINS])
            if all(s[0] < slowest / 2 for s in news):
                recent = news
        if not recent:
            return 0.0
        recent.sort()
        quarter = len(recent) // 4
        middle = recent[quarter : len(recent) - quarter]
        return sum(rate * spread_s for rate, spread_s, _ in middle) / sum(spread_s for _, spread_s, _ in middle)


class DeliveryMeter:
    """A lower bound of a link's rate, at the sender: what was delivered while it had more to send.

    Trains are short, so a busy host makes them look slower than the link is. What a link has carried
    over some 50 ms it can carry; the largest of the last few samples counts (as in BBR), none above
    the pace at which it was sent, since what a host held back may come all at once.
    """

    def __init__(self, *, least_s: float = 0.04, samples: int = 3) -> None:
        self._least_s = least_s
        self._samples: deque[float] = deque(maxlen=samples)
        self._begin: tuple[float, int] | None = None

    def restart(self) -> None:
        """There was nothing to send; a sample that spans such a time says nothing."""
        self._begin = None

    def delivered(self, blocks: int, bits: float, at_s: float, pace_bps: float) -> None:
        """`blocks` more of `bits` each had arrived at `at_s`."""
        if self._begin is None:
            self._begin = (at_s, 0)
            return
        begin_s, before = self._begin
        blocks += before
        took_s = at_s - begin_s
        if took_s < self._least_s:
            self._begin = (begin_s, blocks)
            return
        self._samples.append(min(pace_bps, blocks * bits / took_s))
        self._begin = (at_s, 0)

    @property
    def rate_bps(self) -> float:
        """0 before the first sample."""
        return max(self._samples, default=0.0)


class RttMeter:
    """Round trip: a smoothed one (RFC 6298) for timers, and the smallest of late for the link's delay."""

    def __init__(self, *, memory_s: float = 10.0) -> None:
        self.smoothed_s: float | None = None
        self._memory_s = memory_s
        self._least = self._least_before = float("inf")
        self._since_s = 0.0

    def sample(self, rtt_s: float, now_s: float) -> None:
        if now_s - self._since_s > self._memory_s:
            self._least_before, self._least, self._since_s = self._least, float("inf"), now_s
        self._least = min(self._least, rtt_s)
        self.smoothed_s = rtt_s if self.smoothed_s is None else self.smoothed_s + (rtt_s - self.smoothed_s) / 8

    @property
    def least_s(self) -> float | None:
        least = min(self._least, self._least_before)
        return None if least == float("inf") else least


class LossMeter:
    """Share of blocks lost at first transmission, over about the last `memory` blocks."""

    def __init__(self, *, memory: float = 2000.0) -> None:
        self._memory = memory
        self._arrived = self._lost = 0.0

    def add(self, arrived: int, lost: int) -> None:
        total = self._arrived + self._lost
        keep = 1.0 if total <= self._memory else self._memory / total
        self._arrived = self._arrived * keep + arrived
        self._lost = self._lost * keep + lost

    @property
    def loss(self) -> float | None:
        """None before the first block."""
        total = self._arrived + self._lost
        return self._lost / total if total else None
