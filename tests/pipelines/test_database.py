"""What arrives from a query, asked in a real PostgreSQL server and in SQLite files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.database import read_query, sample_query

Run = Callable[..., list[tuple[Any, ...]]]
ROOT = Path(__file__).parents[2]
UTC_TIME, LOCAL_TIME = pl.Datetime("us", "UTC"), pl.Datetime("us")
FIRST = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
PEAK = """
import json, sys
from pathlib import Path
from pipelines.database import read_query
options = {"time": "time", "time_format": "epoch_s", "since": None, "batch_rows": 20_000}
rows = sum(batch.height for batch in read_query(*sys.argv[1:], **options))
status = Path("/proc/self/status").read_text()
print(json.dumps([rows, int(status.partition("VmHWM:")[2].split()[0])]))
"""


def read(
    address: str,
    sql: str = "SELECT * FROM log",
    *,
    time: str = "time",
    since: datetime | None = None,
    batch_rows: int = 1_000,
) -> list[pl.DataFrame]:
    options: Any = {"time": time, "time_format": "epoch_s", "batch_rows": batch_rows}
    return list(read_query(address, sql, since=since, **options))


def test_each_postgres_type_arrives_as_what_it_means(in_postgres: str) -> None:
    values = {
        "time": (
            "timestamptz '2026-01-10 13:00:00.25+01'",
            datetime(2026, 1, 10, 12, 0, 0, 250_000, tzinfo=UTC),
        ),
        "local": ("timestamp '2026-01-10 13:00'", datetime(2026, 1, 10, 13)),  # noqa: DTZ001
        "day": ("date '2026-01-10'", datetime(2026, 1, 10)),  # noqa: DTZ001
        "amount": ("12.50::numeric", 12.5),
        "huge": ("1e400::numeric", float("inf")),
        "single": ("0.1::real", 0.1),
        "double": ("0.1::float8", 0.1),
        "small": ("7::smallint", 7),
        "big": ("9007199254740993::bigint", 9_007_199_254_740_993),
        "running": ("true", True),
        "note": ("'Ölstand µ'::varchar(20)", "Ölstand µ"),
        "array": ("ARRAY[1, 2]", "{1,2}"),
        "object": ("'{\"a\": 1}'::jsonb", '{"a": 1}'),
        "identity": (
            "'5f1f1b0e-0000-4000-8000-000000000000'::uuid",
            "5f1f1b0e-0000-4000-8000-" + "0" * 12,
        ),
        "span": ("interval '90 minutes'", "01:30:00"),
    }
    (rows,) = read(
        in_postgres, "SELECT " + ", ".join(f"{sql} AS {name}" for name, (sql, _) in values.items())
    )
    assert rows.row(0, named=True) == {name: value for name, (_, value) in values.items()}
    assert rows.schema["time"] == UTC_TIME
    assert rows.schema["local"] == rows.schema["day"] == LOCAL_TIME
    floats = {"amount", "huge", "single", "double"}
    assert {name for name, kind in rows.schema.items() if kind == pl.Float64} == floats


def test_times_that_no_calendar_has_are_null_and_numbers_stay(in_postgres: str, run: Run) -> None:
    run(
        in_postgres,
        "CREATE TABLE log (time timestamptz, day date, flow float8)",
        """INSERT INTO log VALUES ('-infinity', 'infinity', 'NaN'), ('infinity', NULL, 'Infinity'),
        ('0044-03-15 BC', '0044-03-15 BC', 1), ('20000-01-01', '20000-01-01', 2),
        ('9999-12-31 23:59:59.999999Z', '0001-01-01', 3)""",
    )
    (rows,) = read(in_postgres)
    assert rows.drop_nulls("time").rows() == [
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1, 1, 1), 3.0)  # noqa: DTZ001
    ]
    assert rows["day"].null_count() == 4
    assert str(rows["flow"].to_list()) == "[nan, 1.0, 3.0, 2.0, inf]"


def test_sqlite_columns_are_what_all_their_values_are(in_sqlite: str, run: Run) -> None:
    run(
        in_sqlite,
        "CREATE TABLE log (time INTEGER, whole, mixed, spoilt, empty, raw)",
        "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)",
        rows=[(1, 5, 5, 0.25, None, b"\xc2\xb5"), (2, 6, 6.5, "I/O \x00 Timeout", None, "m")],
    )
    batches = read(in_sqlite, batch_rows=1)
    assert [batch.row(0) for batch in batches] == [
        (1, 5, 5.0, "0.25", None, "µ"),
        (2, 6, 6.5, "I/O \x00 Timeout", None, "m"),
    ]
    types = [pl.Int64(), pl.Int64(), pl.Float64(), pl.String(), pl.Null(), pl.String()]
    assert [batch.dtypes for batch in batches] == [types, types]


def test_text_that_is_not_utf8_is_read_with_marks_in_it(in_sqlite: str, run: Run) -> None:
    run(in_sqlite, "CREATE TABLE log AS SELECT 1 AS time, CAST(x'4142ff' AS TEXT) AS note")
    (rows,) = read(in_sqlite)
    assert rows["note"].to_list() == ["AB\ufffd"]


def test_every_batch_has_the_same_types_and_rows_are_in_order(database: str, run: Run) -> None:
    times = [number * 7 % 25 for number in range(25)]
    rows_of_log = ", ".join(f"({time}, {0.5 if time > 20 else 'NULL'}, NULL)" for time in times)
    run(
        database,
        "CREATE TABLE log (time bigint, flow float, note text)",
        f"INSERT INTO log VALUES {rows_of_log}",  # noqa: S608 - ours
    )
    batches = read(database, batch_rows=10)
    assert [batch.height for batch in batches] == [10, 10, 5]
    assert batches[0].schema == batches[1].schema == batches[2].schema
    rows = pl.concat(batches)
    assert rows["time"].to_list() == list(range(25))
    assert rows["flow"].to_list() == [None] * 21 + [0.5] * 4


def test_large_batches_are_filled(in_postgres: str) -> None:
    batches = read(in_postgres, "SELECT generate_series(1, 45000) AS time", batch_rows=20_000)
    assert [batch.height for batch in batches] == [20_000, 20_000, 5_000]
    assert pl.concat(batches)["time"].to_list() == list(range(1, 45_001))


def test_a_query_without_rows_gives_no_batch(database: str, run: Run) -> None:
    run(database, "CREATE TABLE log (time bigint)")
    assert read(database, since=FIRST) == []


def test_columns_keep_their_names(database: str, run: Run) -> None:
    names = ["Flow m3/h", "Größe", 'the "hot" end', "Load %", "%(x)s", "a:b", ":c", "{0}", "d\\e"]
    quoted = ['"' + name.replace('"', '""') + '" int' for name in names]
    run(
        database,
        f'CREATE TABLE log ("Zeit:h %s" bigint, {", ".join(quoted)})',
        "INSERT INTO log VALUES (7, 0, 1, 2, 3, 4, 5, 6, 7, 8)",
    )
    (rows,) = read(database, time="Zeit:h %s", since=FIRST)
    expected = {"Zeit:h %s": 7} | {name: number for number, name in enumerate(names)}
    assert rows.row(0, named=True) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS time, ';' AS note;",
        "  -- all; of it\n SELECT 1 AS time, ';' AS note -- the end",
        "/* one; */ select 1 AS time, ';' AS note ; ; /* and; */ -- done;",
        "select*from(SELECT 1 AS time, ';' AS note) AS x",
        "WITH x AS (SELECT 1 AS time) SELECT time, ';' AS note FROM x;",
        "SELECT 1 AS time, ';' AS note WHERE 'it''s ; -- :since %s 100%' LIKE '%:since%'",
        "SELECT 1 AS time, ';' AS note WHERE '12:30' <> ':x' AND 7 % 4 = 3",
    ],
)
def test_a_query_may_be_written_in_any_way(database: str, run: Run, sql: str) -> None:
    run(database, "CREATE TABLE log (time int)")  # SQLite makes its file
    (rows,) = read(database, sql, since=FIRST)
    assert rows.rows() == [(1, ";")]


def test_what_only_postgres_writes_is_understood(in_postgres: str) -> None:
    sql = r"(SELECT 1::int AS time, E'it\';s' AS a, $x$;'$x$ AS b, array[[1],[2]] AS c) /* ; */;"
    (rows,) = read(in_postgres, sql, since=FIRST)
    assert rows.rows() == [(1, "it';s", ";'", "{{1},{2}}")]


def test_a_sample_is_the_first_rows_of_the_query(database: str, run: Run) -> None:
    run(database, "CREATE TABLE log AS SELECT 5 AS time, 'x' AS note UNION SELECT 6, 'y'")
    query = "SELECT * FROM log ORDER BY time DESC;"
    assert sample_query(database, query, 1).rows() == [(6, "y")]
    assert sample_query(database, query, 9).rows() == [(6, "y"), (5, "x")]
    assert sample_query(database, query, 0).columns == ["time", "note"]


@pytest.mark.parametrize(
    ("place", "series"),
    [
        ("in_postgres", "generate_series(1, {0}) AS time"),
        (
            "in_sqlite",
            (
                "(WITH RECURSIVE s(time) AS (SELECT 1 UNION ALL SELECT time + 1 FROM s LIMIT {0}) "
                "SELECT * FROM s)"
            ),
        ),
    ],
)
def test_memory_does_not_grow_with_the_result(
    place: str, series: str, run: Run, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(place)
    run(address, "CREATE TABLE log (time int)")  # SQLite makes its file
    note = "'long as the row of a wide table, ' || time AS note"
    query = f"SELECT time, {note} FROM {series}"  # noqa: S608 - ours
    peaks = []
    for rows in (40_000, 400_000):
        ran = subprocess.run(  # noqa: S603 - ours
            [sys.executable, "-c", PEAK, address, query.format(rows)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
        found, peak_kb = json.loads(ran.stdout)
        assert found == rows
        peaks.append(peak_kb)
    assert peaks[1] < peaks[0] + 8_000  # as Python objects the rows would need 60,000 more
