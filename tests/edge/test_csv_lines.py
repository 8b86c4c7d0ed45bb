import io
import math
from collections.abc import Sequence

import pytest

from faultwatch_edge.errors import SourceError
from faultwatch_edge.manifest import ChannelSpec
from faultwatch_edge.sources.csv_lines import (
    LONGEST_LINE,
    Rejected,
    Sample,
    read_lines,
    read_samples,
)

FLOW = ChannelSpec("flow", "FT-101", "m3/h", "continuous", "periodic", None)
LEVEL = ChannelSpec("level", None, "m", "continuous", "periodic", None)
NOON = "2026-01-31T12:00:00Z"


def read(
    text: str | bytes,
    channels: Sequence[ChannelSpec] = (FLOW, LEVEL),
    *,
    time_column: str = "time",
    is_utc: bool = False,
    notes: list[str] | None = None,
) -> list[Sample | Rejected]:
    data = text.encode() if isinstance(text, str) else text
    rows = read_samples(
        read_lines(io.BytesIO(data)),
        channels,
        min_channels=1,
        time_column=time_column,
        is_utc=is_utc,
        note=(notes if notes is not None else []).append,
    )
    return list(rows)


def values(rows: list[Sample | Rejected]) -> list[list[float]]:
    return [row.values for row in rows if isinstance(row, Sample)]


def reasons(rows: list[Sample | Rejected]) -> list[str]:
    return [row.reason for row in rows if isinstance(row, Rejected)]


def test_columns_are_found_by_name_or_tag_in_any_order() -> None:
    rows = read(f"level,time,FT-101\n2,{NOON},1.5\n")
    assert values(rows) == [[1.5, 2.0]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_fields_are_parted_as_the_header_parts_them(separator: str) -> None:
    rows = read(f"FT-101,time,level\n1.5,{NOON},2\n".replace(",", separator))
    assert values(rows) == [[1.5, 2.0]]


def test_name_goes_before_tag() -> None:
    notes: list[str] = []
    rows = read(f"time,FT-101,flow,level\n{NOON},1,2,3\n", notes=notes)
    assert values(rows) == [[2.0, 3.0]]
    assert notes == ["no channel for column 'FT-101': ignored"]


def test_unknown_columns_and_missing_channels_are_noted_once() -> None:
    notes: list[str] = []
    rows = read(f"time,flow,a,b\n{NOON},1,x,y\n{NOON},1,x,y\n", notes=notes)
    assert notes == [
        "no column for 'level': scored as missing",
        "no channel for column 'a', 'b': ignored",
    ]
    assert math.isnan(values(rows)[0][1])


def test_long_lists_of_columns_are_shortened() -> None:
    notes: list[str] = []
    read(f"time,flow,level,{','.join('abcdefghijklm')}\n", notes=notes)
    assert notes[0].endswith("'j' and 3 more: ignored")


def test_too_few_columns_are_refused() -> None:
    with pytest.raises(SourceError, match=r"0 of 2 channels have a column, .* 'flow \(FT-101\)'"):
        read("time,other\n")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "is empty, expected a header line"),
        ("at,flow\n", "time column 'time' is there 0 times, expected once among 'at', 'flow'"),
        ("time,time,flow\n", "time column 'time' is there 2 times"),
        ("time,flow,flow\n", "column 'flow' is there 2 times"),
        ('time,"flow\n', "line is not CSV"),
        (b"time,\xff\n", "line is not UTF-8 text"),
    ],
)
def test_header_that_cannot_be_used_is_refused(header: str | bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read(header)


@pytest.mark.parametrize("word", ["", " ", "NaN", "null", "nan"])
def test_missing_is_written_in_several_ways(word: str) -> None:
    ((flow, level),) = values(read(f"time,flow,level\n{NOON},{word},2\n"))
    assert math.isnan(flow)
    assert level == 2.0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{NOON},high,1", "channel 'flow' is 'high', expected a number"),
        (f"{NOON},1_000,1", "channel 'flow' is '1_000', expected a number"),
        (f"{NOON},1", "has 2 fields, expected 3 as the header"),
        ('"x,1,1', "line is not CSV"),
        ("31.01.2026 12:00,1,1", "time is '31.01.2026 12:00', expected ISO-8601"),
        (",1,1", "time is '', expected ISO-8601"),
        ("2026-01-31T12:00:00,1,1", "has no offset, expected one such as 2026-01-31T12:00:00Z"),
    ],
)
def test_row_that_cannot_be_used_is_rejected_and_the_rest_is_read(row: str, reason: str) -> None:
    rows = read(f"time,flow,level\n{NOON},1,2\n{row}\n{NOON},3,4\n")
    assert values(rows) == [[1.0, 2.0], [3.0, 4.0]]
    (found,) = reasons(rows)
    assert reason in found
    rejected = rows[1]
    assert (rejected.line.number, rejected.line.text) == (3, row)


def test_text_that_is_not_utf8_is_rejected() -> None:
    rows = read(b"time,flow,level\n2026-01-31T12:00:00Z,\xff,1\n")
    assert reasons(rows) == ["line is not UTF-8 text"]


def test_times_without_offset_are_refused_unless_they_are_utc() -> None:
    text = "time,flow,level\n2026-01-31T12:00:00,1,2\n"
    with pytest.raises(SourceError, match=r"line 2: time .* has no offset.*--utc"):
        read(text)
    (aware,) = read(text.replace(":00,1", ":00Z,1"))
    (naive,) = read(text, is_utc=True)
    assert isinstance(aware, Sample)
    assert isinstance(naive, Sample)
    assert aware.time_us == naive.time_us == 1_769_860_800_000_000


def test_offsets_are_understood_to_the_microsecond() -> None:
    (row,) = read("time,flow\n1970-01-01T01:00:00.000001+01:00,1\n")
    assert isinstance(row, Sample)
    assert row.time_us == 1


def test_time_column_byte_order_mark_quotes_and_line_ends() -> None:
    text = f'\ufeff"at", flow,level\r\n"{NOON}",1,2\r\n\r\n{NOON},3,4'
    assert values(read(text, time_column="at")) == [[1.0, 2.0], [3.0, 4.0]]


def test_endless_line_is_rejected_without_being_held() -> None:
    long = b"9" * (3 * LONGEST_LINE)
    rows = read(b"time,flow,level\n" + long + b"\n" + f"{NOON},1,2\n".encode() + long)
    assert values(rows) == [[1.0, 2.0]]
    assert reasons(rows) == [f"line is longer than {LONGEST_LINE} bytes"] * 2
    assert all(len(row.line.text) <= 4096 for row in rows)
    assert [row.line.number for row in rows] == [2, 3, 4]


def test_line_of_exactly_the_longest_length_is_read() -> None:
    data = b"x" * (LONGEST_LINE - 1) + b"\n"
    whole, longer = read_lines(io.BytesIO(data + b"x" + data))
    assert (whole.fault, len(whole.text)) == (None, LONGEST_LINE - 1)
    assert longer.fault is not None
