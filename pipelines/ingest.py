"""Ingest flow: files in, samples and quarantine in the historian out; every row is counted."""

import glob
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from features.merging import MergeCounts
from features.schema import locate_columns, split_usable
from pipelines.config import AssetConfig, load_asset
from pipelines.historian import Historian
from pipelines.settings import Settings

CHUNK = 250_000
"""Rows merged at once, at most: bounds the memory."""


class IngestError(Exception):
    """A source that cannot be read; the message says which and what to do."""


@dataclass(frozen=True)
class FileCounts:
    """What became of the rows of one file."""

    source: str
    counts: MergeCounts


def ingest_files(
    asset: AssetConfig,
    historian: Historian,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> list[FileCounts]:
    """Read every file of the asset's glob and merge it into the historian.

    Args:
        asset: says which files, and which columns they have.
        historian: where the samples go.
        say: takes a sentence for each file.

    Raises:
        IngestError: no file, or one that is neither CSV nor Parquet.
        features.schema.SchemaError: a file lacks a column.
    """
    folder = _fixed_folder(asset.source.files)
    done = []
    reported: set[str] = set()
    for path in find_files(asset):
        source = path.relative_to(folder).as_posix()
        if unknown := set(check_columns(path, asset, source=source)) - reported:
            say(f"{source}: columns without a channel are ignored: {', '.join(sorted(unknown))}")
            reported |= unknown
        counts = sum(
            (
                _merge_chunk(asset, historian, rows, source=source, first_line=line)
                for line, rows in read_chunks(path)
            ),
            MergeCounts(),
        )
        say(f"{source}: {counts.rows} rows read: {in_words(counts)}")
        done.append(FileCounts(source, counts))
    return done


def _merge_chunk(
    asset: AssetConfig, historian: Historian, rows: pl.DataFrame, *, source: str, first_line: int
) -> MergeCounts:
    split = split_usable(
        rows,
        asset.channel,
        source=source,
        first_line=first_line,
        time_column=asset.source.time,
    )
    historian.quarantine(split.quarantined)
    counts = historian.merge(split.samples, source=source, first_line=first_line)
    counts += MergeCounts(quarantined=split.quarantined.height)
    if counts.rows != rows.height:
        raise IngestError(
            f"{asset.asset.id}: {rows.height} rows of {source} from line {first_line} became "
            f"{counts.rows}; nothing may be lost: please report this"
        )
    return counts


def check_columns(path: Path, asset: AssetConfig, *, source: str) -> list[str]:
    """Names of the columns that belong to no channel, before any row is read.

    Raises:
        IngestError: the file cannot be read as what its name says.
        features.schema.SchemaError: it lacks a column.
    """
    with _readable(path):
        found = _scan(path)[0].collect_schema().names()
    places = locate_columns(found, asset.channel, source=source, time_column=asset.source.time)
    return [name for name in found if name not in places.values()]


def find_files(asset: AssetConfig) -> list[Path]:
    """Files of the asset's glob, by name.

    Raises:
        IngestError: there is none.
    """
    pattern = asset.source.files
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - the pattern may be absolute
    files = [Path(name) for name in sorted(found) if Path(name).is_file()]
    if not files:
        raise IngestError(f"{asset.asset.id}: no file matches '{pattern}'; correct [source] files")
    return files


def _fixed_folder(pattern: str) -> Path:
    """Folder of a glob that is the same for all its files."""
    return next(folder for folder in Path(pattern).parents if not glob.has_magic(str(folder)))


def read_chunks(path: Path) -> Iterator[tuple[int, pl.DataFrame]]:
    """Rows of a file, at most 250,000 at once, each time with the line of the first.

    Raises:
        IngestError: the file cannot be read as what its name says.
    """
    with _readable(path):
        rows, line = _scan(path)
        for batch in rows.collect_batches(chunk_size=CHUNK, maintain_order=True):
            yield line, batch
            line += batch.height


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0]
        raise IngestError(
            f"{path.name} cannot be read: {first}; repair or remove the file"
        ) from error


def _scan(path: Path) -> tuple[pl.LazyFrame, int]:
    """Rows not read yet, and the line of the first: a CSV file has a header."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return pl.scan_csv(path, infer_schema=False, glob=False), 2
    if suffix == ".parquet":
        return pl.scan_parquet(path, glob=False), 1
    raise IngestError(f"{path.name} is neither .csv nor .parquet; correct [source] files")


def in_words(counts: MergeCounts) -> str:
    """Counts as a phrase.

    Example:
        >>> in_words(MergeCounts(kept=3, quarantined=1))
        '3 kept, 0 filled, 0 superseded, 1 quarantined, 0 duplicates'
    """
    return ", ".join(f"{number} {fate}" for fate, number in asdict(counts).items())


@flow(name="ingest", description="Read an asset's files into the historian.")
def ingest(asset_file: str) -> dict[str, int]:
    """Read an asset's files into the historian.

    Args:
        asset_file: asset file, or id of a shipped asset.
    """
    asset = load_asset(asset_file)
    historian = Historian(Settings().historian_folder, asset.asset.id, asset.channel)
    files = ingest_files(asset, historian, say=get_run_logger().info)
    table = [
        {"file": done.source, "rows": done.counts.rows, **asdict(done.counts)} for done in files
    ]
    create_table_artifact(table, key=f"ingest-{asset.asset.id}".replace("_", "-"))
    total = sum((done.counts for done in files), MergeCounts())
    return {"rows": total.rows, **asdict(total)}
