"""Columns of a query: how values arrive from PostgreSQL or SQLite, and what they become.

- Boolean, Int64, Float64 and String; numbers with decimals are Float64.
- Datetime in microseconds, UTC for ``timestamptz``, without a zone for ``timestamp`` and ``date``
  (midnight). Infinite times and years outside 1 to 9999 are null.
- SQLite knows types of values, not of columns: Int64 if all are whole, Float64 if all are numbers,
  String if any is text, Null if there is none.
- Anything else (arrays, JSON, UUID, intervals …) is the text that the database makes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
from psycopg.postgres import types as postgres_types

from features.source import EPOCH_NS, EPOCHS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UTC_TIME, LOCAL_TIME = pl.Datetime("us", "UTC"), pl.Datetime("us")
MICROSECONDS = (
    "CASE WHEN {0} >= '0001-01-01' AND {0} < '10000-01-01' "
    "THEN (extract(epoch FROM {0}) * 1000000)::bigint END"
)
POSTGRES: dict[str, tuple[pl.DataType, pl.DataType, str]] = {
    "bool": (pl.Boolean(), pl.Boolean(), "{0}"),
    **dict.fromkeys(("int2", "int4", "int8"), (pl.Int64(), pl.Int64(), "{0}")),
    "float8": (pl.Float64(), pl.Float64(), "{0}"),
    # By way of text 0.1 stays 0.1, and a number too large for a float is infinite, not an error.
    **dict.fromkeys(("float4", "numeric"), (pl.Float64(), pl.String(), "{0}::text")),
    **dict.fromkeys(("timestamp", "date"), (LOCAL_TIME, pl.Int64(), MICROSECONDS)),
    "timestamptz": (UTC_TIME, pl.Int64(), MICROSECONDS),
}
"""By name of the type: type in the frame, type that arrives, and the expression that makes it."""
POSTGRES_BY_OID = {postgres_types[name].oid: kind for name, kind in POSTGRES.items()}
POSTGRES_OTHER = (pl.String(), pl.String(), "{0}::text")
SQLITE_KIND = (
    "max(CASE typeof({0}) WHEN 'null' THEN 0 WHEN 'integer' THEN 1 WHEN 'real' THEN 2 ELSE 3 END)"
)
SQLITE: tuple[tuple[pl.DataType, str], ...] = (
    (pl.Null(), "{0}"),
    (pl.Int64(), "{0}"),
    (pl.Float64(), "{0}"),
    (pl.String(), "CASE typeof({0}) WHEN 'blob' THEN CAST({0} AS TEXT) ELSE {0} END"),
)
"""By what `SQLITE_KIND` finds: type in the frame, and expression."""


@dataclass(frozen=True)
class Column:
    """One column of a query.

    Example:
        >>> flow = postgres_column("Flow", 700)
        >>> flow.selected(), flow.series(["0.1", None]).to_list()
        ('q."Flow"::text AS "Flow"', [0.1, None])
    """

    name: str
    dtype: pl.DataType
    arrives_as: pl.DataType
    expression: str
    """SQL, with ``{0}`` where the column's name goes."""

    @property
    def identifier(self) -> str:
        """Name in a statement that calls the query ``q``."""
        return f"q.{self._quoted}"

    @property
    def _quoted(self) -> str:
        return '"' + self.name.replace('"', '""') + '"'

    def selected(self) -> str:
        """Item of a ``SELECT``."""
        return f"{self.expression.format(self.identifier)} AS {self._quoted}"

    def series(self, values: Sequence[object]) -> pl.Series:
        """Values that arrived, as what they are in the frame."""
        arrived = pl.Series(self.name, values, self.arrives_as, strict=False)
        return arrived.cast(self.dtype, strict=False)


def postgres_column(name: str, oid: int) -> Column:
    """Column of a type that PostgreSQL gives as a number."""
    return Column(name, *POSTGRES_BY_OID.get(oid, POSTGRES_OTHER))


def sqlite_column(name: str, kind: int | None) -> Column:
    """Column in which `SQLITE_KIND` found this, or nothing in a query without rows."""
    dtype, expression = SQLITE[kind or 0]
    return Column(name, dtype, dtype, expression)


def lower_bound(
    dtype: pl.DataType, time_format: str, since: datetime
) -> datetime | int | str | None:
    """A value that no time from `since` on is below, as the source writes times; None = unknown.

    Args:
        dtype: of the time column.
        time_format: what numbers and texts in it mean; see `SourceConfig.time_format`.
        since: tz-aware.

    Example:
        >>> noon = datetime(2026, 1, 10, 12, tzinfo=UTC)
        >>> lower_bound(pl.String(), "iso", noon), lower_bound(pl.Int64(), "epoch_s", noon)
        ('2026-01-08', 1768046400)
    """
    if since < EPOCH:
        return None
    if dtype == UTC_TIME:
        return since
    if dtype == LOCAL_TIME:  # no zone is a day away from UTC
        return since.astimezone(UTC).replace(tzinfo=None) - timedelta(days=1)
    if dtype.is_numeric():
        return _epoch_number(time_format, since)
    if dtype == pl.String() and time_format == "iso":
        return (since.astimezone(UTC) - timedelta(days=2)).date().isoformat()
    return None


def _epoch_number(time_format: str, since: datetime) -> int | None:
    """The time in whole units since 1970, rounded down; None = numbers do not mean that."""
    microseconds = (since - EPOCH) // timedelta(microseconds=1)
    if time_format == EPOCH_NS:
        return microseconds * 1_000
    return microseconds // EPOCHS[time_format] if time_format in EPOCHS else None
