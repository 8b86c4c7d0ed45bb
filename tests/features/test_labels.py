from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.labels import Interval, LabelError, LabelKind, outside, read_intervals

START = datetime(2026, 1, 1, tzinfo=UTC)


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_intervals_are_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "start,end,kind,note\n"
        "2026-01-02T00:00:00Z,2026-01-03T00:00:00Z,maintenance,new seal\n"
        '2026-01-01T02:00:00+02:00,2026-01-01T08:00:00Z,fault,"pump, dry"\n'
        "2026-01-05T00:00:00Z,2026-01-05T01:00:00Z,nuisance,\n",
    )
    first, second, third = read_intervals(path)
    assert (first.kind, first.note, first.start) == (
        "maintenance",
        "new seal",
        START.replace(day=2),
    )
    assert (second.start, second.note) == (START, "pump, dry")
    assert (third.kind, third.note) == ("nuisance", "")


LINE = "2026-01-01T00:00:00Z,2026-01-02T00:00:00Z,fault,\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start,end,kind\n", "'labels.csv' has no column 'note'; expected the columns start, end"),
        ("", "'labels.csv' is not a CSV file of labels: empty CSV"),
        (
            f"start,end,kind,note\n{LINE}2026-01-01T00:00:00Z,2026-01-02T00:00:00Z,leak,\n",
            "'labels.csv' line 3: kind is 'leak', expected one of fault, maintenance",
        ),
        ("start,end,kind,note\nsoon,2026-01-02T00:00:00Z,fault,\n", "line 2: start is 'soon', exp"),
        ("start,end,kind,note\n2026-01-02T00:00:00Z,,fault,\n", "line 2: end is '', expected a"),
        (
            "start,end,kind,note\n2026-01-01T00:00:00,2026-01-02T00:00:00Z,fault,\n",
            "line 2: start is '2026-01-01T00:00:00', which has no time zone; write an offset",
        ),
        (
            "start,end,kind,note\n2026-01-02T00:00:00Z,2026-01-02T00:00:00Z,fault,\n",
            "line 2: start 2026-01-02T00:00:00Z is not before end 2026-01-02T00:00:00Z",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabelError) as caught:
        read_intervals(write(tmp_path, text))
    assert message in str(caught.value)


def test_a_missing_file_says_where_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"correct \[source\] labels or make the file"):
        read_intervals(tmp_path / "none.csv")


def hourly(count: int) -> pl.DataFrame:
    times = [START + timedelta(hours=hour) for hour in range(count)]
    return pl.DataFrame({"time": times}, schema={"time": pl.Datetime("us", "UTC")})


def test_an_interval_includes_its_start_and_not_its_end() -> None:
    fault = Interval(START + timedelta(hours=1), START + timedelta(hours=3), "fault")
    assert outside(hourly(5), [fault])["time"].dt.hour().to_list() == [0, 3, 4]


@pytest.mark.parametrize(
    ("kind", "left"), [("fault", 0), ("maintenance", 0), ("true_fault", 0), ("nuisance", 2)]
)
def test_only_a_nuisance_stays_normal_running(kind: LabelKind, left: int) -> None:
    interval = Interval(START, START + timedelta(hours=2), kind)
    assert outside(hourly(2), [interval]).height == left


def test_without_intervals_all_is_normal_running() -> None:
    assert outside(hourly(3), []).height == 3


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=5))
def test_a_row_stays_if_it_is_in_no_interval(spans: list[tuple[int, int]]) -> None:
    intervals = [
        Interval(START + timedelta(hours=at), START + timedelta(hours=at + length), "fault")
        for at, length in spans
    ]
    kept = outside(hourly(24), intervals)["time"].to_list()
    expected = [
        time
        for time in hourly(24)["time"]
        if not any(interval.start <= time < interval.end for interval in intervals)
    ]
    assert kept == expected
