"""Delta tables, in a folder or in object storage: the only file that knows deltalake.

Every commit is pinned to the snapshot that was looked at: if another writer was first, the table
refuses it, and `retried` looks again.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import polars as pl
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Field,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import PrimitiveType, Schema

Result = TypeVar("Result")
Snapshot = DeltaTable
"""A table as it is at one version."""

ATTEMPTS = 100
"""How often a change is tried while other writers commit first."""
# Dictionaries of measured values are all overhead: without them writing is four times as fast.
WRITER = WriterProperties(default_column_properties=ColumnProperties(dictionary_enabled=False))
COMPACT_WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=3,
    default_column_properties=ColumnProperties(dictionary_enabled=False),
)
SMALL_FILE = 50_000
"""Rows: a file with fewer is small."""
INSTANT = "%Y-%m-%dT%H:%M:%S%.6fZ"
STATISTICS_ROUND = timedelta(milliseconds=1)
"""Files note their newest time cut to this."""
MANY_SMALL_FILES = 16
"""So many small files in one partition are made one."""


class TableError(Exception):
    """A table that cannot be read or written; the message says what to do."""


@dataclass(frozen=True)
class Table:
    """Where a Delta table is, and which columns it has.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     notes = Table(folder + "/notes", {"note": pl.String()})
        ...     notes.create()
        ...     append(notes.open(), pl.DataFrame({"note": ["pump replaced"]}))
        ...     notes.scan().collect()["note"].to_list(), notes.version()
        (['pump replaced'], 1)
    """

    address: str
    """Folder, or address such as ``s3://bucket/folder``; its secrets are in the environment."""
    schema: Mapping[str, pl.DataType]
    partition_by: str | None = None
    indexed: str = "time"
    """Columns, separated by commas, whose smallest and largest value each file notes."""

    def exists(self) -> bool:
        """Whether it was ever created.

        Raises:
            TableError: its place cannot be read.
        """
        try:
            return DeltaTable.is_deltatable(self.address)
        except OSError as error:
            raise TableError(
                f"{self.address} cannot be read: {_reason(error)}; correct the address, or the "
                "AWS_ variables that say how to reach it"
            ) from error

    def create(self, units: Mapping[str, str] | None = None) -> None:
        """Make it, empty, unless it is there.

        Args:
            units: of columns, kept beside their names.
        """
        if self.exists():
            return
        columns = Schema.from_arrow(pl.Schema(self.schema)).fields
        noted = [
            Field(column.name, column.type, metadata={"unit": units[column.name]})
            if units and column.name in units
            else column
            for column in columns
        ]
        try:
            DeltaTable.create(
                self.address,
                Schema(noted),
                mode="ignore",
                # Old versions stay readable, as far as their files are kept: trainings name them.
                configuration={
                    "delta.logRetentionDuration": "interval 3650 days",
                    "delta.dataSkippingStatsColumns": self.indexed,
                },
                partition_by=self.partition_by,
                commit_properties=_pinned(),
            )
        except CommitFailedError:  # another writer made it in this moment
            if not self.exists():
                raise

    def version(self) -> int:
        """Newest version; -1 while there is none."""
        return self.open().version() if self.exists() else -1

    def open(self, version: int | None = None) -> Snapshot:
        """The table as it is now, or was at a version.

        Raises:
            TableError: there is no table, or no such version.
        """
        try:
            return DeltaTable(self.address, version=version)
        except DeltaError as error:
            raise TableError(
                f"the historian has no version {version}; the newest is {self.version()}, and old "
                "ones are removed with time"
            ) from error

    def scan(self, version: int | None = None) -> pl.LazyFrame:
        """Rows not read yet; none of a table that does not exist."""
        if version is None and not self.exists():
            return pl.LazyFrame(schema=pl.Schema(self.schema))
        return rows_of(self.open(version))


def rows_of(snapshot: Snapshot) -> pl.LazyFrame:
    """Rows not read yet."""
    return pl.scan_delta(snapshot)


def marks_of(snapshot: Snapshot, names: Sequence[str]) -> list[int | None]:
    """Numbers that commits left under these names; None where none did."""
    return [snapshot.transaction_version(name) for name in names]


def units_of(snapshot: Snapshot) -> dict[str, str]:
    """Each column's unit; empty where none is known."""
    return {field.name: str(field.metadata.get("unit", "")) for field in snapshot.schema().fields}


def files_of(snapshot: Snapshot) -> pl.DataFrame:
    """One row a file: ``num_records`` and, per indexed column, ``min.<name>``, ``max.<name>``."""
    return pl.DataFrame(snapshot.get_add_actions(flatten=True))


def append(snapshot: Snapshot, rows: pl.DataFrame, marks: Mapping[str, int] | None = None) -> None:
    """Add rows and marks, both or neither.

    Raises:
        CommitFailedError: another writer was first.
    """
    if rows.is_empty():
        snapshot.create_write_transaction(
            [], "append", snapshot.schema(), commit_properties=_pinned(marks)
        )
        return
    write_deltalake(
        snapshot,
        rows,
        mode="append",
        commit_properties=_pinned(marks),
        writer_properties=WRITER,
    )


def replace_all(snapshot: Snapshot, rows: pl.DataFrame, marks: Mapping[str, int]) -> None:
    """Put rows in the place of all there are; older versions keep them."""
    write_deltalake(
        snapshot, rows, mode="overwrite", commit_properties=_pinned(marks), writer_properties=WRITER
    )


def put(
    snapshot: Snapshot, rows: pl.DataFrame, months: Sequence[str], marks: Mapping[str, int]
) -> None:
    """Insert rows, or put them in the place of those of the same time, with the marks.

    Args:
        snapshot: partitioned by ``month``.
        rows: with all columns; at least one.
        months: partitions that the rows are in.
        marks: numbers to leave with the commit.
    """
    listed = ", ".join(f"'{month}'" for month in months)
    low, high = rows.select(
        first=(pl.col("time").min() - STATISTICS_ROUND).dt.strftime(INSTANT),
        last=pl.col("time").max().dt.strftime(INSTANT),
    ).row(0)
    (
        snapshot.merge(
            rows,
            # The span is for the files: without it all of those months are read, in memory.
            f"t.month IN ({listed}) AND t.time >= '{low}' AND t.time <= '{high}' "
            "AND s.month = t.month AND s.time = t.time",
            source_alias="s",
            target_alias="t",
            commit_properties=_pinned(marks),
            writer_properties=WRITER,
        )
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )


def add_column(snapshot: Snapshot, name: str, unit: str) -> None:
    """Add a column of numbers, empty in all rows."""
    snapshot.alter.add_columns([Field(name, PrimitiveType("double"), metadata={"unit": unit})])


def set_unit(snapshot: Snapshot, name: str, unit: str) -> None:
    """Note another unit beside a column's name; the values stay."""
    snapshot.alter.set_column_metadata(name, {"unit": unit})


def retried(change: Callable[[], Result], who: str) -> Result:
    """What a change gives, tried again while other writers commit first.

    Args:
        change: opens the table and commits to what it opened.
        who: whose table, for the message.

    Raises:
        TableError: other writers never stop.
    """
    for _ in range(ATTEMPTS):
        try:
            return change()
        except CommitFailedError:
            continue  # another writer was first: look again at what is there now
    raise TableError(f"{who}: other writers were first {ATTEMPTS} times; run this again")


def compact(table: Table) -> int:
    """Make one file of many small ones, in every partition that has many; returns how many went.

    It gives way to whoever replaces rows of these files meanwhile: the next one makes up for it.
    """
    if not table.exists():
        return 0
    snapshot, removed = table.open(), 0
    small = files_of(snapshot).filter(pl.col("num_records") < SMALL_FILE)
    name = table.partition_by
    parts = small.select(pl.col(f"partition.{name}") if name else pl.lit("").alias("all"))
    for part, count in parts.to_series().value_counts().sort(pl.all()).iter_rows():
        if count >= MANY_SMALL_FILES:
            with suppress(CommitFailedError):
                done = snapshot.optimize.compact(
                    partition_filters=[(name, "=", part)] if name else None,
                    max_concurrent_tasks=1,
                    writer_properties=COMPACT_WRITER,
                )
                removed += int(done["numFilesRemoved"])
    return removed


def forget(table: Table, older_than: timedelta) -> int:
    """Remove files that no version younger than this needs; returns how many."""
    if not table.exists():
        return 0
    hours = max(1, round(older_than / timedelta(hours=1)))
    return len(table.open().vacuum(hours, dry_run=False, enforce_retention_duration=False))


def _reason(error: OSError) -> str:
    """The innermost of the reasons, which are one a line, or a message in XML."""
    message = re.search(r"<Message>(.*?)</Message>", str(error))
    if message:
        return message[1]
    return re.sub(r"\x1b\[\d*m|↳", "", str(error).strip().splitlines()[-1]).strip()


def _pinned(marks: Mapping[str, int] | None = None) -> CommitProperties:
    """Commit only if no other writer did since the snapshot was taken."""
    transactions = [Transaction(mark, count) for mark, count in (marks or {}).items()]
    return CommitProperties(max_commit_retries=0, app_transactions=transactions)
