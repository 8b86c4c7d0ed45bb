"""The samples frame: what a row must be, and what happens to one that is not.

A samples frame has ``time`` (microseconds, UTC, sorted, unique) and one Float64 column per channel,
null = not measured. `check_samples` is strict; `split_usable` stands at the door and keeps the rows
that cannot be used, with the reason.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from features.channels import Channel, channel_names

TIME = pl.Datetime("us", "UTC")
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Times that can be real: from the first on, before the second."""
QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "line": pl.Int64(),
    "reason": pl.String(),
    "raw": pl.String(),
}
MISSING_WORDS = ("", "nan", "null", "none", "na", "n/a")


class SchemaError(Exception):
    """A table that cannot be used as a whole; the message says what to do."""


@dataclass(frozen=True)
class Split:
    """Rows that can be used, and rows that cannot."""

    samples: pl.DataFrame
    """``time`` and the channels, in the order of arrival; not yet sorted or unique."""
    quarantined: pl.DataFrame
    """source, line, reason, raw."""


def samples_schema(channels: tuple[Channel, ...]) -> dict[str, pl.DataType]:
    """Columns of a samples frame.

    Example:
        >>> list(samples_schema((Channel(name="flow"),)))
        ['time', 'flow']
    """
    return {"time": TIME, **dict.fromkeys(channel_names(channels), pl.Float64())}


def check_samples(samples: pl.DataFrame, channels: tuple[Channel, ...]) -> None:
    """Raise unless this is a samples frame of these channels.

    Raises:
        SchemaError: columns, types, values, order or uniqueness are not as promised.
    """
    check_rows(samples, channels)
    times = samples["time"]
    if not times.is_sorted() or not times.is_unique().all():
        raise SchemaError("the times have doubles or disorder, expected them sorted and unique")


def check_rows(samples: pl.DataFrame, channels: tuple[Channel, ...]) -> None:
    """Raise unless every row could be part of a samples frame; order and doubles do not matter.

    Raises:
        SchemaError: columns, types or values are not as promised.
    """
    expected = samples_schema(channels)
    if list(samples.schema.items()) != list(expected.items()):
        found = ", ".join(f"{name} {kind}" for name, kind in samples.schema.items())
        wanted = ", ".join(f"{name} {kind}" for name, kind in expected.items())
        raise SchemaError(f"the columns are {found or 'none'}; expected {wanted}")
    if samples["time"].null_count():
        raise SchemaError("a time is null, expected a time in every row; drop those rows")
    for name in channel_names(channels):
        if not samples[name].is_finite().all():
            raise SchemaError(f"channel '{name}' has NaN or infinity, expected null where missing")


def locate_columns(
    found: list[str], channels: tuple[Channel, ...], *, source: str, time_column: str
) -> dict[str, str]:
    """Map each channel's name, and ``time``, to its column in the source, by name or by tag.

    Raises:
        SchemaError: a column is missing.

    Example:
        >>> flow = Channel(name="flow", tag="FT-101")
        >>> locate_columns(["t", "FT-101"], (flow,), source="a.csv", time_column="t")
        {'time': 't', 'flow': 'FT-101'}
    """
    if time_column not in found:
        raise SchemaError(
            f"{source} has no time column '{time_column}'; it has {', '.join(found)}; "
            "set [source] time"
        )
    places = {"time": time_column}
    for channel in channels:
        names = [name for name in (channel.name, channel.tag) if name is not None and name in found]
        if not names:
            tag = f" (tag '{channel.tag}')" if channel.tag else ""
            raise SchemaError(
                f"{source} has no column for channel '{channel.name}'{tag}; "
                "add it to the file or remove the channel from the asset file"
            )
        places[channel.name] = names[0]
    return places


def split_usable(
    raw: pl.DataFrame,
    channels: tuple[Channel, ...],
    *,
    source: str,
    first_line: int,
    time_column: str = "time",
) -> Split:
    """Divide rows into those that can be used and those that cannot.

    A row cannot be used when its time is missing, unreadable or without a zone, or when a value is
    text or infinite. An empty cell, ``NaN`` or ``null`` is a missing value.

    Args:
        raw: rows as read: text columns from CSV, typed ones from Parquet.
        channels: the asset's channels.
        source: name of the file, for the quarantine.
        first_line: line of the first row in it.
        time_column: name of the time column.

    Raises:
        SchemaError: a column is missing altogether, or has a type that cannot be used.

    Example:
        >>> raw = pl.DataFrame({"time": ["2026-01-01T00:00:00Z", "soon"], "flow": ["1.5", "2"]})
        >>> split = split_usable(raw, (Channel(name="flow"),), source="a.csv", first_line=2)
        >>> split.samples["flow"].to_list(), split.quarantined["reason"].to_list()
        ([1.5], ["time is 'soon', expected a time such as 2026-05-01T08:00:00Z"])
    """
    places = locate_columns(raw.columns, channels, source=source, time_column=time_column)
    _check_types(raw, places, source)
    parsed = raw.select(
        _time(raw.schema[time_column], time_column).alias("time"),
        *(_number(raw.schema[place], place).alias(name) for name, place in _channels_of(places)),
    )
    reasons = [
        _time_reason(parsed["time"], raw[time_column]),
        *(_number_reason(parsed[name], raw[place]) for name, place in _channels_of(places)),
    ]
    reason = pl.select(pl.coalesce(reasons)).to_series()
    usable = reason.is_null()
    values = pl.col(channel_names(channels)).fill_nan(None)
    samples = parsed.filter(usable).select("time", values)
    unusable = pl.DataFrame(
        {
            "source": pl.repeat(source, raw.height, dtype=pl.String, eager=True),
            "line": pl.int_range(first_line, first_line + raw.height, eager=True),
            "reason": reason,
        },
    ).filter(~usable)
    texts = [json.dumps(row, default=str) for row in raw.filter(~usable).iter_rows(named=True)]
    return Split(samples, unusable.with_columns(raw=pl.Series(texts, dtype=pl.String)))


def _channels_of(places: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, place) for name, place in places.items() if name != "time"]


def _check_types(raw: pl.DataFrame, places: dict[str, str], source: str) -> None:
    """Refuse what no row could mend: a column of times without a zone, a column of lists."""
    kind = raw.schema[places["time"]]
    if kind != pl.String and not (isinstance(kind, pl.Datetime) and kind.time_zone):
        raise SchemaError(
            f"{source}: time column '{places['time']}' is {kind}, expected times with a zone; "
            "write them as UTC"
        )
    for name, place in _channels_of(places):
        kind = raw.schema[place]
        if not (kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Null)):
            raise SchemaError(
                f"{source}: column '{place}' of channel '{name}' is {kind}, expected numbers"
            )


def _time(kind: pl.DataType, name: str) -> pl.Expr:
    if kind == pl.String:
        text = pl.col(name).str.strip_chars()
        time = text.str.to_datetime(time_unit="us", time_zone="UTC", strict=False, format="%+")
    else:
        time = pl.col(name).dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    return pl.when((time >= EARLIEST) & (time < LATEST)).then(time)


def _number(kind: pl.DataType, name: str) -> pl.Expr:
    if kind != pl.String:
        return pl.col(name).cast(pl.Float64)
    text = pl.col(name).str.strip_chars()
    return pl.when(~_says_missing(text)).then(text.cast(pl.Float64, strict=False))


def _says_missing(text: pl.Expr) -> pl.Expr:
    return text.str.strip_chars().str.to_lowercase().is_in(MISSING_WORDS)


def _time_reason(parsed: pl.Series, found: pl.Series) -> pl.Series:
    """Sentence where the time cannot be used, else null."""
    text = pl.lit(found.cast(pl.String))
    naive = text.str.contains(r"^\s*\d{4}-\d\d-\d\d([T ][\d:.,]*)?\s*$")
    found_time = pl.concat_str(pl.lit("time is '"), text, pl.lit("', "))
    sentence = (
        pl.when(text.is_null() | _says_missing(text))
        .then(pl.lit("time is missing"))
        .when(naive)
        .then(pl.concat_str(found_time, pl.lit("which has no time zone; write an offset or Z")))
        .otherwise(
            pl.concat_str(found_time, pl.lit("expected a time such as 2026-05-01T08:00:00Z"))
        )
    )
    return pl.select(pl.when(pl.lit(parsed).is_null()).then(sentence)).to_series()


def _number_reason(parsed: pl.Series, found: pl.Series) -> pl.Series:
    """Sentence where a value is text or infinite, else null."""
    value, text = pl.lit(parsed), pl.lit(found.cast(pl.String))
    unreadable = value.is_null() & text.is_not_null() & ~_says_missing(text)
    sentence = pl.concat_str(
        pl.lit(f"channel '{parsed.name}' is '"), text, pl.lit("', expected a finite number")
    )
    return pl.select(pl.when(unreadable | value.is_infinite()).then(sentence)).to_series()
