"""What a client asks for, and what it is told to fetch (Accordion, Steps 1, 2, 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from airloom.deliver.server.refusals import Refusal
from airloom.deliver.server.release import Release
from airloom.errors import ConfigError
from airloom.planner.delivery import Choice, Demand, NoConfiguration, choose, transfer_s


class PlanRequest(Demand, frozen=True):
    """The body of `POST plan`: a demand, and of which manifest its indices are.

    Attributes:
        manifest: SHA-256 of `manifest.json`; "" is the newest.
    """

    manifest: str = ""


class Link(NamedTuple):
    """What the server knows of a client's link.

    Attributes:
        estimated_bps: from the client's transfers; None for one that nobody knows.
        assumed_bps: of such a client.
        rtt_s: of the connection it asks on; 0 where it is not known.
    """

    estimated_bps: float | None
    assumed_bps: float
    rtt_s: float = 0.0


class PlanAnswer(msgspec.Struct, frozen=True):
    """The answer to `POST plan`; docs/serving-models.md."""

    manifest: str
    configuration: str
    accuracy: float | None
    nbytes: int
    expected_s: float | None
    rate_bps: float | None
    rate_basis: str
    decided_by: str
    note: str
    path: tuple[str, ...]
    chunks: msgspec.Raw
    stream: str


# More than any model; a figure beyond it is no integer, or none worth having.
_MOST_NBYTES = 2.0**62
_REQUEST = msgspec.json.Decoder(PlanRequest)


def read_request(body: bytes) -> PlanRequest:
    """Raises: Refusal: not JSON, not a demand, or one that cannot be meant."""
    try:
        return _REQUEST.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise Refusal(400, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"not JSON: {error}") from None
    except ConfigError as error:
        raise Refusal(400, str(error)) from None


def answer(release: Release, request: PlanRequest, link: Link) -> PlanAnswer:
    """What to fetch.

    A rate that the client does not state is the estimate, or where there is none and a deadline needs one, the assumed
    one. Where the client states no overhead, it is one round trip.

    Raises:
        Refusal: nothing meets the demand (422), or the manifest cannot say (400).
    """
    rate_bps, basis = request.rate_bps, "stated"
    if rate_bps is None:
        rate_bps, basis = link.estimated_bps, "estimated"
    if rate_bps is None:
        rate_bps, basis = (link.assumed_bps, "assumed") if request.deadline_s is not None else (None, "")
    demand = msgspec.structs.replace(request, rate_bps=rate_bps, overhead_s=request.overhead_s or link.rtt_s)
    try:
        choice = choose(release.table, demand)
    except NoConfiguration as error:
        nearest = None if error.nearest is None else error.nearest.name
        raise Refusal(422, str(error), more={"nearest": nearest}) from None
    except ConfigError as error:
        raise Refusal(400, str(error)) from None
    sending = release.sending(demand.have, choice.configuration, _spare(demand, choice))
    return PlanAnswer(
        manifest=release.sha256,
        configuration=choice.configuration.name,
        accuracy=choice.configuration.accuracy,
        nbytes=sending.nbytes,
        expected_s=transfer_s(sending.nbytes, demand, chunks=len(choice.chunks)),
        rate_bps=rate_bps,
        rate_basis=basis,
        decided_by=choice.decided_by,
        note=choice.note,
        path=sending.path,
        chunks=sending.listed,
        stream=f"stream?configuration={','.join(sending.path)}&have={write_ranges(sorted(demand.have))}"
        f"&manifest={release.sha256}",
    )


def _spare(demand: Demand, choice: Choice) -> int | None:
    """Bytes that may be sent on top of those of `choice` within the demand."""
    limits, nbytes = [], choice.nbytes
    if demand.max_nbytes is not None:
        limits.append(demand.max_nbytes - nbytes)
    if demand.deadline_s is not None and demand.rate_bps is not None:
        waits_s = demand.overhead_s + len(choice.chunks) * demand.chunk_s
        sent = (demand.deadline_s - waits_s) * demand.rate_bps / 8.0
        limits.append(int(min(sent, _MOST_NBYTES)) - nbytes)
    return max(min(limits), 0) if limits else None


def write_ranges(indices: Iterable[int]) -> str:
    """`0-5,9`: runs of indices that follow one another, in the order given."""
    runs: list[list[int]] = []
    for k in indices:
        if runs and runs[-1][1] + 1 == k:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def read_ranges(text: str, count: int) -> frozenset[int]:
    """The indices of `0-5,9`, each below `count`.

    Raises:
        Refusal: not written so, or there is no such chunk.
    """
    # Of bytes, not a set: a query of ranges that repeat each other is no more work than reading it.
    named = bytearray(count)
    for word in text.split(",") if text else ():
        first, dash, last = word.partition("-")
        if not _is_index(first) or (dash and not _is_index(last)):
            raise Refusal(400, f"have={text[:60]}: expected indices of chunks, 0-5,9")
        a, b = int(first), int(last) if dash else int(first)
        if not a <= b < count:
            raise Refusal(400, f"have={word[:30]}: there are chunks 0 to {count - 1}")
        named[a : b + 1] = b"\1" * (b + 1 - a)
    return frozenset(k for k, there in enumerate(named) if there)


def _is_index(text: str) -> bool:
    return 0 < len(text) < 10 and text.isascii() and text.isdigit()
