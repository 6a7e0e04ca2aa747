"""Makes what runs a manifest's architecture.

Nothing here needs torch: networks bring it along when they are first run.
"""

from __future__ import annotations

from airloom.core.progressive import Manifest
from airloom.deliver.runner import Runner


def make_runner(manifest: Manifest, architecture: bytes | None) -> Runner:
    """The runner of a manifest's architecture.

    Args:
        architecture: the verified bytes of its file, where it has one.

    Raises:
        UserError: this machine cannot run it, or what the file says cannot be.
    """
    if manifest.architecture.kind == "trees":
        from airloom.deliver.ensemble import TreesRunner

        return TreesRunner(manifest)
    from airloom.deliver.network import make_network

    return make_network(manifest, architecture)
