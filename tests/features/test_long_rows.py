import json
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.channels import Channel
from features.rows import CELLS_SCHEMA, Split, check_long_columns, split_long
from features.schema import LINE, QUARANTINE_SCHEMA, SchemaError
from features.source import SourceConfig

FLOW = Channel(name="flow", tag="FT-101", former_tags=("FT1", "F"))
PRESSURE = Channel(name="pressure")
CHANNELS = (FLOW, PRESSURE)
AT = datetime(2026, 5, 1, 8, tzinfo=UTC)
GOOD = "2026-05-01T08:00:00Z"


def source(**options: object) -> SourceConfig:
    return SourceConfig.model_validate({"files": "*.csv", **options})


LONG = source(layout="long", quality="quality")
NO_QUALITY = source(layout="long")


def split(raw: pl.DataFrame, chosen: SourceConfig = LONG) -> Split:
    lines = pl.int_range(2, 2 + raw.height, eager=True)
    found = split_long(raw, lines, CHANNELS, chosen, name="a.csv")
    assert found.quarantined.schema == QUARANTINE_SCHEMA
    assert set(found.quarantined["source"]) <= {"a.csv"}
    return found


def long(*rows: tuple[str | None, ...]) -> pl.DataFrame:
    schema = ["time", "tag", "value", "quality"][: len(rows[0]) if rows else 4]
    return pl.DataFrame(rows, schema=dict.fromkeys(schema, pl.String), orient="row")


def reasons(found: Split) -> list[str]:
    return found.quarantined["reason"].to_list()


def test_values_of_a_long_file_become_cells_by_name_tag_or_former_tag() -> None:
    rows = [(GOOD, tag, "1", "Good") for tag in ("flow", " FT-101 ", "F", "pressure")]
    found = split(long(*rows))
    assert found.samples.schema == CELLS_SCHEMA
    assert found.samples["channel"].to_list() == ["flow", "flow", "flow", "pressure"]
    assert found.samples.row(1) == (AT, "flow", 1.0, 3)


def test_values_of_bad_quality_are_missing_and_counted_whatever_they_are() -> None:
    found = split(
        long(
            (GOOD, "flow", "1", "Good"),
            (GOOD, "flow", "2", "Bad"),
            (GOOD, "flow", "off", "Uncertain"),
            (GOOD, "flow", "No Data", "Good"),
            (GOOD, "pressure", "inf", None),
            (GOOD, "pressure", "", "Good"),
        ),
        LONG,
    )
    assert found.samples["value"].to_list() == [1.0, None, None, None, None, None]
    assert found.bad == {"flow": 3, "pressure": 1}
    assert found.quarantined.is_empty()


def test_no_row_gives_no_row() -> None:
    for chosen in (LONG, NO_QUALITY):
        found = split(long(), chosen)
        assert found.samples.schema == CELLS_SCHEMA
        assert found.samples.is_empty()
        assert found.quarantined.is_empty()
        assert (found.bad, found.unlisted) == ({}, {})


def test_a_code_of_opc_says_the_quality() -> None:
    raw = long(*[(GOOD, "flow", "1", code) for code in ("192", "216", "64", "0")])
    assert split(raw).bad == {"flow": 3}
    assert split(
        raw, source(layout="long", quality="quality", good_quality=("192", "216"))
    ).bad == {"flow": 2}
    assert split(raw.cast({"quality": pl.Int32})).bad == {"flow": 3}
    assert split(raw, source(layout="long", quality="quality", good_quality=("0",))).bad == {
        "flow": 3
    }


def test_without_a_column_of_quality_every_value_is_good() -> None:
    found = split(long((GOOD, "flow", "1"), (GOOD, "flow", "Bad")), NO_QUALITY)
    assert found.samples["value"].to_list() == [1.0, None]
    assert found.bad == {"flow": 1}


def test_rows_of_other_tags_are_only_counted() -> None:
    found = split(
        long(
            ("soon", "TT-7", "x", "Good"), (GOOD, "TT-7", "1", "Bad"), (GOOD, "Flow", "1", "Good")
        ),
        LONG,
    )
    assert found.unlisted == {"TT-7": 2, "Flow": 1}
    assert found.samples.is_empty()
    assert found.quarantined.is_empty()
    assert found.bad == {}


def test_a_row_of_a_long_file_that_cannot_be_used_is_quarantined() -> None:
    found = split(
        long(
            (GOOD, None, "off", "Bad"),
            (GOOD, " ", "1", "Good"),
            ("soon", "flow", "off", "Good"),
            (GOOD, "FT-101", "off", "Good"),
            (GOOD, "pressure", "inf", "Good"),
        ),
        LONG,
    )
    assert reasons(found) == [
        "tag is missing",
        "tag is missing",
        "time is 'soon', expected a time such as 2026-05-01T08:00:00Z",
        "channel 'flow' is 'off', expected a finite number",
        "channel 'pressure' is 'inf', expected a finite number",
    ]
    assert found.quarantined["line"].to_list() == [2, 3, 4, 5, 6]
    assert json.loads(found.quarantined["raw"][3])["tag"] == "FT-101"


@pytest.mark.parametrize(
    "tags",
    [
        pl.Series(["flow", "TT-7", None], dtype=pl.Categorical),
        pl.Series(["flow", "TT-7", None], dtype=pl.Enum(["flow", "TT-7"])),
    ],
)
def test_tags_may_be_categories(tags: pl.Series) -> None:
    raw = pl.DataFrame({"time": [AT] * 3, "tag": tags, "value": [1, 2, 3]})
    found = split(raw, NO_QUALITY)
    assert found.samples.rows() == [(AT, "flow", 1.0, 2)]
    assert (found.unlisted, reasons(found)) == ({"TT-7": 1}, ["tag is missing"])


def test_tags_may_be_numbers() -> None:
    raw = pl.DataFrame({"time": [AT] * 2, "tag": [101, 102], "value": [1.0, 2.0]})
    channel = Channel(name="flow", tag="101")
    found = split_long(raw, pl.Series([1, 2]), (channel,), source(layout="long"), name="a")
    assert (found.samples.rows(), found.unlisted) == ([(AT, "flow", 1.0, 1)], {"102": 1})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (["time", "name", "value"], "a.csv has no column 'tag'; it has time, name, value; correct"),
        (["time", "tag", "tag", "value"], "a.csv has 2 columns 'tag' for [source] tag; expected"),
        (["time", "tag", "value"], "a.csv has no column 'status'; it has time, tag, value"),
    ],
)  # fmt: skip
def test_a_long_file_that_lacks_a_column_is_refused(found: list[str], message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        check_long_columns(found, source(layout="long", quality="status"), name="a.csv")
    assert str(caught.value).startswith(message)


def test_values_of_a_long_file_of_another_type_refuse_it() -> None:
    raw = pl.DataFrame({"time": [AT], "tag": ["flow"], "value": [[1.0]]})
    with pytest.raises(SchemaError) as caught:
        split(raw, NO_QUALITY)
    assert str(caught.value) == "a.csv: column 'value' is List(Float64), expected numbers"


texts = st.sampled_from(
    [None, "", "1", "x", "inf", "nan", "Bad", GOOD, "flow", "FT1", "TT-7", "192", "2026-05-01"]
)


@given(st.lists(st.tuples(texts, texts, texts, texts)), st.sampled_from([None, "quality"]))
def test_every_long_row_is_usable_quarantined_or_unlisted(
    rows: list[tuple[str | None, ...]], quality: str | None
) -> None:
    found = split(long(*rows), source(layout="long", quality=quality))
    numbers = [*found.samples[LINE], *found.quarantined["line"]]
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) + sum(found.unlisted.values()) == len(rows)
    others = [tag for _, tag, _, _ in rows if tag and tag not in ("flow", "FT1")]
    assert sum(found.unlisted.values()) == len(others)
    assert found.samples.select("time", "channel").null_count().row(0) == (0, 0)
