"""The first steps to a model: its host, its manifest, the cache."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from airloom.deliver.client.backoff import Backoff
from airloom.deliver.client.cache import Cache
from airloom.deliver.client.faults import Interrupted
from airloom.deliver.client.host import Host
from airloom.deliver.client.options import FetchOptions, default_cache
from airloom.deliver.client.trust import Trusted, TrustStore, fetch_manifest, kept_manifest
from airloom.deliver.client.web import open_host
from airloom.deliver.signing import read_public_key


def opened(
    source: str | Path, options: FetchOptions, *, key: str | Path | None, trust_first: bool, token: str | None
) -> tuple[Host, Trusted, Cache | None]:
    """The host of `source`, its manifest, and the cache; None where the host is a folder, which is read as it is.

    The manifest of a host that does not answer is the one that was verified there last.

    Raises:
        UserError, DeliveryError: as `ProgressiveModel.open`.
    """
    pinned = None if key is None else read_public_key(key)
    cache = Cache(options.cache or default_cache(), options.cache_nbytes)
    host = open_host(source, options, token=token)
    backoff = Backoff(np.random.default_rng())
    # Whoever has just asked is told soon that nobody answers: patience is for transfers that had begun.
    end_s = time.monotonic() + min(options.patience_s, options.connect_timeout_s)
    host.limit(time.monotonic() + options.open_timeout_s)
    try:
        while True:
            try:
                trusted = fetch_manifest(
                    host, TrustStore(cache.folder), key=pinned, trust_first=trust_first,
                    allow_rollback=options.allow_rollback,
                )  # fmt: skip
                break
            except Interrupted as error:
                wait_s = backoff.wait_s(error.retry_after_s)
                if time.monotonic() + wait_s > end_s:
                    found = kept_manifest(
                        host, TrustStore(cache.folder), key=pinned, away=str(error),
                        allow_rollback=options.allow_rollback,
                    )  # fmt: skip
                    if found is None:
                        raise
                    trusted, host.offline = found, True
                    break
                time.sleep(wait_s)
    except BaseException:
        host.close()
        raise
    host.limit(None)
    return host, trusted, cache if host.remote else None
