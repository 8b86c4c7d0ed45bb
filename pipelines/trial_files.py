"""The files of a backtest: how they are written, and their rows in slices, none of them lost."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from features.channels import Channel
from features.first_look.encodings import SniffingError, decode_pieces, sniff_encoding
from features.first_look.pieces import Piece
from features.first_look.sniffing import CsvForm, name_columns, read_lines
from features.first_look.time_column import find_time_column
from features.rows import Split
from features.schema import LINE
from features.source import SourceConfig
from pipelines.data_files import is_readable
from pipelines.ledger import Progress
from pipelines.reading import File, read_file
from pipelines.sampling import sample_files
from pipelines.text_files import PIECE, Text

ROW = "row"
MOST_LOOKED_AT = 200_000
"""Rows from the beginning of a file that tell what its columns are."""
HEAD = 65_536
"""Bytes that tell whether a text has columns at all."""
EPOCH = pl.datetime(1970, 1, 1, time_zone="UTC", time_unit="us")


class BacktestError(Exception):
    """Two files that cannot be tried; the message says why and what to do."""


@dataclass(frozen=True)
class TrialFile:
    """One file, and how it is written."""

    path: Path
    name: str
    """For messages."""
    form: CsvForm | None
    """None = Parquet."""
    columns: tuple[str, ...]
    decimal: Literal[".", ","] = "."
    """Mark in numbers that are text."""


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a file."""

    frame: pl.DataFrame
    """``row`` (from 0), ``time`` (null = unusable) and the channels; in the file's order."""
    refused: tuple[str, ...]
    """Reasons against rows that cannot be used."""
    bad: int
    """Values that a word says are bad."""


def open_file(path: Path) -> TrialFile:
    """Tell how a file is written.

    Raises:
        BacktestError: there is none, or it is neither CSV nor Parquet.
        pipelines.data_files.InitError: it is empty or cannot be read.
    """
    if not path.is_file() or not is_readable(path):
        what = "is neither CSV (.csv, .txt, .tsv, also with .gz) nor .parquet"
        raise BacktestError(f"'{path}' {what if path.exists() else 'is not there'}; name a file")
    if path.suffix.lower() != ".parquet" and (single := _single_column(path)) is not None:
        return single
    sampled = sample_files([path])
    columns = tuple(sampled.pieces[0].rows.columns)
    decimal = (sampled.form and sampled.form.decimal) or "."
    return TrialFile(path, path.name, sampled.form, columns, decimal)


def _single_column(path: Path) -> TrialFile | None:
    """A text of one number a line, with or without a name above; None of all others."""
    with closing(Text(path, "utf-8")) as text:
        data = text.read(HEAD)
    try:
        lines = decode_pieces([data], sniff_encoding([data]), to_the_end=len(data) < HEAD)[0]
    except SniffingError:
        return None
    first, *others = [line.strip() for line in lines if line.strip()] or [""]
    if not others or not all(map(_is_number, others)):
        return None
    form = CsvForm("utf-8", ",", ".", header=not _is_number(first))
    return TrialFile(path, path.name, form, tuple(name_columns([first], form)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def look_at(file: TrialFile, rows: int | None, *, without: Sequence[str]) -> list[Piece]:
    """Some rows of a file with several columns, as they are.

    Args:
        file: the file.
        rows: how many of the first may be looked at; None = all.
        without: columns that are left out.
    """
    if rows is None:
        pieces = list(sample_files([file.path]).pieces)
    else:
        pieces = [Piece(_first_rows(file, min(rows, MOST_LOOKED_AT)), str(file.path))]
    return [Piece(one.rows.drop(without, strict=False), one.source) for one in pieces]


def _first_rows(file: TrialFile, count: int) -> pl.DataFrame:
    if file.form is None:
        return pl.scan_parquet(file.path, glob=False).head(count).collect()
    lines: list[str] = []
    data = b""
    with closing(Text(file.path, file.form.encoding)) as text:
        while len(lines) <= count and (piece := text.read(PIECE)):
            *whole, data = (data + piece).split(b"\n")
            lines += [line.decode(errors="replace").removesuffix("\r") for line in whole]
    written = [line for line in [*lines, data.decode(errors="replace")] if line.strip()]
    body = written if file.form.header is False else written[1:]
    return read_lines(body[:count], file.form, list(file.columns))


def number_rows(file: TrialFile, time: str, *, period_s: float, folder: Path) -> TrialFile:
    """Copy a file without times; each row gets the time that its number stands for.

    Args:
        file: the file.
        time: name of the new column.
        period_s: seconds from one row to the next; the first row is at that time since 1970.
        folder: where the copy is kept.

    Raises:
        BacktestError: its lines have different numbers of fields.
    """
    path = folder / f"{file.path.stem}.{len(list(folder.iterdir()))}.parquet"
    rows = _scan(file, folder).with_row_index(ROW)
    at = EPOCH + pl.duration(microseconds=(pl.col(ROW).cast(pl.Int64) + 1) * round(period_s * 1e6))
    try:
        rows.with_columns(at.alias(time)).drop(ROW).sink_parquet(path)
    except pl.exceptions.PolarsError as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BacktestError(
            f"{file.name} cannot be read as rows of {len(file.columns)} columns: {first[:200]}; "
            "repair the file"
        ) from error
    return TrialFile(path, file.name, None, (*file.columns, time), file.decimal)


def _scan(file: TrialFile, folder: Path) -> pl.LazyFrame:
    if file.form is None:
        return pl.scan_parquet(file.path, glob=False)
    plain = folder / f"{len(list(folder.iterdir()))}.csv"
    with closing(Text(file.path, file.form.encoding)) as text, plain.open("wb") as copy:
        while piece := text.read(PIECE):
            copy.write(piece)
    return pl.scan_csv(
        plain,
        separator=file.form.separator,
        has_header=False,
        skip_rows=0 if file.form.header is False else 1,
        schema=dict.fromkeys(file.columns, pl.String),
        encoding="utf8-lossy",
    )


def describe_source(file: TrialFile, time: str, pieces: Sequence[Piece]) -> SourceConfig:
    """How a file writes times and values, in the words of an asset file.

    Args:
        file: the file.
        time: name of its time column.
        pieces: a sample of it.

    Raises:
        features.first_look.pieces.InspectionError: the column holds no times.
    """
    _, form, _ = find_time_column(pieces, named=time)
    options: dict[str, object] = {
        "files": str(file.path),
        "time": time,
        "time_format": form.time_format,
        "time_zone": None if form.zoned else "UTC",
        "decimal": file.decimal,
        "separator": ";",  # of text; it must not be the decimal mark
        "partial": True,
    }
    if file.form is not None:
        options |= {
            "encoding": "utf-8" if file.form.encoding == "ascii" else file.form.encoding,
            "separator": file.form.separator,
            "header": file.form.header is not False,
        }
    return SourceConfig.model_validate(options)


def read_rows(
    file: TrialFile, channels: tuple[Channel, ...], source: SourceConfig
) -> Iterator[Rows]:
    """Read a file to its end, slice by slice; every row of it is in one of them, with its number.

    Raises:
        pipelines.reading.ReadError: it cannot be read to its end.
    """
    named = File(file.path, file.name)
    first = 0
    for part in read_file(named, channels, source, known=Progress(), digest=0):
        rows = _numbered(part.split, first)
        first += rows.height
        yield Rows(
            rows, tuple(part.split.quarantined["reason"].to_list()), sum(part.split.bad.values())
        )


def count_rows(file: TrialFile) -> int:
    """How many rows a file has, about: lines of a text, blank ones included."""
    if file.form is None:
        return int(pl.scan_parquet(file.path, glob=False).select(pl.len()).collect().item())
    lines = 0
    with closing(Text(file.path, "utf-8")) as text:
        while piece := text.read(PIECE):
            lines += piece.count(b"\n")
    return lines


def _numbered(split: Split, first: int) -> pl.DataFrame:
    """All rows of a part, those that cannot be used without time and values."""
    rows = split.samples
    if not split.quarantined.is_empty():
        refused = split.quarantined.select(pl.col("line").alias(LINE))
        rows = pl.concat([rows, refused], how="diagonal").sort(LINE, maintain_order=True)
    return (
        rows.drop(LINE).with_row_index(ROW, offset=first).with_columns(pl.col(ROW).cast(pl.Int64))
    )
