"""What is measured so far, kept beside the profile, so that a command that was stopped goes on where it was."""

from __future__ import annotations

from pathlib import Path

from airloom.core.tolerance import CutTolerance, LayerTolerance, TunedWeights
from airloom.core.value import Value
from airloom.files import part_beside, taken_up, write_value


class Measured(Value, frozen=True):
    """Entries that were measured with the same settings.

    Attributes:
        settings: digest of all that they depend on, cut and coding apart.
    """

    settings: str
    cuts: tuple[CutTolerance, ...] = ()
    layers: tuple[LayerTolerance, ...] = ()
    tuned: tuple[TunedWeights, ...] = ()


class Ledger:
    """Entries as they come, on disk after each.

    Args:
        profile: the file that will hold them all; the ledger is `.NAME.part` beside it.
        settings: a ledger with others is not used.
    """

    def __init__(self, profile: Path, settings: str) -> None:
        self.path = part_beside(profile)
        self.kept = taken_up(self.path, Measured(settings=settings))

    def add(self, entry: CutTolerance | LayerTolerance | TunedWeights) -> None:
        """Keep `entry`."""
        kept = self.kept
        match entry:
            case CutTolerance():
                kept = Measured(settings=kept.settings, cuts=(*kept.cuts, entry), layers=kept.layers, tuned=kept.tuned)
            case LayerTolerance():
                kept = Measured(settings=kept.settings, cuts=kept.cuts, layers=(*kept.layers, entry), tuned=kept.tuned)
            case TunedWeights():
                others = tuple(old for old in kept.tuned if old.cut != entry.cut)
                # What was measured with the weights before is not of these.
                cuts = tuple(old for old in kept.cuts if old.cut != entry.cut or not old.coding.tuned)
                kept = Measured(settings=kept.settings, cuts=cuts, layers=kept.layers, tuned=(*others, entry))
        self.kept = kept
        write_value(self.path, kept)

    def close(self) -> None:
        """The profile is written: the ledger goes."""
        self.path.unlink(missing_ok=True)
