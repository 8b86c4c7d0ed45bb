"""The historian's tables in object storage, by address: a stand-in that speaks S3."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from deltalake.exceptions import CommitFailedError

from pipelines.tables import (
    Table,
    TableError,
    append,
    compact,
    files_of,
    forget,
    marks_of,
    put,
    retried,
    units_of,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def rows_from(hour: int, flow: float = 1.0) -> pl.DataFrame:
    times = [BEGIN + timedelta(hours=hour), BEGIN + timedelta(hours=hour, minutes=30)]
    return pl.DataFrame(
        {"month": ["2026-01"] * 2, "time": times, "flow": [flow] * 2},
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )


@pytest.fixture
def table(s3: str) -> Table:
    schema = {"month": pl.String(), "time": pl.Datetime("us", "UTC"), "flow": pl.Float64()}
    made = Table(f"{s3}/historian/pump/samples", schema, partition_by="month")
    made.create({"flow": "m3/h"})
    return made


def test_a_table_is_made_by_address(s3: str, table: Table) -> None:
    assert table.exists()
    assert not Table(f"{s3}/historian/pump/quarantine", {"line": pl.Int64()}).exists()
    assert units_of(table.open())["flow"] == "m3/h"
    assert table.scan().collect().is_empty()


def test_rows_and_marks_come_back(table: Table) -> None:
    append(table.open(), rows_from(0), {"pump.csv": 7})
    assert table.scan().sort("time").collect().equals(rows_from(0))
    assert marks_of(table.open(), ["pump.csv", "valve.csv"]) == [7, None]


def test_rows_are_replaced_and_old_versions_stay(table: Table) -> None:
    append(table.open(), rows_from(0, flow=1.0))
    put(table.open(), rows_from(0, flow=2.0), ["2026-01"], {})
    assert table.scan().sort("time").collect().equals(rows_from(0, flow=2.0))
    assert table.scan(1).sort("time").collect().equals(rows_from(0, flow=1.0))


def test_the_second_of_two_writers_is_refused(table: Table) -> None:
    first, second = table.open(), table.open()
    append(first, rows_from(0))
    with pytest.raises(CommitFailedError):
        append(second, rows_from(1))
    assert table.scan().sort("time").collect().equals(rows_from(0))


def test_no_row_of_writers_at_the_same_time_is_lost(table: Table) -> None:
    def write(hour: int) -> None:
        retried(lambda: append(table.open(), rows_from(hour)), "pump")

    with ThreadPoolExecutor(3) as writers:
        list(writers.map(write, range(12)))
    written = table.scan().sort("time").collect()
    assert written.equals(pl.concat(rows_from(hour) for hour in range(12)))


def test_many_small_files_become_one(table: Table) -> None:
    for hour in range(16):
        append(table.open(), rows_from(hour))
    before = table.scan().sort("time").collect()
    assert compact(table) == 16
    assert files_of(table.open()).height == 1
    assert table.scan().sort("time").collect().equals(before)


def test_only_what_young_versions_need_is_kept(table: Table) -> None:
    append(table.open(), rows_from(0, flow=1.0))
    put(table.open(), rows_from(0, flow=2.0), ["2026-01"], {})
    assert forget(table, timedelta(hours=1)) == 0
    snapshot = table.open()
    assert len(snapshot.vacuum(0, dry_run=False, enforce_retention_duration=False)) == 1
    assert table.scan().sort("time").collect().equals(rows_from(0, flow=2.0))


def test_a_bucket_that_is_not_there_is_a_sentence(s3: str) -> None:
    with pytest.raises(TableError) as caught:
        Table(f"{s3}-of-another/pump", {"line": pl.Int64()}).create()
    said = str(caught.value)
    assert said == (
        f"{s3}-of-another/pump cannot be read: The specified bucket does not exist; correct the "
        "address, or the AWS_ variables that say how to reach it"
    )
