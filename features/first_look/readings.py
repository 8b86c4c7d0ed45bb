"""The values of each signal in a sample, and the columns that are no signals."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from features.first_look.layout import Long
from features.first_look.number_text import to_numbers
from features.first_look.pieces import Piece, all_columns, name_fault, whole_column
from features.first_look.time_column import TIME_NAME
from features.first_look.time_forms import TimeForm, read_times, sniff_times

LABEL_NAME = re.compile(
    r"(is[_ ]?)?(anomal(y|ies|ous)|labels?|change[_ ]?points?|class|target|attacks?|outliers?"
    r"|ground[_ ]?truth|(fault|failure)(s|y)?([_ ]?(nr|no|number|id|type|class|label|code))?)",
    re.IGNORECASE,
)
SPARSE = 0.5
"""Share of the rows with a value below which a column may hold its value in between."""
LEAST_ROWS = 20
"""Rows from which on an even rise is no chance."""


@dataclass
class Readings:
    """What a sample holds."""

    points: dict[str, pl.DataFrame] = field(default_factory=dict)
    """By tag: ``time``, ``value``, ``piece``; sorted by piece and time."""
    may_hold: set[str] = field(default_factory=set)
    """Tags for which silence can mean that the value holds."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Columns or tags that are no channels, and why."""
    words: dict[str, int] = field(default_factory=dict)
    """Words in the place of numbers, and how often."""
    partial: bool = False
    """Whether some piece lacks a channel."""


@dataclass(frozen=True)
class _Timed:
    """A piece, its place among all, and its times."""

    place: int
    piece: Piece
    times: pl.Series


def read_wide(
    pieces: Sequence[Piece],
    time: str,
    form: TimeForm,
    *,
    decimal: Literal[".", ","],
    by_folder: bool = False,
) -> Readings:
    """Read the columns of a table of one column a channel.

    Args:
        pieces: a sample.
        time: name of the time column.
        form: how its times are written.
        decimal: mark in numbers that are text.
        by_folder: whether a column is ``folder/column``.

    Example:
        >>> rows = pl.DataFrame({"t": ["2026-01-01", "2026-01-02"], "p": ["1,5", ""], "op": "Jo"})
        >>> readings = read_wide([Piece(rows, "a.csv")], "t", TimeForm("iso", False), decimal=",")
        >>> readings.points["p"]["value"].to_list(), readings.left_out
        ([1.5], {'op': 'holds text'})
    """
    timed = [
        _Timed(place, piece, read_times(piece.rows[time], form))
        for place, piece in enumerate(pieces)
    ]
    readings = Readings()
    for folder in dict.fromkeys(piece.folder if by_folder else "" for piece in pieces):
        members = [one for one in timed if not by_folder or one.piece.folder == folder]
        for column in all_columns([one.piece for one in members]):
            if column != time:
                tag = f"{folder}/{column}" if by_folder else column
                having = [one for one in members if column in one.piece.rows.columns]
                _read_column(readings, having, column=column, tag=tag, decimal=decimal)
                lacking = tag in readings.points and len(having) < len(pieces)
                readings.partial = readings.partial or lacking
    return readings


def _read_column(
    readings: Readings, having: Sequence[_Timed], *, column: str, tag: str, decimal: str
) -> None:
    pieces = [one.piece for one in having]
    whole = whole_column(pieces, column)
    values = to_numbers(whole, decimal, readings.words)
    reason = _no_signal(whole, values, column, all_columns(pieces))
    parts = [] if values is None else list(_points(having, values))
    if reason is None and _counts_rows(parts):
        reason = "rises by the same amount in every row: it counts the rows, or the time"
    if reason is not None:
        readings.left_out[tag] = reason
        return
    points = _sorted(pl.concat(parts))
    readings.points[tag] = points
    if points.height < SPARSE * len(whole):
        readings.may_hold.add(tag)


def _no_signal(
    whole: pl.Series, values: pl.Series | None, column: str, columns: Sequence[str]
) -> str | None:
    if LABEL_NAME.fullmatch(column.strip()):
        return "looks like a label, which is never an input"
    if (reason := name_fault(column, columns)) is not None:
        return reason
    if whole.drop_nulls().is_empty() or (values is not None and not values.count()):
        return "has no value in the sample"
    if (values is None or TIME_NAME.search(column)) and sniff_times(whole):
        return "holds times"
    if values is None:
        return "holds text" if whole.dtype == pl.String else f"holds {whole.dtype}"
    return None


def _points(having: Sequence[_Timed], values: pl.Series) -> Iterator[pl.DataFrame]:
    """Points of each piece, in the order of arrival."""
    start = 0
    for one in having:
        part = values.slice(start, len(one.times))
        start += len(part)
        points = pl.DataFrame({"time": one.times, "value": part}).drop_nulls()
        yield points.with_columns(piece=pl.lit(one.place, dtype=pl.Int64))


def _sorted(points: pl.DataFrame) -> pl.DataFrame:
    return points.sort("piece", "time", maintain_order=True)


def _counts_rows(parts: Sequence[pl.DataFrame]) -> bool:
    steps = np.concatenate([np.diff(part["value"].to_numpy()) for part in parts])
    if len(steps) < LEAST_ROWS:
        return False
    return bool(steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0.0))


def read_long(
    pieces: Sequence[Piece],
    time: str,
    form: TimeForm,
    long: Long,
    *,
    decimal: Literal[".", ","],
) -> Readings:
    """Read the tags of a table of one value a row.

    Example:
        >>> at = ["2026-01-01", "2026-01-02"]
        >>> rows = pl.DataFrame({"t": at, "tag": ["FT1", "XS1"], "v": ["1.5", "RUN"]})
        >>> readings = read_long(
        ...     [Piece(rows, "a.csv")], "t", TimeForm("iso", False), Long("tag", "v", None, ()),
        ...     decimal=".",
        ... )
        >>> readings.points["FT1"]["value"].to_list(), readings.left_out
        ([1.5], {'XS1': 'holds text'})
    """
    readings = Readings()
    tags = whole_column(pieces, long.tag).cast(pl.String).str.strip_chars()
    texts = whole_column(pieces, long.value)
    times = [read_times(piece.rows[time], form) for piece in pieces]
    places = [np.full(len(at), place, dtype=np.int64) for place, at in enumerate(times)]
    rows = pl.DataFrame(
        {"tag": tags, "time": pl.concat(times), "text": texts, "piece": np.concatenate(places)}
    )
    if long.quality is not None:
        rows = rows.filter(_is_good(whole_column(pieces, long.quality), long.good))
    parts = rows.filter(pl.col("tag") != "").partition_by("tag", as_dict=True, maintain_order=True)
    for (tag,), part in parts.items():
        _read_tag(readings, str(tag), part, decimal)
    return readings


def _is_good(quality: pl.Series, good: Sequence[str]) -> pl.Series:
    whole = quality.cast(pl.Int64, strict=False) if quality.dtype.is_float() else quality
    return whole.cast(pl.String).str.strip_chars().str.to_lowercase().is_in(list(good))


def _read_tag(readings: Readings, tag: str, part: pl.DataFrame, decimal: str) -> None:
    values = to_numbers(part["text"], decimal, readings.words)
    if LABEL_NAME.fullmatch(tag):
        readings.left_out[tag] = "looks like a label, which is never an input"
    elif values is None or not values.count():
        readings.left_out[tag] = "holds text" if values is None else "has no value in the sample"
    else:
        points = part.select("time", "piece").with_columns(value=values).drop_nulls()
        readings.points[tag] = _sorted(points.select("time", "value", "piece"))
        readings.may_hold.add(tag)
