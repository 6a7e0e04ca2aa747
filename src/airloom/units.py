"""The one home of units: parsing what people write and formatting what they read.

What people write carries its unit: a bare `20` might be meant as Mbit/s or as bit/s, so all but 0 is refused.
Inside Airloom every quantity is SI and named so: `_s`, `_bps` (bit/s), `_bytes`, `_w`, `_j`, `_hz`.
Decimal prefixes are powers of 1000 (kbit, MB), binary ones powers of 1024 (KiB).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from airloom.errors import ConfigError

_NUMBER = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*$")

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
_BITS_PER_S = {
    f"{prefix}{unit}": factor
    for prefix, factor in {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}.items()
    for unit in ("bit/s", "bps")
}
_BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_WATTS = {"W": 1.0, "mW": 1e-3, "kW": 1e3}
_JOULES = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "nJ": 1e-9}
_PER_SECOND = {"per s": 1.0, "per min": 1.0 / 60.0, "per hour": 1.0 / 3600.0}
_LARGEST = 2**1023
_PLAIN: dict[str, float] = {}
_RATIO = {"": 1.0, "%": 1e-2}
_DECIBELS = {"dB": 1.0}
_DBM = {"dBm": 1.0}
_DBI = {"dBi": 1.0, "dB": 1.0}
_METRES = {"m": 1.0, "km": 1e3, "cm": 1e-2}
_METRES_PER_S = {"m/s": 1.0, "km/h": 1 / 3.6, "mph": 0.44704}
_HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}


def _parse(value: str | float, table: Mapping[str, float], *, kind: str, where: str, usual: str = "") -> float:
    """`value` in SI. Where a unit is `usual`, a bare number above 0 is refused with that as the remedy."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(f"expected {kind}, got {value!r}", where=where)
    written, bare = value, True
    if isinstance(value, str):
        match = _NUMBER.match(value)
        known = [unit for unit in table if unit]
        if match is None or match.group(2) not in {"": 1.0, **table}:
            units = f" with one of {', '.join(known)}" if known else ""
            raise ConfigError(f"expected {kind}{units}, got {value!r}", where=where)
        written, bare = match.group(1), not match.group(2)
        value = float(match.group(1)) * {"": 1.0, **table}[match.group(2)]
    # An integer of any length can stand in a file.
    number = float(value) if abs(value) < _LARGEST else math.inf
    if not math.isfinite(number):
        raise ConfigError(f"expected {kind} that is finite, got {value!r}", where=where)
    if usual and bare and (number > 0 or (number < 0 and table in (_DECIBELS, _DBM, _DBI, _METRES))):
        raise ConfigError(f"{kind} needs its unit, got {written}: write {written} {usual}", where=where)
    return number


def parse_number(value: str | float, *, where: str = "") -> float:
    """A finite number without a unit, as a number or as text."""
    return _parse(value, _PLAIN, kind="a number", where=where)


def parse_seconds(value: str | float, *, where: str = "") -> float:
    """`"12 ms"`, `"0.4s"` or 0 -> seconds; negative ones are refused."""
    seconds = _parse(value, _SECONDS, kind="a time", where=where, usual="ms (or s)")
    if seconds < 0:
        raise ConfigError(f"a time cannot be negative, got {value!r}", where=where)
    return seconds


def parse_duration(value: str | float, *, where: str = "") -> float:
    """As `parse_seconds`; a plain number is of seconds, for what is named after them."""
    text = str(value).strip()
    try:
        plain = float(text)
    except ValueError:
        return parse_seconds(value, where=where)
    return parse_seconds(f"{plain!r} s", where=where)


def parse_rate(value: str | float, *, where: str = "") -> float:
    """`"50 Mbit/s"` -> bit/s; must be above 0."""
    rate = _parse(value, _BITS_PER_S, kind="a rate", where=where, usual="Mbit/s")
    if rate <= 0:
        raise ConfigError(f"a rate must be above 0, got {value!r}: leave the link out instead", where=where)
    return rate


def parse_bytes(value: str | float, *, where: str = "") -> int:
    """`"512 MiB"` or 0 -> bytes."""
    size = _parse(value, _BYTES, kind="a size", where=where, usual="MiB (or B)")
    if size < 0:
        raise ConfigError(f"a size cannot be negative, got {value!r}", where=where)
    return round(size)


def parse_watts(value: str | float, *, where: str = "") -> float:
    """`"2.5 W"` or 0 -> watts."""
    watts = _parse(value, _WATTS, kind="a power", where=where, usual="W")
    if watts < 0:
        raise ConfigError(f"a power cannot be negative, got {value!r}", where=where)
    return watts


def parse_joules(value: str | float, *, where: str = "") -> float:
    """`"120 nJ"` or 0 -> joules."""
    joules = _parse(value, _JOULES, kind="an energy", where=where, usual="nJ (or J)")
    if joules < 0:
        raise ConfigError(f"an energy cannot be negative, got {value!r}", where=where)
    return joules


def parse_price(value: str | float, *, where: str = "") -> float:
    """`"0.1 per hour"` or 0 -> money a second; in which currency is for whoever writes it."""
    price = _parse(value, _PER_SECOND, kind="a price", where=where, usual="per hour")
    if price < 0:
        raise ConfigError(f"a price cannot be negative, got {value!r}", where=where)
    return price


def parse_decibels(value: str | float, *, where: str = "") -> float:
    """`"10 dB"`, `"-3 dB"` or 0 -> decibels."""
    return _parse(value, _DECIBELS, kind="a ratio in dB", where=where, usual="dB")


def parse_hertz(value: str | float, *, where: str = "") -> float:
    """`"30 kHz"` -> hertz; must be above 0."""
    frequency = _parse(value, _HERTZ, kind="a frequency", where=where, usual="kHz (or MHz)")
    if frequency <= 0:
        raise ConfigError(f"a frequency must be above 0, got {value!r}", where=where)
    return frequency


def parse_dbm(value: str | float, *, where: str = "") -> float:
    """`"40 dBm"` -> decibels over 1 mW."""
    return _parse(value, _DBM, kind="a power in dBm", where=where, usual="dBm")


def parse_dbi(value: str | float, *, where: str = "") -> float:
    """`"24 dBi"` (or `"24 dB"`) -> antenna gain in dB over an isotropic antenna."""
    return _parse(value, _DBI, kind="an antenna gain in dBi", where=where, usual="dBi")


def parse_metres(value: str | float, *, where: str = "") -> float:
    """`"250 m"`, `"1 km"` or 0 -> metres; a coordinate may be negative."""
    return _parse(value, _METRES, kind="a length", where=where, usual="m (or km)")


def parse_speed(value: str | float, *, where: str = "") -> float:
    """`"40 km/h"`, `"11 m/s"` or 0 -> metres per second; negative ones are refused."""
    speed = _parse(value, _METRES_PER_S, kind="a speed", where=where, usual="km/h (or m/s)")
    if speed < 0:
        raise ConfigError(f"a speed cannot be negative, got {value!r}", where=where)
    return speed


def parse_probability(value: str | float, *, where: str = "") -> float:
    """`"5 %"` or `0.05` -> 0.05; in [0, 1]."""
    p = _parse(value, _RATIO, kind="a probability", where=where)
    if not 0 <= p <= 1:
        raise ConfigError(f"a probability lies in [0, 1], got {value!r}", where=where)
    return p


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """Three significant digits in the largest unit of `steps` (descending) that leaves at least 1."""
    if value == 0:
        return f"0 {steps[0][1]}"
    # 999.5 would round to "1000": step up before it does.
    factor, unit = next((step for step in steps if abs(value) >= step[0] * 0.9995), steps[-1])
    scaled = value / factor
    digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
    return f"{scaled:.{digits}f} {unit}"


def format_seconds(seconds: float) -> str:
    """Three significant digits: `12.3 ms`, `4.20 s`, `85.0 us`."""
    if not math.isfinite(seconds):
        return "never" if seconds > 0 else str(seconds)
    return _scaled(seconds, ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")))


def format_rate(bps: float) -> str:
    """`50.0 Mbit/s`."""
    if math.isinf(bps):
        return "unlimited"
    return _scaled(bps, ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s")))


def format_bytes(nbytes: float) -> str:
    """Binary multiples: `64.0 KiB`, `1.05 MiB`, `40 B`."""
    if nbytes < 1024:
        return f"{nbytes:.0f} B"
    return _scaled(nbytes, ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB")))


def format_joules(joules: float) -> str:
    """`120 mJ`."""
    return _scaled(joules, ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ")))


def format_money(amount: float) -> str:
    """Three significant digits: `0.00123`; the currency is that of the prices."""
    return f"{amount:.3g}"


def format_decibels(decibels: float) -> str:
    """`10.0 dB`."""
    return f"{decibels:.1f} dB"


def format_metres(metres: float) -> str:
    """`250 m`, `1.25 km`."""
    return _scaled(metres, ((1e3, "km"), (1.0, "m")))


def format_percent(ratio: float) -> str:
    """`0.053` -> `5.3 %`."""
    return f"{100 * ratio:.1f} %"


def format_deviation(ratio: float) -> str:
    """`-0.053` -> `-5.3 %`, and what rounds to nothing has no sign."""
    text = f"{100 * ratio:+.1f} %"
    return text if text not in ("-0.0 %", "+0.0 %") else "0.0 %"
