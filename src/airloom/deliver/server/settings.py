"""What whoever runs a server may choose, and what is refused before anything listens."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import NamedTuple

from airloom.errors import ConfigError


class ServerSettings(NamedTuple):
    """How models are served.

    Attributes:
        folders: artifacts, one model each.
        port: 0 takes a free one.
        certificate, key: PEM files; both or none.
        tokens: file of bearer tokens; None lets everybody in.
        public_key: who signed the manifests, `ed25519:...` or a PEM file; None does not check.
        open_to_all, plain: said so on purpose: without tokens, or without TLS, beyond this machine.
        assumed_rate_bps: of a client that states none and is not known.
        cache_nbytes: of chunks in memory, shared by all clients.
        max_connections, max_transfers, max_transfers_per_client: beyond these 503, 503 and 429.
        head_timeout_s: for a request's head, and for its body.
        idle_timeout_s: between two requests of a connection.
        stall_timeout_s: a client that takes no byte for so long is left alone.
        shutdown_s: what is under way gets this long to end.
        keep_s: for how long a replaced version is served to those who fetch it.
        poll_s: how often folders are looked at for a new version.
        access_log: a line on stderr for each request.
    """

    folders: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None
    tokens: Path | None = None
    public_key: str | None = None
    open_to_all: bool = False
    plain: bool = False
    assumed_rate_bps: float = 10e6
    cache_nbytes: int = 512 * 2**20
    max_connections: int = 1024
    max_transfers: int = 512
    max_transfers_per_client: int = 32
    head_timeout_s: float = 10.0
    idle_timeout_s: float = 15.0
    stall_timeout_s: float = 30.0
    shutdown_s: float = 10.0
    keep_s: float = 600.0
    poll_s: float = 1.0
    access_log: bool = False


def check_settings(settings: ServerSettings) -> None:
    """Refuse what cannot be served, or what nobody should serve without saying so.

    Raises:
        ConfigError: names the option.
    """
    if not settings.folders:
        raise ConfigError("no folder to serve: `airloom elastic pack` makes one")
    if (settings.certificate is None) != (settings.key is None):
        raise ConfigError("--cert and --key go together: a certificate and its private key, both PEM")
    if not 0 <= settings.port <= 65535:
        raise ConfigError(f"--port lies in 0 to 65535, got {settings.port}")
    if settings.assumed_rate_bps <= 0:
        raise ConfigError("--assume-rate must be above 0")
    for name in ("cache_nbytes", "max_connections", "max_transfers", "max_transfers_per_client"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-').replace('nbytes', 'size')} must be at least 1")
    if settings.tokens is not None and settings.open_to_all:
        raise ConfigError("--tokens lets in some and --open everybody: leave one out")
    if is_loopback(settings.host):
        return
    if settings.tokens is None and not settings.open_to_all:
        raise ConfigError(
            f"anybody who reaches {settings.host} could fetch these models: give --tokens FILE, or say --open"
        )
    if settings.certificate is None and not settings.plain:
        raise ConfigError(
            f"models and tokens would cross the network in the clear at {settings.host}: give --cert and --key, "
            "or say --no-tls"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
