"""The samples frame: what a row must be, and what happens to one that is not.

A samples frame has ``time`` (microseconds, UTC, sorted, unique) and one Float64 column per channel,
null = not measured. `check_samples` is strict. What comes from outside is sorted out at the
door, by `features.rows`.
"""

import polars as pl

from features.channels import Channel, channel_names
from features.times import TIME

LINE = "_line"
"""Column of rows on their way: their place in the source, counted from 1."""
QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "line": pl.Int64(),
    "reason": pl.String(),
    "raw": pl.String(),
}


class SchemaError(Exception):
    """A table that cannot be used as a whole; the message says what to do."""


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
