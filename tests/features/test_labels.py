from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.labels import (
    Interval,
    LabelError,
    LabelKind,
    outside,
    read_instant,
    read_intervals,
)

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
        ('start,end,kind,note\n"2026', "'labels.csv' is not a CSV file of labels: unexpected end"),
        (
            "soon,later\n",
            "'labels.csv' has no column 'start'; expected the columns start, end, kind",
        ),
        (f"start,end,kind,note\n{LINE[:-1]}a leak, at night\n", "line 2 has 5 fields, expected 4"),
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


def test_a_file_that_is_not_utf_8_says_why(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"start,end,kind,note\n" + "Überholung".encode("cp1252"))
    with pytest.raises(LabelError, match="is not a CSV file of labels: 'utf-8' codec can't"):
        read_intervals(path)


def test_a_spreadsheets_semicolons_mark_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeffstart; end; kind; note\r\n;;;\r\n"
        "2026-01-01T00:00:00Z;2026-01-02T00:00:00Z;maintenance;oil, filter\r\n \r\n"
        "2026-01-03T00:00:00Z;2026-01-04T00:00:00Z;fault\r\n",
    )
    assert read_intervals(path) == (
        Interval(START, START.replace(day=2), "maintenance", "oil, filter"),
        Interval(START.replace(day=3), START.replace(day=4), "fault"),
    )


def test_a_line_is_counted_as_an_editor_counts_it(tmp_path: Path) -> None:
    text = f'start,end,kind,note\n\n{LINE[:-1]}"two\nlines"\nsoon,,fault,\n'
    with pytest.raises(LabelError, match="line 5: start is 'soon'"):
        read_intervals(write(tmp_path, text))


LOCAL = "start,end,kind,note\n{},{},fault,\n"


def test_times_without_an_offset_are_of_the_given_zone(tmp_path: Path) -> None:
    path = write(tmp_path, LOCAL.format("2026-07-01 10:00:00", "2026-07-01T10:00:00Z"))
    (interval,) = read_intervals(path, "Europe/Berlin")
    assert interval.start == datetime(2026, 7, 1, 8, tzinfo=UTC)
    assert interval.end == datetime(2026, 7, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("2026-10-25T02:30:00", "which was twice in Europe/Berlin; write an offset or Z"),
        ("2026-03-29T02:30:00", "which never was in Europe/Berlin; write an offset or Z"),
    ],
)
@pytest.mark.parametrize("layout", [LOCAL, "2020-01-01 00:00,2020-01-02 00:00\n{},{}\n"])
def test_a_local_time_that_the_clocks_doubled_or_skipped_is_refused(
    tmp_path: Path, layout: str, time: str, message: str
) -> None:
    path = write(tmp_path, layout.format(time, "2026-12-01T00:00:00"))
    with pytest.raises(LabelError) as caught:
        read_intervals(path, "Europe/Berlin")
    assert message in str(caught.value)
    offset = write(tmp_path, layout.format(time + "+01:00", "2026-12-01T00:00:00"))
    assert read_intervals(offset, "Europe/Berlin")


def test_a_label_file_of_lookout_is_read_as_it_is(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "2020-02-01T20:00:00.000000,2020-02-03T00:00:00.000000\n"
        "2020-07-01T20:00:00.000000,2020-07-03T00:01:00.000000\n",
    )
    first, second = read_intervals(path)
    assert first == Interval(
        datetime(2020, 2, 1, 20, tzinfo=UTC), datetime(2020, 2, 3, tzinfo=UTC), "fault"
    )
    assert second.end == datetime(2020, 7, 3, 0, 1, tzinfo=UTC)


def test_a_label_file_of_lookout_can_be_empty(tmp_path: Path) -> None:
    assert read_intervals(write(tmp_path, "")) == ()


def test_a_given_zone_applies_to_lookouts_times_too(tmp_path: Path) -> None:
    path = write(tmp_path, "2026-01-01T02:00:00.000000,2026-01-01T03:00:00.000000\n")
    assert read_intervals(path, "Europe/Berlin")[0].start == START.replace(hour=1)


@pytest.mark.parametrize(
    "written",
    [
        "2026-05-01-08-30-15",
        "2026-05-01T08:30:15",
        "2026-05-01 08:30:15",
        "2026-05-01-08:30:15",
        "2026-05-01T08:30",
        "2026-05-01 08:30",
        "2026-05-01-08:30",
        "2026/05/01T08:30:15",
        "20260501T08:30",
        "20260501 08:30",
        "202605010830",
        "2026/05/01 08:30:15",
        "20260501T08:30:15",
        "20260501 08:30:15",
        "20260501083015",
        "2026/05/01T08:30",
        "2026/05/01 08:30",
        "2026 05 01T08:30:15",
        "2026 05 01 08:30:15",
        "2026 05 01T08:30",
        "2026 05 01 08:30",
        "2026/5/1 8:30",
        "5/1/2026 8:30",
        "05/01/2026 08:30:15",
    ],
)
def test_every_time_format_of_lookout_is_read(tmp_path: Path, written: str) -> None:
    (interval,) = read_intervals(write(tmp_path, f"{written},5/21/2026 0:00"))
    seconds = 15 if written.endswith("15") else 0
    assert interval.start == datetime(2026, 5, 1, 8, 30, seconds, tzinfo=UTC)
    assert interval.end == datetime(2026, 5, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("21/5/2026 0:00,22/5/2026 0:00", "line 2 is '21/5/2026 0:00', expected a time such as"),
        ("2026111T0:05,20261112 00:05", "line 2 is '2026111T0:05', expected a time"),
        ("2026050108301,20260502083015", "line 2 is '2026050108301', expected a time"),
        ("2026-05-01-08-30,2026-05-02-08-30", "line 2 is '2026-05-01-08-30', expected a time"),
        ("0001-01-01 00:00,2026-05-02 00:00", "line 2 is '0001-01-01 00:00', expected a time"),
        ("2026-13-01 00:00,2026-05-02 00:00", "line 2 is '2026-13-01 00:00', expected a time"),
        ("2026-05-01 00:00", "line 2 has 1 fields, expected two times: start and end"),
        ("2026-05-02 00:00,2026-05-01 00:00", "line 2: start 2026-05-02T00:00:00Z is not before"),
    ],
)
def test_a_line_of_lookout_that_would_have_to_be_guessed_is_refused(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(LabelError) as caught:
        read_intervals(write(tmp_path, f"2020-01-01 00:00,2020-01-02 00:00\n{line}\n"))
    assert message in str(caught.value)


def test_a_time_that_somebody_types_needs_an_offset() -> None:
    assert read_instant("2026-01-01T02:00+02:00", "FROM") == START
    with pytest.raises(LabelError, match="FROM is '2026-01-01', which has no time zone; write"):
        read_instant("2026-01-01", "FROM")
    with pytest.raises(LabelError, match="TO is 'monday', expected a time such as 2026-05-01T08"):
        read_instant("monday", "TO")


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
