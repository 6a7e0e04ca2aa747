"""Configurations that are measured so far, kept beside the table, so that a command that was stopped goes on."""

from __future__ import annotations

from pathlib import Path

from airloom.core.progressive import Configuration
from airloom.core.value import Value
from airloom.files import part_beside, taken_up, write_value


class Measured(Value, frozen=True):
    """Configurations that were measured under the same settings.

    Attributes:
        settings: digest of all that they depend on, depth and precision apart.
    """

    settings: str
    configurations: tuple[Configuration, ...] = ()


class TableLedger:
    """Configurations as they come, on disk after each.

    Args:
        table: the file that will hold them all; the ledger is `.NAME.part` beside it.
        settings: a ledger with others is not used.
    """

    def __init__(self, table: Path, settings: str) -> None:
        self.path = part_beside(table)
        self._kept = taken_up(self.path, Measured(settings=settings))

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        return self._kept.configurations

    def add(self, configuration: Configuration) -> None:
        """Keep `configuration`."""
        kept = self._kept
        self._kept = Measured(settings=kept.settings, configurations=(*kept.configurations, configuration))
        write_value(self.path, self._kept)

    def close(self) -> None:
        """The table is written: the ledger goes."""
        self.path.unlink(missing_ok=True)
