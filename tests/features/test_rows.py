import json
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.channels import Channel
from features.rows import LONGEST_RAW, Split, locate_columns, refuse_rows, split_wide
from features.schema import LINE, QUARANTINE_SCHEMA, SchemaError, samples_schema
from features.source import SourceConfig

FLOW = Channel(name="flow", tag="FT-101", former_tags=("FT1", "F"))
PRESSURE = Channel(name="pressure")
CHANNELS = (FLOW, PRESSURE)
AT = datetime(2026, 5, 1, 8, tzinfo=UTC)
GOOD = "2026-05-01T08:00:00Z"


def source(**options: object) -> SourceConfig:
    return SourceConfig.model_validate({"files": "*.csv", **options})


WIDE = source()


def split(raw: pl.DataFrame, chosen: SourceConfig = WIDE, *, first_line: int = 2) -> Split:
    lines = pl.int_range(first_line, first_line + raw.height, eager=True)
    found = split_wide(raw, lines, CHANNELS, chosen, name="a.csv")
    assert found.quarantined.schema == QUARANTINE_SCHEMA
    assert set(found.quarantined["source"]) <= {"a.csv"}
    return found


def wide(*rows: tuple[str | None, str | None, str | None]) -> pl.DataFrame:
    schema = {"time": pl.String, "flow": pl.String, "pressure": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def reasons(found: Split) -> list[str]:
    return found.quarantined["reason"].to_list()


def test_rows_become_samples_with_their_lines() -> None:
    found = split(wide((GOOD, "1", "2"), ("2026-05-01T10:00:00+02:00", "", "Bad")), first_line=7)
    assert found.samples.schema == {**samples_schema(CHANNELS), LINE: pl.Int64}
    assert found.samples.rows() == [(AT, 1.0, 2.0, 7), (AT, None, None, 8)]
    assert (found.bad, found.unlisted) == ({"pressure": 1}, {})
    assert found.quarantined.is_empty()


def test_no_row_gives_no_row() -> None:
    found = split(wide())
    assert found.samples.schema == {**samples_schema(CHANNELS), LINE: pl.Int64}
    assert found.samples.is_empty()
    assert found.quarantined.is_empty()
    assert (found.bad, found.unlisted) == ({}, {})


def test_a_row_that_cannot_be_used_is_kept_with_its_reason_and_its_columns() -> None:
    found = split(wide(("soon", "1", None), (GOOD, "1", "2"), (GOOD, "x", "off")), first_line=7)
    assert found.samples[LINE].to_list() == [8]
    assert reasons(found) == [
        "time is 'soon', expected a time such as 2026-05-01T08:00:00Z",
        "channel 'flow' is 'x', expected a finite number",
    ]
    assert found.quarantined["line"].to_list() == [7, 9]
    raw = [json.loads(text) for text in found.quarantined["raw"]]
    assert raw[0] == {"time": "soon", "flow": "1", "pressure": None}


def test_the_first_reason_of_a_row_is_given() -> None:
    found = split(wide(("soon", "off", "off"), (GOOD, "1", "off")))
    assert [reason.split(" is ")[0] for reason in reasons(found)] == ["time", "channel 'pressure'"]


def test_a_row_too_long_is_kept_in_part() -> None:
    found = split(wide(("soon", "x" * 10_000, "2")))
    assert found.quarantined["raw"].str.len_chars().to_list() == [LONGEST_RAW]
    refused = refuse_rows("a.csv", [(3, "line has 1 field, expected 3", "x" * 10_000)])
    assert refused["raw"].str.len_chars().to_list() == [LONGEST_RAW]
    assert refuse_rows("a.csv", []).schema == QUARANTINE_SCHEMA


def test_typed_columns_are_used_as_they_are() -> None:
    raw = pl.DataFrame(
        {
            "time": pl.Series([AT] * 4).cast(pl.Datetime("ns", "UTC")),
            "FT-101": [1.5, float("nan"), float("inf"), None],
            "pressure": pl.Series([1, None, 3, 4], dtype=pl.Int16),
            "line": ["its", "own", "column", "is kept"],
        }
    )
    found = split(raw, first_line=1)
    assert found.samples.rows() == [(AT, 1.5, 1.0, 1), (AT, None, None, 2), (AT, None, 4.0, 4)]
    assert reasons(found) == ["channel 'flow' is 'inf', expected a finite number"]
    assert json.loads(found.quarantined["raw"][0])["line"] == "column"


@pytest.mark.parametrize(
    ("times", "options"),
    [
        (pl.Series([AT]).dt.convert_time_zone("Asia/Tokyo"), {}),
        (pl.Series([AT]).dt.replace_time_zone(None), {"time_zone": "UTC"}),
        (pl.Series([1_777_622_400]), {"time_format": "epoch_s"}),
        (pl.Series([Decimal("1777622400.000")]), {"time_format": "epoch_s"}),
        (pl.Series([1_777_622_400e3]), {"time_format": "epoch_ms"}),
        (pl.Series([20260501]), {"time_format": "%Y%m%d"}),
        (pl.Series([date(2026, 5, 1)]), {"time_zone": "UTC"}),
        (pl.Series([GOOD], dtype=pl.Categorical), {}),
    ],
)
@pytest.mark.parametrize(
    "values",
    [
        pl.Series([True]),
        pl.Series([Decimal("1.00")]),
        pl.Series([1], dtype=pl.UInt8),
        pl.Series(["1"], dtype=pl.Enum(["1"])),
    ],
)
def test_columns_of_files_and_databases_are_used(
    times: pl.Series, options: dict[str, object], values: pl.Series
) -> None:
    raw = pl.DataFrame({"time": times, "flow": values, "pressure": pl.Series([None])})
    day = AT.replace(hour=0) if times.dtype == pl.Date or "%Y%m%d" in options.values() else AT
    if "%Y%m%d" in options.values():
        options = {**options, "time_zone": "UTC"}
    assert split(raw, source(**options)).samples.row(0) == (day, 1.0, None, 2)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "time",
            [AT.replace(tzinfo=None)],
            (
                "a.csv: time column 'time' has times without a zone; set [source] time_zone, or "
                "write them as UTC"
            ),
        ),
        (
            "time",
            [1_777_622_400],
            (
                "a.csv: time column 'time' is Int64, expected times with a zone; set [source] "
                "time_format to epoch_s, epoch_ms, epoch_us or epoch_ns if these are numbers since "
                "1970"
            ),
        ),
        (
            "flow",
            [[1.0]],
            "a.csv: column 'flow' of channel 'flow' is List(Float64), expected numbers",
        ),
        (
            "pressure",
            [b"1"],
            "a.csv: column 'pressure' of channel 'pressure' is Binary, expected numbers",
        ),
    ],
)
def test_a_column_of_a_type_that_no_row_can_mend_refuses_the_file(
    column: str, values: list[object], message: str
) -> None:
    columns: dict[str, list[object]] = {"time": [AT], "flow": [1.0], "pressure": [2.0]}
    with pytest.raises(SchemaError) as caught:
        split(pl.DataFrame({**columns, column: values}))
    assert str(caught.value) == message


def places(found: list[str], **options: object) -> dict[str, str]:
    return locate_columns(found, CHANNELS, source(**options), name="a.csv")


def test_a_channel_is_found_by_name_before_tag_before_former_tags() -> None:
    others = {"time": "time", "pressure": "pressure"}
    assert places(["time", "F", "FT-101", "flow", "pressure", "note"]) == {**others, "flow": "flow"}
    assert places(["time", "F", "FT1", "FT-101", "pressure"]) == {**others, "flow": "FT-101"}
    assert places(["time", "F", "FT1", "pressure"]) == {**others, "flow": "FT1"}
    assert places(["time", "F", "pressure"]) == {**others, "flow": "F"}


PARTIAL = (
    "if files may lack channels, set [source] partial = true; if it is gone for good, remove the "
    "channel"
)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (["t", "flow"], "a.csv has no column 'time'; it has t, flow; correct [source] time"),
        (
            ["time;flow;pressure"],
            (
                "a.csv has no column 'time', but one column 'time;flow;pressure'; if that is "
                "several, correct [source] separator, else correct [source] time"
            ),
        ),
        (["time", "flow"], f"a.csv has no column for channel 'pressure'; {PARTIAL}"),
        (
            ["time", "FT-102", "pressure"],
            (
                "a.csv has no column for channel 'flow' (tag 'FT-101'); if it is now called "
                f"'FT-102', make that its tag and the old name one of its former_tags; {PARTIAL}"
            ),
        ),
        (
            ["time", "Durchflu\ufffd", "pressure"],
            (
                "a.csv has no column for channel 'flow' (tag 'FT-101'); its header is not "
                f"UTF-8 text: set [source] encoding, such as 'cp1252'; {PARTIAL}"
            ),
        ),
        (
            ["time", "a", "b"],
            (
                "a.csv has no column of any channel; it has time, a, b; correct [source] files, or "
                "the tags of the channels"
            ),
        ),
        (
            ["time", "flow", "flow", "pressure"],
            "a.csv has 2 columns 'flow' for channel 'flow'; expected one",
        ),
        (
            ["time", "time", "flow", "pressure"],
            "a.csv has 2 columns 'time' for [source] time; expected one",
        ),
    ],
)
def test_a_file_that_lacks_a_column_is_refused_with_what_to_do(
    found: list[str], message: str
) -> None:
    with pytest.raises(SchemaError) as caught:
        places(found)
    assert str(caught.value) == message


def test_a_doubled_column_of_no_channel_is_no_matter() -> None:
    assert "note" not in places(["time", "flow", "pressure", "note", "note"])


def test_a_partial_file_may_lack_a_channel_but_not_all() -> None:
    found = split(wide((GOOD, "1", "2")).drop("flow"), source(partial=True))
    assert found.samples.row(0) == (AT, None, 2.0, 2)
    for channels in (CHANNELS, (FLOW,)):
        with pytest.raises(SchemaError) as caught:
            locate_columns(["time", "note"], channels, source(partial=True), name="a.csv")
        assert str(caught.value) == (
            "a.csv has no column of any channel; it has time, note; correct [source] files, or the "
            "tags of the channels"
        )


def test_many_columns_are_shown_in_part() -> None:
    with pytest.raises(SchemaError) as caught:
        places([f"a_rather_long_name_of_a_column_{number}" for number in range(5_000)])
    assert len(str(caught.value)) < 500


texts = st.sampled_from(
    [None, "", "1", "x", "inf", "nan", "Bad", GOOD, "flow", "FT1", "TT-7", "192", "2026-05-01"]
)


@given(st.lists(st.tuples(texts, texts, texts)), st.sampled_from([None, "Europe/Berlin"]))
def test_every_wide_row_is_usable_or_quarantined(
    rows: list[tuple[str | None, str | None, str | None]], zone: str | None
) -> None:
    found = split(wide(*rows), source(time_zone=zone))
    numbers = [*found.samples[LINE], *found.quarantined["line"]]
    assert sorted(numbers) == list(range(2, 2 + len(rows)))
    assert found.quarantined["reason"].null_count() == 0
    assert found.samples["time"].null_count() == 0


@given(st.lists(st.tuples(texts, texts, texts)))
def test_a_wide_row_is_judged_alone(
    rows: list[tuple[str | None, str | None, str | None]],
) -> None:
    whole = split(wide(*rows))
    alone = [split(wide(row), first_line=line) for line, row in enumerate(rows, start=2)]
    empty = split(wide())
    assert pl.concat([empty.samples, *(one.samples for one in alone)]).equals(whole.samples)
    quarantined = pl.concat([empty.quarantined, *(one.quarantined for one in alone)])
    assert quarantined.equals(whole.quarantined)
    bad = {name: sum(one.bad.get(name, 0) for one in alone) for name in ("flow", "pressure")}
    assert {name: count for name, count in bad.items() if count} == whole.bad
