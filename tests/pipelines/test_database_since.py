"""Only what is new is asked of a database, however it writes its times."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from pipelines.database import read_query

Run = Callable[..., list[tuple[Any, ...]]]
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
# Hours before noon; what is older than three days must not be sent again.
AGES = [timedelta(hours=hours) for hours in (-48, -1, 0, 80, 24 * 400)]
WEST = timedelta(hours=12)


def read(address: str, *, time_format: str = "epoch_s", since: datetime | None = None) -> list[Any]:
    """Times of all rows."""
    batches = read_query(
        address,
        "SELECT * FROM log",
        time="time",
        time_format=time_format,
        since=since,
        batch_rows=1_000,
    )
    return pl.concat([pl.DataFrame({"time": []}), *batches], how="vertical_relaxed")[
        "time"
    ].to_list()


def fill(run: Run, address: str, column: str, times: list[object]) -> None:
    run(address, f"CREATE TABLE log (time {column})")
    for time in times:
        value = f"'{time}'" if isinstance(time, str) else time or "NULL"
        run(address, f"INSERT INTO log VALUES ({value})")  # noqa: S608 - ours


Written = Callable[[datetime], object]
POSTGRES: dict[str, tuple[str, Written]] = {
    "instants": ("timestamptz", lambda at: at.isoformat()),
    "local times far in the west": ("timestamp", lambda at: f"{at - WEST:%Y-%m-%d %H:%M:%S}"),
    "local times far in the east": ("timestamp", lambda at: f"{at + WEST:%Y-%m-%d %H:%M:%S}"),
    "days": ("date", lambda at: f"{at - WEST:%Y-%m-%d}"),
}
BOTH: dict[str, tuple[str, str, Written]] = {
    "ISO text": ("text", "iso", lambda at: at.isoformat()),
    "ISO text far in the west": (
        "varchar(40)",
        "iso",
        lambda at: f"{at - WEST:%Y-%m-%d %H:%M:%S}-12:00",
    ),
    "ISO days": ("text", "iso", lambda at: f"{at:%Y-%m-%d}"),
    "seconds": ("bigint", "epoch_s", lambda at: round(at.timestamp())),
    "seconds with decimals": ("float", "epoch_s", lambda at: at.timestamp() + 0.25),
    "decimal seconds": ("numeric(20, 3)", "epoch_s", lambda at: round(at.timestamp())),
    "milliseconds": ("bigint", "epoch_ms", lambda at: round(at.timestamp()) * 10**3),
    "microseconds": ("bigint", "epoch_us", lambda at: round(at.timestamp()) * 10**6),
    "nanoseconds": ("bigint", "epoch_ns", lambda at: round(at.timestamp()) * 10**9),
}
UNKNOWN: dict[str, tuple[str, str, Written]] = {
    "numbers as text": ("text", "epoch_s", lambda at: f"{at.timestamp():.0f}"),
    "German text": ("text", "%d.%m.%Y %H:%M", lambda at: f"{at:%d.%m.%Y %H:%M}"),
    "numbers of no epoch": ("bigint", "%Y%m%d", lambda at: int(f"{at:%Y%m%d}")),
}


def check_new_rows_only(address: str, time_format: str) -> None:
    assert len(read(address, time_format=time_format)) == 5
    assert len(read(address, time_format=time_format, since=NOON)) == 3
    assert len(read(address, time_format=time_format, since=NOON + timedelta(hours=47))) >= 1


@pytest.mark.parametrize("form", POSTGRES)
def test_times_of_postgres_are_compared_as_what_they_are(
    in_postgres: str, run: Run, form: str
) -> None:
    column, written = POSTGRES[form]
    fill(run, in_postgres, column, [written(NOON - age) for age in AGES])
    check_new_rows_only(in_postgres, "iso")


@pytest.mark.parametrize("form", BOTH)
def test_old_rows_are_left_out_and_no_new_one(database: str, run: Run, form: str) -> None:
    column, time_format, written = BOTH[form]
    fill(run, database, column, [written(NOON - age) for age in AGES])
    check_new_rows_only(database, time_format)


@pytest.mark.parametrize("form", UNKNOWN)
def test_nothing_is_left_out_where_the_database_cannot_tell(
    database: str, run: Run, form: str
) -> None:
    column, time_format, written = UNKNOWN[form]
    fill(run, database, column, [written(NOON - age) for age in AGES])
    assert len(read(database, time_format=time_format, since=NOON)) == len(AGES)


def test_iso_text_of_another_day_than_in_utc_is_read(database: str, run: Run) -> None:
    fill(run, database, "text", ["2026-01-09T12:30:00-12:00", "2026-01-10 14:30:00+14:00"])
    assert (
        len(read(database, time_format="iso", since=datetime(2026, 1, 10, 0, 30, tzinfo=UTC))) == 2
    )


def test_of_iso_text_without_dashes_all_of_the_year_comes(database: str, run: Run) -> None:
    fill(run, database, "text", [f"{NOON - age:%Y%m%dT%H%M%SZ}" for age in AGES])
    assert len(read(database, time_format="iso", since=NOON)) == 4


def test_any_time_zone_of_since_means_the_same(in_postgres: str, run: Run) -> None:
    fill(run, in_postgres, "timestamp", ["2026-01-09 12:00", "2026-01-09 11:59"])
    tokyo = NOON.astimezone(datetime.strptime("+0900", "%z").tzinfo)
    assert len(read(in_postgres, time_format="iso", since=tokyo)) == 1


def test_a_since_before_1970_leaves_nothing_out(in_postgres: str, run: Run) -> None:
    fill(run, in_postgres, "timestamp", ["1969-12-31 12:00", "0001-01-01 00:00"])
    assert len(read(in_postgres, time_format="iso", since=datetime(1, 1, 1, tzinfo=UTC))) == 2


def test_a_row_that_comes_late_is_read_by_the_next_run(database: str, run: Run) -> None:
    fill(run, database, "bigint", [100])
    assert read(database) == [100]
    run(database, "INSERT INTO log VALUES (98), (40)")
    assert read(database, since=datetime.fromtimestamp(90, UTC)) == [98, 100]


def test_rows_without_a_time_come_with_the_whole_only(database: str, run: Run) -> None:
    fill(run, database, "bigint", [None, 100])
    assert set(read(database)) == {None, 100}
    assert read(database, since=datetime.fromtimestamp(90, UTC)) == [100]
