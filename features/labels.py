"""Fault, maintenance and feedback intervals: what never counts as normal running."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import polars as pl

LabelKind = Literal["fault", "maintenance", "nuisance", "true_fault"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
COLUMNS = ("start", "end", "kind", "note")


class LabelError(Exception):
    """A file of labels that cannot be used; the message says which line and what to write."""


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


def read_intervals(path: Path) -> tuple[Interval, ...]:
    """Read a CSV of labels with the columns start, end, kind, note.

    Raises:
        LabelError: the file is missing or a line of it cannot be used.
    """
    if not path.is_file():
        raise LabelError(f"no file of labels '{path}'; correct [source] labels or make the file")
    try:
        rows = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise LabelError(f"'{path.name}' is not a CSV file of labels: {error}") from error
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise LabelError(
            f"'{path.name}' has no column '{missing[0]}'; expected the columns {', '.join(COLUMNS)}"
        )
    return tuple(
        _interval(row, f"'{path.name}' line {number}")
        for number, row in enumerate(rows.iter_rows(named=True), start=2)
    )


def _interval(row: dict[str, str | None], where: str) -> Interval:
    kind = row["kind"] or ""
    if kind not in LABEL_KINDS:
        raise LabelError(f"{where}: kind is '{kind}', expected one of {', '.join(LABEL_KINDS)}")
    start, end = (_instant(row[name], f"{where}: {name}") for name in ("start", "end"))
    if start >= end:
        raise LabelError(f"{where}: start {row['start']} is not before end {row['end']}")
    return Interval(start, end, kind, row["note"] or "")


def _instant(text: str | None, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise LabelError(
            f"{where} is '{text or ''}', expected a time such as 2026-05-01T08:00:00Z"
        ) from error
    if at.tzinfo is None:
        raise LabelError(f"{where} is '{text}', which has no time zone; write an offset or Z")
    return at


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
