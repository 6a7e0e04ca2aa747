"""A relay of IP packets: this machine's own TCP stack over an emulated link, by a TUN device.

A TCP connection through `relay_tcp` ends in the relay and never feels the link. Here the kernel's
TCP (any congestion control it has) sends real packets into a TUN device; the relay lets the link's
model delay or lose each, and writes it back. Needs root and `/dev/net/tun`. The device belongs to
the relay's process: it is gone, with its addresses and routes, when that ends, however it ends.

Both ends are on one machine, so a packet sent straight to the other end's address would never leave
it. Each end therefore knows the other by an address that nobody has, and the relay rewrites both
addresses of a packet on its way (network k of the benchmark range 198.18.0.0/15, RFC 2544):

    forward.src binds 198.18.2k.1        and sends to 198.18.(2k+1).2
    forward.dst binds 198.18.(2k+1).1    and sends to 198.18.2k.2

    198.18.2k.1 -> 198.18.(2k+1).2       becomes 198.18.2k.2 -> 198.18.(2k+1).1
    198.18.(2k+1).1 -> 198.18.2k.2       becomes 198.18.(2k+1).2 -> 198.18.2k.1

Old and new addresses have the same sum, so the checksums of IP, TCP and UDP stay right as they are.

    python -m airloom.runtime.tun         # a launcher writes a TunSpec and commands, see relay_control
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from airloom.core.trace import Event
from airloom.errors import ConfigError, MissingExtra
from airloom.radio.link import MTU_BYTES
from airloom.runtime.relay import build_links, serve
from airloom.runtime.relay_control import LinkAddress, SetLink, TunSpec
from airloom.runtime.relay_link import EmulatedLink
from airloom.runtime.relay_loop import RelayLoop
from airloom.runtime.relay_process import RelayProcess

_DEVICE = Path("/dev/net/tun")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8914, 0x8916, 0x891C, 0x8922, 0x8943
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_READS_A_TURN = 64
_NETWORKS = 127


def end_addresses(network: int = 0) -> tuple[tuple[str, str], tuple[str, str]]:
    """(own address, the other's) as `forward.src` and as `forward.dst` see them."""
    near, far = 2 * network, 2 * network + 1
    return (
        (f"198.18.{near}.1", f"198.18.{far}.2"),
        (f"198.18.{far}.1", f"198.18.{near}.2"),
    )


def available() -> str:
    """ "" where TUN relays work here, else the reason in one line; makes a device for a moment to know."""
    try:
        os.close(_open_device()[0])
    except MissingExtra as error:
        return str(error)
    return ""


async def start_tun(spec: TunSpec, *, on_event: Callable[[Event], None] | None = None) -> RelayProcess:
    """A running TUN relay; its ends are `end_addresses(spec.network)`.

    Raises:
        MissingExtra: this machine or user cannot have a TUN device.
    """
    if reason := available():
        raise MissingExtra(reason)
    return await RelayProcess.start(spec, on_event=on_event, module="airloom.runtime.tun")


class TunRelay:
    """Reads packets from the device, writes them back when the model lets them arrive."""

    def __init__(self, spec: TunSpec) -> None:
        if not 0 <= spec.network < _NETWORKS:
            raise ConfigError(f"a network lies in 0..{_NETWORKS - 1}, got {spec.network}", where="tun")
        if (spec.forward.src, spec.forward.dst) != (spec.backward.dst, spec.backward.src):
            raise ConfigError("forward and backward must join the same two ends", where="tun")
        self.links = build_links(
            (spec.forward, spec.backward), seed=spec.seed, buffer_bytes=spec.buffer_bytes, origin_s=time.monotonic()
        )
        self._fd, name = _open_device()
        forward, backward = self.links.values()
        (a, b_alias), (b, a_alias) = end_addresses(spec.network)
        self._ways = {
            _pair(a, b_alias): _Way(self._fd, forward, _pair(a_alias, b)),
            _pair(b, a_alias): _Way(self._fd, backward, _pair(b_alias, a)),
        }
        self._spec = spec
        try:
            _configure(name, (a, b))
        except OSError as error:
            os.close(self._fd)
            raise ConfigError(f"cannot set up {name}: {error.strerror}", where="tun") from None
        self.loop = RelayLoop()
        self.loop.watch(self._fd, on_read=self._read)

    def streams(self) -> dict[str, str]:
        return {}

    def addresses(self) -> tuple[LinkAddress, ...]:
        """What each end sends to, without a port: any port is open."""
        (_, to_dst), (_, to_src) = end_addresses(self._spec.network)
        src, dst = self._spec.forward.src, self._spec.forward.dst
        return LinkAddress(src=src, dst=dst, address=to_dst), LinkAddress(src=dst, dst=src, address=to_src)

    def set_host(self, host: str, address: str) -> None:
        raise ConfigError("the ends of a TUN relay have fixed addresses", where=f"host {host}")

    def check(self, change: SetLink) -> None:
        """IP packets can be lost, held and cut off: nothing is refused."""

    def close(self) -> None:
        self.loop.close()
        os.close(self._fd)

    def _read(self) -> None:
        for _ in range(_READS_A_TURN):
            try:
                packet = os.read(self._fd, 2048)
            except BlockingIOError:
                return
            way = self._ways.get(packet[12:20])
            # What else the kernel sends into a new device (IPv6 neighbour discovery) is not ours.
            if way is None or packet[0] >> 4 != 4:
                continue
            due_s = way.link.offer_packet(len(packet), time.monotonic())
            if due_s is not None:
                self.loop.schedule(due_s, way, packet)


class _Way:
    """One direction: writes its packets back under the addresses that the other end knows."""

    def __init__(self, fd: int, link: EmulatedLink, addresses: bytes) -> None:
        self._fd, self.link, self._addresses = fd, link, addresses

    def deliver(self, packets: list[bytes]) -> None:
        for packet in packets:
            os.write(self._fd, packet[:12] + self._addresses + packet[20:])
        self.link.delivered += len(packets)


def _pair(src: str, dst: str) -> bytes:
    """Source and destination as they stand in bytes 12..19 of an IPv4 header."""
    return socket.inet_aton(src) + socket.inet_aton(dst)


def _open_device() -> tuple[int, str]:
    """A new TUN device: its descriptor and name. MissingExtra says what is lacking."""
    if not _DEVICE.exists():
        raise MissingExtra(f"no {_DEVICE}: load the tun module (modprobe tun)")
    try:
        fd = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise MissingExtra(f"cannot open {_DEVICE} ({error.strerror}): run as root") from None
    try:
        made = fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"airloom%d", _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(fd)
        raise MissingExtra(f"cannot make a TUN device ({error.strerror}): run as root") from None
    return fd, made[:16].rstrip(b"\0").decode()


def _configure(name: str, addresses: tuple[str, ...]) -> None:
    """Give the device its addresses (/24 each) and bring it up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", name.encode(), MTU_BYTES))
        # The device's own queue must not drop before the model does.
        fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", name.encode(), 10_000))
        for index, address in enumerate(addresses):
            label = f"{name}:{index}" if index else name
            for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.0")):
                internet = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, request, struct.pack("16s16s8x", label.encode(), internet))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), _IFF_UP | _IFF_RUNNING))


if __name__ == "__main__":
    sys.exit(serve(TunRelay, TunSpec))
