"""Fault, maintenance and feedback intervals: what never counts as normal running."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import product
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import polars as pl

LabelKind = Literal["fault", "maintenance", "nuisance", "true_fault"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
COLUMNS = ("start", "end", "kind", "note")
POSSIBLE_YEARS = range(1900, 9000)
ISO = re.compile(r"\d{4}-?\d\d-?\d\d([T ].+)?")
"""`datetime.fromisoformat` takes any sign between day and hour, and then guesses."""
DAY = re.compile(r"\d{4}-?\d\d-?\d\d")
DATES, HOURS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%Y %m %d"), ("%H:%M:%S", "%H:%M")
LOOKOUT_PATTERNS = (
    *("".join(parts) for parts in product(DATES, "T ", HOURS)),
    *("-".join(parts) for parts in product(DATES[:1], (*HOURS, "%H-%M-%S"))),
    *("%Y%m%d%H%M%S", "%Y%m%d%H%M"),
    *(" ".join(parts) for parts in product(("%m/%d/%Y",), HOURS)),
)
"""Times as Lookout's user guide lists them; the month-first ones are in its example of labels."""


class LabelError(Exception):
    """A label that cannot be used; the message says where it stands and what to write."""


@dataclass(frozen=True)
class Interval:
    """A labelled stretch of time, ``start <= t < end``."""

    start: datetime
    """First instant, tz-aware."""
    end: datetime
    """First instant after it, tz-aware."""
    kind: LabelKind
    """``nuisance`` says that an alarm there was false: it stays normal running."""
    note: str = ""
    """What people should read."""


Reader = Callable[[str, tzinfo | None], datetime | None]
"""What a text means, in the zone if it names none itself; None = it is no time."""


def read_intervals(path: Path, time_zone: str | None = None) -> tuple[Interval, ...]:
    """Read a file of labels: CSV with the columns start, end, kind, note, or one of Lookout's.

    A label file of Amazon Lookout for Equipment has no header, only a start and an end on every
    line, each line a fault; without faults it is empty. No zone is written in it: its times are
    UTC, unless a zone is given.

    Args:
        path: text in UTF-8, fields parted by commas or by semicolons.
        time_zone: IANA name; of times without an offset. None = they are refused, but in a file of
            Lookout they are UTC.

    Raises:
        LabelError: the file is missing or a line of it cannot be used.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels.csv"
        ...     _ = path.write_text("2020-02-01T20:00:00.000000,2020-02-03T00:00:00.000000")
        ...     [(str(one.start), one.kind) for one in read_intervals(path)]
        [('2020-02-01 20:00:00+00:00', 'fault')]
    """
    lines = _lines(path)
    header = next(iter(lines.values()), [])
    zone = ZoneInfo(time_zone) if time_zone else None
    if _is_lookout(header):
        return tuple(_fault(fields, where, zone or UTC) for where, fields in lines.items())
    missing = [name for name in COLUMNS if name not in header]
    if lines and missing:
        raise LabelError(
            f"'{path.name}' has no column '{missing[0]}'; expected the columns {', '.join(COLUMNS)}"
            ", or no header and two times on each line"
        )
    return tuple(_interval(header, fields, where, zone) for where, fields in [*lines.items()][1:])


def read_instant(text: str, what: str, *, or_day: bool = False) -> datetime:
    """The instant, in UTC, that an ISO-8601 time with an offset stands for.

    Args:
        text: such as ``2026-05-01T08:00:00Z``.
        what: begins the message: which time this is.
        or_day: whether a day alone will do: its midnight in UTC.

    Raises:
        LabelError: it is no time, or has no offset.

    Example:
        >>> read_instant("2026-05-01T10:00:00+02:00", "start").isoformat()
        '2026-05-01T08:00:00+00:00'
        >>> read_instant("2026-05-01", "--since", or_day=True).isoformat()
        '2026-05-01T00:00:00+00:00'
    """
    return _instant(text, what, _iso, UTC if or_day and DAY.fullmatch(text) else None)


def check_order(start: datetime, end: datetime, where: str) -> None:
    """Refuse an interval that ends before it starts, or at once.

    Raises:
        LabelError: it does.
    """
    if start >= end:
        raise LabelError(f"{where}: start {as_text(start)} is not before end {as_text(end)}")


def as_text(at: datetime) -> str:
    """An instant in UTC, as people and files have it.

    Example:
        >>> as_text(datetime(2026, 5, 1, 8, tzinfo=UTC))
        '2026-05-01T08:00:00Z'
    """
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _lines(path: Path) -> dict[str, list[str]]:
    """Fields of each line that is not blank, by where it stands."""
    if not path.is_file():
        raise LabelError(f"no file of labels '{path}'; correct [source] labels or make the file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter="," if "," in head else ";", strict=True)
            return {
                f"'{path.name}' line {rows.line_num}": [field.strip() for field in row]
                for row in rows
                if any(map(str.strip, row))
            }
    except (csv.Error, UnicodeDecodeError) as error:
        raise LabelError(f"'{path.name}' is not a CSV file of labels: {error}") from error


def _is_lookout(fields: Sequence[str]) -> bool:
    return len(fields) == len(("start", "end")) and all(_lookout(text, UTC) for text in fields)


def _fault(fields: Sequence[str], where: str, zone: tzinfo) -> Interval:
    """A line of a file of Lookout."""
    if len(fields) != len(("start", "end")):
        raise LabelError(f"{where} has {len(fields)} fields, expected two times: start and end")
    start, end = (_instant(text, where, _lookout, zone) for text in fields)
    check_order(start, end, where)
    return Interval(start, end, "fault")


def _interval(
    header: Sequence[str], fields: Sequence[str], where: str, zone: tzinfo | None
) -> Interval:
    if len(fields) > len(header):
        raise LabelError(
            f"{where} has {len(fields)} fields, expected {len(header)}; quote what has a comma"
        )
    row = dict.fromkeys(header, "") | dict(zip(header, fields, strict=False))
    kind = row["kind"]
    if kind not in LABEL_KINDS:
        raise LabelError(f"{where}: kind is '{kind}', expected one of {', '.join(LABEL_KINDS)}")
    start, end = (_instant(row[name], f"{where}: {name}", _iso, zone) for name in ("start", "end"))
    check_order(start, end, where)
    return Interval(start, end, kind, row["note"])


def _instant(text: str, what: str, read: Reader, zone: tzinfo | None) -> datetime:
    at = read(text, zone)
    if at is None or at.year not in POSSIBLE_YEARS:
        raise LabelError(f"{what} is '{text}', expected a time such as 2026-05-01T08:00:00Z")
    if at.tzinfo is None:
        raise LabelError(f"{what} is '{text}', which has no time zone; write an offset or Z")
    if at.utcoffset() != at.replace(fold=1).utcoffset():
        skipped = at.astimezone(UTC).astimezone(at.tzinfo) != at
        how = "never was" if skipped else "was twice"
        raise LabelError(f"{what} is '{text}', which {how} in {zone}; write an offset or Z")
    return at.astimezone(UTC)


def _iso(text: str, zone: tzinfo | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if ISO.fullmatch(text) else None
    except ValueError:
        return None
    return at.replace(tzinfo=zone) if at and at.tzinfo is None else at


def _lookout(text: str, zone: tzinfo | None) -> datetime | None:
    written = (_as_written(text, pattern, zone) for pattern in LOOKOUT_PATTERNS)
    return _iso(text, zone) or next(filter(None, written), None)


def _as_written(text: str, pattern: str, zone: tzinfo | None) -> datetime | None:
    """What a text of one pattern means; digits that run together must all be there."""
    try:
        at = datetime.strptime(text, pattern).replace(tzinfo=zone)
    except ValueError:
        return None
    return at if "%Y%m%d" not in pattern or at.strftime(pattern) == text else None


def not_normal(intervals: Sequence[Interval], *, tail_s: float) -> list[Interval]:
    """What is no normal running: faults and maintenance, and a while after each.

    Args:
        intervals: in any order; those of kind ``nuisance`` are left out.
        tail_s: seconds in which windows still hold some of it.
    """
    tail = timedelta(seconds=tail_s)
    return [replace(one, end=one.end + tail) for one in intervals if one.kind != "nuisance"]


def outside(frame: pl.DataFrame, intervals: Sequence[Interval]) -> pl.DataFrame:
    """Rows that count as normal running: outside faults, true faults and maintenance.

    Args:
        frame: has a column ``time``, UTC.
        intervals: in any order; those of kind ``nuisance`` are ignored.

    Example:
        >>> from datetime import UTC
        >>> at = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(4)]
        >>> fault = Interval(at[1], at[3], "fault")
        >>> outside(pl.DataFrame({"time": at}), [fault])["time"].dt.hour().to_list()
        [0, 3]
    """
    kept = pl.lit(value=True)
    for interval in intervals:
        if interval.kind != "nuisance":
            kept &= (pl.col("time") < interval.start) | (pl.col("time") >= interval.end)
    return frame.filter(kept)
