"""The table of HiveMind's networks is what the zoo gives."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "hivemind"
ROWS = json.loads((FOLDER / "models.json").read_text())


@pytest.mark.parametrize("k", [k for k, row in enumerate(ROWS) if row["network"] in ("qmix_agent", "resnet18")])
def test_recorded_figures_are_the_networks_own(k: int) -> None:
    spec = importlib.util.spec_from_file_location("hivemind_models", FOLDER / "models.py")
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    assert models.described(*models.NETWORKS[k]) == ROWS[k]


def test_the_table_shows_every_network() -> None:
    text = (FOLDER / "models.md").read_text()
    assert all(f"| {row['network']} |" in text for row in ROWS)
    assert len(text.splitlines()) == len(ROWS) + 2
