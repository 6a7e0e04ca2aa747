"""Everything Airloom raises on purpose.

AirloomError                    one line: what was wrong, where, and what to do
├── UserError                   the user can mend it; the CLI exits with 2
│   ├── ConfigError             a file or an option; names the place: $.links[2].delay
│   ├── CaptureError            torch cannot export the model; carries torch's reason and line
│   ├── ProfileMismatch         a profile, plan or weights of another model (digests differ)
│   ├── Infeasible              no plan meets the limits; names the device and how many bytes short
│   ├── NoRoute                 the topology has no path between two devices
│   └── MissingExtra            an optional dependency or a right (root) that this machine lacks
├── RequestError                one request failed; the exact outcome of that request
│   ├── DeadlineExceeded
│   ├── Cancelled
│   ├── Overloaded              more requests in flight than allowed
│   └── StageFailed             an operator raised on a host
├── DeliveryError               a progressive model, or more of it, cannot be had; what was there before still runs
│   ├── SignatureError          the manifest is unsigned, or not signed with the key that was asked for
│   ├── ManifestError           what the manifest says cannot be
│   └── ChunkError              a chunk is damaged, cut short, or of another model or part
├── WireError                   bytes from the network that are not ours; dropped and counted
└── DeploymentError             hosts did not come up, or went away for good
"""

from __future__ import annotations


class AirloomError(Exception):
    """Base of all errors raised on purpose; `str()` is one line fit for a terminal."""


class UserError(AirloomError):
    """What the user gave cannot be used; the CLI prints the line and exits with 2."""


class ConfigError(UserError):
    """A value in a file or option is wrong; `where` is a JSON path such as `$.links[2].delay`."""

    def __init__(self, message: str, *, where: str = "") -> None:
        self.where = where
        super().__init__(f"{where}: {message}" if where else message)


class CaptureError(UserError):
    """The model cannot be captured as a graph."""


class ProfileMismatch(UserError):
    """Two files describe different models: their digests differ."""


class Infeasible(UserError):
    """No plan meets the limits.

    Attributes:
        device: the device whose limit is the nearest to being met, or "" where none is to blame.
        short_bytes: how many bytes of memory it lacks.
    """

    def __init__(self, message: str, *, device: str = "", short_bytes: int = 0) -> None:
        self.device, self.short_bytes = device, short_bytes
        super().__init__(message)


class NoRoute(UserError):
    """There is no directed path of links between two devices."""


class MissingExtra(UserError):
    """Something optional is not on this machine; the line names the command that mends it."""


class RequestError(AirloomError):
    """A request ended without a result; every request has exactly one outcome."""


class DeadlineExceeded(RequestError):
    """The deadline passed before a result arrived."""


class Cancelled(RequestError):
    """The caller withdrew the request."""


class Overloaded(RequestError):
    """As many requests are in flight as the deployment allows; wait for one or raise the bound."""


class StageFailed(RequestError):
    """An operator raised on a host; the line names the host and the stage."""


class DeliveryError(AirloomError):
    """A progressive model, or more of it, cannot be fetched or used; what was there before still runs."""


class SignatureError(DeliveryError):
    """A manifest has no signature, or none of the key that was asked for."""


class ManifestError(DeliveryError):
    """A manifest that no model can have; the line names the place where there is one."""


class ChunkError(DeliveryError):
    """A chunk that is damaged, cut short, too large, or of another model, part or encoding."""


class WireError(AirloomError):
    """Bytes from the network that cannot be ours: dropped and counted, never acted upon."""


class DeploymentError(AirloomError):
    """Hosts did not come up, or went away for good."""
