"""Files as parts that can be merged one by one; each says how far the file is read with it."""

import glob
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from features.channels import Channel
from features.csv_text import split_block
from features.rows import Split, check_long_columns, locate_columns, split_long, split_wide
from features.schema import QUARANTINE_SCHEMA
from features.source import SourceConfig
from pipelines.ledger import Progress
from pipelines.text_files import Text, TextError, read_header, read_on

MOST_ROWS = 250_000
"""Rows of a part in the wide layout, at most: bounds the memory."""
MOST_LONG_ROWS = 1_000_000
"""Rows of a part in the long layout, at most."""
MOST_VALUES = 8_000_000
"""Values of a part, at most."""
TEXTS = (".csv", ".txt", ".tsv")
NOTHING = Split(pl.DataFrame(), pl.DataFrame(schema=QUARANTINE_SCHEMA))


class ReadError(Exception):
    """A file that cannot be read, or not to its end; the message says what to do."""


@dataclass(frozen=True)
class Part:
    """Some rows of a source, and how far it is read with them."""

    split: Split
    after: Progress
    """Without what becomes of the rows."""
    restarts: bool = False
    """Whether the source is read from its beginning with this part."""
    ignored: tuple[str, ...] = ()
    """Columns of no channel."""


@dataclass(frozen=True)
class File:
    """A file of samples."""

    path: Path
    name: str
    """Below the fixed folder of the glob."""


def find_files(pattern: str) -> list[File]:
    """Files of a glob, by name; those that the system hides are left out.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.csv").write_text("time,flow")
        ...     [file.name for file in find_files(folder + "/*.csv")]
        ['a.csv']
    """
    folder = next(place for place in Path(pattern).parents if not glob.has_magic(str(place)))
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - the pattern may be absolute
    paths = (Path(name) for name in sorted(found))
    return [File(path, path.relative_to(folder).as_posix()) for path in paths if path.is_file()]


def is_unchanged(file: File, known: Progress, channels: int) -> bool:
    """Whether the file is as it was when it was last read to its end, with the same channels."""
    try:
        now = _state(file.path)
    except OSError:
        return False  # whoever reads it will say why it cannot be
    return (known.size, known.modified_us, known.channels) == (*now, channels)


def read_file(
    file: File,
    channels: tuple[Channel, ...],
    source: SourceConfig,
    *,
    known: Progress,
    digest: int,
) -> Iterator[Part]:
    """Rows of a file that were not read yet: those that a grown file has more, or all of them.

    Args:
        file: the file.
        channels: the asset's channels.
        source: how the file is written.
        known: how far it was read before.
        digest: of the channels and options it is read with now.

    Raises:
        ReadError: the file cannot be read as what its name says.
        features.schema.SchemaError: it lacks a column.
    """
    start = known if known.channels == digest else Progress()
    kind = file.path.name.lower().removesuffix(".gz")
    read = _read_text if kind.endswith(TEXTS) else _read_parquet
    if read is _read_parquet and not kind.endswith(".parquet"):
        raise ReadError(
            f"{file.name} is neither CSV (.csv, .txt, .tsv, also with .gz) nor .parquet; "
            "correct [source] files"
        )
    with _readable(file):
        for part in read(file, channels, source, start):
            yield replace(part, after=replace(part.after, channels=digest))


@contextmanager
def _readable(file: File) -> Iterator[None]:
    try:
        yield
    except TextError as error:
        raise ReadError(f"{file.name} {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(
            f"{file.name} is cut or damaged: {error}; the rows before that are in; copy the file "
            "again and run this again"
        ) from error
    except UnicodeError as error:  # the codec does not even begin; bad bytes are replaced
        raise ReadError(
            f"{file.name} is not written as [source] encoding says: {error}; correct encoding"
        ) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        said = (isinstance(error, OSError) and error.strerror) or str(error)
        first = (said.splitlines() or [type(error).__name__])[0]
        raise ReadError(
            f"{file.name} cannot be read: {first[:200]}; repair or remove the file"
        ) from error


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns // 1_000


def columns_of(header: list[str], file: File, source: SourceConfig) -> list[str]:
    """Names of the columns as channels know them.

    Example:
        >>> source = SourceConfig(files="*/*.csv", columns="by_folder", time="Timestamp")
        >>> columns_of(["Timestamp", "Speed"], File(Path("pump/a.csv"), "pump/a.csv"), source)
        ['Timestamp', 'pump/Speed']
    """
    if source.columns == "plain":
        return header
    folder = file.path.parent.name
    return [name if name == source.time else f"{folder}/{name}" for name in header]


def _check_columns(
    columns: list[str], file: File, channels: tuple[Channel, ...], source: SourceConfig
) -> tuple[str, ...]:
    """Columns that belong to no channel, before any row is read."""
    if source.layout == "wide":
        used = set(locate_columns(columns, channels, source, name=file.name).values())
        return tuple(name for name in columns if name not in used)
    check_long_columns(columns, source, name=file.name)
    return ()


def most_rows(columns: int, source: SourceConfig) -> int:
    """Rows of a part, at most."""
    most = MOST_LONG_ROWS if source.layout == "long" else MOST_ROWS
    return max(1_000, min(most, MOST_VALUES // max(1, columns)))


def _read_text(
    file: File, channels: tuple[Channel, ...], source: SourceConfig, known: Progress
) -> Iterator[Part]:
    size, modified_us = _state(file.path)
    with closing(Text(file.path, source.encoding)) as text:
        header = read_header(text, source)
        if header is None:
            text.check_end()
            return
        columns = columns_of(header.columns, file, source)
        ignored = _check_columns(columns, file, channels, source)
        start, blocks = read_on(
            text, header, source, known, most_lines=most_rows(len(columns), source)
        )
        restarts, done = start is None, False
        for block, after in blocks:
            split = split_block(block, columns, channels, source, name=file.name)
            done = block.is_last and text.failure is None
            yield Part(
                split,
                replace(after, size=size, modified_us=modified_us) if done else after,
                restarts=restarts,
                ignored=ignored,
            )
            restarts = False
        text.check_end()
        if not done:
            at = start or Progress(header.place, header.line - 1, digest=text.note(b""))
            after = replace(at, size=size, modified_us=modified_us)
            yield Part(NOTHING, after, restarts=restarts, ignored=ignored)


def _read_parquet(
    file: File, channels: tuple[Channel, ...], source: SourceConfig, known: Progress
) -> Iterator[Part]:
    size, modified_us = _state(file.path)
    digest = int.from_bytes(
        hashlib.blake2b(f"{size} {modified_us}".encode(), digest_size=7).digest()
    )
    rows = pl.scan_parquet(file.path, glob=False)
    names = rows.collect_schema().names()
    columns = columns_of(names, file, source)
    ignored = _check_columns(columns, file, channels, source)
    total = rows.select(pl.len()).collect().item()
    divide = split_long if source.layout == "long" else split_wide
    restarts = known.digest != digest
    place = 0 if restarts else known.place
    complete = Progress(place=total, lines=total, digest=digest, size=size, modified_us=modified_us)
    batches = rows.slice(place).collect_batches(
        chunk_size=most_rows(len(columns), source), maintain_order=True
    )
    for batch in batches:
        if batch.is_empty():
            continue
        raw = batch.rename(dict(zip(names, columns, strict=True)))
        lines = pl.int_range(place + 1, place + batch.height + 1, eager=True)
        place += batch.height
        after = Progress(place=place, lines=place, digest=digest) if place < total else complete
        split = divide(raw, lines, channels, source, name=file.name)
        yield Part(split, after, restarts=restarts, ignored=ignored)
        restarts = False
    if known.size < 0 and not total:
        yield Part(NOTHING, complete, restarts=restarts)
