"""Tables in Markdown and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def ms(seconds: float | None) -> str:
    return "never" if seconds is None else f"{1e3 * seconds:.1f}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def percent(share: float | None) -> str:
    # Never "-0".
    return "" if share is None else f"{round(100 * share, 1) + 0.0:.1f}"


def joules(amount: float | None) -> str:
    return "" if amount is None else f"{amount:.3g}"


def off(ours: float, other: float) -> float:
    """The share by which ours lies below the other."""
    return 1.0 - ours / other


def span(values: Sequence[float], limits: tuple[float, float]) -> str:
    """Least and greatest of ours in percent, beside the paper's."""
    return f"{percent(min(values))} to {percent(max(values))} (paper: {limits[0]:g} to {limits[1]:g})"
