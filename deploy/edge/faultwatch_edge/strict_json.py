"""JSON into frozen dataclasses, strictly: every key, every type, every number, by its path."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Literal, NoReturn, TypeVar, cast, get_args, get_origin, get_type_hints

from faultwatch_edge.errors import BundleError

Record = TypeVar("Record")

_WORDS: dict[object, str] = {
    str: "text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_QUOTE = 60


def read_json(kind: type[Record], text: bytes, *, where: str) -> Record:
    """Read a JSON document into a frozen dataclass.

    Unknown, missing and doubled keys, wrong types and numbers that are not finite are refused;
    the error names the key's path. ``int | None``, ``Literal``, ``StrEnum``, tuples, tables of
    one kind and nested dataclasses are understood; a whole number passes as a float, a boolean
    never passes as a number.

    Args:
        kind: the dataclass.
        text: UTF-8 bytes of the document.
        where: name of the document, for the error.

    Raises:
        BundleError: the document is not what ``kind`` says.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Pump:
        ...     name: str
        ...     speeds: tuple[float, ...]
        >>> read_json(Pump, b'{"name": "p1", "speeds": [1, 2.5]}', where="pump.json")
        Pump(name='p1', speeds=(1.0, 2.5))
        >>> read_json(Pump, b'{"name": 1, "speeds": []}', where="pump.json")
        Traceback (most recent call last):
            ...
        faultwatch_edge.errors.BundleError: pump.json: name is 1, expected text
    """
    try:
        value = load_json(text)
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from error
    return read_record(kind, value, where=where)


def read_record(kind: type[Record], value: object, *, where: str) -> Record:
    """The same of what was parsed already; keys with a default may be left out.

    Raises:
        BundleError: the value is not what ``kind`` says.
    """
    try:
        return cast(Record, _read(kind, value, ""))
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from error
    except RecursionError as error:
        raise BundleError(f"{where}: is nested too deeply, expected a plain document") from error


def load_json(text: bytes) -> object:
    """Parse a document, refusing doubled keys and numbers that JSON does not know."""
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_not_a_number
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"is not a JSON document ({error})") from error


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = sorted({key for key in keys if keys.count(key) > 1})
        raise BundleError(f"key {_quoted(doubled[0])} is there twice, expected once")
    return record


def _not_a_number(word: str) -> NoReturn:
    raise BundleError(f"holds the number {word}, expected finite numbers only")


def _read(kind: object, value: object, path: str) -> object:
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_record(kind, value, path)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(str(_read_choice(tuple(kind), value, path)))
    return _READERS.get(get_origin(kind), _read_plain)(kind, value, path)


def _read_record(kind: type, value: object, path: str) -> object:
    if not isinstance(value, dict):
        _refuse(path, value, "an object")
    names = [field.name for field in fields(kind)]
    for name in value.keys() - set(names):
        raise BundleError(f"{_join(path, name)} is not known, expected only {', '.join(names)}")
    for field in fields(kind):
        if field.name not in value and field.default is MISSING:
            raise BundleError(
                f"{_join(path, field.name)} is missing, expected it beside the others"
            )
    kinds = get_type_hints(kind)
    given = [name for name in names if name in value]
    return kind(**{name: _read(kinds[name], value[name], _join(path, name)) for name in given})


def _read_table(kind: object, value: object, path: str) -> object:
    if not isinstance(value, dict):
        _refuse(path, value, "an object")
    inner = get_args(kind)[1]
    return {name: _read(inner, one, _join(path, name)) for name, one in value.items()}


def _read_optional(kind: object, value: object, path: str) -> object:
    (present,) = (option for option in get_args(kind) if option is not NoneType)
    return None if value is None else _read(present, value, path)


def _read_tuple(kind: object, value: object, path: str) -> object:
    kinds = get_args(kind)
    if not isinstance(value, list):
        _refuse(path, value, "a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    elif len(kinds) != len(value):
        _refuse(path, value, f"a list of {len(kinds)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(_read(inner, item, f"{path}[{index}]") for index, (inner, item) in pairs)


def _read_literal(kind: object, value: object, path: str) -> object:
    return _read_choice(get_args(kind), value, path)


def _read_choice(choices: tuple[object, ...], value: object, path: str) -> object:
    if value not in choices:
        _refuse(path, value, "one of " + ", ".join(map(str, choices)))
    return value


def _read_plain(kind: object, value: object, path: str) -> object:
    if kind is float and type(value) is int:
        value = _as_float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        _refuse(path, value, _WORDS[kind])
    if isinstance(value, str) and _SURROGATE.search(value):
        _refuse(path, value, "text without halves of characters")
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _refuse(path: str, value: object, expected: str) -> NoReturn:
    found = repr(value)
    if len(found) > _LONGEST_QUOTE:
        found = found[:_LONGEST_QUOTE] + "…"
    raise BundleError(f"{path or 'the document'} is {found}, expected {expected}")


def _quoted(name: str) -> str:
    """A key as it may be shown: no control characters, no halves of characters, not endless."""
    shown = repr(name[:_LONGEST_QUOTE])
    return shown.encode("ascii", "backslashreplace").decode() if _SURROGATE.search(shown) else shown


def _join(path: str, name: str) -> str:
    name = name if name.isprintable() and len(name) <= _LONGEST_QUOTE else _quoted(name)
    return f"{path}.{name}" if path else name


_READERS: Mapping[object, Callable[[object, object, str], object]] = {
    UnionType: _read_optional,
    dict: _read_table,
    tuple: _read_tuple,
    Literal: _read_literal,
}
