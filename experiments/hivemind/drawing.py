"""How every picture looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "ue-only": "#8c8c8c", "cloud-only": "#3b6fb6", "single-split": "#c9762b", "airloom": "#1a8f5a",
    "airloom-ideal": "#7cc7a2",
}  # fmt: skip
#: Lines of what the paper prints, and bounds.
ECHO: dict[str, Any] = {"color": "black", "linestyle": ":", "linewidth": 0.9}


def plain(axes: plt.Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)
