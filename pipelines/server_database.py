"""Databases in a PostgreSQL server: made where they are missing; whatever fails is a sentence."""

from contextlib import suppress

import psycopg
from psycopg.errors import DuplicateDatabase, InsufficientPrivilege, UniqueViolation
from psycopg.sql import SQL, Identifier
from sqlalchemy.engine import URL, make_url

from pipelines.connection import DatabaseError
from pipelines.settings import Settings

CONNECT_S = 10
"""Until a server that does not answer is given up."""
MADE_MEANWHILE = (DuplicateDatabase, UniqueViolation)


def make_database(settings: Settings, name: str) -> None:
    """See that a database is there and lets us in; make it where it is missing.

    Args:
        settings: with the address of the PostgreSQL server.
        name: of the database.

    Raises:
        DatabaseError: the server cannot be reached, refuses the password, or lets us neither find
            nor make the database.
        pipelines.settings.SettingsError: the address is none.
    """
    with _connect(make_url(settings.in_server(None))) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if known.fetchone() is None:
            _create(connection, name)
    _connect(make_url(settings.in_server(name))).close()


def _connect(url: URL) -> psycopg.Connection:
    """Connect part by part: of a whole address, the driver's messages would show the password."""
    try:
        return psycopg.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=url.password,
            dbname=url.database,
            connect_timeout=CONNECT_S,
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"cannot connect to database '{url.database}' of PostgreSQL on "
            f"{url.host}:{url.port or 5432} as '{url.username}' ({_first_line(error)}); "
            "correct FAULTWATCH_SERVER_DATABASE, or see that the server runs"
        ) from error


def _create(connection: psycopg.Connection, name: str) -> None:
    # From a template that nobody is connected to.
    statement = SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name))
    told = connection.info
    try:
        with suppress(*MADE_MEANWHILE):
            connection.execute(statement)
    except InsufficientPrivilege as error:
        raise DatabaseError(
            f"PostgreSQL on {told.host}:{told.port} has no database '{name}', and '{told.user}' "
            "may not make it; have an administrator run "
            f'CREATE DATABASE {name} OWNER "{told.user}"'
        ) from error
    except psycopg.Error as error:
        raise DatabaseError(
            f"PostgreSQL on {told.host}:{told.port} did not make database '{name}' "
            f"({_first_line(error)}); make it with owner '{told.user}', or correct the server"
        ) from error


def _first_line(error: psycopg.Error) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
