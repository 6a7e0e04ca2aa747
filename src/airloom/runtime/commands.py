"""What an operator may ask a running host, and what it answers: strict, bounded."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from airloom.core.plan import Plan
from airloom.core.topology import LinkState
from airloom.core.value import Value
from airloom.errors import WireError

#: No message of the control plane is longer; a pinned plan of thousands of stages fits.
MAX_BYTES = 4 << 20

T = TypeVar("T")


class Pin(Value, frozen=True, tag="pin"):
    """Follow `plan` instead of the host's own table; None returns to the table."""

    plan: Plan | None = None


class TrainBy(Value, frozen=True, tag="train"):
    """Train by `plan` from `step` on; weights lie where `before` has them (`engine.events.TrainingPinned`)."""

    plan: Plan
    step: int = 0
    before: Plan | None = None


class LinksChanged(Value, frozen=True, tag="links"):
    """Links came up or went down (`LinkState.up`), as in a handover: the radio's control plane says so."""

    links: tuple[LinkState, ...]


class SetFactor(Value, frozen=True, tag="set_factor"):
    """From now on the host takes `factor` times its measured compute time (emulation of a slow or busy device)."""

    factor: float


class ShutDown(Value, frozen=True, tag="shut_down"):
    """Stop cleanly."""


Command = Pin | TrainBy | LinksChanged | SetFactor | ShutDown


class Ack(Value, frozen=True):
    """Whether the command was carried out; `error` is one line."""

    ok: bool = True
    error: str = ""


class HostStatus(Value, frozen=True):
    """A host as it sees itself.

    Attributes:
        incarnation: start time in nanoseconds of the wall clock; a restarted host has a higher one.
        load: how busy it is: a stage takes `1 + load` times its unloaded time.
        up: the other hosts that it can reach.
        links: its outgoing links as it measures them.
        in_flight: requests that began here; `jobs`: stages that wait or run here.
        parent: the next host downstream, None at the end of the chain.
        table: for each cut, the stop it would choose.
        cost_s: predicted seconds of a request that begins here, None where it cannot go on.
        counters: everything counted, by name: what the metrics endpoint serves.
    """

    host: str
    role: str
    incarnation: int
    uptime_s: float
    load: float
    in_flight: int
    jobs: int
    up: tuple[str, ...]
    links: tuple[LinkState, ...] = ()
    parent: str | None = None
    table: tuple[int, ...] = ()
    cost_s: float | None = None
    pinned: bool = False
    model: str = ""
    graph_digest: str = ""
    transport: str = ""
    pid: int = 0
    counters: dict[str, float] = msgspec.field(default_factory=dict)


def encode(value: msgspec.Struct) -> bytes:
    """A command, answer or status as bytes."""
    return msgspec.msgpack.encode(value)


def decode_command(data: bytes) -> Command:
    """Bytes from the network as a command; WireError where they are none."""
    return _decode(data, _COMMAND)


def decode_ack(data: bytes) -> Ack:
    return _decode(data, _ACK)


def decode_status(data: bytes) -> HostStatus:
    return _decode(data, _STATUS)


_COMMAND: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_ACK = msgspec.msgpack.Decoder(Ack)
_STATUS = msgspec.msgpack.Decoder(HostStatus)


def _decode(data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    if len(data) > MAX_BYTES:
        raise WireError(f"a control message of {len(data)} bytes")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"not a control message: {error}") from None
