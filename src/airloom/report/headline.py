"""What is said of a run in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from airloom.core.objective import format_amount
from airloom.core.run import TRAINING
from airloom.report.scheme_summary import SchemeSummary
from airloom.units import format_percent, format_seconds


def headline(judged: SchemeSummary, others: Sequence[SchemeSummary]) -> str:
    """What was gained, in a sentence; says so where nothing was."""
    training = judged.name == TRAINING
    one = "step" if training else "request"
    if judged.p50_s is None:
        return f"{judged.title}: none of {judged.requests} {one}s had a result."
    mine = judged.p50_s.value
    verb = "takes" if training else "answers in"
    said = f"{judged.title} {verb} {format_seconds(mine)}" + (" a step" if training else "")
    rivals = sorted((o for o in others if o.p50_s is not None), key=lambda o: o.p50_s.value if o.p50_s else 0.0)
    if rivals:
        best = rivals[0]
        theirs = best.p50_s.value if best.p50_s else 0.0
        ratio = theirs / mine
        rival = f"the best other scheme, {best.title} ({format_seconds(theirs)})"
        if ratio >= 1.005:
            said += f" (p50), {_times(ratio)} faster than {rival}"
        elif ratio <= 0.995:
            said += f" (p50), {_times(1 / ratio)} slower than {rival}"
        else:
            said += f" (p50), as fast as {rival}"
    said += _accuracy_said(judged) + _bounds_said(judged)
    lost = judged.requests - judged.results
    count = f"no {one}" if lost == 0 else f"{lost} {one}{'s' if lost > 1 else ''}"
    return f"{said}; {count} of {judged.requests} {'were' if lost > 1 else 'was'} lost."


def slow_line(slow_motion: float) -> str:
    """What measured times of a run in slow motion are of; begins with a blank, "" in real time."""
    if slow_motion == 1.0:
        return ""
    return (
        f" Measured in slow motion, {slow_motion:g} times: times are divided by that, and what the machine itself "
        f"adds counts 1/{slow_motion:g}."
    )


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio >= 1.95 else f"{100 * (ratio - 1):.0f} %"


def _accuracy_said(judged: SchemeSummary) -> str:
    """The accuracy beside its floor, where one was demanded."""
    found = judged.delivered
    if found is None or found.min_accuracy is None:
        return ""
    best = found.measured or found.predicted
    if best is None:
        return ""
    how = "measured" if best is found.measured else "predicted"
    return f", with {format_percent(best.value)} accuracy ({how}; floor {format_percent(found.min_accuracy)})"


def _bounds_said(judged: SchemeSummary) -> str:
    """In how many requests each bound was kept."""
    kept = [
        f"{c.name} <= {format_amount(c.name, c.limit)} {'kept in all' if c.kept == c.requests else f'in {c.kept}'} "
        f"of {c.requests} requests"
        for c in judged.costs
        if c.limit is not None
    ]
    return "".join(f"; {line}" for line in kept)
