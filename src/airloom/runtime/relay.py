"""The relay: all directed links of a topology, emulated on this machine by one process.

The relay is a `LinkModel` with sockets. A host sends what is meant for a neighbour to the address
that the launcher gives it; the relay lets the link's model decide when it arrives and whether, and
hands it on. How addresses stay stable is told in `relay_udp` and `relay_tcp`.

    python -m airloom.runtime.relay      # a launcher writes the spec and commands, see relay_control

Programs use `relay_process.RelayProcess`, which starts this and talks to it.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import msgspec

from airloom.core.topology import Conditions, Link
from airloom.core.trace import Event
from airloom.core.value import Value
from airloom.errors import AirloomError, ConfigError
from airloom.files import decode_value
from airloom.radio.nr.link import NrLink
from airloom.runtime.motion import Motion
from airloom.runtime.places import parse_address
from airloom.runtime.relay_control import (
    Done,
    GetStats,
    Happened,
    LinkAddress,
    Ready,
    Refused,
    RelaySpec,
    Rewind,
    Said,
    SetHost,
    SetLink,
    Stats,
    Stop,
    Stream,
    decode_command,
    encode_line,
)
from airloom.runtime.relay_link import EmulatedLink
from airloom.runtime.relay_loop import RelayLoop, sharpen_timers
from airloom.runtime.relay_tcp import TcpPort
from airloom.runtime.relay_udp import UdpPort

Pair = tuple[str, str]
S = TypeVar("S", bound=Value)


class Emulator(Protocol):
    """What `Commands` drives: this relay, or the one over a TUN device."""

    loop: RelayLoop
    links: dict[Pair, EmulatedLink]

    def addresses(self) -> tuple[LinkAddress, ...]: ...
    def streams(self) -> dict[str, str]: ...
    def set_host(self, host: str, address: str) -> None: ...
    def check(self, change: SetLink) -> None: ...
    def close(self) -> None: ...


class Relay:
    """Sockets for every ordered pair of neighbours; `loop.run()` makes it work.

    Raises:
        ConfigError: an address, a trace, or a link that this transport cannot emulate.
    """

    def __init__(self, spec: RelaySpec) -> None:
        self.loop = RelayLoop(Motion(spec.slow))
        self._transport = spec.transport
        self._hosts = {host: parse_address(address, where=f"host {host}") for host, address in spec.hosts.items()}
        self.links = build_links(spec.links, seed=spec.seed, buffer_bytes=spec.buffer_bytes, origin_s=self.loop.now_s())
        for given in spec.links:
            self.check(SetLink(src=given.src, dst=given.dst, loss=given.loss))
        pairs = sorted(self.links.keys() | {(dst, src) for src, dst in self.links})
        self._udp: dict[Pair, UdpPort] = {}
        self._tcp: dict[Pair, TcpPort] = {}
        for src, dst in pairs:
            find = functools.partial(self._hosts.get, dst)
            link = self.links.get((src, dst))
            if spec.transport == "tcp" and link is not None and isinstance(link.model, NrLink):
                raise ConfigError(
                    "TCP through a relay never feels a radio's losses: use udp", where=f"link {src}->{dst}"
                )
            if spec.transport == "udp":
                self._udp[src, dst] = UdpPort(self.loop, link, listen=spec.listen, find=find)
            elif link is None:
                raise ConfigError("TCP answers: it needs a link in each direction", where=f"link {src}->{dst}")
            else:
                back = self.links.get((dst, src))
                if back is None:
                    raise ConfigError("TCP answers: it needs a link in each direction", where=f"link {dst}->{src}")
                self._tcp[src, dst] = TcpPort(self.loop, link, back, listen=spec.listen, find=find)
        for (src, dst), port in self._udp.items():
            port.exit = self._udp[dst, src]

        self._streams = {stream.name: self._stream_ports(stream, spec.listen) for stream in spec.streams}

    def _stream_ports(self, stream: Stream, listen: str) -> list[TcpPort]:
        """A port for each hop, the caller's first; each calls the next one's, the last one the service."""
        target = parse_address(stream.address, where=f"stream {stream.name}")
        ports: list[TcpPort] = []
        for src, dst in reversed(list(itertools.pairwise(stream.path))):
            link, back = self.links.get((src, dst)), self.links.get((dst, src))
            if link is None or back is None:
                raise ConfigError("a stream needs a link in each direction", where=f"link {src}->{dst}")
            if isinstance(link.model, NrLink) or isinstance(back.model, NrLink):
                raise ConfigError(
                    "a stream needs links with a rate, not a radio: give this one `rate:`", where=f"link {src}->{dst}"
                )
            port = TcpPort(self.loop, link, back, listen=listen, find=functools.partial(_always, target), patient=True)
            ports.insert(0, port)
            target = port.address
        return ports

    def streams(self) -> dict[str, str]:
        return {name: "{}:{}".format(*ports[0].address) for name, ports in self._streams.items() if ports}

    def addresses(self) -> tuple[LinkAddress, ...]:
        ports: dict[Pair, UdpPort | TcpPort] = {**self._udp, **self._tcp}
        return tuple(
            LinkAddress(src=src, dst=dst, address="{}:{}".format(*port.address)) for (src, dst), port in ports.items()
        )

    def set_host(self, host: str, address: str) -> None:
        self._hosts[host] = parse_address(address, where=f"host {host}")

    def check(self, change: SetLink) -> None:
        """Refuse what this transport cannot show."""
        if self._transport == "tcp" and change.loss:
            raise ConfigError(
                "TCP through a relay never feels loss: use udp, or runtime/tun.py to compare with TCP",
                where=f"link {change.src}->{change.dst}",
            )

    def close(self) -> None:
        for udp in self._udp.values():
            udp.close()
        for tcp in (*self._tcp.values(), *(port for ports in self._streams.values() for port in ports)):
            tcp.close()
        self.loop.close()


def _always(address: tuple[str, int]) -> tuple[str, int]:
    return address


class Commands:
    """Carries out the launcher's lines and answers them."""

    def __init__(self, emulator: Emulator, *, say: Callable[[Said], None]) -> None:
        self._emulator, self._say = emulator, say
        self._following: dict[EmulatedLink, int] = {}
        for link in emulator.links.values():
            self._follow_trace(link)

    def handle(self, line: bytes) -> None:
        try:
            self._say(self._answer(line))
        except AirloomError as error:
            self._say(Refused(error=str(error)))

    def _answer(self, line: bytes) -> Said:
        command = decode_command(line)
        emulator = self._emulator
        match command:
            case SetLink(src=src, dst=dst):
                link = emulator.links.get((src, dst))
                if link is None:
                    known = ", ".join(f"{a}->{b}" for a, b in emulator.links)
                    raise ConfigError(f"no link {src}->{dst} here; there are {known}", where="relay")
                emulator.check(command)
                link.change(command)
                self._report(link)
            case SetHost(host=host, address=address):
                emulator.set_host(host, address)
            case Rewind():
                now_s = emulator.loop.now_s()
                for link in emulator.links.values():
                    link.rewind(now_s)
                    self._follow_trace(link)
            case GetStats():
                late = emulator.loop.lateness
                return Stats(
                    links=tuple(link.stats() for link in emulator.links.values()),
                    late_mean_s=late.mean_s,
                    late_max_s=late.max_s,
                )
            case Stop():
                emulator.loop.stop()
        return Done()

    def _report(self, link: EmulatedLink) -> None:
        now_s = self._emulator.loop.now_s()
        conditions = Conditions(at_s=now_s, links=(link.state(now_s),))
        self._say(
            Happened(event=Event(at_s=now_s, host="relay", kind="condition", data=msgspec.to_builtins(conditions)))
        )

    def _follow_trace(self, link: EmulatedLink) -> None:
        next_s = link.next_change_s(self._emulator.loop.now_s())
        if next_s is not None:
            turn = self._following[link] = self._following.get(link, 0) + 1
            self._emulator.loop.call_at(next_s, functools.partial(self._trace_moved, link, turn))

    def _trace_moved(self, link: EmulatedLink, turn: int) -> None:
        """A row has ended; `turn` is another one by now where the trace began again."""
        if turn == self._following[link] and link.next_change_s(self._emulator.loop.now_s()) is not None:
            self._report(link)
            self._follow_trace(link)


def build_links(
    links: Iterable[Link], *, seed: int, buffer_bytes: int | None, origin_s: float
) -> dict[Pair, EmulatedLink]:
    """An `EmulatedLink` for each link, their traces beginning at `origin_s`."""
    built: dict[Pair, EmulatedLink] = {}
    for index, link in enumerate(links):
        place = f"link {link.src}->{link.dst}"
        if (link.src, link.dst) in built:
            raise ConfigError("given twice", where=place)
        if not (link.trace or link.rate_bps > 0):
            raise ConfigError(f"a rate must be above 0, got {link.rate_bps!r}", where=place)
        built[link.src, link.dst] = EmulatedLink(
            link, seed=seed, index=index, origin_s=origin_s, buffer_bytes=buffer_bytes
        )
    return built


def serve(build: Callable[[S], Emulator], spec_type: type[S]) -> int:
    """Run an emulator for the launcher at the other end of stdin and stdout, until either closes."""
    out = sys.stdout.fileno()

    def say(said: Said) -> None:
        data = memoryview(encode_line(said))
        while data:
            data = data[os.write(out, data) :]

    fd = sys.stdin.fileno()
    first, _, rest = _read_past_newline(fd)
    try:
        emulator = build(decode_value(first, spec_type, where="relay spec"))
    except AirloomError as error:
        say(Refused(error=str(error)))
        return 2
    sharpen_timers()
    commands = Commands(emulator, say=say)

    def read() -> None:
        nonlocal rest
        chunk = os.read(fd, 65536)
        if not chunk:
            emulator.loop.stop()
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            commands.handle(line)

    emulator.loop.watch(fd, on_read=read)
    try:
        say(Ready(addresses=emulator.addresses(), streams=emulator.streams()))
        emulator.loop.run()
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        emulator.close()
    return 0


def _read_past_newline(fd: int) -> tuple[bytes, bytes, bytes]:
    data = b""
    while b"\n" not in data and (chunk := os.read(fd, 65536)):
        data += chunk
    return data.partition(b"\n")


if __name__ == "__main__":
    sys.exit(serve(Relay, RelaySpec))
