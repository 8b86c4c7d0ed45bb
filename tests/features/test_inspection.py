from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.first_look.inspection import Inspection, inspect
from features.first_look.layout import is_by_folder
from features.first_look.number_text import frequent_words, to_numbers
from features.first_look.pieces import InspectionError, Piece, by_reason, listed, whole_column
from features.first_look.spacing import recorded_seconds
from features.first_look.time_forms import TimeForm

START = datetime(2026, 1, 1, tzinfo=UTC)
RANDOM = np.random.default_rng(3)
ISO = TimeForm("iso", zoned=False)


def times_of(count: int, *, seconds: float = 60.0, start_s: float = 0.0) -> list[str]:
    at = (START + timedelta(seconds=start_s + seconds * place) for place in range(count))
    return [f"{one:%Y-%m-%d %H:%M:%S}" for one in at]


def piece(source: Any = "plant/a.csv", folder: Any = "", **columns: Any) -> Piece:
    return Piece(pl.DataFrame(columns), source, folder)


def noise(count: int) -> list[str]:
    return [f"{value:.3f}" for value in RANDOM.normal(50.0, 5.0, count)]


def about(found: Inspection) -> list[str]:
    return [remark.about for remark in found.remarks]


def long_rows(tags: Sequence[str], rows: int) -> dict[str, list[str]]:
    return {
        "Timestamp": [at for at in times_of(rows) for _ in tags],
        "Tag": [*tags] * rows,
        "Value": noise(rows * len(tags)),
    }


def test_a_wide_table_has_a_channel_in_each_column() -> None:
    found = inspect([piece(time=times_of(100), flow=noise(100), level=noise(100))])
    assert [channel.name for channel in found.channels] == ["flow", "level"]
    assert found.source == {
        "layout": "wide",
        "time": "time",
        "time_format": "iso",
        "time_zone": "UTC",
    }
    assert found.window.model_dump() == {
        "sample_period_s": 60.0,
        "length": 16,
        "hop": 1,
        "max_gap_s": 300.0,
        "min_channels": 1,
        "allowed_lateness_s": 0.0,
    }
    assert found.start_at == START
    assert found.end_at == START + timedelta(minutes=99)
    assert found.recorded_s == 99 * 60
    assert about(found) == ["source.time_zone"]


def test_columns_that_are_no_measurements_are_left_out_with_a_reason() -> None:
    columns = {
        "time": times_of(40),
        "": [str(number) for number in range(40)],
        "row": [str(number) for number in range(40)],
        "flow": noise(40),
        "flow#5": noise(40),
        "pressure": noise(40),
        "anomaly": ["0", "1"] * 20,
        "Fault_ID": noise(40),
        "operator": ["Jo"] * 40,
        "sent_time": times_of(40, start_s=1.0),
        "when": times_of(40, start_s=1.0),
        "unused": [None] * 40,
        "blank": ["NaN"] * 40,
        "list": [[1]] * 40,
    }
    found = inspect([piece(**columns)])
    assert [channel.name for channel in found.channels] == ["pressure"]
    assert found.left_out == {
        "": "has no name",
        "row": "rises by the same amount in every row: it counts the rows, or the time",
        "flow": "is there twice",
        "flow#5": "is there twice",
        "anomaly": "looks like a label, which is never an input",
        "Fault_ID": "looks like a label, which is never an input",
        "operator": "holds text",
        "sent_time": "holds times",
        "when": "holds times",
        "unused": "has no value in the sample",
        "blank": "has no value in the sample",
        "list": "holds List(Int64)",
    }


def test_a_number_after_a_hash_is_no_doubled_column() -> None:
    found = inspect([piece(time=times_of(30), **{"Pump#1": noise(30), "Pump#2": noise(30)})])
    assert [channel.tag for channel in found.channels] == ["Pump#1", "Pump#2"]


def test_typed_columns_are_read_as_they_are() -> None:
    at = [START + timedelta(seconds=place) for place in range(60)]
    flow = RANDOM.normal(50.0, 5.0, 60)
    flow[3], flow[4] = np.nan, np.inf
    found = inspect([piece(time=at, flow=flow, on=np.arange(60) > 30)])
    assert [(channel.name, channel.kind) for channel in found.channels] == [
        ("flow", "continuous"),
        ("on", "discrete"),
    ]
    assert found.source["time_zone"] is None
    assert found.window.length == 16
    assert found.channels[0].range is not None
    assert found.channels[0].range[1] < 200


def test_constants_set_points_and_outliers_are_told() -> None:
    wanted = np.repeat([10.0, 14.0], 600)
    columns = {
        "PIC.PV": wanted + RANDOM.normal(0.0, 0.1, 1_200),
        "PIC.SP": wanted,
        "T": np.append(RANDOM.normal(50.0, 1.0, 1_199), 9_999.0),
        "stuck": np.full(1_200, 4.0),
    }
    found = inspect([piece(time=times_of(1_200), **columns)])
    assert found.follows == {"PIC_PV": "PIC_SP"}
    assert found.constant == {"stuck"}
    assert "9999 is far outside" in found.remarks[-1].text
    assert found.remarks[-1].about == "channel.T"


def test_words_in_the_place_of_numbers_become_bad_values() -> None:
    values = ["Wartung", "Bad", "", "7..5", *noise(36)]
    found = inspect([piece(time=times_of(40), flow=values)])
    assert found.source["bad_values"][-1] == "wartung"
    assert found.source["bad_values"].count("bad") == 1
    assert "source.bad_values" in about(found)


def test_a_column_of_text_has_no_bad_values() -> None:
    found = inspect([piece(time=times_of(4), flow=noise(4), state=["on", "off", "1", "on"])])
    assert "bad_values" not in found.source


def test_numbers_have_the_decimal_mark_of_the_file() -> None:
    assert to_numbers(pl.Series(["1,5", " 2 "]), ",", {}).to_list() == [1.5, 2.0]  # type: ignore[union-attr]
    assert to_numbers(pl.Series(["1,5", "2,5"]), ".", {}) is None
    assert frequent_words({str(number): number for number in range(40)})[0] == "39"
    assert len(frequent_words({str(number): number for number in range(40)})) == 20


def test_files_with_different_columns_are_partial() -> None:
    pieces = [
        piece("a.csv", time=times_of(50), flow=noise(50), level=noise(50)),
        piece("b.csv", time=times_of(50, start_s=9e4), flow=noise(50), temp=noise(50)),
    ]
    found = inspect(pieces)
    assert [channel.name for channel in found.channels] == ["flow", "level", "temp"]
    assert found.source["partial"] is True
    assert "columns" not in found.source


def test_labels_that_some_files_lack_make_nothing_partial() -> None:
    pieces = [
        piece("a.csv", time=times_of(50), flow=noise(50)),
        piece("b.csv", time=times_of(50, start_s=9e4), flow=noise(50), anomaly=["0"] * 50),
    ]
    assert "partial" not in inspect(pieces).source


def test_folders_with_the_same_names_at_the_same_times_are_parts() -> None:
    pieces = [
        piece("motor/1.csv", "motor", Timestamp=times_of(50), Speed=noise(50), Temp=noise(50)),
        piece("seal/1.csv", "seal", Timestamp=times_of(50), Temp=noise(50)),
    ]
    found = inspect(pieces)
    assert found.source["columns"] == "by_folder"
    assert found.source["partial"] is True
    assert [(channel.name, channel.tag) for channel in found.channels] == [
        ("motor_Speed", "motor/Speed"),
        ("motor_Temp", "motor/Temp"),
        ("seal_Temp", "seal/Temp"),
    ]


def test_folders_with_the_same_names_at_other_times_are_runs() -> None:
    pieces = [
        piece("valve1/1.csv", "valve1", time=times_of(50), flow=noise(50)),
        piece("valve2/1.csv", "valve2", time=times_of(50, start_s=9e4), flow=noise(50)),
        piece("valve3/1.csv", "valve3", time=["soon"] * 5, flow=noise(5)),
    ]
    found = inspect(pieces)
    assert [channel.name for channel in found.channels] == ["flow"]
    assert not is_by_folder(pieces, "time", ISO)


def test_a_sparse_column_that_reports_irregularly_holds_its_value() -> None:
    state = np.where(RANDOM.uniform(size=400) < 0.1, RANDOM.integers(0, 4, 400), -1)
    columns = {
        "time": times_of(400),
        "flow": noise(400),
        "state": [str(value) if value >= 0 else "" for value in state],
        "lab": [f"{value}" if place % 15 == 0 else "" for place, value in enumerate(noise(400))],
    }
    found = inspect([piece(**columns)])
    assert [channel.reporting for channel in found.channels] == [
        "periodic",
        "on_change",
        "periodic",
    ]
    assert found.window.sample_period_s == 60.0


def test_a_long_table_has_a_channel_for_each_tag() -> None:
    rows = long_rows(["FT-101", "PT [bar]", "anomaly"], 60)
    found = inspect([piece(**rows, Quality=["Good", "GOOD", "Bad"] * 60)])
    assert [(c.name, c.tag, c.unit, c.reporting) for c in found.channels] == [
        ("FT_101", "FT-101", "", "periodic"),
        ("PT", "PT [bar]", "bar", "periodic"),
    ]
    assert found.source == {
        "layout": "long",
        "time": "Timestamp",
        "time_format": "iso",
        "time_zone": "UTC",
        "tag": "Tag",
        "value": "Value",
        "quality": "Quality",
        "good_quality": ("good", "192"),
    }
    assert about(found) == ["source.time_zone", "source.tag"]


def test_tags_without_numbers_are_left_out() -> None:
    rows = long_rows(["FT-101", "XS-1", "anomaly", "XS-2"], 60)
    rows["Value"][1::4] = ["RUN"] * 60
    rows["Value"][3::4] = [""] * 60
    assert inspect([piece(**rows)]).left_out == {
        "XS-1": "holds text",
        "anomaly": "looks like a label, which is never an input",
        "XS-2": "has no value in the sample",
    }


def test_channels_that_report_on_change_get_a_period_with_a_doubt() -> None:
    at = np.cumsum(RANDOM.exponential(20.0, 400))
    times = [f"{START + timedelta(seconds=float(second)):%Y-%m-%d %H:%M:%S}" for second in at]
    tags = RANDOM.choice(["FT-101", "PT-102"], 400)
    found = inspect([piece(time=times, tag=tags, value=noise(400))])
    assert [channel.reporting for channel in found.channels] == ["on_change", "on_change"]
    assert 10 < found.window.sample_period_s < 60
    assert "window.sample_period_s" in about(found)


def test_without_names_tags_are_told_by_their_looks_and_doubted() -> None:
    rows = long_rows(["FT-101", "PT-102"], 60)
    quality = ["0"] * 119 + ["2147483648"]
    columns = dict(zip(("column_1", "column_2", "column_3"), rows.values(), strict=True))
    found = inspect([piece(**columns, column_4=quality)])
    assert (found.source["tag"], found.source["value"]) == ("column_2", "column_3")
    assert (found.source["quality"], found.source["good_quality"]) == ("column_4", ("0",))
    assert "source.layout" in about(found)


def test_quality_codes_in_a_float_column_count() -> None:
    rows = long_rows(["FT-101", "PT-102"], 30)
    found = inspect([piece(**rows, quality=[192.0, 0.0] * 30)])
    assert [channel.name for channel in found.channels] == ["FT_101"]


def test_rows_of_one_time_are_doubted() -> None:
    times = [at for at in times_of(20) for _ in range(2)]
    found = inspect([piece(time=times, machine=["A", "B"] * 20, t=noise(40), p=noise(40))])
    assert "20 of 40 sampled rows have the time of another row" in found.remarks[1].text


def test_channels_of_several_periods_are_told() -> None:
    pieces = [
        piece("a/1.csv", "a", time=times_of(50), x=noise(50), y=noise(50)),
        piece("b/1.csv", "b", time=times_of(50, seconds=10.0, start_s=9e4), z=noise(50)),
    ]
    found = inspect(pieces)
    assert found.window.sample_period_s == 60.0
    text = "channels have other periods: 2 every 60 s, 1 every 10 s"
    assert text in [remark.text for remark in found.remarks]


def test_vibration_is_told() -> None:
    at = [START + timedelta(milliseconds=place) for place in range(100)]
    assert "window.sample_period_s" in about(inspect([piece(time=at, a=noise(100))]))


def test_values_once_a_month_get_the_longest_period() -> None:
    found = inspect([piece(time=times_of(20, seconds=2.6e6), a=noise(20))])
    assert found.window.sample_period_s == 1e6


def test_silences_that_are_usual_do_not_cut() -> None:
    seconds = np.cumsum(np.where(np.arange(300) % 30 == 0, 7, 1))
    at = [START + timedelta(seconds=int(second)) for second in seconds]
    assert inspect([piece(time=at, a=noise(300))]).window.max_gap_s == 14.0


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"flow": ["a", "b"]}, "a.csv has no column of numbers beside the times in 'time'; 'flow'"),
        ({}, "a.csv has no column of numbers beside the times in 'time'"),
        ({"flow": ["1", ""]}, "no channel of a.csv has values at two different times"),
    ],
)
def test_data_without_channels_get_a_sentence(columns: dict[str, list[str]], sentence: str) -> None:
    with pytest.raises(InspectionError) as caught:
        inspect([piece(time=times_of(2), **columns)])
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["#1", "flow"], "'#1' of a.csv is needed, but has no name"),
        (["t", "t#2"], "is there twice"),
    ],
)
def test_a_time_column_that_cannot_be_named_gets_a_sentence(names: list[str], fault: str) -> None:
    columns = dict(zip(names, [times_of(20), noise(20)], strict=True))
    with pytest.raises(InspectionError, match=fault):
        inspect([piece(**columns)])


def test_a_typed_time_column_without_times_gets_a_sentence() -> None:
    empty = pl.DataFrame(schema={"time": pl.Datetime("us", "UTC"), "flow": pl.Float64})
    with pytest.raises(InspectionError, match=r"a.parquet has no row with a time"):
        inspect([Piece(empty, "a.parquet")])


def test_the_span_of_a_file_counts_once() -> None:
    at = pl.Series([START, START + timedelta(seconds=10)])
    later = at.dt.offset_by("100s")
    pieces = [piece("a.csv"), piece("a.csv"), piece("b.csv"), piece("c.csv")]
    assert recorded_seconds(pieces, [at, later, at, at.clear()]) == 120.0


def test_columns_of_several_types_are_read_as_text() -> None:
    pieces = [piece("a", x=[1]), piece("b", x=["2"]), piece("c", y=[3])]
    assert whole_column(pieces, "x").to_list() == ["1", "2"]


def test_long_lists_are_cut() -> None:
    assert listed(map(str, range(12))).endswith("'9', and 2 more")


def test_columns_are_listed_by_reason() -> None:
    assert by_reason({"a": "holds text", "b": "holds text"}) == {"holds text": ["a", "b"]}


def test_quality_that_is_not_clear_is_doubted() -> None:
    rows = long_rows(["FT-101", "PT-102"], 30)
    found = inspect([piece(**rows, quality=["1"] * 59 + ["0"])])
    assert found.source["good_quality"] == ("1",)
    assert "source.good_quality" in about(found)
