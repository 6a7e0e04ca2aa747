"""What a host reckons with: its own costs, its hops, what the next hosts said; and the table that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from airloom.core.problem import Floats, Option
from airloom.core.topology import LinkState
from airloom.engine.config import HostConfig
from airloom.engine.deciders import decider
from airloom.engine.decision import Choice, Decision, LeastLatency, Said, Scalar, Way, told
from airloom.engine.foresight import (
    MOST_CUTS,
    RATES_BPS,
    Charge,
    Foresight,
    all_departures,
    charge,
    departures,
    message,
)
from airloom.engine.hops import Hop, Hops
from airloom.engine.linkstates import LinkStates
from airloom.engine.lookahead import LookAhead
from airloom.engine.messages import SplitCost
from airloom.engine.outbox import Outbox
from airloom.engine.peers import Peers
from airloom.planner.pricing import host_cost
from airloom.radio.forecast.forecaster import Forecaster


class Reckoning:
    """A host's table, worked out when somebody asks for it.

    Attributes:
        load: of this host, as it is priced.
        links: to and from its neighbours.
    """

    def __init__(
        self, config: HostConfig, peers: Peers, outbox: Outbox,
        forecasters: Mapping[tuple[str, str], Forecaster] | None = None,
    ) -> None:  # fmt: skip
        self._config, self._peers, self._out = config, peers, outbox
        self.links = LinkStates(config, forecasters)
        self._hops, self._priced = Hops(config), dict[str, Hop]()
        self._ahead = LookAhead(1 if config.forecast is None else config.forecast.gaps)
        self._decider = decider(config)
        self._charges: dict[tuple[object, ...], Charge | None] = {}
        self.load = 0.0
        self._nexts: tuple[str, ...] = ()
        self._said: dict[str, SplitCost] = {}  # what each next host said last
        # What is to be said of times to come, and of which state of things.
        self._word: tuple[tuple[object, ...], Callable[[str], Said]] | None = None
        self._decision: Decision | None = None
        self._price_host()

    @property
    def nexts(self) -> tuple[str, ...]:
        """The hosts that a task may go to from here."""
        return self._peers.nexts

    @property
    def decision(self) -> Decision:
        """As of now; made when it is asked for."""
        if self._decision is None:
            self._decide(self._ahead.table_s)
        assert self._decision is not None
        return self._decision

    def choose(self, cut: int, left: tuple[float, ...] = (), came_from: str = "") -> Choice | None:
        """What to do with a task that is here at `cut`; None where the limits allow no way.

        Args:
            left: of each bound of the objective, what may still be spent; () is all of it.
            came_from: the neighbour that sent it, "" where it begins here.
        """
        return self._decision_at(cut).choose(cut, left, came_from)

    def allowance(self, elapsed_s: float = 0.0) -> tuple[float, ...]:
        """What is left of every bound of a request that began `elapsed_s` ago."""
        return self._decider.allowance(elapsed_s)

    def reads(self, left: tuple[float, ...]) -> bool:
        """Whether what a task says is left is of the bounds that this host keeps."""
        return self._decider.reads(left)

    def charged(self, left: tuple[float, ...], seconds: float) -> tuple[float, ...]:
        """`left` after `seconds` more than were expected."""
        return self._decider.charged(left, seconds)

    def can_run(self, start: int, stop: int) -> bool:
        """Whether the stage fits this host's memory."""
        return self._host.fits(start, stop)

    def predicted_s(self, cut: int) -> float:
        """Seconds of the best way on; NaN where the objective's costs do not say."""
        return self.decision.seconds(cut)

    def own_s(self, start: int, stop: int) -> float:
        """Seconds of the stage on this host, load included."""
        return self._host.stage_s(start, stop)

    def relayed(self, dst: str, cut: int, coding: str) -> Option:
        """How a live set that came in this coding goes to the next host `dst`."""
        return self._hop(dst, self._ahead.table_s).relayed(cut, coding)

    def link(self, src: str, dst: str) -> LinkState | None:
        return self.links.get((src, dst))

    def arrived(self) -> None:
        """A task has come."""
        self._ahead.arrived(self._out.now_s)

    def departed(self, decided_s: float) -> None:
        """A task leaves for the next host."""
        self._ahead.departed(decided_s, self._out.now_s)

    @property
    def look_ahead_s(self) -> float:
        """Seconds between this host's messages and the departure of tasks, the mean of the last ones."""
        return self._ahead.message_s

    # --- pricing and deciding -----------------------------------------------------------------

    def _price_host(self) -> None:
        config = self._config
        self._host = host_cost(
            config.own, config.profile, load=self.load,
            private_operators=config.private_operators, is_source=config.is_source,
        )  # fmt: skip
        self._decision = None

    def _hop(self, dst: str, ahead_s: float) -> Hop:
        """The hop to `dst` as it should be `ahead_s` from now; priced anew where something was measured since."""
        if dst not in self._priced:
            here, now_s = self._config.device, self._out.now_s
            self._priced[dst] = self._hops.price(
                (here, dst),
                self.links.at((here, dst), now_s, ahead_s),
                self.links.at((dst, here), now_s, ahead_s),
                self.load,
            )
        return self._priced[dst]

    def _forget(self, key: tuple[str, str]) -> bool:
        """The price of the hop over that link no longer holds; whether what this host says may depend on it."""
        src, dst = key
        other = dst if src == self._config.device else src
        self._priced.pop(other, None)
        if other not in self._nexts and not self._decider.heeds_upstream:
            return False
        self._decision = None
        return True

    def _decide(self, ahead_s: float) -> None:
        ways = [Way(self._hop(dst, ahead_s), self._said[dst]) for dst in self._nexts if dst in self._said]
        self._decision = self._decider.decide(self._host, ways, self._incoming)

    def _incoming(self, child: str) -> Hop | None:
        """The hop from a host upstream to this one, as far as it is known here; None where none can be used."""
        here = self._config.device
        if not self._hops.can_price((child, here)):
            return None
        return self._hops.price((child, here), self.links.get((child, here)), self.links.get((here, child)))

    def _message(self, child: str) -> Said:
        """What this host says upstream now, about tasks that come a look-ahead later."""
        if not self.links.forecasts:
            return self.decision.message(child)
        heard = tuple((dst, said.wave, said.update) for dst, said in self._said.items())
        state = (self._out.now_s, self.load, self.links.taken, self._nexts, heard)
        if self._word is None or self._word[0] != state:
            self._word = state, self._foreseen_word()
        return self._word[1](child)

    # --- times to come ------------------------------------------------------------------------

    def _decision_at(self, cut: int) -> Decision:
        """As of now, for a task that is here at `cut`: with every hop as it should be when the task gets to a stop."""
        ways = self._foreseen(self._ahead.table_s)
        if not ways:
            return self.decision
        departs = departures(self._host, cut)
        tails = [foresight.tail_s(departs, said) for _, foresight, said in ways]
        return Scalar(self._host, tails, tuple(hop for hop, _, _ in ways))

    def _foreseen_word(self) -> Callable[[str], Said]:
        """What is to be said to each neighbour upstream, about tasks that come a look-ahead later."""
        ways, ahead_s = self._foreseen(self._ahead.message_s), self._ahead.message_s
        steady = all(foresight.course.is_steady and foresight.back.is_steady for _, foresight, _ in ways)
        if steady or self._config.num_operators >= MOST_CUTS:
            # Hops that were priced for a task that is here already are kept for the next one.
            kept = self._priced, self._decision
            self._priced = {}
            self._decide(ahead_s)
            decision = self.decision
            self._priced, self._decision = kept
            return decision.message
        departs = self._ahead.arrival_s + all_departures(self._host)
        tails = np.min([foresight.tail_s(departs, said) for _, foresight, said in ways], axis=0)
        tails[:, : self._host.min_stop] = np.inf
        tails[:, -1] = 0.0
        said = Said(told(message(self._host, tails)))
        return lambda child: said

    def _foreseen(self, ahead_s: float) -> list[tuple[Hop, Foresight, Floats]]:
        """The hops to all next hosts that spoke, and what those said; empty where hops are not foreseen in time."""
        if not self.links.forecasts or type(self._decider) is not LeastLatency:
            return []
        here, now_s = self._config.device, self._out.now_s
        ways = []
        for dst in self._nexts:
            if dst not in self._said:
                continue
            found = self._charge(dst)
            if found is None:
                return []
            course, back = (self.links.course(key, now_s, ahead_s) for key in ((here, dst), (dst, here)))
            said = self._said[dst].cost_s.astype(np.float64)
            ways.append((self._hop(dst, ahead_s), Foresight(found, course, back), said))
        return ways

    def _charge(self, dst: str) -> Charge | None:
        """What the hop to `dst` costs at any rate."""
        here = self._config.device
        states = [self.links.get(key) or LinkState(src=key[0], dst=key[1]) for key in ((here, dst), (dst, here))]
        known = (dst, self.load, *((state.delay_s, state.loss) for state in states))
        if known not in self._charges:
            if len(self._charges) > 64:
                self._charges.clear()
            slow, fast = (
                tuple(msgspec.structs.replace(state, rate_bps=rate) for state in states) for rate in RATES_BPS
            )
            self._charges[known] = charge(
                *(self._hops.price((here, dst), out, back, self.load).whole for out, back in (slow, fast))
            )
        return self._charges[known]
