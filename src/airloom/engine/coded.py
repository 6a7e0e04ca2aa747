"""Coded live sets at a host: what frames may say of them, their gaps, and what those should cost in accuracy.

A coded live set travels as one blob. A host that runs nothing passes it on as it is, with the list
of what was lost so far; a host that decodes adds the accuracy that its gaps should have cost to the
frame. The drops of several decodings are added up.
"""

from __future__ import annotations

import math

import msgspec

from airloom.core.coding import RAW, Coding
from airloom.core.tolerance import CutTolerance
from airloom.core.value import canonical_json, digest
from airloom.engine.config import HostConfig
from airloom.engine.messages import BLOB, GAPS, UNKNOWN_DROP, Frame, Gap, Mode, Parcel
from airloom.errors import WireError
from airloom.planner.contract import check_contract, expected_accuracy, measured_at
from airloom.wire.gaps import decode_gaps, encode_gaps, merged, units_missing

_BP = 10_000


def graph_key(graph_digest: str) -> bytes:
    """The first 8 bytes of a `sha256:` digest, zeros for a profile that stands for no model."""
    return bytes.fromhex(graph_digest.removeprefix("sha256:")[:16].ljust(16, "0"))


class Codings:
    """What this host knows of codings.

    Raises:
        ProfileMismatch, Infeasible: the contract is of another model, or cannot be kept.
    """

    def __init__(self, config: HostConfig) -> None:
        self.contract = contract = config.contract
        self._framing, self._rooms = config.framing, config.framing.coded_rooms
        self._key = self._coded_key = graph_key(config.profile.graph_digest)
        self._codings: tuple[Coding, ...] = (RAW,)
        self._index: dict[str, int] = {RAW.name: 0}
        self._entries: dict[int, dict[Coding, CutTolerance]] = {}
        if contract is not None:
            check_contract(contract, config.profile.graph_digest)
            tolerance = contract.tolerance
            self._codings = tolerance.codings
            self._index = {coding.name: index for index, coding in enumerate(self._codings)}
            # Hosts with different profiles would take one coding for another, or conceal otherwise.
            parts = (tolerance.weights_digest, self._codings, tolerance.maps, tolerance.tuned)
            shared = digest(tolerance.graph_digest.encode(), *(canonical_json(part) for part in parts))
            self._coded_key = graph_key(shared)

    def key(self, coding: int) -> bytes:
        """What a frame of this coding calls its model."""
        return self._coded_key if coding else self._key

    def index(self, coding: Coding) -> int:
        """The coding's number in frames."""
        return self._index[coding.name]

    def coding(self, index: int) -> Coding:
        """The coding of a frame that was not refused."""
        return self._codings[index]

    def entry(self, cut: int, index: int) -> CutTolerance | None:
        """What a cut bears under a coding; None where nobody measured it."""
        if self.contract is None or not 0 <= index < len(self._codings):
            return None
        if cut not in self._entries and cut in self.contract.tolerance.by_cut:  # peers name cuts that there are not
            self._entries[cut] = measured_at(self.contract.tolerance, cut, self._framing)
        return self._entries.get(cut, {}).get(self._codings[index])

    def refusal(self, frame: Frame) -> str:
        """Why a frame is none of ours, "" where it is."""
        if frame.mode != Mode.INFERENCE:
            return "not of split inference"
        if frame.coding >= len(self._codings):
            return "unknown coding"
        if frame.model != self.key(frame.coding):
            return "message of another model"
        return ""

    # --- on their way -------------------------------------------------------------------------

    def arrived(self, frame: Frame, parcel: Parcel) -> tuple[Frame, Parcel]:
        """A task's frame and parcel with all gaps so far; WireError where they do not fit each other.

        A raw live set is zero-filled where it lacks something, so its drop is known at once.
        """
        if not frame.coding:
            return (self.decoded(frame, parcel) if parcel.missing else frame), parcel
        if parcel.tensors != (BLOB, GAPS) or any(gap.tensor == GAPS for gap in parcel.missing):
            raise WireError("a coded message without its blob or without its gaps")
        blob, told = parcel.data
        gaps = merged([*decode_gaps(told, blob.nbytes), *((gap.start, gap.stop) for gap in parcel.missing)])
        gone = units_missing(gaps, blob.nbytes, *self._rooms)
        frame = msgspec.structs.replace(frame, gone_bp=min(_BP, math.ceil(gone * _BP)))
        return frame, Parcel((BLOB,), (blob,), tuple(Gap(BLOB, start, stop) for start, stop in gaps))

    def onward(self, frame: Frame, parcel: Parcel) -> tuple[Frame, Parcel]:
        """What leaves: a blob with its gaps beside it, the head naming what follows; nothing else is listed."""
        if frame.coding:
            told = encode_gaps(merged((gap.start, gap.stop) for gap in parcel.missing))
            parcel = Parcel((BLOB, GAPS), (parcel.data[0], memoryview(told)))
        elif parcel.missing:
            parcel = Parcel(parcel.tensors, parcel.data)
        tensors = tuple((id, data.nbytes) for id, data in zip(parcel.tensors, parcel.data, strict=True))
        return msgspec.structs.replace(frame, model=self.key(frame.coding), tensors=tensors), parcel

    # --- what they cost -----------------------------------------------------------------------

    def missing_share(self, frame: Frame, parcel: Parcel) -> float:
        """The error rate that a decoder of this parcel sees, 0 to 1."""
        if frame.coding:
            gaps = ((gap.start, gap.stop) for gap in parcel.missing)
            return units_missing(gaps, parcel.nbytes, *self._rooms)
        lost = sum(gap.stop - gap.start for gap in parcel.missing)
        return min(1.0, lost / max(1, parcel.nbytes))

    def decoded(self, frame: Frame, parcel: Parcel) -> Frame:
        """The frame once its live set is decoded or zero-filled: raw, its gaps turned into a drop of accuracy."""
        share = self.missing_share(frame, parcel)
        drop = frame.drop_bp
        if drop != UNKNOWN_DROP and (share > 0.0 or frame.coding):
            entry = self.entry(frame.cut, frame.coding)
            if self.contract is None or entry is None or (share > 0.0 and not entry.curves):
                drop = UNKNOWN_DROP
            else:
                lost = self.contract.tolerance.clean - expected_accuracy(entry, share)
                drop = min(_BP, drop + max(0, math.ceil(lost * _BP - 1e-6)))
        return msgspec.structs.replace(frame, coding=0, gone_bp=0, drop_bp=drop)

    def accuracy(self, drop_bp: int) -> float | None:
        """The accuracy that a drop leaves; None where nobody can say."""
        if self.contract is None or drop_bp == UNKNOWN_DROP:
            return None
        return max(0.0, self.contract.tolerance.clean - drop_bp / _BP)

    def code_s(self, cut: int, coding: Coding) -> float:
        """Seconds to code a live set on the profile's machine."""
        entry = None if coding.is_raw else self.entry(cut, self.index(coding))
        return 0.0 if entry is None else entry.code_s

    def decode_s(self, cut: int, coding: Coding) -> float:
        """Seconds to decode a live set on the profile's machine."""
        entry = None if coding.is_raw else self.entry(cut, self.index(coding))
        return 0.0 if entry is None else entry.decode_s


def added(drops: list[int]) -> int:
    """Drops of live sets that a stage joins, in `Frame.drop_bp`'s terms."""
    return UNKNOWN_DROP if UNKNOWN_DROP in drops else min(_BP, sum(drops))
