"""Rows of a query as parts that can be merged one by one; each says up to which time it is read."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl

from features.rows import split_long, split_wide
from pipelines.config import AssetConfig
from pipelines.database import read_query
from pipelines.ledger import Progress
from pipelines.reading import Part, ReadError, most_rows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SOURCE_NAME = "sql"
"""What the query is called among the sources of an asset."""
NO_LINE = 0
"""Rows of a query have no lines: a row is known again by what is in it."""


def read_rows(
    asset: AssetConfig, database: str | None, *, known: Progress, digest: int
) -> Iterator[Part]:
    """Rows of the asset's query that are newer than those read before, less the overlap.

    Args:
        asset: its query, and how its rows are written.
        database: address of the database.
        known: up to which time it was read before.
        digest: of the query, the channels and options it is read with now.

    Raises:
        ReadError: no database is named.
        pipelines.database.DatabaseError: the database does not answer, or not with such rows.
        features.schema.SchemaError: the query lacks a column.
    """
    source = asset.source
    if database is None:
        raise ReadError(
            f"{asset.asset.id}: [source] sql needs a database; set FAULTWATCH_DATABASE to its "
            "address, such as postgresql://user:password@host/database"
        )
    restarts = known.is_new or known.channels != digest
    start = Progress() if restarts else known
    newest = EPOCH + timedelta(microseconds=start.place)
    batches = read_query(
        database,
        source.sql or "",
        time=source.time,
        time_format=source.time_format,
        since=newest - timedelta(seconds=source.overlap_s) if start.lines else None,
        batch_rows=most_rows(len(asset.channel) + 1, source),
    )
    divide = split_long if source.layout == "long" else split_wide
    place, rows = start.place, start.lines
    for batch in batches:
        lines = pl.repeat(NO_LINE, batch.height, dtype=pl.Int64, eager=True)
        split = divide(batch, lines, asset.channel, source, name=SOURCE_NAME)
        if split.samples.height:
            latest: int = split.samples.select(pl.col("time").dt.epoch("us").max()).item()
            place = max(place, latest) if rows else latest
        rows += batch.height
        yield Part(split, Progress(place=place, lines=rows, channels=digest), restarts=restarts)
        restarts = False
