"""A bounded sample of many large files: some rows from the beginning, middle and end of some."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl

from features.first_look.encodings import SniffingError, decode_pieces, sniff_encoding
from features.first_look.pieces import Piece, Remark
from features.first_look.sniffing import CsvForm, name_columns, read_lines, sniff_csv
from pipelines.data_files import InitError
from pipelines.file_blocks import read_blocks

MOST_ROWS = 50_000
"""Rows of a sample."""
FEWEST_ROWS = 20
"""Rows from each place of a file, however many files there are."""
MOST_FILES = 20
"""Files of a sample, unless more are needed to see all columns."""
MOST_HEADS = 2_000
"""Files whose columns are looked at."""
HEAD = 65_536
"""Bytes from which the columns of a file are told."""
LEAST_BYTES, MOST_BYTES, ALL_BYTES = 65_536, 2_000_000, 24_000_000
"""Bytes from one place of a file, at least and at most; of all files."""
PLACES = 3
Item = TypeVar("Item")


@dataclass(frozen=True)
class Sampled:
    """A sample, and how its files are written."""

    pieces: tuple[Piece, ...]
    form: CsvForm | None
    """Of the CSV files; None = there are none."""
    files: int
    """Number of files in it."""
    remarks: tuple[Remark, ...]


@dataclass(frozen=True)
class _File:
    """What is known of a file."""

    path: Path
    columns: tuple[str, ...] = ()
    form: CsvForm | None = None
    """None = Parquet."""
    lines: tuple[tuple[str, ...], ...] = ()
    """Of each place, without the names of the columns."""


def sample_files(paths: Sequence[Path], *, most_rows: int = MOST_ROWS) -> Sampled:
    """Read some rows of some files, so that all columns are seen.

    Args:
        paths: CSV and Parquet files.
        most_rows: of the sample.

    Raises:
        InitError: a file cannot be read, is written otherwise than the others, or all are empty.
    """
    looked_at = _spread(paths, MOST_HEADS)
    heads = [head for path in looked_at if (head := _look(path, HEAD, places=1)) is not None]
    if not heads:
        raise InitError(f"'{paths[0].name}' is empty; expected rows of samples")
    first = {(head.path.parent, head.columns): head for head in reversed(heads)}
    others = _spread(heads, max(MOST_FILES - len(first), 0))
    chosen = sorted({head.path for head in [*first.values(), *others]})
    most_bytes = ALL_BYTES // PLACES // len(chosen)
    count = min(max(most_bytes, LEAST_BYTES), MOST_BYTES)
    files = [file for path in chosen if (file := _look(path, count)) is not None]
    form = _common_form([*files, *(head for head in heads if head.path not in chosen)])
    rows = max(most_rows // PLACES // len(chosen), FEWEST_ROWS)
    pieces = tuple(piece for file in files for piece in _pieces(file, form, rows))
    if not any(piece.rows.height for piece in pieces):
        raise InitError(f"'{paths[0].name}' has no rows; expected rows of samples")
    remarks = list(_remarks(len(paths), len(looked_at), len(looked_at) - len(heads)))
    remarks += [Remark(*doubt) for doubt in form.doubts] if form else []
    return Sampled(pieces, form, len(files), tuple(remarks))


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """Some of the items, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[place * (len(items) - 1) // max(most - 1, 1)] for place in range(most)]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except SniffingError as error:
        raise InitError(f"'{path.name}' {error}") from error
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InitError(
            f"'{path.name}' cannot be read: {first[:200]}; repair or remove it"
        ) from error


def _look(path: Path, count: int, *, places: int = PLACES) -> _File | None:
    """Columns, form and lines of a file; None of an empty one.

    Args:
        path: the file.
        count: bytes from each place.
        places: how many.
    """
    with _readable(path):
        if path.suffix.lower() == ".parquet":
            return _File(path, tuple(pl.read_parquet_schema(path)))
        blocks, to_the_end = read_blocks(path, count, places=places)
        if not blocks[0].strip():
            return None
        encoding = sniff_encoding(blocks)
        first, *others = decode_pieces(blocks, encoding, to_the_end=to_the_end)
        form = sniff_csv(first, encoding=encoding)
        columns = tuple(name_columns(first, form))
        body = first if form.header is False else _below_header(first)
        return _File(path, columns, form, tuple(tuple(lines) for lines in [body, *others]))


def _below_header(lines: list[str]) -> list[str]:
    place = next(place for place, line in enumerate(lines) if line.strip())
    return lines[place + 1 :]


def _common_form(files: Sequence[_File]) -> CsvForm | None:
    """How all CSV files are written.

    Raises:
        InitError: two are written in different ways.
    """
    forms = [(file.path.name, file.form) for file in files if file.form is not None]
    if not forms:
        return None
    options = {
        name: _agreed(name, [(file, getattr(form, name)) for file, form in forms])
        for name in ("encoding", "separator", "decimal", "header")
    }
    doubts = dict(doubt for _, form in forms for doubt in form.doubts)
    return CsvForm(
        encoding="utf-8" if options["encoding"] in (None, "ascii") else options["encoding"],
        separator=options["separator"] or ",",
        decimal=options["decimal"] or ".",
        header=options["header"] is not False,
        doubts=tuple(doubts.items()),
    )


def _agreed(name: str, found: Sequence[tuple[str, Item]]) -> Item | None:
    """What the files say that say something."""
    sure = [(file, value) for file, value in found if value not in (None, "ascii")]
    for file, value in sure:
        if value != sure[0][1]:
            raise InitError(
                f"'{sure[0][0]}' has {name} {sure[0][1]!r}, but '{file}' has {value!r}; "
                "an asset file describes files of one kind: name fewer"
            )
    return sure[0][1] if sure else None


def _pieces(file: _File, form: CsvForm | None, rows: int) -> Iterator[Piece]:
    with _readable(file.path):
        if file.form is None or form is None:
            frames = list(_parquet(file.path, rows))
        else:
            frames = list(_text(file, form, rows))
    for frame in frames:
        yield Piece(frame, str(file.path), file.path.parent.name)


def _parquet(path: Path, rows: int) -> Iterator[pl.DataFrame]:
    frame = pl.scan_parquet(path, glob=False)
    height = frame.select(pl.len()).collect().item()
    if height <= PLACES * rows:
        yield frame.collect()
        return
    for start in (0, (height - rows) // 2, height - rows):
        yield frame.slice(start, rows).collect()


def _text(file: _File, form: CsvForm, rows: int) -> Iterator[pl.DataFrame]:
    parts = list(file.lines)
    if len(parts) == 1 and len(parts[0]) > PLACES * rows:
        start = (len(parts[0]) - rows) // 2
        parts = [parts[0], parts[0][start:], parts[0][-rows:]]
    for lines in parts:
        kept = lines[-rows:] if lines is parts[-1] and len(parts) > 1 else lines[:rows]
        yield read_lines(kept, form, list(file.columns))


def _remarks(files: int, looked_at: int, empty: int) -> Iterator[Remark]:
    if looked_at < files:
        yield Remark("", f"of {files} files the columns of {looked_at} were looked at")
    if empty:
        yield Remark("", f"{empty} of the files are empty")
