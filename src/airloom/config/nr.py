"""The `nr:` section of a link: the 5G radio that its rate and losses follow from.

links:
  - {from: ue, to: gnb, delay: 1 ms, nr: {snr: 10 dB, channel: cdl-c, attempts: 4, round_trip: 4 ms}}
"""

from __future__ import annotations

import msgspec

from airloom import units
from airloom.config.strict_yaml import Entry, Quantity
from airloom.core.topology import Channel, Combining, Link, NrRadio
from airloom.errors import ConfigError

#: SNRs, in dB, that a topology may name: what is outside carries nothing, or everything.
LEAST_SNR_DB, MOST_SNR_DB = -30.0, 60.0
_DEFAULT = NrRadio(snr_db=0.0)


class NrEntry(Entry, frozen=True):
    """As people write it; what they leave out is `NrRadio`'s default."""

    snr: Quantity
    channel: Channel = _DEFAULT.channel
    prb: int = _DEFAULT.prb
    scs: Quantity = f"{_DEFAULT.scs_khz} kHz"
    layers: int = _DEFAULT.mimo_layers
    mcs_table: int = _DEFAULT.mcs_table
    mcs: int | None = None
    attempts: int = _DEFAULT.attempts
    combining: Combining = _DEFAULT.combining
    round_trip: Quantity = f"{_DEFAULT.round_trip_s * 1e3:g} ms"
    processes: int = _DEFAULT.processes
    processing: Quantity = f"{_DEFAULT.processing_s * 1e3:g} ms"


def parse_snr(value: str | float, *, where: str = "") -> float:
    """`"10 dB"` -> 10.0; from -30 to 60 dB."""
    snr_db = units.parse_decibels(value, where=where)
    if not LEAST_SNR_DB <= snr_db <= MOST_SNR_DB:
        raise ConfigError(f"an SNR lies between {LEAST_SNR_DB:g} and {MOST_SNR_DB:g} dB, got {value!r}", where=where)
    return snr_db


def parse_nr(entry: NrEntry, place: str) -> NrRadio:
    """The section as a value.

    Raises:
        ConfigError: names the key that is out of range, and what it may be.
    """
    # Radios are rare and their tables need numpy, which reading other topologies does not.
    from airloom.radio.nr.bler import CDL_LAYERS
    from airloom.radio.nr.combining import MOST_ATTEMPTS
    from airloom.radio.nr.numerology import MOST_PRBS, MOST_PROCESSES, SPACINGS_KHZ
    from airloom.radio.nr.tables import MCS_TABLES

    snr_db = parse_snr(entry.snr, where=f"{place}.snr")
    spacing_hz = units.parse_hertz(entry.scs, where=f"{place}.scs")
    if spacing_hz not in {1e3 * khz for khz in SPACINGS_KHZ}:
        spacings = ", ".join(map(str, SPACINGS_KHZ))
        raise ConfigError(f"subcarrier spacings are {spacings} kHz, got {entry.scs!r}", where=f"{place}.scs")
    _within(entry.prb, 1, MOST_PRBS, "physical resource blocks", f"{place}.prb")
    _within(entry.layers, 1, 4, "MIMO layers", f"{place}.layers")
    if entry.channel == "cdl-c" and entry.layers != CDL_LAYERS:
        raise ConfigError(
            f"cdl-c is 2x2 MIMO with {CDL_LAYERS} layers, got {entry.layers}: use 2, or channel: awgn",
            where=f"{place}.layers",
        )
    _within(entry.mcs_table, 1, len(MCS_TABLES), "MCS tables", f"{place}.mcs_table")
    if entry.mcs is not None:
        last = len(MCS_TABLES[entry.mcs_table]) - 1
        _within(entry.mcs, 0, last, f"indices of MCS table {entry.mcs_table}", f"{place}.mcs")
    _within(entry.attempts, 1, MOST_ATTEMPTS, "attempts at a transport block", f"{place}.attempts")
    _within(entry.processes, 1, MOST_PROCESSES, "HARQ processes", f"{place}.processes")
    times = {}
    for key, value in (("round_trip", entry.round_trip), ("processing", entry.processing)):
        times[key] = units.parse_seconds(value, where=f"{place}.{key}")
        if times[key] > 1.0:
            raise ConfigError(f"more than a second is no radio's, got {value!r}", where=f"{place}.{key}")
    return NrRadio(
        snr_db=snr_db,
        channel=entry.channel,
        prb=entry.prb,
        scs_khz=round(spacing_hz / 1e3),
        mimo_layers=entry.layers,
        mcs_table=entry.mcs_table,
        mcs=entry.mcs,
        attempts=entry.attempts,
        combining=entry.combining,
        round_trip_s=times["round_trip"],
        processes=entry.processes,
        processing_s=times["processing"],
    )


def _within(value: int, least: int, most: int, what: str, place: str) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{what}: {least} to {most}, got {value}", where=place)


def with_radio(link: Link, radio: NrRadio, *, place: str = "") -> Link:
    """The link over this radio; its rate, and the loss of its packets, are of the MCS in use.

    Raises:
        ConfigError: nothing gets through at this SNR.
    """
    from airloom.radio.nr.adaptation import adapted

    found = adapted(radio)
    if found.packet_loss > 1.0 - 1e-6:
        how = "raise the SNR or the attempts" + ("" if radio.mcs is None else ", or take a lower MCS")
        raise ConfigError(f"nothing gets through with MCS {found.mcs} at {radio.snr_db:g} dB: {how}", where=place)
    return msgspec.structs.replace(link, rate_bps=found.rate_bps, loss=found.packet_loss, nr=radio)


def dump_nr(radio: NrRadio) -> str:
    """The section as YAML that reads back to an equal value; defaults are left out."""
    texts = {
        "channel": radio.channel,
        "prb": str(radio.prb),
        "scs": f"{radio.scs_khz} kHz",
        "layers": str(radio.mimo_layers),
        "mcs_table": str(radio.mcs_table),
        "mcs": str(radio.mcs),
        "attempts": str(radio.attempts),
        "combining": f'"{radio.combining}"' if radio.combining == "none" else radio.combining,
        "round_trip": f"{radio.round_trip_s!r} s",
        "processes": str(radio.processes),
        "processing": f"{radio.processing_s!r} s",
    }
    names = {"layers": "mimo_layers", "scs": "scs_khz", "round_trip": "round_trip_s", "processing": "processing_s"}
    items = [f"snr: {radio.snr_db!r} dB"]
    for key, text in texts.items():
        name = names.get(key, key)
        if getattr(radio, name) != getattr(_DEFAULT, name):
            items.append(f"{key}: {text}")
    return f"{{{', '.join(items)}}}"
