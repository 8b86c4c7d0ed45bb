"""What the samples table holds: rows at certain times, borders of slices; and how rows get in."""

from datetime import datetime

import polars as pl

from features.merging import SOURCE, SOURCES
from pipelines.tables import STATISTICS_ROUND, Snapshot, append, files_of, put, rows_of

SLICE = 250_000
"""Rows read at once, about: bounds the memory."""


def slice_borders(
    files: pl.DataFrame, start: datetime | None, end: datetime | None
) -> list[datetime]:
    """Times that cut the rows of files into slices of about the same number."""
    pieces: list[tuple[datetime, float]] = []
    for rows, first, last in files.select("num_records", "min.time", "max.time").iter_rows():
        if not rows:
            continue
        count = -(-rows // SLICE)
        step = (last - first) / count
        pieces += [(first + step * part, rows / count) for part in range(count)]
    borders, together = [], 0.0
    for first, rows in sorted(pieces):
        if together + rows > SLICE and together:
            borders.append(first)
            together = 0.0
        together += rows
    inside = (at for at in borders if (start is None or at > start) and (end is None or at < end))
    return sorted(set(inside))


def time_span(snapshot: Snapshot) -> tuple[datetime, datetime] | None:
    """First and last time, to the millisecond; None = there are no rows."""
    files = files_of(snapshot).filter(pl.col("num_records") > 0)
    if files.is_empty():
        return None
    first, last = files.select(pl.col("min.time").min(), pl.col("max.time").max()).row(0)
    return first, last


def _months(times: pl.Series) -> pl.Series:
    days = times.dt.date()
    each = days.unique()  # text is made slowly: once a day, not once a row
    return days.replace_strict(each, each.dt.strftime("%Y-%m")).alias("month")


def rows_at(snapshot: Snapshot, times: pl.Series, names: tuple[str, ...]) -> pl.DataFrame:
    """What the table holds at these times."""
    columns = ["time", *names, SOURCE, SOURCES]
    low, high = times.min(), times.max()
    files = files_of(snapshot).filter(pl.col("num_records") > 0)
    if (
        not times.len()
        or files.is_empty()
        or not files.select(
            ((pl.col("min.time") <= high) & (pl.col("max.time") + STATISTICS_ROUND >= low)).any()
        ).item()
    ):
        return rows_of(snapshot).select(columns).head(0).collect()
    unique = pl.LazyFrame({"time": times.unique()})
    months = _months(times).unique().implode()
    rows = rows_of(snapshot).filter(
        pl.col("month").is_in(months), pl.col("time").is_between(low, high)
    )
    return rows.join(unique, on="time", how="semi").select(columns).collect(engine="streaming")


def commit_rows(snapshot: Snapshot, changed: list[pl.DataFrame], marks: dict[str, int]) -> None:
    """Write all of it, with the marks, or nothing."""
    if not any(part.height for part in changed):
        append(snapshot, pl.DataFrame(), marks)
        return
    rows = pl.concat(changed)
    rows = rows.with_columns(_months(rows["time"]))
    columns = [field.name for field in snapshot.schema().fields]
    if rows["is_new"].all():
        append(snapshot, rows.select(columns), marks)
    else:
        put(snapshot, rows.select(columns), rows["month"].unique().sort().to_list(), marks)
