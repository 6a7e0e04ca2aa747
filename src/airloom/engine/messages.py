"""What hosts say to each other; the values live in `core`, since `wire/` reads and writes them too."""

from __future__ import annotations

from airloom.core.messages import Frame, FrameKind, Gap, Parcel, SplitCost

__all__ = ["Frame", "FrameKind", "Gap", "Parcel", "SplitCost"]
