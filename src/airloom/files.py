"""Airloom's own files: JSON values that carry a schema version, written aside and renamed."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from airloom.core.value import SCHEMA_VERSION, Value
from airloom.errors import ConfigError

V = TypeVar("V", bound=Value)

# JSON has no infinity (an unlimited link's rate, a plan that cannot be): it is written as protobuf's
# JSON mapping does, as a string.
_INFINITY = {"Infinity": math.inf, "-Infinity": -math.inf}


def write_aside(path: Path, data: bytes) -> None:
    """Put `data` at `path` whole or not at all.

    Raises:
        OSError: naming `path`, also where it was the file beside it that could not be written.
    """
    try:
        _write_aside(path, data)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None


def _write_aside(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(aside).chmod(0o666 & ~umask)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink()
        raise


@contextlib.contextmanager
def made_folder(path: Path) -> Iterator[Path]:
    """The folder `path`, made where it is missing; what was made and is empty goes again where the work fails."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    except BaseException:
        with contextlib.suppress(OSError):  # not empty: there is something to keep
            for folder in made:
                folder.rmdir()
        raise


def encode_json(value: Any) -> bytes:
    """A value, or anything made of JSON values, as indented JSON; infinity is `"Infinity"`."""
    return msgspec.json.format(msgspec.json.encode(_infinity_to_text(msgspec.to_builtins(value))), indent=1) + b"\n"


def _infinity_to_text(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _infinity_to_text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_infinity_to_text(item) for item in value]
    return value


def _text_to_infinity(value: Any) -> Any:
    if isinstance(value, str):
        return _INFINITY.get(value, value)
    if isinstance(value, dict):
        return {key: _text_to_infinity(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_text_to_infinity(item) for item in value]
    return value


def write_value(path: Path, value: Value) -> None:
    """Write `value` as indented JSON."""
    write_aside(path, encode_json(value))


def decode_value(data: bytes, type_: type[V], *, where: str) -> V:
    """JSON bytes as a `type_`; an error names the place, `FILE: $.links[2].delay`."""
    try:
        head = msgspec.json.decode(data)
        if b'Infinity"' in data:
            head = _text_to_infinity(head)
        found = head.get("schema", SCHEMA_VERSION) if isinstance(head, dict) else SCHEMA_VERSION
        if found != SCHEMA_VERSION:
            raise ConfigError(
                f"schema {found!r}, this airloom reads {SCHEMA_VERSION}: make the file again", where=where
            )
        return msgspec.convert(head, type_)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        if "unknown field" in message:
            message = f"unknown key {message.rpartition(' ')[2]}: leave it out (docs/formats.md lists the keys)"
        raise ConfigError(message, where=f"{where}: {place.rstrip('`')}" if place else where) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not JSON: {error}", where=where) from None
    except RecursionError:
        raise ConfigError("not one of Airloom's files: nested too deeply", where=where) from None


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or one line that says why not."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", where=str(path)) from None


def read_value(path: Path, type_: type[V]) -> V:
    """Read a `type_` from the JSON file at `path`."""
    return decode_value(read_bytes(path), type_, where=str(path))


def part_beside(path: Path) -> Path:
    """Where a long run keeps what it has of the file `path` before that is whole."""
    return path.with_name(f".{path.name}.part")


def taken_up(path: Path, begun: V) -> V:
    """What an interrupted run left at `path` if its `settings` are those of `begun`; else `begun`.

    A file of another version, or a damaged one, counts as none: its work is done again.
    """
    if not path.is_file():
        return begun
    try:
        found = read_value(path, type(begun))
    except ConfigError:
        return begun
    return found if getattr(found, "settings", None) == getattr(begun, "settings", None) else begun
