"""How zenoh is set up, and who may say what.

Keys, with the sender second, so that access control by certificate name can hold each sender to its own:

    airloom/alive/SRC/INCARNATION    liveliness token
    airloom/cost/SRC/DST             split cost message (put)
    airloom/roster/SRC/DST           who reaches whom (put)
    airloom/key/SRC/DST              key agreement (query)
    airloom/status/ASKER/DST         status (query)
    airloom/command/ASKER/DST        command (query); only of the operator's and the source's certificate
"""

from __future__ import annotations

import json
from typing import Any

import zenoh

from airloom.runtime import commands
from airloom.runtime.certs import HostCerts

_ROOT = "airloom"
# A neighbour that says nothing for this long is gone; one that is killed is noticed at once by its socket.
_LEASE_S = 2.0
_FLOWS = [
    "put", "delete", "declare_subscriber", "query", "reply", "declare_queryable",
    "liveliness_token", "declare_liveliness_subscriber", "liveliness_query",
]  # fmt: skip
_DECLARATIONS = [
    "declare_subscriber", "declare_queryable", "declare_liveliness_subscriber", "liveliness_query", "reply",
]  # fmt: skip


def key(kind: str, src: str, dst: str | int) -> str:
    """The key under which `src` says something of `kind`; `*` stands for anybody."""
    return f"{_ROOT}/{kind}/{src}/{dst}"


def ends(key: object) -> tuple[str, str]:
    """Sender and receiver of a key that `key()` made."""
    _, _, src, dst = str(key).split("/")
    return src, dst


def zenoh_config(
    certs: HostCerts, *, listen: list[str], connect: list[str], access: dict[str, Any] | None = None
) -> zenoh.Config:
    """Settings that all of Airloom's sessions share."""
    config = zenoh.Config()
    settings: dict[str, Any] = {
        "mode": "peer",
        "listen/endpoints": listen,
        "connect/endpoints": connect,
        # Dial for ever in the background: a neighbour may start tomorrow.
        "connect/timeout_ms": -1,
        "connect/exit_on_failure": False,
        "connect/retry": {"period_init_ms": 100, "period_max_ms": 500, "period_increase_factor": 1.5},
        "open/return_conditions/connect_scouted": False,
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "transport/link/protocols": ["tls"],
        "transport/link/tx/lease": int(_LEASE_S * 1000),
        "transport/link/rx/max_message_size": commands.MAX_BYTES,
        "transport/shared_memory/enabled": False,
        "transport/unicast/max_sessions": 64,
        "transport/unicast/accept_timeout": 3000,
        "transport/link/tls": {
            "root_ca_certificate": str(certs.ca),
            "enable_mtls": True,
            "verify_name_on_connect": True,
            "close_link_on_expiration": True,
            "listen_certificate": str(certs.certificate),
            "listen_private_key": str(certs.key),
            "connect_certificate": str(certs.certificate),
            "connect_private_key": str(certs.key),
        },
    }
    if access is not None:
        settings["access_control"] = access
    for name, value in settings.items():
        config.insert_json5(name, json.dumps(value))
    return config


def access_control(near: tuple[str, ...], commanders: tuple[str, ...]) -> dict[str, Any]:
    """Each neighbour may speak for itself only; commanders may ask and command; nobody else anything."""
    rules = [
        _rule("out", "egress", _FLOWS, [f"{_ROOT}/**"]),
        _rule("in", "ingress", _DECLARATIONS, [f"{_ROOT}/**"]),
    ]
    subjects, policies = [], []
    for name in dict.fromkeys((*near, *commanders)):
        kinds = [kind for kind in ("alive", "cost", "roster", "key") if name in near]
        kinds += [kind for kind in ("status", "command") if name in commanders]
        own = [key(kind, name, "**") for kind in kinds]
        rules.append(_rule(f"from {name}", "ingress", ["put", "query", "liveliness_token"], own))
        subjects.append({"id": name, "cert_common_names": [name]})
        policies.append({"rules": ["in", "out", f"from {name}"], "subjects": [name]})
    return {
        "enabled": True,
        "default_permission": "deny",
        "rules": rules,
        "subjects": subjects,
        "policies": policies,
    }


def _rule(name: str, flow: str, messages: list[str], keys: list[str]) -> dict[str, Any]:
    return {"id": name, "permission": "allow", "flows": [flow], "messages": messages, "key_exprs": keys}
