"""How much of a request's data never arrived, carried from hop to hop in `Frame.missing_ppm`."""

from __future__ import annotations

import msgspec

from airloom.engine.messages import Frame, Parcel

MILLION = 1_000_000


def fold_missing(frame: Frame, parcel: Parcel) -> Frame:
    """`frame` with the gaps of `parcel` added to what earlier hops lost, rounded up.

    Shares compound, `1 - (1 - a)(1 - b)`, and any gap at all adds at least one part per million:
    a lossy link never makes a silently wrong answer.
    """
    if not parcel.missing:
        return frame
    lost = sum(gap.stop - gap.start for gap in parcel.missing)
    total = max(parcel.nbytes, lost, 1)
    here = -(-MILLION * lost // total)
    there = frame.missing_ppm
    ppm = min(MILLION, max(there + 1, there + -(-(MILLION - there) * here // MILLION)))
    return msgspec.structs.replace(frame, missing_ppm=ppm)
