from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from features.first_look.pieces import InspectionError, Piece
from features.first_look.time_column import find_time_column
from features.first_look.time_forms import read_times, sniff_times

AT = datetime(2026, 1, 25, 13, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time_format"),
    [
        ("2026-01-25 13:04:05", "iso"),
        ("2026-01-25T13:04:05Z", "iso"),
        ("2026-01-25T14:04:05+01:00", "iso"),
        ("2026-01-25 13:04:05.000", "iso"),
        ("2026-01-25 13:04:05 UTC", "%Y-%m-%d %H:%M:%S UTC"),
        ("2026/1/25 13:04:05", "%Y/%m/%d %H:%M:%S"),
        ("2026-01-25-13-04-05", "%Y-%m-%d-%H-%M-%S"),
        ("20260125130405", "%Y%m%d%H%M%S"),
        ("20260125T130405Z", "%Y%m%dT%H%M%SZ"),
        ("25.01.2026 13:04:05", "%d.%m.%Y %H:%M:%S"),
        ("25.01.26 13:04:05", "%d.%m.%y %H:%M:%S"),
        ("25.01.2026 13:04:05,000", "%d.%m.%Y %H:%M:%S,%3f"),
        ("25/01/2026 13:04:05.0", "%d/%m/%Y %H:%M:%S%.f"),
        ("01/25/2026 01:04:05 PM", "%m/%d/%Y %I:%M:%S %p"),
        ("25-Jan-26 13:04:05", "%d-%b-%y %H:%M:%S"),
        ("January 25 2026 13:04:05", "%B %d %Y %H:%M:%S"),
        ("01/25/2026 14:04:05 +0100", "%m/%d/%Y %H:%M:%S %z"),
        ("1769346245", "epoch_s"),
        ("1769346245.0", "epoch_s"),
        ("1769346245000", "epoch_ms"),
        ("1769346245000000", "epoch_us"),
        ("1769346245000000000", "epoch_ns"),
    ],
)
def test_a_form_is_told_and_reads_the_time(text: str, time_format: str) -> None:
    texts = pl.Series([text, None, ""])
    form = sniff_times(texts)
    assert form is not None
    assert (form.time_format, form.doubt) == (time_format, None)
    assert read_times(texts, form).to_list() == [AT, None, None]


@pytest.mark.parametrize(
    ("text", "zoned", "utc"),
    [
        ("2026-01-25T13:04:05+01:00", True, False),
        ("2026-01-25 13:04:05", False, False),
        ("20260125T130405Z", False, True),
        ("01/25/2026 14:04:05 +0100", True, False),
    ],
)
def test_an_offset_is_seen(text: str, zoned: bool, utc: bool) -> None:  # noqa: FBT001
    form = sniff_times(pl.Series([text]))
    assert form is not None
    assert (form.zoned, form.utc) == (zoned, utc)


def test_minutes_are_enough() -> None:
    form = sniff_times(pl.Series(["25.01.2026 13:04"]))
    assert form is not None
    assert form.time_format == "%d.%m.%Y %H:%M"


@pytest.mark.parametrize(
    ("texts", "time_format", "word"),
    [
        (["01.02.2026", "02.02.2026"], "%d.%m.%Y", "the day was taken"),
        (["01/02/2026"], "%m/%d/%Y", "the month was taken"),
        (["01/02/2026", "02/02/2026", "03/02/2026"], "%d/%m/%Y", "the day was taken"),
    ],
)
def test_day_and_month_that_cannot_be_told_apart_are_doubted(
    texts: list[str], time_format: str, word: str
) -> None:
    form = sniff_times(pl.Series(texts))
    assert form is not None
    assert form.time_format == time_format
    assert form.doubt is not None
    assert word in form.doubt


@pytest.mark.parametrize(
    "values",
    [
        ["FT-101", "FT-102"],
        ["12.5", "13"],
        ["10:00:00"],
        ["99.99.2026"],
        ["31/02/2026"],
        ["1769346245", "12", "1769346240", "3"],
        [None],
        [True, False],
        [0.5, 3.0],
        [time(1)],
        [1769346245, 1769346244, 1769346243],
    ],
)
def test_other_values_are_no_times(values: list[object]) -> None:
    assert sniff_times(pl.Series(values)) is None


def test_columns_of_times_need_no_form() -> None:
    for values, zoned in (
        ([AT], True),
        ([AT.replace(tzinfo=None)], False),
        ([date(2026, 1, 1)], False),
    ):
        form = sniff_times(pl.Series(values))
        assert form is not None
        assert (form.time_format, form.zoned) == ("iso", zoned)
        assert read_times(pl.Series(values), form).null_count() == 0


def piece(**columns: list[object]) -> Piece:
    return Piece(pl.DataFrame(columns), "plant/a.csv")


def test_names_and_content_decide_which_column_is_the_time() -> None:
    texts: list[object] = ["2026-01-01 00:00", "2026-01-01 00:01"]
    numbers: list[object] = [1769346245, 1769346246]
    for columns, expected in (
        ({"flow": [1, 2], "when": texts}, "when"),
        ({"ServerTimestamp": texts, "SourceTimestamp": texts}, "SourceTimestamp"),
        ({"total": numbers, "Datum": texts}, "Datum"),
        ({"x": numbers, "y": [1, 2]}, "x"),
        ({"y": [1, 2], "epoch": numbers}, "epoch"),
    ):
        assert find_time_column([piece(**columns)])[0] == expected


def test_what_is_not_sure_about_the_time_is_said() -> None:
    texts: list[object] = ["01.02.2026 00:00", "01.02.2026 00:01"]
    _, _, remarks = find_time_column([piece(t=texts, other=texts)])
    assert [remark.about for remark in remarks] == [
        "source.time",
        "source.time_format",
        "source.time_zone",
    ]
    _, _, remarks = find_time_column([piece(x=[1769346245, 1769346246])])
    assert "numbers in 'x' were taken for times" in remarks[0].text


def test_the_users_word_decides() -> None:
    texts: list[object] = ["2026-01-01 00:00", "2026-01-01 00:01"]
    sample = piece(time=texts, x=[1769346245, 1769346246])
    name, form, _ = find_time_column([sample], named="x")
    assert (name, form.time_format) == ("x", "epoch_s")


@pytest.mark.parametrize(
    ("columns", "named", "sentence"),
    [
        ({"a": [1], "b": ["x"]}, None, "no column of a.csv holds times; it has 'a', 'b'; name"),
        ({"b": [1], "a": [1769346245]}, None, "no column of a.csv holds times"),
        ({"a": [1]}, "t", "a.csv has no column 't'; it has 'a'; correct --time"),
        ({"a": ["soon"]}, "a", "column 'a' of a.csv has 'soon', which cannot be read as a time"),
        ({"a": [None]}, "a", "column 'a' of a.csv has no value"),
        (
            {"Date": ["2026-01-01"], "n": [1], "Time": ["10:00:00"]},
            None,
            "the date in 'Date' and the time of day in 'Time'; write both into one column",
        ),
    ],
)
def test_no_time_is_answered_with_a_sentence(
    columns: dict[str, list[object]], named: str | None, sentence: str
) -> None:
    with pytest.raises(InspectionError) as caught:
        find_time_column([piece(**columns)], named=named)
    assert sentence in str(caught.value)


def test_days_without_a_time_of_day_are_times() -> None:
    sample = piece(day=["2026-01-01", "2026-01-02"], operator=["Jo", "Al"])
    assert find_time_column([sample])[0] == "day"


def test_a_file_with_another_time_column_is_named() -> None:
    other = Piece(pl.DataFrame({"when": ["2026-01-01"]}), "plant/b.csv")
    with pytest.raises(InspectionError, match=r"b.csv has no column 'time', which holds the times"):
        find_time_column([piece(time=["2026-01-01"], flow=[1]), other])
