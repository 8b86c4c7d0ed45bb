"""Rows of a query in PostgreSQL or SQLite, by time and in bounded memory.

The user's query becomes a part of ours, ``SELECT … FROM (query) AS q``, which selects the rows
since a time, sorts them, and lets each column arrive as one type, the same in every batch
(`pipelines/query_columns.py` says which). SQLite needs a pass over the rows for that, and while it
is read a writer waits, unless the file is in WAL mode.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import polars as pl
from sqlalchemy import Connection, CursorResult, text

from pipelines.connection import DatabaseError, reading
from pipelines.query_columns import SQLITE_KIND, Column, lower_bound, postgres_column, sqlite_column

__all__ = ["DatabaseError", "read_query", "sample_query"]

FETCH = 10_000
"""Rows that are Python objects at once, at most: those need several times the room of a frame's."""
LITERAL_OR_COMMENT = re.compile(
    r"""\bE'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*`
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | --[^\n]* | /\*.*?\*/""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
FIRST_WORD = re.compile(r"[(\s]*(\w*).*", re.DOTALL)


def read_query(
    address: str,
    sql: str,
    *,
    time: str,
    time_format: str,
    since: datetime | None,
    batch_rows: int,
) -> Iterator[pl.DataFrame]:
    """Rows of a query, ordered by its time column, a batch at a time.

    With `since` the database leaves out earlier rows, as far as it can tell: rows that are a day or
    two earlier come along when times have no zone or are ISO text, and all rows when times are
    written in another way (the order is then the order of the text). Rows without a time come only
    when `since` is None; those of an infinite time always.

    Args:
        address: ``postgresql://user:password@host/database`` or ``sqlite:///file``.
        sql: one ``SELECT``, or ``WITH … SELECT``.
        time: name of the time column, as the query gives it.
        time_format: what numbers and texts in it mean; see `SourceConfig.time_format`.
        since: the earliest time that is wanted, UTC; None = all.
        batch_rows: rows of one frame, at most.

    Raises:
        DatabaseError: no connection, no such column, or the query fails.

    Example:
        >>> import sqlite3
        >>> from datetime import UTC
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     plant = sqlite3.connect(folder + "/plant.db")
        ...     _ = plant.execute("CREATE TABLE log AS SELECT 1767225600 AS t, 4.2 AS flow")
        ...     plant.close()
        ...     batches = read_query(
        ...         f"sqlite:///{folder}/plant.db", "SELECT t, flow FROM log", time="t",
        ...         time_format="epoch_s", since=datetime(2026, 1, 1, tzinfo=UTC), batch_rows=100,
        ...     )
        ...     [batch.rows() for batch in batches]
        [[(1767225600, 4.2)]]
    """
    query = _one_select(sql)
    with reading(address) as connection:
        columns = _find_columns(connection, query)
        key = _time_column(columns, time)
        bound = None if since is None else lower_bound(key.dtype, time_format, since)
        name = _literal(key.identifier)
        rest = f"ORDER BY {name}" if bound is None else f"WHERE {name} >= :since ORDER BY {name}"
        values = {} if bound is None else {"since": bound}
        yield from _batches(
            _select(connection, columns, query, rest, **values), columns, batch_rows
        )


def sample_query(address: str, sql: str, rows: int) -> pl.DataFrame:
    """The first rows that a query gives, in its own order; later ones are not asked for.

    Raises:
        DatabaseError: no connection, or the query fails.
    """
    query = _around("*", _one_select(sql), f"LIMIT {int(rows)}")
    with reading(address) as connection:
        columns = _find_columns(connection, query)
        found = list(_batches(_select(connection, columns, query), columns, max(rows, 1)))
    return pl.concat(found or [pl.DataFrame([column.series([]) for column in columns])])


def _one_select(sql: str) -> str:
    """The query without what ends it.

    Raises:
        DatabaseError: it is no query, or more than one statement.
    """
    code = LITERAL_OR_COMMENT.sub(lambda found: " " * len(found[0]), sql)
    head, _, tail = code.partition(";")
    word = FIRST_WORD.sub(r"\1", head)
    if word.upper() not in {"SELECT", "WITH"}:
        raise DatabaseError(
            f"[source] sql begins with '{word}'; write a query that begins with SELECT or WITH"
        )
    if tail.strip("; \t\r\n"):
        raise DatabaseError("[source] sql has more than one statement; write a single query")
    return sql[: len(head)]


def _find_columns(connection: Connection, query: str) -> list[Column]:
    """What the query gives.

    Raises:
        DatabaseError: two columns have one name.
    """
    result = connection.execute(text(_literal(_around("*", query, "LIMIT 0"))))
    described = list(result.cursor.description)
    result.close()
    names = [str(name) for name, *_ in described]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise DatabaseError(
            f"the query of [source] sql has two columns '{doubles[0]}'; rename one with AS"
        )
    if connection.dialect.name == "sqlite":
        return _sqlite_columns(connection, query, names)
    return [postgres_column(str(name), int(str(oid))) for name, oid, *_ in described]


def _sqlite_columns(connection: Connection, query: str, names: list[str]) -> list[Column]:
    """Columns typed by all values that the query gives."""
    asked = [Column(name, pl.Int64(), pl.Int64(), SQLITE_KIND) for name in names]
    kinds = _select(connection, asked, query).one()
    return [sqlite_column(name, kind) for name, kind in zip(names, kinds, strict=True)]


def _time_column(columns: list[Column], time: str) -> Column:
    for column in columns:
        if column.name == time:
            return column
    names = ", ".join(column.name for column in columns)
    raise DatabaseError(
        f"the query of [source] sql has no time column '{time}'; it has {names}; set [source] time"
    )


def _select(
    connection: Connection, columns: list[Column], query: str, rest: str = "", **values: object
) -> CursorResult[Any]:
    """Run the query inside ours; the rows wait in the database.

    Args:
        connection: to the database.
        columns: to select.
        query: the user's.
        rest: what comes behind it; a colon begins one of the values.
        values: of the rest.
    """
    selected = ", ".join(column.selected() for column in columns)
    statement = text(_literal(_around(selected, query)) + rest)
    return connection.execution_options(yield_per=FETCH).execute(statement, values)


def _around(selected: str, query: str, rest: str = "") -> str:
    return f"SELECT {selected} FROM (\n{query}\n) AS q {rest}"  # noqa: S608 - the user's own


def _literal(sql: str) -> str:
    """SQL in which no colon begins a value."""
    return sql.replace(":", r"\:")


def _batches(
    result: CursorResult[Any], columns: list[Column], batch_rows: int
) -> Iterator[pl.DataFrame]:
    fetch = min(FETCH, batch_rows)
    with result:
        parts = result.partitions(fetch)
        while frames := [_frame(rows, columns) for rows in islice(parts, batch_rows // fetch)]:
            yield pl.concat(frames, rechunk=True)


def _frame(rows: Sequence[Sequence[Any]], columns: list[Column]) -> pl.DataFrame:
    values = zip(*rows, strict=True)
    return pl.DataFrame([column.series(part) for column, part in zip(columns, values, strict=True)])
