"""How messages of training travel: each names the device it is for, and goes there hop by hop, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable

from airloom.core.training import Word
from airloom.engine.coded import graph_key
from airloom.engine.config import HostConfig
from airloom.engine.events import SendFrame
from airloom.engine.messages import Frame, FrameKind, Mode, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.peers import Peers

#: Tells one hop from the next where the plan names the way.
NextHop = Callable[[str], str | None]
MODES = frozenset({Mode.FORWARD, Mode.BACKWARD, Mode.PARAMETERS, Mode.VALUES, Mode.TRAINING})
_SAID = {
    Mode.FORWARD: "forward", Mode.BACKWARD: "backward", Mode.PARAMETERS: "parameters", Mode.VALUES: "values",
    Mode.TRAINING: "word",
}  # fmt: skip
_LINE_BYTES = 1000


class Mail:
    """Sends and passes on. `at_home` takes what has arrived where it was sent to, this host.

    Attributes:
        next_hop: the plan's way from here to a device, None where it leaves that open.
    """

    def __init__(self, config: HostConfig, peers: Peers, outbox: Outbox) -> None:
        self._config, self._peers, self._out = config, peers, outbox
        self._index = {device.id: index for index, device in enumerate(config.topology.devices)}
        self._devices = tuple(self._index)
        self._key = graph_key(config.profile.graph_digest)
        self.source = config.topology.source
        self.next_hop: NextHop = lambda dst: None
        self.at_home: Callable[[Frame, Parcel], None] = lambda frame, parcel: None

    def send(
        self, dst: str, mode: Mode, parcel: Parcel, *, step: int, attempt: int = 0, epoch: int = 0, cut: int = 0,
        kind: FrameKind = FrameKind.TASK, again: bool = False,
    ) -> None:  # fmt: skip
        """Send to the device `dst`, this one included; `again` marks a failure after which a new try may help."""
        tensors = tuple((id, data.nbytes) for id, data in zip(parcel.tensors, parcel.data, strict=True))
        frame = Frame(
            kind=kind, source=self._index[self.source], request=step, attempt=attempt, epoch=epoch, cut=cut,
            transfer=self._index[dst], coding=self._config.index, missing_ppm=int(again), model=self._key, mode=mode,
            tensors=tensors,
        )  # fmt: skip
        if dst == self._config.device:
            return self.at_home(frame, parcel)
        return self._onward(dst, frame, parcel)

    @property
    def up(self) -> set[str]:
        """Hosts known to be up, this one included."""
        return self._peers.up

    def sender(self, frame: Frame) -> str:
        """The device that a message is from, "" where it names none."""
        return self._devices[frame.coding] if frame.coding < len(self._devices) else ""

    def word(
        self, dst: str, word: Word, *, step: int, epoch: int, attempt: int = 0, parcel: Parcel | None = None
    ) -> None:
        """Say one word: the source's are tasks, the hosts' are results."""
        kind = FrameKind.TASK if word in (Word.MOVE, Word.STATE) else FrameKind.RESULT
        self.send(
            dst, Mode.TRAINING, parcel or Parcel(), step=step, attempt=attempt, epoch=epoch, cut=int(word), kind=kind
        )

    def failure(self, line: str, *, step: int, attempt: int, epoch: int, again: bool = False) -> None:
        """Tell the source in one line why this host cannot go on."""
        text = line if line.startswith(f"{self._config.device}:") else f"{self._config.device}: {line}"
        parcel = Parcel((0,), (memoryview(text.encode()[:_LINE_BYTES]),))
        self.send(
            self.source, Mode.TRAINING, parcel, step=step, attempt=attempt, epoch=epoch, kind=FrameKind.FAILURE,
            again=again,
        )  # fmt: skip

    def arrived(self, src: str, frame: Frame, parcel: Parcel) -> None:
        """A message of training came from the neighbour `src`: ours to take, or to pass on."""
        if not 0 <= frame.transfer < len(self._devices) or frame.source != self._index[self.source]:
            return self._out.drop("no such device", frame.request, frame.attempt, src=src)
        if frame.model != self._key:
            return self._out.drop("message of another model", frame.request, frame.attempt, src=src)
        if parcel.missing:
            # Half a tensor would train half a network: the source tries again.
            self._out.drop("incomplete", frame.request, frame.attempt, src=src, what=_SAID[frame.mode])
            if frame.kind != FrameKind.FAILURE:
                line = f"a message ({_SAID[frame.mode]}) from {src} came incomplete"
                self.failure(line, step=frame.request, attempt=frame.attempt, epoch=frame.epoch, again=True)
            return None
        dst = self._devices[frame.transfer]
        self._out.emit(
            "arrive",
            {
                "src": src, "what": _SAID[frame.mode], "source": self.source, "cut": frame.cut, "dst": dst,
                "transfer": -1, "nbytes": parcel.nbytes, "missing": 0,
            },
            frame.request, frame.attempt,
        )  # fmt: skip
        if dst == self._config.device:
            return self.at_home(frame, parcel)
        return self._onward(dst, frame, parcel, came_from=src)

    def _onward(self, dst: str, frame: Frame, parcel: Parcel, came_from: str = "") -> None:
        planned = self.next_hop(dst) if frame.mode == Mode.FORWARD else None
        way = self._peers.way(dst)
        hop = planned if planned in self._peers.up else way[0] if way else None
        if hop is None or hop == came_from:
            return self._out.drop("no way", frame.request, frame.attempt, dst=dst)
        self._out.emit(
            "send",
            {
                "dst": hop, "what": _SAID[frame.mode], "source": self.source, "cut": frame.cut, "transfer": -1,
                "nbytes": parcel.nbytes,
                "wire_nbytes": self._config.framing.wire_nbytes(tuple(n for _, n in frame.tensors)),
            },
            frame.request, frame.attempt,
        )  # fmt: skip
        return self._out.add(SendFrame(hop, frame, parcel))
