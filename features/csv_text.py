"""Lines of CSV to samples and quarantine: quickly where all is well, with care where it is not."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from features.blocks import Block
from features.channels import Channel
from features.rows import Split, known_as, refuse_rows, split_long, split_wide
from features.source import SourceConfig

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ENDS_TOO_SOON = "unexpected end"
"""What the csv module says of a quoted field that may go on in the next line."""
UNDECODED = "surrogateescape"
NOT_UTF_8 = re.compile(r"[\udc80-\udcff]")
MOST_JOINED = 20
"""Lines that one quoted field may go over."""
CUT = "; it may be cut"
"""End of the reason against a last line that has no end."""


def header_of(line: str, source: SourceConfig) -> list[str]:
    """Names of the columns, from the first line; numbered ones where there is no header.

    Example:
        >>> header_of("time;flow", SourceConfig(files="a.csv", separator=";"))
        ['time', 'flow']
        >>> header_of("2026-01-01T00:00Z,5", SourceConfig(files="a.csv", header=False))
        ['column_1', 'column_2']
    """
    fields = _quoted_fields([line], source.separator)[0] or [line]
    if not source.header:
        return [f"column_{number}" for number in range(1, len(fields) + 1)]
    return [field.strip() for field in fields]


def split_block(
    block: Block,
    columns: list[str],
    channels: tuple[Channel, ...],
    source: SourceConfig,
    *,
    name: str,
) -> Split:
    r"""Divide the lines of a block into samples and rows for the quarantine.

    Args:
        block: lines after the header.
        columns: names from the header.
        channels: the asset's channels.
        source: how the lines are written.
        name: of the file, for the quarantine.

    Raises:
        features.schema.SchemaError: a column is missing altogether.

    Example:
        >>> block = Block(b"2026-01-01T00:00:00Z,1.5\n2026-01-01T00:01:00Z\n", 2, 2, 60, True)
        >>> flow, source = Channel(name="flow"), SourceConfig(files="a.csv")
        >>> split = split_block(block, ["time", "flow"], (flow,), source, name="a.csv")
        >>> split.samples["flow"].to_list(), split.quarantined["reason"].to_list()
        ([1.5], ['line has 1 field, expected 2'])
    """
    divide = split_long if source.layout == "long" else split_wide
    if _is_plain(block, len(columns), source):
        lines = pl.int_range(block.first_line, block.first_line + block.lines, eager=True)
        # With a decimal comma polars takes 1.234 for a number, too: such files are read as text.
        numbers = set() if source.decimal == "," else number_columns(channels, source)
        for texts_only in (False, True):
            raw = _parse(block.data, columns, source, numbers=set() if texts_only else numbers)
            if raw is None or raw.height != block.lines:
                continue
            split = divide(raw, lines, channels, source, name=name)
            if texts_only or split.quarantined.is_empty():
                return split
    raw, rows, refused = _parse_line_by_line(block, columns, source, name)
    split = divide(raw, rows, channels, source, name=name)
    return replace(split, quarantined=pl.concat([split.quarantined, refused]))


def _is_plain(block: Block, columns: int, source: SourceConfig) -> bool:
    """Whether lines are rows: no quotes, UTF-8, and as many fields, all in all, as there must be.

    If a line has fewer, or is blank, then another one has more, and that is what polars refuses.
    """
    data = block.data
    if columns == 1 or b'"' in data or data.startswith(BYTE_ORDER_MARK):  # polars passes over it
        return False
    marks = np.count_nonzero(np.frombuffer(data, np.uint8) == ord(source.separator))
    return bool(marks == (columns - 1) * block.lines) and _is_utf8(data)


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def number_columns(channels: tuple[Channel, ...], source: SourceConfig) -> set[str]:
    """Columns that hold numbers."""
    if source.layout == "long":
        return {source.value}
    return {word for channel in channels for word in known_as(channel)} - {source.time}


def _parse(
    data: bytes, columns: list[str], source: SourceConfig, *, numbers: set[str]
) -> pl.DataFrame | None:
    """Rows as polars reads them: numbers where they must be, else texts; None where it cannot."""
    kinds = [pl.Float64 if column in numbers else pl.String for column in columns]
    names = unique_names(columns)
    try:
        return pl.read_csv(
            io.BytesIO(data),
            has_header=False,
            schema=dict(zip(names, kinds, strict=True)),
            separator=source.separator,
            quote_char=None,
        )
    except pl.exceptions.PolarsError:
        return None


def unique_names(columns: list[str]) -> list[str]:
    """Names of which each stands once: a doubled or empty one gets its number.

    Example:
        >>> unique_names(["time", "flow", "flow", ""])
        ['time', 'flow', 'flow#3', '#4']
    """
    taken, names = set(columns), dict[str, int]()
    for place, name in enumerate(columns, start=1):
        unique = name
        if not name or name in names:
            unique = f"{name}#{place}"
            while unique in taken:
                unique += "#"
        names[unique] = place
    return list(names)


def _parse_line_by_line(
    block: Block, columns: list[str], source: SourceConfig, name: str
) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
    """Rows, their lines, and lines that are no row: with too many or too few fields, or no text."""
    good: list[list[str | None]] = []
    numbers: list[int] = []
    refused: list[tuple[int, str, str]] = []
    for number, line, fields in _numbered_fields(block, source.separator):
        if reason := _line_reason(line, fields, len(columns)):
            is_cut = (
                block.is_last and block.is_open and number == block.first_line + block.lines - 1
            )
            text = line.encode(errors=UNDECODED).decode(errors="replace")
            refused.append((number, f"{reason}{CUT}" if is_cut else reason, text))
        else:
            good.append([field or None for field in fields])
            numbers.append(number)
    schema = dict.fromkeys(unique_names(columns), pl.String)
    raw = pl.DataFrame(good, schema=schema, orient="row")
    lines = pl.Series(numbers, dtype=pl.Int64)
    return raw, lines, refuse_rows(name, refused)


def open_place(block: Block, source: SourceConfig) -> int:
    r"""Place in the text from which on more text may change what lines say; -1 = nowhere.

    That is where a last line without an end begins, or a quoted field that may go on.

    Args:
        block: the last of a text.
        source: how the lines are written.

    Example:
        >>> source = SourceConfig(files="a.csv")
        >>> open_place(Block(b"1,2\n3,4\n", 1, 2, 8, True), source)
        -1
        >>> open_place(Block(b"1,2\n3,4", 1, 2, 7, True), source)
        4
        >>> open_place(Block(b'1,"two\nlines\n', 1, 2, 13, True), source)
        0
    """
    if b'"' not in block.data:
        return block.last_line_begins if block.is_open else -1
    last = block.first_line + block.lines - 1
    rows = [(number, fields) for number, _, fields in _numbered_fields(block, source.separator)]
    unended = [line for line, fields in rows if not fields and line > last - MOST_JOINED]
    if not unended and not block.is_open:
        return -1
    line = (unended or [rows[-1][0]])[0]
    rest = block.data.split(b"\n", line - block.first_line)[-1]
    return block.place - len(rest)


def _line_reason(line: str, fields: list[str], expected: int) -> str | None:
    if NOT_UTF_8.search(line):
        return "line is not UTF-8 text; set [source] encoding"
    if not fields:
        return "line has a quoted field that does not end"
    if len(fields) != expected:
        unit = "field" if len(fields) == 1 else "fields"
        return f"line has {len(fields)} {unit}, expected {expected}"
    return None


def _numbered_fields(block: Block, separator: str) -> Iterator[tuple[int, str, list[str]]]:
    """Each row that is not blank: line, text, fields; no fields where a quote is amiss."""
    texts = block.data.decode(errors=UNDECODED).removesuffix("\n").split("\n")
    place = 0
    while place < len(texts):
        line = texts[place].removesuffix("\r")
        number, used = block.first_line + place, 1
        fields = line.split(separator)
        if '"' in line:
            fields, used = _quoted_fields(texts[place : place + MOST_JOINED], separator)
            line = "\n".join(texts[place : place + used]).removesuffix("\r")
        place += used
        if separator in line or line.strip():
            yield number, line, fields


def _quoted_fields(lines: list[str], separator: str) -> tuple[list[str], int]:
    """Fields of the row that begins these lines, and how many it takes; none if it is no row."""
    for used in range(1, len(lines) + 1):
        text = "\n".join(lines[:used]).removesuffix("\r")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        try:
            rows = list(reader)
        except csv.Error as error:
            if ENDS_TOO_SOON in str(error):
                continue
            break  # no more lines can mend it
        return (rows[0], used) if len(rows) == 1 else ([], 1)
    return [], 1
