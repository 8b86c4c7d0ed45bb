"""Wide CSV, line by line: a time column and one column for each channel; a file or a pipe.

Fields are parted by commas, or by semicolons or tabs where the header is.
"""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, Final

from faultwatch_edge.errors import SourceError
from faultwatch_edge.manifest import ChannelSpec
from faultwatch_edge.times import to_microseconds

LONGEST_LINE: Final = 1024 * 1024
"""Bytes; a longer line is refused without being held in memory."""
_HEAD_OF_LONG_LINE: Final = 4096
_MOST_LISTED: Final = 10
_LONGEST_NAME = 60
_SEPARATORS: Final = (",", ";", "\t")
_MISSING: Final = frozenset({"", "nan", "null"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text, counted from 1."""

    number: int
    text: str
    fault: str | None = None
    """Why the line cannot even be parsed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One usable row."""

    time_us: int
    values: list[float]
    """In the manifest's order, NaN = missing."""
    line: Line


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that cannot be used."""

    reason: str
    line: Line


class _RowError(Exception):
    """Why one row is refused."""


def read_lines(stream: BinaryIO) -> Iterator[Line]:
    r"""Give each line as soon as it is there, in bounded memory; blank lines are skipped.

    Example:
        >>> import io
        >>> [line.text for line in read_lines(io.BytesIO(b"time,flow\n\n1,2\n"))]
        ['time,flow', '1,2']
    """
    number = 0
    while data := stream.readline(LONGEST_LINE + 1):
        number += 1
        fault = None
        if len(data) > LONGEST_LINE:
            head = data[:_HEAD_OF_LONG_LINE]
            while data and not data.endswith(b"\n"):
                data = stream.readline(LONGEST_LINE)
            data, fault = head, f"line is longer than {LONGEST_LINE} bytes"
        elif not data.strip():
            continue
        text = data.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace")
        if fault is None and "\ufffd" in text:
            fault = "line is not UTF-8 text"
        yield Line(number, text.rstrip("\r\n"), fault)


def read_samples(
    lines: Iterable[Line],
    channels: Sequence[ChannelSpec],
    *,
    min_channels: int,
    time_column: str = "time",
    is_utc: bool = False,
    note: Callable[[str], None],
) -> Iterator[Sample | Rejected]:
    r"""Turn lines into samples; the first line is the header.

    Columns are matched to channels by name, else by tag. Columns that match nothing, and channels
    without a column, are noted once.

    Args:
        lines: from ``read_lines``.
        channels: the bundle's channels.
        min_channels: fewer columns than this cannot be scored, so the source is refused.
        time_column: name of the column with ISO-8601 times.
        is_utc: whether times without an offset are UTC; else they are refused.
        note: takes a sentence for the person who started this.

    Raises:
        SourceError: the header cannot be used, or times have no offset from the first row on.

    Example:
        >>> import io
        >>> flow = ChannelSpec("flow", "FT-101", "m3/h", "continuous", "periodic", None)
        >>> text = b"time,FT-101\n2026-01-01T00:00:00Z,1.5\n2026-01-01T00:00:01Z,high\n"
        >>> rows = read_samples(read_lines(io.BytesIO(text)), [flow], min_channels=1, note=print)
        >>> next(rows).values, next(rows).reason
        ([1.5], "channel 'flow' is 'high', expected a number")
    """
    rows = iter(lines)
    header = next(rows, None)
    if header is None:
        raise SourceError("is empty, expected a header line with column names")
    layout = _Layout(header, channels, time_column=time_column, is_utc=is_utc)
    layout.check(min_channels, note)
    has_times = is_utc
    for line in rows:
        try:
            sample = layout.sample(line)
        except _RowError as error:
            if not has_times and isinstance(error, _NaiveTimeError):
                raise SourceError(f"line {line.number}: {error}") from error
            yield Rejected(str(error), line)
        else:
            has_times = True
            yield sample


class _NaiveTimeError(_RowError):
    """A time without an offset: not one bad row, but a source that was set up so."""


class _Layout:
    """Which column holds what."""

    def __init__(
        self, header: Line, channels: Sequence[ChannelSpec], *, time_column: str, is_utc: bool
    ) -> None:
        try:
            self._separator = _separator(header, time_column)
            self._names = [name.strip() for name in _fields(header, self._separator)]
        except _RowError as error:
            raise SourceError(f"header: {error}, expected names separated by commas") from error
        self._is_utc = is_utc
        self._channels = channels
        if self._names.count(time_column) != 1:
            raise SourceError(
                f"header: time column '{time_column}' is there {self._names.count(time_column)} "
                f"times, expected once among {_listed(self._names)}; name it with --time"
            )
        self._time = self._names.index(time_column)
        self._columns = [self._column(channel) for channel in channels]

    def check(self, min_channels: int, note: Callable[[str], None]) -> None:
        """Note what does not match; refuse what cannot be scored."""
        pairs = zip(self._channels, self._columns, strict=True)
        missing = [_described(channel) for channel, column in pairs if column is None]
        present = len(self._columns) - len(missing)
        if present < min_channels:
            raise SourceError(
                f"header: {present} of {len(self._columns)} channels have a column, expected at "
                f"least {min_channels}; without one: {_listed(missing)}"
            )
        used = {self._time, *self._columns}
        unknown = [name for index, name in enumerate(self._names) if index not in used]
        if missing:
            note(f"no column for {_listed(missing)}: scored as missing")
        if unknown:
            note(f"no channel for column {_listed(unknown)}: ignored")

    def sample(self, line: Line) -> Sample:
        """Read one row."""
        fields = _fields(line, self._separator)
        if len(fields) != len(self._names):
            raise _RowError(f"has {len(fields)} fields, expected {len(self._names)} as the header")
        values = [
            math.nan if column is None else _value(fields[column], channel.name)
            for channel, column in zip(self._channels, self._columns, strict=True)
        ]
        return Sample(self._read_time(fields[self._time]), values, line)

    def _column(self, channel: ChannelSpec) -> int | None:
        for word in (channel.name, channel.tag):
            count = self._names.count(word) if word is not None else 0
            if count > 1:
                raise SourceError(f"header: column '{word}' is there {count} times, expected once")
            if word is not None and count == 1:
                return self._names.index(word)
        return None

    def _read_time(self, text: str) -> int:
        try:
            instant = datetime.fromisoformat(text.strip())
        except ValueError:
            raise _RowError(f"time is {text!r}, expected ISO-8601") from None
        if instant.tzinfo is None:
            if not self._is_utc:
                raise _NaiveTimeError(
                    f"time {text!r} has no offset, expected one such as "
                    f"{instant.isoformat()}Z; add --utc if these times are UTC"
                )
            instant = instant.replace(tzinfo=UTC)
        return to_microseconds(instant)


def _separator(header: Line, time_column: str) -> str:
    """What parts the time column from the others: a comma, or else a semicolon or a tab."""
    for separator in _SEPARATORS:
        if time_column in (name.strip() for name in _fields(header, separator)):
            return separator
    return _SEPARATORS[0]


def _fields(line: Line, separator: str) -> list[str]:
    if line.fault is not None:
        raise _RowError(line.fault)
    try:
        return next(csv.reader([line.text], delimiter=separator, strict=True))
    except (csv.Error, StopIteration) as error:
        raise _RowError(f"line is not CSV ({error})") from error


def _value(text: str, channel: str) -> float:
    word = text.strip()
    if word.lower() in _MISSING:
        return math.nan
    try:
        return float(word.replace("_", "?"))  # Python's 1_000 is no number in a file
    except ValueError:
        raise _RowError(f"channel '{channel}' is {word[:40]!r}, expected a number") from None


def _described(channel: ChannelSpec) -> str:
    return channel.name if channel.tag is None else f"{channel.name} ({channel.tag})"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:_LONGEST_NAME]) for name in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return shown + (f" and {more} more" if more > 0 else "")
