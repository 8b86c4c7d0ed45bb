"""A database that cannot be read is a sentence without the password, and nothing is written."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.database import DatabaseError, read_query, sample_query

Run = Callable[..., list[tuple[Any, ...]]]
SECRET = "fgjR8s-secret"  # noqa: S105 - of nobody


def batches_of(address: str, sql: str, batch_rows: int = 100) -> Iterator[pl.DataFrame]:
    return read_query(
        address, sql, time="time", time_format="epoch_s", since=None, batch_rows=batch_rows
    )


def sentence(address: str, sql: str) -> str:
    with pytest.raises(DatabaseError) as caught:
        list(batches_of(address, sql))
    assert "\n" not in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in repr(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM log", "begins with 'DELETE'; write a query that begins with SELECT or WITH"),
        ("-- nothing", "begins with ''"),
        ("SELECT 1 AS time; DELETE FROM log", "has more than one statement; write a single query"),
        ("SELECT * FROM log) AS x; DELETE FROM log; --", "has more than one statement"),
        ("SELECT time AS t, flow FROM log", "no time column 'time'; it has t, flow; set [source]"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT time FROM log WHERE", "syntax error"),
        ("WITH gone AS (DELETE FROM log RETURNING *) SELECT * FROM gone", "; correct [source] sql"),
    ],
)
def test_a_query_that_cannot_run_is_a_sentence_and_changes_nothing(
    database: str, run: Run, sql: str, said: str
) -> None:
    run(database, "CREATE TABLE log AS SELECT 1 AS time, 2.5 AS flow")
    assert said in sentence(database, sql)
    assert len(run(database, "SELECT * FROM log")) == 1


def test_two_columns_of_one_name_are_a_sentence(in_postgres: str) -> None:
    said = sentence(in_postgres, "SELECT 1 AS time, 2 AS flow, 3 AS flow")
    assert "two columns 'flow'; rename one with AS" in said


def test_a_function_that_writes_is_refused(in_postgres: str, run: Run) -> None:
    run(
        in_postgres,
        "CREATE TABLE log AS SELECT 1 AS time",
        "CREATE FUNCTION wipe() RETURNS SETOF int LANGUAGE SQL AS 'DELETE FROM log RETURNING time'",
    )
    said = sentence(in_postgres, "SELECT wipe() AS time")
    assert "cannot execute DELETE in a read-only transaction" in said
    assert run(in_postgres, "SELECT * FROM log") == [(1,)]


def test_a_file_is_not_made_by_reading_it(in_sqlite: str) -> None:
    assert "unable to open database file" in sentence(in_sqlite, "SELECT 1 AS time")
    assert not Path(in_sqlite.removeprefix("sqlite:///")).exists()


def test_a_writer_goes_on_while_a_file_in_wal_mode_is_read(in_sqlite: str, run: Run) -> None:
    wal = "PRAGMA journal_mode = WAL"
    run(in_sqlite, wal, "CREATE TABLE log AS SELECT 1 AS time UNION SELECT 2")
    batches = batches_of(in_sqlite, "SELECT * FROM log", batch_rows=1)
    times = [next(batches)["time"].item()]
    run(in_sqlite, "INSERT INTO log VALUES (3)")
    assert times + [batch["time"].item() for batch in batches] == [1, 2]


def test_reading_may_stop_half_way(in_postgres: str) -> None:
    batches = read_query(
        in_postgres,
        "SELECT generate_series(1, 50000) AS time",
        time="time",
        time_format="epoch_s",
        since=None,
        batch_rows=10,
    )
    assert next(batches).height == 10
    del batches  # the database could not be removed while it is open


def test_a_connection_that_breaks_off_is_a_sentence(in_postgres: str, run: Run) -> None:
    batches = batches_of(in_postgres, "SELECT generate_series(1, 50000) AS time", 10_000)
    next(batches)
    run(
        in_postgres,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()",
    )
    with pytest.raises(DatabaseError, match=r"; run this again$"):
        list(batches)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"postgresql://plant:{SECRET}@127.0.0.1:{{port}}/postgres", "password authentication"),
        (f"postgres://plant:{SECRET}@127.0.0.1:1/pumps", "database 'pumps' on 127.0.0.1: "),
        (f"timescaledb://plant@127.0.0.1:1/pumps?password={SECRET}", "'pumps' on 127.0.0.1: "),
        (f"mysql://plant:{SECRET}@db/pumps", "begins with 'mysql://'"),
        (f"postgresql://plant:{SECRET}@db:port/pumps", "is no address; write postgresql://"),
        (f"plant:{SECRET}@db", "is no address; write postgresql://"),
        ("sqlite://", "names no file"),
        ("sqlite:////nowhere/plant.db", "database file '/nowhere/plant.db': unable to open"),
    ],
)
def test_an_address_that_does_not_work_is_a_sentence_without_the_password(
    postgres: str, address: str, said: str
) -> None:
    port = postgres.rpartition(":")[2].partition("/")[0]
    assert said in sentence(address.format(port=port), "SELECT 1 AS time")


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "plant.db").write_text("time,flow\n" * 1_000)
    with pytest.raises(DatabaseError, match=r"plant\.db': file is not a database"):
        sample_query(f"sqlite:///{tmp_path}/plant.db", "SELECT * FROM log", 1)
