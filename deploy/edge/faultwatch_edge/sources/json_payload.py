"""JSON objects to samples: one object with all channels, or one for each channel."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from faultwatch_edge.config import AssetSource
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.manifest import ChannelSpec
from faultwatch_edge.times import to_microseconds

LARGEST_PAYLOAD: Final = 256 * 1024
_PLACE: Final = "{channel}"
_UNITS_US: Final[Mapping[str, float]] = {"s": 1e6, "ms": 1e3, "us": 1.0}
_LATEST_S: Final = 1e12
_MOST_SHOWN: Final = 40


class PayloadError(Exception):
    """Why a payload cannot be used; becomes a message, not an end."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One usable sample."""

    time_us: int
    values: list[float]
    """In the manifest's order, NaN = missing."""


class JsonPayloads:
    """Reads the payloads of one asset.

    Args:
        source: how they look.
        channels: the bundle's.

    Raises:
        ConfigError: a channel is named that the bundle does not have, or two have one key.

    Example:
        >>> flow = ChannelSpec("flow", "FT-101", "m3/h", "continuous", "periodic", None)
        >>> source = AssetSource("pump.fwb", "plant/pump", time="at", time_format="s")
        >>> payloads = JsonPayloads(source, [flow])
        >>> payloads.filters, payloads.read("plant/pump", b'{"at": 1.5, "FT-101": 3}')
        (('plant/pump',), Measured(time_us=1500000, values=[3.0]))
    """

    def __init__(self, source: AssetSource, channels: Sequence[ChannelSpec]) -> None:
        self._source = source
        self._names = [channel.name for channel in channels]
        given = source.keys or {}
        unknown = sorted(set(given) - set(self._names))
        if unknown:
            raise ConfigError(
                f"asset.keys names '{unknown[0]}', which the bundle does not know, expected one "
                f"of {', '.join(self._names[:_MOST_SHOWN])}"
            )
        self._keys = [
            (given[one.name],) if one.name in given else (one.name, *filter(None, [one.tag]))
            for one in channels
        ]
        self._places = {key: place for place, keys in enumerate(self._keys) for key in keys}
        if len(self._places) < sum(map(len, self._keys)):
            raise ConfigError("two channels have the same key, expected one each in asset.keys")
        before, found, after = source.topic.partition(_PLACE)
        self._single = (before, after) if found else None

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to; nothing where samples come in another way."""
        return (self._source.topic.replace(_PLACE, "+"),) if self._source.topic else ()

    def is_of(self, topic: str) -> bool:
        """Whether payloads of a topic are this asset's."""
        if self._single is None:
            return topic == self._source.topic
        before, after = self._single
        word = topic[len(before) : len(topic) - len(after)]
        return topic == f"{before}{word}{after}" and "/" not in word

    def read(self, topic: str, payload: bytes) -> Measured:
        """One payload.

        Raises:
            PayloadError: it cannot be used; the text says what was found and expected.
        """
        document = _load(payload)
        time_us = self._time(_at(document, self._source.time))
        if self._single is None:
            values = [self._value(document, keys) for keys in self._keys]
            if all(map(math.isnan, values)):
                raise PayloadError(f"has no channel, expected some of {_listed(self._names)}")
            return Measured(time_us, values)
        before, after = self._single
        word = topic[len(before) : len(topic) - len(after)]
        if word not in self._places:
            raise PayloadError(f"topic names '{word}', expected one of {_listed(self._places)}")
        values = [math.nan] * len(self._names)
        values[self._places[word]] = _number(_at(document, self._source.value), word)
        return Measured(time_us, values)

    def _value(self, document: object, keys: Sequence[str]) -> float:
        for key in keys:
            found = _at(document, key)
            if found is not None:
                return _number(found, key)
        return math.nan

    def _time(self, found: object) -> int:
        kind = self._source.time_format
        if kind != "iso":
            if isinstance(found, bool) or not isinstance(found, int | float):
                raise PayloadError(f"time is {_shown(found)}, expected a number of {kind}")
            if not abs(found) <= _LATEST_S * 1e6 / _UNITS_US[kind]:
                raise PayloadError(f"time is {_shown(found)}, expected {kind} since 1970")
            return round(found * _UNITS_US[kind])
        if not isinstance(found, str):
            raise PayloadError(f"time is {_shown(found)}, expected ISO-8601 text")
        try:
            instant = datetime.fromisoformat(found.strip())
        except ValueError:
            raise PayloadError(f"time is {_shown(found)}, expected ISO-8601") from None
        if instant.tzinfo is None:
            raise PayloadError(f"time is {_shown(found)}, expected an offset or Z behind it")
        return to_microseconds(instant)


def _load(payload: bytes) -> object:
    if len(payload) > LARGEST_PAYLOAD:
        raise PayloadError(f"has {len(payload)} bytes, expected at most {LARGEST_PAYLOAD}")
    try:
        document: object = json.loads(payload)
    except (ValueError, RecursionError):
        raise PayloadError("is not JSON, expected an object") from None
    if not isinstance(document, dict):
        raise PayloadError(f"is {_shown(document)}, expected an object")
    return document


def _at(document: object, key: str) -> object:
    """Value of a key, or of keys within keys; None = it is not there."""
    if isinstance(document, dict) and key in document:
        return document[key]
    for part in key.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(part)
    return document


def _number(found: object, key: str) -> float:
    if found is None:
        return math.nan
    if isinstance(found, bool):
        return float(found)
    if not isinstance(found, int | float):
        raise PayloadError(f"'{key}' is {_shown(found)}, expected a number")
    try:
        return float(found)
    except OverflowError:
        return math.inf


def _shown(found: object) -> str:
    text = repr(found)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _listed(names: Sequence[str] | Mapping[str, int]) -> str:
    shown = list(names)[:10]
    return ", ".join(shown) + (" …" if len(names) > len(shown) else "")
