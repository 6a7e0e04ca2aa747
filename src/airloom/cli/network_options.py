"""What `--set` and `--keep-on-ue` say, the same for every command that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.core.profile import Profile
    from airloom.core.topology import Conditions, Topology


def conditions_of(texts: list[str], topology: Topology) -> Conditions:
    """What the changes of `--set` come to together."""
    from airloom.config import merged, parse_change
    from airloom.config.changes import check_names
    from airloom.core.topology import Conditions

    conditions = Conditions()
    for text in texts:
        change = parse_change(text, where="--set")
        check_names(change, topology, where="--set")
        conditions = merged(conditions, change)
    return conditions


def kept_operators(text: str, profile: Profile) -> int:
    """How many operators stay on the source: a number, or up to an operator's name."""
    from airloom.errors import ConfigError

    names = [op.name for op in profile.operators]
    if text in names:
        return names.index(text) + 1
    if not text.isdecimal() or int(text) > len(names):
        raise ConfigError(f"expected 0..{len(names)} or an operator's name, got {text!r}", where="--keep-on-ue")
    return int(text)
