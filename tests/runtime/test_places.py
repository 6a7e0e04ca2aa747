import socket

import pytest

from airloom.core.topology import Device, Link, Topology
from airloom.errors import ConfigError
from airloom.runtime.places import (
    control_address,
    control_endpoint,
    data_address,
    parse_address,
    with_local_addresses,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.2:7000", ("10.0.0.2", 7000)), ("[::1]:7000", ("::1", 7000)), ("edge.example:1", ("edge.example", 1))],
)
def test_addresses_are_host_and_port(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "7000", ":7000", "host:", "host:0", "host:65535", "host:-1", "host:7x"])
def test_what_is_no_address_is_refused(text):
    # 65535 too: control takes the port after it.
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_address(text)


def test_control_listens_on_the_next_port():
    device = Device(id="gnb", role="gnb", address="10.0.0.2:7000")
    assert control_address(device) == ("10.0.0.2", 7001)
    assert control_endpoint(device) == "tls/10.0.0.2:7001"
    assert control_endpoint(Device(id="gnb", role="gnb", address="[::1]:7000")) == "tls/[::1]:7001"
    with pytest.raises(ConfigError, match="no address"):
        data_address(Device(id="gnb", role="gnb"))


def test_local_addresses_are_free_and_apart():
    names = [f"h{k}" for k in range(20)]
    topology = Topology(
        devices=tuple(Device(id=n, role="mec") for n in names),
        links=(Link(src="h0", dst="h1", rate_bps=1e6),),
        source="h0",
        sink="h1",
    )
    ports = [data_address(d)[1] + k for d in with_local_addresses(topology).devices for k in (0, 1)]
    assert len(set(ports)) == 40
    for port in ports:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
