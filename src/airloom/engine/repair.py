"""How much of a message a receiver repairs: just enough for the accuracy that the contract demands.

Eq. (1) of NeuroMessenger gives the number of retransmissions n from the link's error rate r: none
where G(r) meets the floor, else F(r, G^-1(a)), the least number after which the error rate is at
most G^-1(a) (the paper writes an accuracy where a rate belongs). It speaks of the mean. A receiver
knows more: which blocks of this message are missing. So here G^-1 of the floor is what may stay
missing of each message; the receiver asks for no more, and n bounds how often it asks.

One controller runs at a receiver of the runtime and of the simulator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from airloom.core.messages import Allowance, Frame, FrameKind
from airloom.core.tolerance import Contract, CutTolerance
from airloom.engine.coded import Codings
from airloom.engine.config import HostConfig
from airloom.engine.messages import UNKNOWN_DROP
from airloom.engine.radios import expected_loss
from airloom.errors import NoRoute
from airloom.planner.contract import bearable, hop_budgets
from airloom.planner.route import chain

#: F of Eq. (1): retransmissions after which an error rate r is at most the tolerable one.
Attempts = Callable[[float, float], int]

MOST_ROUNDS = 255
_RISK = 1e-3  # of a message that is given up because its rounds are spent


def independent(error_rate: float, tolerable: float) -> int:
    """F where every attempt is lost with the same probability: the least n with r^(n+1) <= r*."""
    if error_rate <= tolerable:
        return 0
    if tolerable <= 0.0 or error_rate >= 1.0:
        return MOST_ROUNDS
    return min(MOST_ROUNDS, math.ceil(math.log(tolerable) / math.log(error_rate) - 1e-9) - 1)


def retransmissions(entry: CutTolerance, floor: float, error_rate: float, attempts: Attempts = independent) -> int:
    """n of Eq. (1): how often to retransmit at `error_rate` so that the mean accuracy meets `floor`."""
    share = max(0.0, bearable(entry, floor))
    return 0 if error_rate <= share else attempts(error_rate, share)


class RepairController:
    """Allowances for the messages that one host receives.

    Args:
        attempts: F of its links; independent repetition unless said otherwise.
    """

    def __init__(self, codings: Codings, config: HostConfig, attempts: Attempts = independent) -> None:
        self._codings, self._config, self._attempts = codings, config, attempts
        self._budgets: dict[int, dict[tuple[str, str], float]] = {}
        self._shares: dict[tuple[int, int, float], float] = {}
        self._loss = {link.src: expected_loss(link) for link in config.topology.links if link.dst == config.device}

    @property
    def is_needed(self) -> bool:
        """Whether receivers ask here: something may stay missing, or nothing ever may, however often it is asked for.

        Without a contract or training they repair as their own limits say.
        """
        return self._codings.contract is not None or self._config.training is not None

    def allow(self, src: str, frame: Frame, blocks: int, loss: float) -> Allowance:
        """What to ask for of a message of `blocks` blocks from the neighbour `src`, at this loss of blocks."""
        rounds = self._attempts(max(loss, self._loss.get(src, 0.0)), _RISK / max(1, blocks))
        return Allowance(self.tolerable(src, frame), min(rounds, MOST_ROUNDS))

    def tolerable(self, src: str, frame: Frame) -> float:
        """The share of a message's blocks that may stay missing on the hop from `src`.

        The accuracy left after this hop is to be at least the clean one less the budget of all hops
        up to here; what earlier codings cost, and what earlier hops lost of this blob, is taken off.
        """
        contract = self._codings.contract
        if contract is None or contract.min_accuracy is None or frame.kind != FrameKind.TASK:
            return 0.0
        if frame.drop_bp == UNKNOWN_DROP or self._codings.refusal(frame):
            return 0.0
        budget = self._budgets_of(contract, frame.source).get((src, self._config.device), 0.0)
        left = budget - frame.drop_bp / 10_000
        entry = self._codings.entry(frame.cut, frame.coding)
        if entry is None or left <= 0.0:
            return 0.0
        key = (frame.cut, frame.coding, left)
        if key not in self._shares:
            if len(self._shares) > 4096:
                self._shares.clear()
            self._shares[key] = max(0.0, bearable(entry, contract.tolerance.clean - left))
        return max(0.0, self._shares[key] - frame.gone_bp / 10_000)

    def _budgets_of(self, contract: Contract, source: int) -> dict[tuple[str, str], float]:
        """For each hop of the way from a source as the topology has it: the budget of all hops up to it.

        Messages that go another way, since somebody is down, have none: they are repaired whole.
        """
        if source not in self._budgets:
            topology = self._config.topology
            devices = topology.devices
            budgets: dict[tuple[str, str], float] = {}
            if 0 <= source < len(devices):
                try:
                    hosts = chain(topology, devices[source].id, result_returns=self._config.result_returns)
                except NoRoute:
                    hosts = ()
                total = 0.0
                for hop, share in zip(pairwise(hosts), hop_budgets(contract, topology, hosts), strict=True):
                    total += share
                    budgets[hop] = total if share > 0.0 else 0.0
            if len(self._budgets) < 1024:
                self._budgets[source] = budgets
            return budgets
        return self._budgets[source]
