"""YAML that means one thing: a schema of msgspec structs, no unknown or repeated keys, no odd types."""

from __future__ import annotations

import difflib
import re
import typing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from airloom.errors import ConfigError

T = TypeVar("T")

# A quantity with its unit ("50 Mbit/s"), or a number of what has none ("0.05"). 0 is 0 in any unit.
Quantity = str | int | float

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STEP = re.compile(r"\.([^.\[\]]+)|\[([^\]]*)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a YAML mapping may hold."""


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader; a key written twice is an error and not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key `{key}` twice", key_node.start_mark)
            seen.add(str(key))
        return typing.cast("dict[Any, Any]", super().construct_mapping(node, deep=deep))


def read_text(path: Path) -> str:
    """The file as UTF-8 text, or one line that says why not."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}", where=str(path)
        ) from None


def parse(text: str, type_: type[T], *, where: str, hint: str = "") -> T:
    """YAML text as a `type_`.

    Args:
        where: the file, for errors.
        hint: what to do where there is nothing in it.
    """
    return convert(_loaded(text, where=where, hint=hint), type_, where=where)


def parse_mapping(text: str, *, where: str, hint: str = "") -> dict[Any, Any]:
    """YAML text as the plain mapping that it is, to see what kind of file this is."""
    data = _loaded(text, where=where, hint=hint)
    if not isinstance(data, dict):
        raise ConfigError(f"expected a mapping, got {type(data).__name__}", where=where)
    return data


def _loaded(text: str, *, where: str, hint: str) -> Any:
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506  (a subclass of the safe loader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"not YAML: {error.problem or error.context}{line}", where=where) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML lets ValueError out for dates and numbers that are none.
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}", where=where) from None
    if data is None:
        raise ConfigError(f"empty: {hint}" if hint else "empty", where=where)
    return data


def convert(data: Any, type_: type[T], *, where: str, strict: bool = True) -> T:
    """Plain data as a `type_`; says which keys there are where one is unknown or missing."""
    try:
        return msgspec.convert(data, type_, strict=strict)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        # A key that is no text is reported at "`key` in `$.devices`".
        place = place.rstrip("`").removeprefix("key` in `") or "$"
        raise ConfigError(_remedied(message, place, type_), where=at(where, place)) from None


def at(where: str, place: str) -> str:
    """`FILE: $.links[2]`, or the place alone where there is no file."""
    return f"{where}: {place}" if where else place


def _remedied(message: str, place: str, type_: type) -> str:
    found = _type_at(type_, place)
    entry = _struct_in(found)
    if (unknown := _UNKNOWN.match(message)) is not None:
        keys = [field.encode_name for field in msgspec.structs.fields(entry)] if entry else []
        near = difflib.get_close_matches(unknown.group(1), keys, n=1)
        remedy = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(keys)}"
        return f"unknown key `{unknown.group(1)}`: {remedy}"
    if (missing := _MISSING.match(message)) is not None:
        return f"`{missing.group(1)}` is missing: add it"
    message = message[0].lower() + message[1:].replace("`object`", "a mapping").replace("`array`", "a list")
    message = message.replace(" | null", "")  # a key without a value is left out, not written
    if typing.get_origin(found) is typing.Literal:
        message += f": there are {', '.join(map(str, typing.get_args(found)))}"
    return message


def _type_at(type_: Any, place: str) -> Any:
    """The type that a JSON path below `type_` is declared with; unions and lists are seen through."""
    for name, _ in _STEP.findall(place):
        if name and (struct := _struct_in(type_)) is not None:
            type_ = next((f.type for f in msgspec.structs.fields(struct) if f.encode_name == name), struct)
    return type_


def _struct_in(type_: Any) -> type[msgspec.Struct] | None:
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return type_
    return next((s for arg in typing.get_args(type_) if (s := _struct_in(arg)) is not None), None)
