"""What hosts say to each other; the values live in `core`, since `wire/` reads and writes them too."""

from __future__ import annotations

from airloom.core.messages import (
    BLOB,
    GAPS,
    UNKNOWN_DROP,
    Allowance,
    Ask,
    Frame,
    FrameKind,
    Gap,
    Mode,
    Parcel,
    SplitCost,
)

__all__ = [
    "BLOB", "GAPS", "UNKNOWN_DROP", "Allowance", "Ask", "Frame", "FrameKind", "Gap", "Mode", "Parcel", "SplitCost",
]  # fmt: skip
