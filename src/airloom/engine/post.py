"""How frames leave a host: downstream, or back to the source, with what is missing written on them."""

from __future__ import annotations

from collections.abc import Callable

from airloom.core.topology import Topology
from airloom.engine.coded import Codings
from airloom.engine.config import HostConfig
from airloom.engine.events import SendFrame
from airloom.engine.messages import Frame, FrameKind, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.passages import Passages
from airloom.engine.peers import Peers


def device_name(topology: Topology, index: int) -> str | None:
    """The device that a frame's `source` names, None for a number that names none."""
    return topology.devices[index].id if 0 <= index < len(topology.devices) else None


def head(
    kind: FrameKind,
    like: Frame,
    parcel: Parcel,
    *,
    cut: int = 0,
    transfer: int = -1,
    missing_ppm: int | None = None,
    coding: int = 0,
    left: tuple[float, ...] = (),
) -> Frame:
    """A frame for the same request and attempt as `like`, which has lost what `like` has."""
    return Frame(
        kind=kind, source=like.source, request=like.request, attempt=like.attempt, epoch=like.epoch, cut=cut,
        transfer=transfer, missing_ppm=like.missing_ppm if missing_ppm is None else missing_ppm,
        coding=coding, drop_bp=like.drop_bp, left=left,
        tensors=tuple((id, data.nbytes) for id, data in zip(parcel.tensors, parcel.data, strict=True)),
    )  # fmt: skip


class Post:
    """Sends frames to neighbours. `at_home` takes those that have reached their source."""

    def __init__(
        self, config: HostConfig, peers: Peers, passages: Passages, codings: Codings, outbox: Outbox
    ) -> None:  # fmt: skip
        self._config, self._peers, self._passages, self._out = config, peers, passages, outbox
        self._codings = codings
        self.at_home: Callable[[Frame, Parcel], None] = lambda frame, parcel: None

    def send(self, dst: str, frame: Frame, parcel: Parcel, *, mcs: int | None = None) -> None:
        """Give the message to the neighbour `dst`; what it lacks is in the frame's head, or beside its blob."""
        frame, parcel = self._codings.onward(frame, parcel)
        if frame.kind == FrameKind.TASK:
            passage = self._passages.at(frame.source, frame.request, self._out.now_s)
            passage.onward[dst], passage.answered = frame, False
        self._out.emit(
            "send",
            {
                "dst": dst, "what": frame.kind.name.lower(), "source": device_name(self._config.topology, frame.source),
                "cut": frame.cut, "transfer": frame.transfer, "nbytes": parcel.nbytes,
                "wire_nbytes": self._config.framing.wire_nbytes(tuple(n for _, n in frame.tensors)),
                **({"coding": self._codings.coding(frame.coding).name} if frame.coding else {}),
                **({"mcs": mcs} if mcs is not None else {}),
            },
            frame.request, frame.attempt,
        )  # fmt: skip
        self._out.add(SendFrame(dst, frame, parcel, mcs))

    def toward_source(self, frame: Frame, parcel: Parcel, came_from: str = "") -> None:
        """One hop nearer to the source, or to its requests where this host is the source."""
        source = device_name(self._config.topology, frame.source)
        if source == self._config.device:
            return self.at_home(frame, parcel)
        way = self._way_back(frame, source) if source is not None else ()
        if not way:
            return self._out.drop("no way back", frame.request, frame.attempt, source=source)
        if way[0] == came_from:
            # The two hosts disagree about who is up; the source will try again.
            return self._out.drop("would go in circles", frame.request, frame.attempt, source=source)
        if frame.kind == FrameKind.RESULT:
            self._passages.at(frame.source, frame.request, self._out.now_s).answered = True
        return self.send(way[0], frame, parcel)

    def _way_back(self, frame: Frame, source: str) -> tuple[str, ...]:
        """The way that the task came, as it was priced; where that is cut off, the nearest way there is."""
        passage = self._passages.known(frame.source, frame.request)
        came_from = None if passage is None else passage.came_from.get(frame.attempt)
        if came_from is not None and self._peers.is_next_to(came_from):
            return (came_from,)
        return self._peers.way(source)

    def peer_down(self, peer: str) -> None:
        """Tell the sources of tasks that went to `peer`; their own news of it may have come too early or late."""
        for frame in self._passages.lost_with(peer):
            if device_name(self._config.topology, frame.source) not in (self._config.device, peer):
                self.failure(frame, f"{peer} went down with it")

    def failure(self, frame: Frame, line: str) -> None:
        """Tell the source of `frame` in one line why this host cannot go on."""
        text = f"{self._config.device}: {line}"
        parcel = Parcel((0,), (memoryview(text.encode()[:1000]),))
        self.toward_source(head(FrameKind.FAILURE, frame, parcel, cut=frame.cut, transfer=frame.transfer), parcel)
