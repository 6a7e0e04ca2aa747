"""Traces written as they come: one file a host, a line an event, none of it kept in memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import msgspec

from airloom.core.trace import Event, Kind
from airloom.core.value import SCHEMA_VERSION

#: Which events a trace keeps: all, those that tell a request's life and what befell the network, or none.
Keep = Literal["all", "requests", "none"]
LIFE: frozenset[Kind] = frozenset({"submit", "attempt", "stage", "result", "error", "peer", "condition"})
_BUFFER = 1 << 16


class TraceFolder:
    """`HOST.jsonl` files in `folder`, made as hosts speak; whole lines in them whenever it is closed.

    Args:
        keep: what is written; the rest is left out.
        version: of Airloom, for the first line of each file.
    """

    def __init__(self, folder: Path, *, keep: Keep = "all", version: str = "") -> None:
        self._folder, self._keep, self._version = folder, keep, version
        self._files: dict[str, BinaryIO] = {}
        self._encode = msgspec.json.Encoder().encode
        if keep != "none":
            folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, event: Event) -> None:
        keep = self._keep
        if keep == "none" or event.kind == "trace" or (keep == "requests" and event.kind not in LIFE):
            return
        file = self._files.get(event.host)
        if file is None:
            file = self._open(event)
        file.write(self._encode(event) + b"\n")

    def close(self) -> None:
        files, self._files = self._files, {}
        for file in files.values():
            file.close()

    def _open(self, event: Event) -> BinaryIO:
        data = {"schema": SCHEMA_VERSION, "clock": "virtual", "airloom": self._version}
        if self._keep != "all":
            data["kept"] = self._keep
        file = self._files[event.host] = (self._folder / f"{event.host}.jsonl").open("wb", buffering=_BUFFER)
        file.write(self._encode(Event(at_s=event.at_s, host=event.host, kind="trace", data=data)) + b"\n")
        return file
