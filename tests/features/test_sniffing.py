import codecs

import polars as pl
import pytest

from features.first_look.encodings import SniffingError, decode_pieces, sniff_encoding
from features.first_look.sniffing import CsvForm, name_columns, read_lines, sniff_csv


def form_of(*lines: str) -> CsvForm:
    return sniff_csv(list(lines), encoding="utf-8")


def refusal(*lines: str) -> str:
    with pytest.raises(SniffingError) as caught:
        form_of(*lines)
    return str(caught.value)


def doubted(form: CsvForm) -> list[str]:
    return [option for option, _ in form.doubts]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"time,flow\n1,2\n", "ascii"),
        ("Größe\n".encode(), "utf-8"),
        (codecs.BOM_UTF8 + "Größe\n".encode(), "utf-8"),
        ("Größe\n".encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + "Größe\n".encode("utf-16-be"), "utf-16"),
        ("Größe €\n".encode("cp1252"), "cp1252"),
        (b"x\x81\n", "latin-1"),
    ],
)
def test_the_encoding_is_told_from_the_bytes(data: bytes, encoding: str) -> None:
    assert sniff_encoding([data]) == encoding


def test_a_character_cut_at_an_end_does_not_count() -> None:
    first, later = "a\nä".encode()[:-1], "ü".encode()[1:] + b"\nb\n"
    assert sniff_encoding([first, later]) == "ascii"


def test_bytes_with_zeros_are_no_text() -> None:
    with pytest.raises(SniffingError, match="is no text; expected CSV or Parquet"):
        sniff_encoding([b"\x89PNG\x00\x01"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_pieces_become_whole_lines(encoding: str) -> None:
    data = "Zeit;Größe\n1;2\n3;4".encode(encoding)
    cut = data.index("ß".encode(encoding)[-2:])
    cut -= cut % 2
    pieces = [data[: len(data) - 6], data[cut:]]
    lines = decode_pieces(pieces, encoding, to_the_end=True)
    assert lines[0][0] == "Zeit;Größe"
    assert lines[1] == ["1;2", "3;4"]


def test_a_line_that_goes_on_elsewhere_is_no_line() -> None:
    assert decode_pieces([b"a\nb\nc"], "ascii", to_the_end=False) == [["a", "b"]]


def test_the_byte_order_mark_is_no_part_of_the_first_name() -> None:
    [lines] = decode_pieces([codecs.BOM_UTF8 + b"time,flow\n"], "utf-8", to_the_end=True)
    assert lines == ["time,flow"]


@pytest.mark.parametrize(
    ("lines", "separator", "decimal"),
    [
        (("time,flow", "2026-01-01,1.5"), ",", "."),
        (("time;flow;p", "2026-01-01;1,5;2,5"), ";", ","),
        (("time\tflow", "2026-01-01\t1.5"), "\t", "."),
        (("time|flow", "2026-01-01|3"), "|", None),
        (("2026-01-01;1,5;2,5", "2026-01-02;1,5;2,5"), ";", ","),
        (('time,"a,b"', '2026-01-01,"x,y"'), ",", None),
    ],
)
def test_separator_and_decimal_mark_are_told_from_the_lines(
    lines: tuple[str, ...], separator: str, decimal: str | None
) -> None:
    form = form_of(*lines)
    assert (form.separator, form.decimal) == (separator, decimal)


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        (("time,flow", "2026-01-01,1"), True),
        (("2026-01-01,1", "2026-01-02,2"), False),
        (("a,b", "x,1", "y,2"), True),
        (("1,2", "3,4"), False),
        (("time,1,2", "2026-01-01,5,6"), True),
        (("1767225600,Bad,3,4", "1767225601,2,3,4"), False),
        (("time,flow",), True),
        (("2026-01-01,5",), None),
        (("a,b", "x,", "y,"), True),
    ],
)
def test_a_header_is_told_from_values(lines: tuple[str, ...], header: bool | None) -> None:  # noqa: FBT001
    form = form_of(*lines)
    assert form.header is header
    assert ("source.header" in doubted(form)) is (header is False)


def test_an_encoding_that_was_guessed_is_doubted() -> None:
    form = sniff_csv(["Größe;b", "1;2"], encoding="cp1252")
    assert doubted(form) == ["source.encoding"]


def test_two_decimal_marks_are_doubted() -> None:
    form = form_of("time;a;b", "2026-01-01;1,5;1.5", "2026-01-02;2,5;2.5")
    assert doubted(form) == ["source.decimal"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (("", "  "), "is empty"),
        (("time", "2026-01-01"), "no separator parts most of its lines into as many fields"),
        (("Report of May", "time;a", "1;2", *["3;4"] * 20), "has 1 field where others have 2"),
        (("time;a;", *["3;4"] * 20), "has 3 fields where others have 2"),
        (('"time;a', *["3;4"] * 20), "has 0 fields where others have 2"),
        (("time;a\r1;2\r3;4",), "ends its lines with CR alone; write them with LF or CR LF"),
        (("time,a", '2026-01-01,"1,5"'), "numbers such as 1,5 in quotes between commas"),
    ],
)
def test_lines_without_form_get_a_sentence(lines: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(*lines)


def test_columns_without_header_are_numbered() -> None:
    form = CsvForm("utf-8", ",", None, header=False)
    assert name_columns(["", "1,2"], form) == ["column_1", "column_2"]


def test_doubled_and_empty_names_are_numbered() -> None:
    form = CsvForm("utf-8", ",", None, header=True)
    assert name_columns(["a, b ,a,"], form) == ["a", "b", "a#3", "#4"]


def test_rows_of_other_lengths_are_left_out_of_the_sample() -> None:
    form = CsvForm("utf-8", ",", None, header=True)
    rows = read_lines(["1,2", "3", "4,5,6", '"7",8', ""], form, ["a", "b"])
    assert rows.rows() == [("1", "2"), ("7", "8")]
    assert read_lines([], form, ["a"]).schema == {"a": pl.String}


def test_a_stray_quote_spoils_only_its_line() -> None:
    form = CsvForm("utf-8", ",", None, header=True)
    rows = read_lines(['"1,2', '5" pipe,4', '"5,5",6', '"7"x,8', "9,"], form, ["a", "b"])
    assert rows.rows() == [('5" pipe', "4"), ("5,5", "6"), ("9", None)]


def test_only_line_feeds_end_a_line() -> None:
    [lines] = decode_pieces(["a\u2028b,\x0b\r\nc,d\n".encode()], "utf-8", to_the_end=True)
    assert lines == ["a\u2028b,\x0b", "c,d"]
