"""What radio links offer, in the words of the planner, which knows no radio."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from airloom.core.plan import Plan
from airloom.core.problem import RadioChoice
from airloom.core.topology import Conditions, Link, LinkState, NrRadio, Topology
from airloom.radio.nr.adaptation import NrChoice, adapted, nr_choices

Offers = dict[tuple[str, str], tuple[RadioChoice, ...]]


def link_choices(link: Link, state: LinkState | None = None) -> tuple[RadioChoice, ...]:
    """Every MCS that `link` may use at its SNR, the one that is set where one is; none without a radio."""
    if link.nr is None:
        return ()
    return tuple(_choice(link.nr, offer) for offer in nr_choices(link.nr, snr_db=_snr(state)))


def adapted_choice(link: Link, state: LinkState | None = None) -> tuple[RadioChoice, ...]:
    """What link adaptation at 10 % BLER would take; none without a radio."""
    return () if link.nr is None else (_choice(link.nr, adapted(link.nr, snr_db=_snr(state))),)


def radio_choices(topology: Topology, conditions: Conditions | None = None) -> Offers:
    """`link_choices` of every link with a radio."""
    return _every(topology, conditions, link_choices)


def adapted_choices(topology: Topology, conditions: Conditions | None = None) -> Offers:
    """`adapted_choice` of every link with a radio whose MCS is open; empty where there is none."""
    if all(link.nr is None or link.nr.mcs is not None for link in topology.links):
        return {}
    return _every(topology, conditions, adapted_choice)


def at_planned_mcs(topology: Topology, plan: Plan) -> Topology:
    """The topology with every radio link of the plan set to the MCS that it was planned with."""
    planned = {(hop.src, hop.dst): hop.mcs for transfer in plan.transfers for hop in transfer.route}
    links = []
    for link in topology.links:
        mcs = planned.get((link.src, link.dst))
        if link.nr is not None and link.nr.mcs is None and mcs is not None:
            link = msgspec.structs.replace(link, nr=msgspec.structs.replace(link.nr, mcs=mcs))
            link = msgspec.structs.replace(link, rate_bps=link_choices(link)[0].rate_bps)
        links.append(link)
    return msgspec.structs.replace(topology, links=tuple(links))


def _snr(state: LinkState | None) -> float | None:
    return None if state is None else state.snr_db


def _choice(radio: NrRadio, offer: NrChoice) -> RadioChoice:
    slot_s = 0.015 / radio.scs_khz
    # A message waits half a slot for the next to begin, for the slot to end, and for its last block's attempts.
    delay_s = 1.5 * slot_s + radio.processing_s + (offer.attempts - 1.0) * radio.round_trip_s
    return RadioChoice(
        mcs=offer.mcs, rate_bps=offer.rate_bps, loss=offer.packet_loss, block_bytes=offer.block_bytes, delay_s=delay_s
    )


def _every(
    topology: Topology,
    conditions: Conditions | None,
    of: Callable[[Link, LinkState | None], tuple[RadioChoice, ...]],
) -> Offers:
    states: Mapping[tuple[str, str], LinkState] = (
        {} if conditions is None else {(state.src, state.dst): state for state in conditions.links}
    )
    keys = [(link, (link.src, link.dst)) for link in topology.links if link.nr is not None]
    return {key: of(link, states.get(key)) for link, key in keys}
