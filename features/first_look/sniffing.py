"""How a CSV file is written, told from its lines: separator, decimal mark, header."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from features.csv_text import unique_names
from features.first_look.encodings import SniffingError
from features.wording import as_shown

SEPARATORS = ("\t", ";", "|", ",")
"""What may stand between fields; where several would fit, the first of these."""
LINES_LOOKED_AT = 200
"""Lines that decide separator, header and decimal mark."""
AGREEING = 0.9
"""Share of the lines that must have the same number of fields."""
DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?")
TIME_LIKE = re.compile(
    r"\d{1,4}[-./]\w{1,3}[-./]\d{1,4}([T ,_-].*)?"  # 2026-01-02, 2.1.2026 10:00, 02-Jan-26 10:00
    r"|\d{8}[T ]?\d{4,6}"  # 20260102T100000
)


@dataclass(frozen=True)
class CsvForm:
    """How a CSV file is written."""

    encoding: str
    """In Python's words, as a whole file is decoded."""
    separator: str
    """Between fields."""
    decimal: Literal[".", ","] | None
    """Decimal mark; None = the pieces hold no number with one."""
    header: bool | None
    """Whether the first line names the columns; None = there is only one line."""
    doubts: tuple[tuple[str, str], ...] = ()
    """Option and sentence, where the pieces do not decide it."""


def sniff_csv(lines: list[str], *, encoding: str) -> CsvForm:
    """Tell separator, decimal mark and header from the first lines of a file.

    Args:
        lines: from the beginning of the file, without line ends.
        encoding: as `sniff_encoding` says; kept, and doubted where it was a guess.

    Raises:
        SniffingError: no separator divides the lines into equally many fields.

    Example:
        >>> form = sniff_csv(["Zeit;Druck", "01.02.2026 10:00;1,5"], encoding="utf-8")
        >>> form.separator, form.decimal, form.header
        (';', ',', True)
    """
    looked_at = [line for line in lines[:LINES_LOOKED_AT] if line.strip()]
    if not looked_at:
        raise SniffingError("is empty")
    if "\r" in looked_at[0]:
        raise SniffingError("ends its lines with CR alone; write them with LF or CR LF")
    separator = _separator(looked_at)
    rows = [fields for line in looked_at if (fields := _fields(line, separator))]
    header = _header(rows)
    decimal, doubts = _decimal(rows[1:] if header else rows, separator)
    if encoding in {"cp1252", "latin-1"}:
        sentence = (
            f"bytes that are no UTF-8 were read as {encoding}; "
            "if names or units look wrong, write another encoding, such as 'cp1250'"
        )
        doubts.append(("source.encoding", sentence))
    if header is False:
        doubts.append(
            (
                "source.header",
                "the first line looks like values: columns are column_1, column_2 ...",
            )
        )
    return CsvForm(encoding, separator, decimal, header, tuple(doubts))


def _separator(lines: list[str]) -> str:
    for separator in SEPARATORS:
        counts = [len(_fields(line, separator)) for line in lines]
        fields, agreeing = Counter(counts).most_common(1)[0]
        if fields > 1 and agreeing >= AGREEING * len(counts):
            if counts[0] != fields:
                found = f"{counts[0]} field{'' if counts[0] == 1 else 's'}"
                raise SniffingError(
                    f"begins with the line '{as_shown(lines[0], 40)}', which has {found} where "
                    f"others have {fields}; the first line must name the columns, and nothing "
                    "stand above it"
                )
            return separator
    raise SniffingError(
        f"begins with the line '{as_shown(lines[0], 40)}', but no separator parts most of its "
        "lines into as many fields; expected at least two columns parted by , or ; or | or a tab"
    )


def _header(rows: list[list[str]]) -> bool | None:
    """Whether the first row names columns: it holds text where the others hold data."""
    first, body = rows[0], rows[1:]
    if not body:
        return None if any(_is_data(field) for field in first) else True
    votes = {True: 0, False: 0}
    for place, field in enumerate(first):
        column = [row[place] for row in body if place < len(row) and row[place].strip()]
        if any(TIME_LIKE.fullmatch(text.strip()) for text in column[:1]):
            return not _is_data(field)
        if column and sum(map(_is_data, column)) > len(column) / 2:
            votes[not _is_data(field)] += 1
    return votes[True] >= votes[False]


def _is_data(field: str) -> bool:
    text = field.strip()
    return bool(NUMBER.fullmatch(text) or TIME_LIKE.fullmatch(text))


def _decimal(
    rows: list[list[str]], separator: str
) -> tuple[Literal[".", ","] | None, list[tuple[str, str]]]:
    fields = [field.strip() for row in rows for field in row]
    points = sum(bool(DECIMAL_POINT.fullmatch(field)) for field in fields)
    commas = sum(bool(DECIMAL_COMMA.fullmatch(field)) for field in fields)
    if commas > points and separator == ",":
        raise SniffingError(
            "has numbers such as 1,5 in quotes between commas; write the file with semicolons"
        )
    doubts = []
    if min(points, commas) > (1 - AGREEING) * max(points, commas):
        sentence = f"{points} numbers have a decimal point and {commas} a decimal comma"
        doubts.append(("source.decimal", sentence))
    if not points and not commas:
        return None, doubts
    return "," if commas > points else ".", doubts


def name_columns(lines: list[str], form: CsvForm) -> list[str]:
    """Names of the columns of a file; a doubled or empty one gets its number.

    Args:
        lines: from the beginning of the file.
        form: how the file is written.

    Example:
        >>> name_columns(["time;flow;flow"], CsvForm("utf-8", ";", None, header=True))
        ['time', 'flow', 'flow#3']
    """
    first = next(
        csv.reader([next(line for line in lines if line.strip())], delimiter=form.separator)
    )
    if form.header is False:
        return [f"column_{number}" for number in range(1, len(first) + 1)]
    return unique_names([field.strip() for field in first])


def read_lines(lines: Sequence[str], form: CsvForm, columns: list[str]) -> pl.DataFrame:
    """Read rows of a CSV file as text columns; lines that are no row of it are left out.

    Args:
        lines: from one place of the file, without the names of the columns.
        form: how the file is written.
        columns: names of the columns.

    Example:
        >>> form = CsvForm("utf-8", ",", ".", header=True)
        >>> read_lines(["1,2", "3,4"], form, ["a", "b"]).to_dict(as_series=False)
        {'a': ['1', '3'], 'b': ['2', '4']}
    """
    if any('"' in line for line in lines):
        return _read_quoted(lines, form, columns)
    marks = len(columns) - 1
    rows = [line for line in lines if line.strip() and line.count(form.separator) == marks]
    if not rows:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    return pl.read_csv(
        "\n".join(rows).encode("utf-8", errors="replace"),
        separator=form.separator,
        has_header=False,
        schema=dict.fromkeys(columns, pl.String),
        quote_char=None,
    )


def _read_quoted(lines: Sequence[str], form: CsvForm, columns: list[str]) -> pl.DataFrame:
    fields = (_fields(line, form.separator) for line in lines)
    rows = [[field or None for field in row] for row in fields if len(row) == len(columns)]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def _fields(line: str, separator: str) -> list[str]:
    """Fields of a line; none where its quotes do not fit."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error:
        return []
