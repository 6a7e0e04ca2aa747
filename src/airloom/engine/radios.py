"""What the radio links of a topology offer, for a planner, which knows no radio; and a topology at the planned MCS."""

from __future__ import annotations

import msgspec

from airloom.config.nr import with_radio
from airloom.core.plan import Plan
from airloom.core.problem import RadioChoice
from airloom.core.topology import Conditions, Link, LinkState, Topology

Offers = dict[tuple[str, str], tuple[RadioChoice, ...]]


def link_choices(link: Link, state: LinkState | None = None) -> tuple[RadioChoice, ...]:
    """Each MCS that `link` may use in `state`, the one that is set where one is; none without a radio."""
    if link.nr is None:
        return ()
    from airloom.radio.nr import adaptation

    return adaptation.radio_choices(link.nr, snr_db=None if state is None else state.snr_db)


def expected_loss(link: Link) -> float:
    """Share of the wire's blocks that a link is to lose; of a radio at the MCS it is set to, or link adaptation's."""
    if link.nr is None:
        return link.loss
    from airloom.radio.nr import adaptation

    return adaptation.adapted(link.nr).packet_loss


def radio_choices(topology: Topology, conditions: Conditions | None = None) -> Offers:
    """By (src, dst), each MCS that a link with a radio may use under `conditions`: the one that is set where one is."""
    states = _states(conditions)
    links = [link for link in topology.links if link.nr is not None]
    return {(link.src, link.dst): link_choices(link, states.get((link.src, link.dst))) for link in links}


def adapted_choices(topology: Topology, conditions: Conditions | None = None) -> Offers:
    """By (src, dst), what link adaptation at 10 % BLER would take; empty where no radio leaves its MCS open."""
    if all(link.nr is None or link.nr.mcs is not None for link in topology.links):
        return {}
    from airloom.radio.nr import adaptation

    found, states = Offers(), _states(conditions)
    for link in topology.links:
        if link.nr is not None:
            key = link.src, link.dst
            state = states.get(key)
            usual = adaptation.adapted(link.nr, snr_db=None if state is None else state.snr_db).mcs
            fixed = msgspec.structs.replace(link, nr=adaptation.with_mcs(link.nr, usual))
            found[key] = link_choices(fixed, state)
    return found


def at_planned_mcs(topology: Topology, plan: Plan) -> Topology:
    """The topology with the radio links of the plan set to the MCS that they were planned with."""
    planned = {(hop.src, hop.dst): hop.mcs for transfer in plan.transfers for hop in transfer.route}
    links = []
    for link in topology.links:
        mcs = planned.get((link.src, link.dst))
        if link.nr is not None and link.nr.mcs is None and mcs is not None:
            links.append(with_radio(link, msgspec.structs.replace(link.nr, mcs=mcs)))
        else:
            links.append(link)
    return msgspec.structs.replace(topology, links=tuple(links))


def _states(conditions: Conditions | None) -> dict[tuple[str, str], LinkState]:
    return {} if conditions is None else {(state.src, state.dst): state for state in conditions.links}
