"""Values of single channels, each with a quality and a time, to samples that wait to be taken."""

import json
import math
import reprlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Final

from faultwatch_edge.config import AssetSource
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.manifest import Manifest
from faultwatch_edge.times import to_iso

MOST_WAITING: Final = 100_000
"""Values that wait to be taken, at most."""
_MOST_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class AssetNodes:
    """Where the channels of one asset are on the server."""

    asset: str
    nodes: tuple[tuple[str, str], ...]
    """Channel and id of its node."""
    on_change: frozenset[str]
    """Channels that are sent only when they change."""
    period_s: float
    """How often they are wanted."""


def nodes_of(source: AssetSource, manifest: Manifest) -> AssetNodes | None:
    """Nodes of the channels of an asset; None = its samples do not come by OPC UA.

    Raises:
        ConfigError: they do not fit the bundle.
    """
    if source.nodes is None:
        return None
    names, fewest = manifest.channel_names, manifest.window.min_channels
    unknown = sorted(set(source.nodes) - set(names))
    if unknown:
        raise ConfigError(
            f"{manifest.asset_id}: asset.nodes names {unknown[0]!r}, which the bundle does not "
            f"know, expected some of {', '.join(names[:_MOST_SHOWN])}"
        )
    if len(source.nodes) < fewest:
        raise ConfigError(
            f"{manifest.asset_id}: asset.nodes names {len(source.nodes)} channels, expected at "
            f"least {fewest}, without which nothing is scored"
        )
    changing = [one.name for one in manifest.channels if one.reporting == "on_change"]
    return AssetNodes(
        manifest.asset_id,
        tuple(source.nodes.items()),
        frozenset(changing),
        manifest.window.sample_period_s,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one channel, as the server gave it."""

    asset: str
    channel: str
    node: str
    value: object
    is_good: bool
    time_us: int | None
    """When it was measured, microseconds since the epoch; None = the server does not say."""
    is_known: bool = False
    """Whether the server only says what it knew when it was asked for the node."""
    is_on_change: bool = False
    is_after_loss: bool = False
    """Whether the server had no room for values of the channel before this one."""


@dataclass(frozen=True, slots=True)
class OpcUaSample:
    """What was measured of one asset at one time."""

    asset: str
    time_us: int
    values: dict[str, float]
    """By channel; what is not in it is missing."""
    is_again: bool = False
    """Whether it may have been taken before the connection."""

    @property
    def raw(self) -> str:
        """How it is shown where it cannot be used."""
        return json.dumps({"time": to_iso(self.time_us), **self.values})


@dataclass(frozen=True, slots=True)
class OpcUaRejection:
    """A value that is no measurement."""

    asset: str
    reason: str
    raw: str
    is_again: bool
    """Whether the same was said of the channel before, and nothing else came since."""


class OpcUaValues:
    """What came and waits; filled by one thread and emptied by another.

    A value whose quality is not good is missing, and counted. What an ``on_change`` channel was
    when the server was first asked goes into the next sample of its asset: it may be as old as the
    channel's last change, but it is what the channel is now.

    Where nobody takes what waits, the oldest is dropped: a server does not send again.

    Args:
        note: takes a sentence for whoever looks at the log.

    Example:
        >>> waiting = OpcUaValues(print)
        >>> waiting.add([
        ...     Reading("pump", "valve", "s=V", True, True, 5, is_known=True, is_on_change=True),
        ...     Reading("pump", "flow", "s=F", 3, True, 9),
        ...     Reading("pump", "total", "s=T", 0.0, False, 9),
        ... ])
        >>> waiting.take(10)
        [OpcUaSample(asset='pump', time_us=9, values={'flow': 3.0, 'valve': 1.0}, is_again=False)]
        >>> waiting.bad["pump"]
        1
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._waiting: deque[OpcUaSample | OpcUaRejection] = deque()
        self._count = self._dropped = 0
        self._came = Condition()
        self._known: dict[str, dict[str, tuple[int, float]]] = {}
        self._refused: dict[tuple[str, str], str] = {}
        self._lost: set[tuple[str, str]] = set()
        self.bad: Counter[str] = Counter()
        """Values without a good quality, by asset."""

    def forget(self) -> None:
        """What the server knew is no longer so: the connection has gone."""
        self._known.clear()
        self._lost.clear()

    def add(self, readings: Iterable[Reading]) -> None:
        """What one message of the server brought."""
        samples: dict[tuple[str, int, bool], OpcUaSample] = {}
        found: list[OpcUaSample | OpcUaRejection] = []
        for one in readings:
            self._tell_loss(one)
            known = self._known.setdefault(one.asset, {})
            known.pop(one.channel, None)
            number = self._number(one, found)
            if number is None or one.time_us is None:
                continue
            if one.is_known and one.is_on_change:
                known[one.channel] = one.time_us, number
                continue
            key = one.asset, one.time_us, one.is_known
            if key not in samples or one.channel in samples[key].values:
                samples[key] = OpcUaSample(one.asset, one.time_us, {}, is_again=one.is_known)
                found.append(samples[key])
            samples[key].values[one.channel] = number
        found.sort(key=lambda one: one.time_us if isinstance(one, OpcUaSample) else 0)
        self._complete(found)
        self._put(found)

    def take(self, most: int, *, timeout_s: float = 0.0) -> Sequence[OpcUaSample | OpcUaRejection]:
        """What came, oldest first; waits for the first."""
        with self._came:
            if not self._waiting:
                self._came.wait(timeout_s)
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._count -= sum(map(_size, taken))
            dropped = 0 if self._waiting else self._dropped
            self._dropped -= dropped
        if dropped:
            self._note(f"{dropped} samples by OPC UA were dropped before they could be taken")
        return taken

    def _number(self, one: Reading, found: list[OpcUaSample | OpcUaRejection]) -> float | None:
        """The value as a number; None = it is missing, or is refused."""
        if not one.is_good or one.value is None:
            self.bad[one.asset] += 1
            return None
        place = one.asset, one.channel
        problem = _problem(one)
        if problem is not None:
            is_again = self._refused.get(place) == problem
            self._refused[place] = problem
            reason = f"node '{one.node}' of channel '{one.channel}' {problem}"
            found.append(OpcUaRejection(one.asset, reason, reprlib.repr(one.value), is_again))
            return None
        self._refused.pop(place, None)
        number = float(one.value)  # type: ignore[arg-type]  # `_problem` has seen that it is one
        if math.isnan(number):
            self.bad[one.asset] += 1
            return None
        return number

    def _tell_loss(self, one: Reading) -> None:
        """Say once a connection that the server has lost values."""
        if one.is_after_loss and (one.asset, one.channel) not in self._lost:
            self._lost.add((one.asset, one.channel))
            self._note(
                f"{one.asset}: the server has lost values of channel '{one.channel}', as it "
                "measures more often than it sends"
            )

    def _complete(self, found: Sequence[OpcUaSample | OpcUaRejection]) -> None:
        """Put what is known of channels that do not change into the first new sample."""
        for one in found:
            if isinstance(one, OpcUaRejection) or one.is_again:
                continue
            known = self._known[one.asset]
            for channel, (time_us, number) in list(known.items()):
                if time_us <= one.time_us:
                    one.values.setdefault(channel, number)
                    del known[channel]

    def _put(self, found: Sequence[OpcUaSample | OpcUaRejection]) -> None:
        with self._came:
            self._waiting.extend(found)
            self._count += sum(map(_size, found))
            is_first = not self._dropped
            while self._count > MOST_WAITING:
                self._count -= _size(self._waiting.popleft())
                self._dropped += 1
            is_first &= bool(self._dropped)
            self._came.notify()
        if is_first:
            self._note("samples by OPC UA come quicker than they are taken; the oldest are dropped")


def _size(one: OpcUaSample | OpcUaRejection) -> int:
    return 1 if isinstance(one, OpcUaRejection) else len(one.values)


def _problem(one: Reading) -> str | None:
    """Why a value is no measurement."""
    if not isinstance(one.value, bool | int | float):
        kind = {"str": "text", "list": "an array"}.get(type(one.value).__name__)
        found = kind or f"a value of type {type(one.value).__name__}"
        return f"has {found}, expected a Boolean or a number"
    if one.time_us is None:
        return "has a value without a time of source or server, expected one of both"
    return None
