"""Where hosts listen: the data plane on the device's port, control (TLS) on the next one."""

from __future__ import annotations

import random
import socket

import msgspec

from airloom.core.topology import Device, Topology
from airloom.errors import ConfigError

Address = tuple[str, int]


def parse_address(text: str, *, where: str = "") -> Address:
    """`"10.0.0.2:7000"` or `"[::1]:7000"` as host and port."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65535:
        raise ConfigError(f"expected HOST:PORT with a port in 1..65534, got {text!r}", where=where)
    return host.strip("[]"), int(port)


def data_address(device: Device) -> Address:
    """Where `device` takes tensors."""
    if not device.address:
        raise ConfigError("has no address: add `address: HOST:PORT`", where=f"device {device.id!r}")
    return parse_address(device.address, where=f"device {device.id!r}")


def control_address(device: Device) -> Address:
    """Where `device` takes control messages: the port after its data plane's."""
    host, port = data_address(device)
    return host, port + 1


def control_endpoint(device: Device) -> str:
    """`control_address` as zenoh writes it."""
    host, port = control_address(device)
    return f"tls/[{host}]:{port}" if ":" in host else f"tls/{host}:{port}"


def with_local_addresses(topology: Topology) -> Topology:
    """`topology` with every device on a free pair of ports of 127.0.0.1."""
    taken: set[int] = set()
    devices = []
    for device in topology.devices:
        port = free_port_pair(taken)
        taken |= {port, port + 1}
        devices.append(msgspec.structs.replace(device, address=f"127.0.0.1:{port}"))
    return msgspec.structs.replace(topology, devices=tuple(devices))


def free_port_pair(taken: set[int]) -> int:
    """A port P such that P and P+1 are free for UDP and TCP on 127.0.0.1 and not in `taken`.

    From below the range that the kernel hands out by itself, so that no connection takes it meanwhile.
    """
    picker = random.SystemRandom()
    for _ in range(2000):
        port = picker.randrange(12000, 31000, 2)
        if port not in taken and all(_free(p) for p in (port, port + 1)):
            return port
    raise ConfigError("no two free ports in a row between 12000 and 31000 on 127.0.0.1")


def _free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
