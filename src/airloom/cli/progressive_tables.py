"""A plan of a delivery for a terminal: what is sent, where requests run, and what other ways come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airloom.cli.terminal import table
from airloom.units import format_bytes, format_joules, format_percent, format_rate, format_seconds

if TYPE_CHECKING:
    from airloom.core.delivery_plan import DeliveryPlan, DeliveryTotals, Phase

_AIMS = {"latency": "the least latency", "energy": "the least energy of the UE", "accuracy": "the least error"}


def describe(plan: DeliveryPlan) -> str:
    """The plan: what it says in words, its steps, its phases, and the alternatives."""
    parts = [f"{heading(plan)}\n{in_words(plan)}"]
    if plan.steps:
        parts.append(_steps_table(plan))
    parts.append(_phases_table(plan))
    parts.append(_totals_table(plan))
    if plan.notes:
        parts.append("\n".join(plan.notes))
    return "\n\n".join(parts)


def heading(plan: DeliveryPlan) -> str:
    """What was asked for, in a line."""
    asked = plan.asked
    limits = []
    if asked.min_accuracy is not None:
        limits.append(f"accuracy at least {format_percent(asked.min_accuracy)}")
    if asked.deadline_s is not None:
        limits.append(f"answers within {format_seconds(asked.deadline_s)}")
    if asked.battery_j is not None:
        limits.append(f"{format_joules(asked.battery_j)} for all")
    often = f"{asked.requests_per_s:g} {'request' if asked.requests_per_s == 1 else 'requests'} a second"
    return (
        f"{plan.model}: {often} for {format_seconds(asked.horizon_s)}, "
        f"{', '.join([_AIMS[asked.minimize], *limits])} ({plan.basis})"
    )


def in_words(plan: DeliveryPlan) -> str:
    """The decision in a sentence."""
    said: list[str] = []
    whole = max((step.depth for step in plan.steps), default=0)
    phases = [phase for phase in plan.phases if phase.where != "none"]
    for step in plan.steps:
        if step.nbytes:
            first = "send" if not said else "then"
            said.append(
                f"{first} {format_percent(step.share)} of it ({step.depth} blocks) in {step.precision}, "
                f"{format_bytes(step.nbytes)}"
            )
    if not whole:
        said.append("send nothing")
    before = ""
    for phase in phases:
        here = place_in_words(phase)
        if here != before:
            until = next((other.start_s for other in phases if other.start_s > phase.start_s), phase.end_s)
            said.append(f"{here} {_when(phase, until)}")
        before = here
    return "; ".join(said)


def place_in_words(phase: Phase) -> str:
    """Where requests run in a phase."""
    if phase.where == "none":
        return "no answer"
    if phase.where == "ue":
        return f"run {phase.name} on {phase.chain[0]}"
    runs = runs_of(phase)
    return f"split {' - '.join(host for host, _, _ in runs)}" if phase.where == "split" else f"run it on {_named(runs)}"


def _named(runs: list[tuple[str, int, int]]) -> str:
    return " and ".join(dict.fromkeys(host for host, _, _ in runs))


def runs_of(phase: Phase) -> list[tuple[str, int, int]]:
    """Which host runs which operators: (host, first, stop)."""
    starts = (0, *phase.stops)
    return [
        (host, start, stop) for host, start, stop in zip(phase.chain, starts, phase.stops, strict=False) if stop > start
    ]


def _when(phase: Phase, until_s: float) -> str:
    if phase.start_s <= 0.0:
        return f"until {format_seconds(until_s)}"
    return f"from {format_seconds(phase.start_s)} on"


def _steps_table(plan: DeliveryPlan) -> str:
    rows = [
        (
            f"{step.name}",
            format_bytes(step.nbytes) if step.nbytes else "on the way",
            format_bytes(step.total_nbytes),
            format_seconds(step.begin_s),
            "past the horizon" if step.ready_s is None else format_seconds(step.ready_s),
            _share(step.accuracy),
        )
        for step in plan.steps
    ]
    title = f"sent over {' - '.join(plan.way)}"
    return table(rows, (title, "bytes", "in all", "begins", "usable from", plan.metric))


def _phases_table(plan: DeliveryPlan) -> str:
    rows = []
    for phase in plan.phases:
        runs = ", ".join(f"{host} {start}..{stop - 1}" for host, start, stop in runs_of(phase))
        rows.append(
            (
                format_seconds(phase.start_s),
                format_seconds(phase.end_s),
                "" if phase.where == "none" else phase.name,
                runs or "no answer",
                phase.on_ue or "–",
                "" if phase.latency_s is None else format_seconds(phase.latency_s),
                _share(phase.accuracy),
                "" if phase.energy_j is None or plan.totals.energy_j is None else format_joules(phase.energy_j),
                format_rate(phase.download_bps) if phase.download_bps else "",
            )
        )
    header = (
        "from",
        "until",
        "network",
        "requests run on",
        "whole on UE",
        "latency",
        plan.metric,
        "energy",
        "download",
    )
    return table(rows, header, align="rrlllrrrr")


def _totals_table(plan: DeliveryPlan) -> str:
    rows = [("this plan", *_totals_row(plan.totals), "")]
    rows += [
        (alternative.scheme, *_totals_row(alternative.totals), "" if alternative.kept else "not kept")
        for alternative in plan.alternatives
    ]
    header = (
        "over the horizon", "mean latency", plan.metric, "answered", "first answer", "on UE from", "sent", "energy", "",
    )  # fmt: skip
    return table(rows, header)


def _totals_row(totals: DeliveryTotals) -> tuple[str, ...]:
    return (
        "–" if totals.latency_s is None else format_seconds(totals.latency_s),
        _share(totals.accuracy),
        format_percent(totals.answered),
        "never" if totals.first_s is None else format_seconds(totals.first_s),
        "never" if totals.own_s is None else format_seconds(totals.own_s),
        format_bytes(totals.nbytes),
        "" if totals.energy_j is None else format_joules(totals.energy_j),
    )


def _share(value: float | None) -> str:
    return "–" if value is None else format_percent(value)
