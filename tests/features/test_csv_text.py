import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features import csv_text
from features.blocks import Block
from features.channels import Channel
from features.csv_text import header_of, open_place, split_block, unique_names
from features.rows import Split
from features.source import SourceConfig

FLOW, PRESSURE = Channel(name="flow", tag="FT-101"), Channel(name="pressure")
CHANNELS = (FLOW, PRESSURE)
WIDE = ["time", "FT-101", "note", "pressure"]
LONG = ["time", "tag", "value", "quality"]
AT = datetime(2026, 5, 1, 8, tzinfo=UTC)
GOOD_TIME = "2026-05-01T08:00:00Z"


def block(data: bytes, *, first_line: int = 2, is_last: bool = True) -> Block:
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    return Block(data, first_line, lines, len(data), is_last=is_last)


def wide(**options: object) -> SourceConfig:
    return SourceConfig.model_validate({"files": "*.csv", **options})


def long(**options: object) -> SourceConfig:
    return wide(layout="long", quality="quality", **options)


def split(data: bytes, source: SourceConfig, *, first_line: int = 2, is_last: bool = True) -> Split:
    lines = block(data, first_line=first_line, is_last=is_last)
    columns = LONG if source.layout == "long" else WIDE
    return split_block(lines, columns, CHANNELS, source, name="a.csv")


def split_with_care(data: bytes, source: SourceConfig) -> Split:
    """What the way line by line makes of the same block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_text, "_is_plain", lambda *_: False)
        return split(data, source)


def assert_same(one: Split, other: Split) -> None:
    assert_frame_equal(one.samples, other.samples, check_exact=True)
    assert_frame_equal(one.quarantined.sort("line"), other.quarantined.sort("line"))
    assert (one.bad, one.unlisted) == (other.bad, other.unlisted)


def rows_of(found: Split) -> int:
    unlisted = sum(found.unlisted.values())
    return found.samples.height + found.quarantined.height + unlisted


def lines_of(found: Split) -> list[int]:
    return sorted([*found.samples["_line"], *found.quarantined["line"]])


ODD = (
    "1.5,-2,+3,.5,5.,1e3,1E-3,1d3,1e400,-1e400,1e-400,inf,-Infinity,+inf,nan,NaN,-nan,+NaN,0x10,1_000,"
    "1.234,-,--,e5,true,4.9e-324,0.30000000000000004,9007199254740993,Bad,bad,null,None,N/A,#N/A,?,off,"
    "Shutdown,No Data,5°,٣,-9999,-9999.0,, ,\t,\x00,\x0b1,1\xa0,\ufeff1,\ufffd,\x1f,a\rb"
)
odd_numbers = st.sampled_from([*ODD.split(","), "1,5", "1.234,5", "-9999,0"])
padded = st.tuples(st.sampled_from(["", " ", "\t", "\r"]), odd_numbers, st.sampled_from(["", " "]))
number_fields = st.one_of(
    odd_numbers,
    padded.map("".join),
    st.floats().map(repr),
    st.integers().map(str),
)
time_fields = st.one_of(
    st.just(GOOD_TIME),
    st.sampled_from(["", " ", "soon", "nan", "1777622400", "2026-05-01 08:00", f" {GOOD_TIME} "]),
    st.datetimes(datetime(1890, 1, 1), datetime(9010, 1, 1)).map(lambda at: at.isoformat() + "Z"),  # noqa: DTZ001 - Z is written
)
text_fields = st.sampled_from(["", "ok", " ", "ä", "1", "#", "a'b"])
tag_fields = st.sampled_from(["flow", "FT-101", " pressure", "TT-7", "", " ", "Flow"])
quality_fields = st.sampled_from(["Good", "good ", "192", "192.0", "Bad", "", "0"])


@st.composite
def tables(draw: st.DrawFn, source: SourceConfig) -> list[str]:
    """Lines of rows with as many fields as there must be."""
    parts = (
        (time_fields, tag_fields, number_fields, quality_fields)
        if source.layout == "long"
        else (time_fields, number_fields, text_fields, number_fields)
    )
    mark = source.separator
    rows = draw(st.lists(st.tuples(*parts), min_size=1, max_size=6))
    # A lone CR is an empty field for polars: only the raw text of a refused row tells them apart.
    fields = [[field.replace(mark, "") for field in row] for row in rows]
    return [mark.join("" if field == "\r" else field for field in row) for row in fields]


sources = st.builds(
    lambda make, separator, bad_values: make(
        separator=separator,
        decimal="." if separator == "," else ",",
        **({} if bad_values is None else {"bad_values": bad_values}),
    ),
    st.sampled_from([wide, long]),
    st.sampled_from([",", ";", "\t", " "]),
    st.sampled_from([None, ("Bad", "-9999"), ("inf", "nan", "", " off ")]),
)


@settings(max_examples=60)
@given(sources, st.data())
def test_the_quick_way_is_the_way_line_by_line(source: SourceConfig, data: st.DataObject) -> None:
    lines = data.draw(tables(source))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = (end.join(lines) + data.draw(st.sampled_from(["", end]))).encode()
    assert_same(split(text, source), split_with_care(text, source))


@given(st.data())
def test_one_kind_of_field_in_a_whole_column_is_read_in_the_same_way(data: st.DataObject) -> None:
    source = wide(bad_values=data.draw(st.sampled_from([("Bad",), ("-9999",), ("nan",)])))
    fields = data.draw(st.lists(st.sampled_from(["1.5", "-9999", "nan", "-nan", "inf", "", " 2"])))
    text = "".join(f"{GOOD_TIME},{field},,\n" for field in fields).encode()
    assert_same(split(text, source), split_with_care(text, source)) if fields else None


junk_lines = st.one_of(
    st.sampled_from([b"", b" ", b"\t", b"\r", b"soon", b",,,", b",,,,", b"\xff,1,2,3", b"\xc3"]),
    st.lists(st.sampled_from(["1", '"2"', "", 'a"b', '"x, y"', '"a""b"', GOOD_TIME, "ä", "off"]))
    .map(",".join)
    .map(str.encode),
    st.just(f"{GOOD_TIME},1,ok,2".encode()),
)
line_ends = st.sampled_from([b"\n", b"\r\n"])


def is_blank(line: bytes) -> bool:
    return b"," not in line and not line.strip()


@given(st.lists(junk_lines, min_size=1), line_ends, st.sampled_from([wide(), long()]))
def test_every_line_that_is_not_blank_is_one_row(
    lines: list[bytes], end: bytes, source: SourceConfig
) -> None:
    found = split(end.join(lines) + end, source, first_line=7)
    assert rows_of(found) == sum(not is_blank(line) for line in lines)
    numbers = lines_of(found)
    assert len(set(numbers)) == len(numbers)
    assert {lines[number - 7] for number in numbers}.isdisjoint({b"", b" ", b"\t", b"\r"})


@given(st.lists(st.lists(st.sampled_from(["1", "", GOOD_TIME]), max_size=6), min_size=1), line_ends)
def test_a_field_too_many_does_not_hide_a_field_that_lacks(
    rows: list[list[str]], end: bytes
) -> None:
    text = end.join(",".join(row).encode() for row in rows) + end
    assert_same(split(text, wide()), split_with_care(text, wide()))


@given(st.lists(junk_lines, min_size=1), st.lists(st.integers(1, 4)))
def test_a_text_in_blocks_is_the_text_in_one(lines: list[bytes], sizes: list[int]) -> None:
    source = wide()
    whole = split(b"\n".join(lines) + b"\n", source)
    parts, done = [], 0
    for size in [*sizes, len(lines)]:
        if some := lines[done : done + size]:
            parts.append(split(b"\n".join(some) + b"\n", source, first_line=2 + done))
            done += size
    samples = pl.concat([part.samples for part in parts])
    quarantined = pl.concat([part.quarantined for part in parts])
    assert_frame_equal(samples, whole.samples)
    assert_frame_equal(quarantined.sort("line"), whole.quarantined.sort("line"))


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9))))
def test_what_a_csv_writer_writes_is_read_back(rows: list[tuple[float, str]]) -> None:
    times = [AT + timedelta(seconds=place) for place in range(len(rows))]
    notes = [note.replace("\r", "") for _, note in rows]
    flows = [flow for flow, _ in rows]
    table = pl.DataFrame(
        {"time": times, "FT-101": flows, "note": notes, "pressure": pl.Series([1.0] * len(rows))},
        schema_overrides={"time": pl.Datetime("us", "UTC"), "note": pl.String},
    )
    text = table.write_csv(include_header=False, datetime_format="%Y-%m-%dT%H:%M:%S%:z").encode()
    if not text:
        return
    found = split(text, wide())
    assert found.quarantined.is_empty()
    assert found.samples["time"].to_list() == times
    assert found.samples["flow"].to_list() == flows


@given(st.text(st.sampled_from('1a," \n\r'), min_size=1, max_size=80))
def test_quotes_of_any_kind_lose_no_line_and_use_none_twice(text: str) -> None:
    found = split(text.encode(), wide())
    numbers = lines_of(found)
    assert len(set(numbers)) == len(numbers)
    filled = [n for n, line in enumerate(text.split("\n"), start=2) if not is_blank(line.encode())]
    covered = {number + more for number, more in zip(numbers, spans(found, numbers), strict=True)}
    assert set(numbers) <= set(filled)
    assert rows_of(found) == len(numbers) <= len(filled)
    assert max(covered, default=0) <= 1 + len(text.split("\n"))


def spans(found: Split, numbers: list[int]) -> list[int]:
    """How many more lines than one each row goes over, where that is told."""
    raw = dict(found.quarantined.select("line", "raw").iter_rows())
    return [raw.get(number, "").count("\n") for number in numbers]


def test_a_quoted_field_goes_over_lines_and_hides_separators() -> None:
    text = f'{GOOD_TIME},"1.5","two\nlines, ""quoted""",2\r\n{GOOD_TIME},3,,4\n'
    found = split(text.encode(), wide())
    assert found.samples.select("flow", "pressure", "_line").rows() == [(1.5, 2, 2), (3, 4, 4)]
    assert found.quarantined.is_empty()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"2026-05-01T08:00:00Z", "line has 1 field, expected 4"),
        (b"2026-05-01T08:00:00Z,1,2", "line has 3 fields, expected 4"),
        (b"2026-05-01T08:00:00Z,1,2,3,4", "line has 5 fields, expected 4"),
        (b'2026-05-01T08:00:00Z,1,"2,3', "line has a quoted field that does not end"),
        (b'2026-05-01T08:00:00Z,1,"2"x,3', "line has a quoted field that does not end"),
        (b'2026-05-01T08:00:00Z\r,1,"2",3', "line has a quoted field that does not end"),
        (b"2026-05-01T08:00:00Z,1,5\xb0,3", "line is not UTF-8 text; set [source] encoding"),
        (b'2026-05-01T08:00:00Z,1,"5\xb0",3', "line is not UTF-8 text; set [source] encoding"),
    ],
)
def test_a_line_that_is_no_row_is_quarantined_as_it_is(line: bytes, reason: str) -> None:
    found = split(line + b"\n2026-05-01T08:00:00Z,1,2,3\n", wide())
    assert found.samples["_line"].to_list() == [3]
    assert found.quarantined.rows() == [("a.csv", 2, reason, line.decode(errors="replace"))]


def test_a_character_that_stands_for_lost_ones_is_text_like_any_other() -> None:
    found = split(f"{GOOD_TIME},1,\ufffd,2\n".encode() + b"\xff\n", wide())
    assert found.samples["_line"].to_list() == [2]
    assert found.quarantined["line"].to_list() == [3]


@pytest.mark.parametrize(
    ("is_last", "end", "reason"),
    [
        (True, b"", "line has 2 fields, expected 4; it may be cut"),
        (True, b"\n", "line has 2 fields, expected 4"),
        (False, b"", "line has 2 fields, expected 4"),
    ],
)
def test_a_last_line_without_an_end_may_be_cut(is_last: bool, end: bytes, reason: str) -> None:  # noqa: FBT001 - a parameter of the test
    found = split(b"1\n" + GOOD_TIME.encode() + b",1" + end, wide(), is_last=is_last)
    assert found.quarantined["reason"].to_list() == ["line has 1 field, expected 4", reason]


def test_a_quote_that_never_ends_spoils_only_its_line() -> None:
    good = f"{GOOD_TIME},1,ok,2\n" * 100
    found = split(f'{GOOD_TIME},1,"no end,2\n{good}'.encode(), wide())
    assert found.quarantined["line"].to_list() == [2]
    assert found.samples.height == 100


def test_a_field_over_more_lines_than_are_joined_is_not_taken_for_one() -> None:
    field = "\n".join(["x"] * csv_text.MOST_JOINED)
    inside = split(f'{GOOD_TIME},1,"{field}",2\n'.encode(), wide())
    assert inside.samples.height == 1
    outside = split(f'{GOOD_TIME},1,"{field}\n",2\n'.encode(), wide())
    assert (outside.samples.height, outside.quarantined.height) == (0, 21)


def test_a_byte_order_mark_in_the_middle_of_a_text_is_no_part_of_a_time() -> None:
    found = split(b"\xef\xbb\xbf" + f"{GOOD_TIME},1,,2\n".encode(), wide())
    assert found.samples.is_empty()


def test_a_channel_may_have_the_tag_of_the_time_column() -> None:
    channel = Channel(name="flow", tag="time")
    lines = block(b"1777622400,\n")
    columns, epoch = ["time", "note"], wide(time_format="epoch_s")
    found = split_block(lines, columns, (channel,), epoch, name="a.csv")
    assert found.samples.rows() == [(AT, 1777622400.0, 2)]
    wrong = split_block(lines, columns, (channel,), wide(), name="a.csv")
    assert wrong.quarantined["reason"][0].startswith("time is '1777622400', expected")


def test_the_raw_row_is_kept_by_column_as_it_was_written() -> None:
    found = split(b"soon,1.50,,off\n", wide())
    kept = json.loads(found.quarantined["raw"][0])
    assert kept == {"time": "soon", "FT-101": "1.50", "note": None, "pressure": "off"}


def test_many_numbers_are_read_as_they_are_written() -> None:
    count = 100_000
    times = "2026-05-01T08:00:00.{:06}Z"
    text = "".join(f"{times.format(n)},{n}.5,,{n}\n" for n in range(count)).encode()
    found = split(text, wide())
    assert found.samples["flow"].sum() == sum(n + 0.5 for n in range(count))
    assert found.samples["_line"].to_list() == list(range(2, count + 2))


@pytest.mark.parametrize(
    ("line", "options", "columns"),
    [
        ("time,flow", {}, ["time", "flow"]),
        (' time ;"flow; m3/h"', {"separator": ";"}, ["time", "flow; m3/h"]),
        ('"time,flow', {}, ['"time,flow']),
        ("", {}, [""]),
        ("08:00\t1\t2", {"separator": "\t", "header": False}, ["column_1", "column_2", "column_3"]),
        ("", {"header": False}, ["column_1"]),
    ],
)
def test_the_header_names_the_columns(
    line: str, options: dict[str, object], columns: list[str]
) -> None:
    assert header_of(line, wide(**options)) == columns


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("1,2\n3,4\n", -1),
        ("1,2\n3,4", 4),
        ("1", 0),
        ('1,"2"\n3,4\n', -1),
        ('1,"2"\n3,4', 6),
        ('1,2\n3,"two\nlines\n', 4),
        ('1,2\n3,"two\nlines', 4),
        ('3,"stray\n' + "1,2\n" * 30, -1),
    ],
)
def test_text_may_go_on_where_a_line_or_a_quoted_field_has_no_end(text: str, place: int) -> None:
    assert open_place(block(text.encode()), wide()) == place
    shifted = Block(text.encode(), 7, block(text.encode()).lines, 100 + len(text), is_last=True)
    assert open_place(shifted, wide()) == (place if place < 0 else 100 + place)


@given(st.lists(st.sampled_from(["", "a", "b", "a#2", "a#3", "#1", "a#3#"])))
def test_names_become_unique_and_the_first_of_each_keeps_its_own(columns: list[str]) -> None:
    names = unique_names(columns)
    assert len(set(names)) == len(names) == len(columns)
    assert all(names[columns.index(name)] == name for name in columns if name)
