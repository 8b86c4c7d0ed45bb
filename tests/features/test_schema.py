import json
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channels import Channel
from features.schema import (
    QUARANTINE_SCHEMA,
    TIME,
    SchemaError,
    Split,
    check_samples,
    locate_columns,
    samples_schema,
    split_usable,
)

FLOW, PRESSURE = Channel(name="flow", tag="FT-101"), Channel(name="pressure")
CHANNELS = (FLOW, PRESSURE)
AT = datetime(2026, 5, 1, 8, tzinfo=UTC)


def split(raw: pl.DataFrame, *, first_line: int = 2) -> Split:
    return split_usable(raw, CHANNELS, source="a.csv", first_line=first_line)


def text_rows(*rows: tuple[str | None, str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={"time": pl.String, "flow": pl.String, "pressure": pl.String}, orient="row"
    )


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01T08:00:00Z",
        "2026-05-01T08:00:00.000000z",
        "2026-05-01 08:00:00+00:00",
        " 2026-05-01T10:00:00+02:00 ",
        "2026-05-01T10:00:00.000+0200",
        "2026-05-01 03:30:00-04:30",
    ],
)
def test_a_time_with_an_offset_becomes_utc(text: str) -> None:
    samples = split(text_rows((text, "1", "2"))).samples
    assert samples.schema == samples_schema(CHANNELS)
    assert samples["time"].to_list() == [AT]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "time is missing"),
        ("  ", "time is missing"),
        ("NaN", "time is missing"),
        ("soon", "time is 'soon', expected a time such as 2026-05-01T08:00:00Z"),
        ("2026-13-01T08:00:00Z", "time is '2026-13-01T08:00:00Z', expected a time such as"),
        ("1777622400", "time is '1777622400', expected a time such as"),
        ("1601-01-01T00:00:00Z", "time is '1601-01-01T00:00:00Z', expected a time such as"),
        ("9000-01-01T00:00:00Z", "time is '9000-01-01T00:00:00Z', expected a time such as"),
        ("2026-05-01T08:00:00", "which has no time zone; write an offset or Z"),
        ("2026-05-01 08:00:00.250", "which has no time zone; write an offset or Z"),
        ("2026-05-01", "time is '2026-05-01', which has no time zone; write an offset or Z"),
    ],
)
def test_a_row_without_a_usable_time_is_quarantined(text: str | None, reason: str) -> None:
    found = split(text_rows((text, "1", "2")), first_line=7)
    assert found.samples.is_empty()
    row = found.quarantined.row(0, named=True)
    assert row["reason"].startswith(reason) or row["reason"].endswith(reason)
    assert (row["source"], row["line"]) == ("a.csv", 7)
    assert json.loads(row["raw"]) == {"time": text, "flow": "1", "pressure": "2"}


@pytest.mark.parametrize("text", [None, "", " ", "NaN", "nan", "null", "NULL", "None", "N/A", "na"])
def test_a_word_for_missing_is_null(text: str | None) -> None:
    found = split(text_rows(("2026-05-01T08:00:00Z", text, "2")))
    assert found.samples.row(0) == (AT, None, 2.0)
    assert found.quarantined.is_empty()


@pytest.mark.parametrize("text", ["off", "1,5", "inf", "-Infinity", "1e999", "0x10", "1 2"])
def test_a_row_with_a_value_that_is_no_finite_number_is_quarantined(text: str) -> None:
    found = split(text_rows(("2026-05-01T08:00:00Z", "1", text)))
    assert found.samples.is_empty()
    reason = f"channel 'pressure' is '{text}', expected a finite number"
    assert found.quarantined["reason"].to_list() == [reason]


def test_the_first_reason_of_a_row_is_given() -> None:
    found = split(text_rows(("soon", "off", "off"), ("2026-05-01T08:00:00Z", "off", "off")))
    assert [reason.split(" is ")[0] for reason in found.quarantined["reason"]] == [
        "time",
        "channel 'flow'",
    ]
    assert found.quarantined.schema == QUARANTINE_SCHEMA


def test_typed_columns_are_used_as_they_are() -> None:
    raw = pl.DataFrame(
        {
            "time": pl.Series([AT] * 5)
            .dt.convert_time_zone("Asia/Tokyo")
            .cast(pl.Datetime("ns", "Asia/Tokyo")),
            "FT-101": [1.5, float("nan"), float("inf"), None, 2.0],
            "pressure": pl.Series([1, 2, 3, None, 5], dtype=pl.Int16),
            "line": ["its", "own", "column", "is", "kept"],
        }
    )
    found = split(raw, first_line=1)
    assert found.samples.rows() == [
        (AT, 1.5, 1.0),
        (AT, None, 2.0),
        (AT, None, None),
        (AT, 2.0, 5.0),
    ]
    assert found.quarantined["line"].to_list() == [3]
    assert found.quarantined["reason"].to_list() == [
        "channel 'flow' is 'inf', expected a finite number"
    ]
    assert json.loads(found.quarantined["raw"][0])["line"] == "column"


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("time", [datetime(2026, 5, 1)], "time column 'time' is Datetime.* times with a zone"),  # noqa: DTZ001 - the point
        ("time", [1_777_622_400], "time column 'time' is Int64, expected times with a zone"),
        ("flow", [[1.0]], "column 'flow' of channel 'flow' is List.*, expected numbers"),
        ("pressure", [AT], "column 'pressure' of channel 'pressure' is Datetime"),
    ],
)
def test_a_column_of_a_type_that_no_row_can_mend_refuses_the_file(
    column: str, values: list[object], message: str
) -> None:
    columns: dict[str, list[object]] = {"time": [AT], "flow": [1.0], "pressure": [2.0]}
    with pytest.raises(SchemaError, match=f"a.csv: {message}"):
        split(pl.DataFrame({**columns, column: values}))


def test_booleans_and_empty_columns_are_numbers() -> None:
    raw = pl.DataFrame({"time": [AT], "flow": [True], "pressure": [None]})
    assert split(raw).samples.row(0) == (AT, 1.0, None)


def test_no_row_gives_no_row() -> None:
    found = split(text_rows())
    assert found.samples.schema == samples_schema(CHANNELS)
    assert found.quarantined.schema == QUARANTINE_SCHEMA


def test_a_channel_is_found_by_name_before_tag() -> None:
    found = ["time", "FT-101", "flow", "pressure", "note"]
    places = locate_columns(found, CHANNELS, source="a.csv", time_column="time")
    assert places == {"time": "time", "flow": "flow", "pressure": "pressure"}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (["t", "flow"], r"a.csv has no time column 'time'; it has t, flow; set \[source\] time"),
        (
            ["time", "pressure"],
            r"no column for channel 'flow' \(tag 'FT-101'\); add it to",
        ),
        (["time", "flow"], "no column for channel 'pressure'; add it to the file or remove"),
    ],
)
def test_a_file_that_lacks_a_column_is_refused(found: list[str], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        locate_columns(found, CHANNELS, source="a.csv", time_column="time")


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([None, "", "1", "x", "2026-05-01T08:00:00Z"])] * 3)))
def test_every_row_is_usable_or_quarantined(rows: list[tuple[str | None, ...]]) -> None:
    raw = text_rows(*rows)  # type: ignore[arg-type]
    found = split(raw)
    assert found.samples.height + found.quarantined.height == raw.height
    assert found.quarantined["line"].is_unique().all()


def good() -> pl.DataFrame:
    return pl.DataFrame(
        {"time": [AT, AT.replace(hour=9)], "flow": [1.0, None], "pressure": [2.0, 3.0]},
        schema=samples_schema(CHANNELS),
    )


def test_a_samples_frame_passes() -> None:
    check_samples(good(), CHANNELS)
    check_samples(good().clear(), CHANNELS)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (good().drop("flow"), "expected time Datetime.*, flow Float64, pressure Float64"),
        (
            good().select("time", "pressure", "flow"),
            "the columns are time .* pressure F.*, flow",
        ),
        (good().with_columns(note=pl.lit(1)), "the columns are .*, note Int32; expected"),
        (good().cast({"flow": pl.Float32}), "flow Float32"),
        (pl.DataFrame(), "the columns are none; expected"),
        (good().with_columns(time=pl.lit(None, dtype=TIME)), "a time is null"),
        (good().reverse(), "doubles or disorder, expected them sorted and unique"),
        (good()[[0, 0]], "doubles or disorder, expected them sorted and unique"),
        (good().with_columns(flow=pl.lit(float("nan"))), "channel 'flow' has NaN or infinity"),
        (good().with_columns(pressure=pl.lit(float("inf"))), "channel 'pressure' has NaN or inf"),
    ],
)
def test_anything_else_is_refused(samples: pl.DataFrame, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        check_samples(samples, CHANNELS)
