"""Connections to PostgreSQL and SQLite by address: they only read, and errors are sentences."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from psycopg import Connection as PostgresConnection
from psycopg import ServerCursor
from psycopg.pq import Format
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

POSTGRES = ("postgresql", "postgresql+psycopg", "postgres", "timescaledb")
WANTED = "write postgresql://user:password@host/database or sqlite:///file.db"
CONNECT_S = "10"
"""Until a server that does not answer is given up, unless the address says otherwise."""


class DatabaseError(Exception):
    """A database that cannot be used; the message says what to do, and never has the password."""


@contextmanager
def reading(address: str) -> Iterator[Connection]:
    """A connection that cannot write, and sentences in the place of what the driver raises.

    Args:
        address: ``postgresql://user:password@host/database`` or ``sqlite:///file``.

    Raises:
        DatabaseError: no connection, or what is done with it fails.
    """
    url = _parse(address)
    try:
        connection = _engine(url).connect().execution_options(postgresql_readonly=True)
    except DBAPIError as error:
        raise DatabaseError(
            f"cannot connect to {_place(url)}: {_first_line(error)}; "
            "correct FAULTWATCH_DATABASE, or see that the database runs"
        ) from error
    with connection:
        try:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")  # else a writer may come between two queries
            yield connection
        except (DBAPIError, UnicodeError) as error:
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            advice = "run this again" if lost else "correct [source] sql"
            raise DatabaseError(f"{_place(url)}: {_first_line(error)}; {advice}") from error


def _parse(address: str) -> URL:
    """The address, with the driver that we use.

    Raises:
        DatabaseError: it cannot be used; the message never shows it.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise DatabaseError(f"FAULTWATCH_DATABASE is no address; {WANTED}") from None
    if url.drivername in POSTGRES:
        options = {"connect_timeout": CONNECT_S, **url.query}
        return url.set(drivername="postgresql+psycopg").update_query_dict(options)
    if url.drivername != "sqlite":
        raise DatabaseError(
            f"FAULTWATCH_DATABASE begins with '{url.drivername}://', which is not read; {WANTED}"
        )
    if not url.database:
        raise DatabaseError(f"FAULTWATCH_DATABASE names no file; {WANTED}")
    return url


def _place(url: URL) -> str:
    if url.drivername == "sqlite":
        return f"database file '{url.database}'"
    host = url.host or url.query.get("host") or "this machine"
    return f"database '{url.database or url.username}' on {host}"


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        path = f"file:{quote(url.database or '')}?mode=ro"
        return create_engine("sqlite://", creator=lambda: _open_file(path), poolclass=NullPool)
    engine = create_engine(url, poolclass=NullPool)
    event.listen(engine, "connect", _send_binary)
    return engine


def _open_file(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, uri=True, check_same_thread=False)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


class _BinaryCursor(ServerCursor[Any]):
    """Rows in binary form, which is more than twice as fast as text."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the driver's
        super().__init__(*args, **options)
        self.format = Format.BINARY


def _send_binary(connection: PostgresConnection[Any], _: object) -> None:
    connection.server_cursor_factory = _BinaryCursor


def _first_line(error: DBAPIError | UnicodeError) -> str:
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return said.splitlines()[0] if said else type(error).__name__
