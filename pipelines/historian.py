"""The historian: one Delta table of samples an asset, and one of rows that could not be used.

Three verbs: merge, read a span, version. A merge can be repeated, or killed and run again, and the
tables are the same; several writers at once lose nothing. This rests on three things:

* Every commit is pinned to the version that was looked at; if another writer was first, the table
  refuses it, and the merge looks again.
* Values that are about to be replaced reach the quarantine first, and a row that is there already
  is not added again.
* The commit that brings rows also records which rows of which source they were. When the same
  source brings them again, they fill what is missing but replace nothing: where the table says
  otherwise, something later has won.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from features.channels import Channel, channel_names
from features.merging import (
    MergeCounts,
    changed_rows,
    compare_rows,
    count_repeated,
    count_rows,
    row_marks,
    superseded_values,
)
from features.schema import QUARANTINE_SCHEMA, SchemaError, check_rows, samples_schema

Result = TypeVar("Result")

ATTEMPTS = 100
"""How often a change is tried while other writers commit first."""
LOG_RETENTION = {"delta.logRetentionDuration": "interval 3650 days"}
"""Old versions stay readable, as far as their files are kept: trainings name the one they read."""


class HistorianError(Exception):
    """The historian cannot take or give what was asked; the message says what to do."""


class Historian:
    """Samples and quarantine of one asset.

    Args:
        folder: folder of all assets' tables.
        asset_id: whose tables.
        channels: the columns of the samples.
    """

    def __init__(self, folder: Path, asset_id: str, channels: tuple[Channel, ...]) -> None:
        self.asset_id = asset_id
        self.channels = channels
        self._samples = folder / asset_id / "samples"
        self._quarantine = folder / asset_id / "quarantine"

    def version(self) -> int:
        """Version of the samples table; -1 while there is none."""
        return DeltaTable(self._samples).version() if _exists(self._samples) else -1

    def read(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        version: int | None = None,
    ) -> pl.DataFrame:
        """Samples with ``start <= time < end``, sorted.

        Args:
            start: tz-aware; None = from the beginning.
            end: tz-aware; None = to the end.
            version: of the table; None = the newest.

        Raises:
            HistorianError: the table has other channels, or not that version.
        """
        if version is None and not _exists(self._samples):
            return pl.DataFrame(schema=samples_schema(self.channels))
        rows = pl.scan_delta(self._open(version))
        if start is not None:
            rows = rows.filter(pl.col("time") >= start)
        if end is not None:
            rows = rows.filter(pl.col("time") < end)
        return rows.select("time", *channel_names(self.channels)).sort("time").collect()

    def merge(self, samples: pl.DataFrame, *, source: str, first_line: int = 0) -> MergeCounts:
        """Add rows; per cell, null meets value = filled, equal = duplicate, else the later wins.

        Args:
            samples: ``time`` and the channels; may be unsorted, and times may repeat: later rows
                come later.
            source: name of where they come from. What it brought before replaces nothing again.
            first_line: place of the first row in it.

        Raises:
            HistorianError: the rows or the table have other channels, or others never stop writing.
        """
        try:
            check_rows(samples, self.channels)
        except SchemaError as error:
            raise HistorianError(f"{self.asset_id}: rows of {source}: {error}") from error
        if samples.is_empty():
            return MergeCounts()
        counts = self._retry(lambda: self._merge(samples, source, first_line))
        if counts.rows != samples.height:
            raise HistorianError(
                f"{self.asset_id}: {samples.height} rows of {source} became {counts.rows}; "
                "nothing may be lost: please report this"
            )
        return counts

    def quarantine(self, rows: pl.DataFrame) -> None:
        """Keep rows that could not be used; a row that is there already is not added again.

        Args:
            rows: source, line, reason, raw.

        Raises:
            HistorianError: others never stop writing.
        """
        if not rows.is_empty():
            distinct = rows.select(list(QUARANTINE_SCHEMA)).unique(maintain_order=True)
            self._retry(lambda: self._append_unknown(distinct))

    def read_quarantine(self) -> pl.DataFrame:
        """Rows that could not be used: source, line, reason, raw."""
        if not _exists(self._quarantine):
            return pl.DataFrame(schema=QUARANTINE_SCHEMA)
        rows = pl.scan_delta(DeltaTable(self._quarantine)).select(list(QUARANTINE_SCHEMA))
        return rows.sort("source", "line", "reason", "raw").collect()

    def _retry(self, change: Callable[[], Result]) -> Result:
        for _ in range(ATTEMPTS):
            try:
                return change()
            except CommitFailedError:
                continue  # another writer was first: look again at what is there now
        raise HistorianError(
            f"{self.asset_id}: other writers were first {ATTEMPTS} times; run this again"
        )

    def _merge(self, samples: pl.DataFrame, source: str, first_line: int) -> MergeCounts:
        _create(
            self._samples,
            {**samples_schema(self.channels), "month": pl.String()},
            partition_by="month",
        )
        table = self._open()
        repeated = count_repeated(
            samples, source=source, first_line=first_line, find=table.transaction_version
        )
        compared = compare_rows(_present(table, samples), samples, repeated=repeated)
        for values in superseded_values(compared, source=source):
            self.quarantine(values)
        changed = changed_rows(compared).with_columns(month=_month())
        if not changed.is_empty() or repeated < samples.height:
            news, line = samples[repeated:], first_line + repeated
            _commit(table, changed, row_marks(news, source=source, first_line=line))
        return count_rows(compared)

    def _append_unknown(self, rows: pl.DataFrame) -> None:
        _create(self._quarantine, QUARANTINE_SCHEMA)
        table = DeltaTable(self._quarantine)
        names = list(QUARANTINE_SCHEMA)
        there = (
            pl.scan_delta(table)
            .filter(pl.col("source").is_in(rows["source"].unique().implode()))
            .join(rows.lazy(), on=names, how="semi", nulls_equal=True)
            .select(names)
            .collect(engine="streaming")
        )
        new = rows.join(there, on=names, how="anti", nulls_equal=True)
        if not new.is_empty():
            write_deltalake(table, new, mode="append", commit_properties=_pinned())

    def _open(self, version: int | None = None) -> DeltaTable:
        try:
            table = DeltaTable(self._samples, version=version)
        except DeltaError as error:
            raise HistorianError(
                f"{self.asset_id}: the historian has no version {version}; the newest is "
                f"{self.version()}, and old ones are removed with time"
            ) from error
        there = {field.name for field in table.schema().fields} - {"time", "month"}
        here = set(channel_names(self.channels))
        if there != here:
            new, lost = sorted(here - there), sorted(there - here)
            raise HistorianError(
                f"{self.asset_id}: the asset file and the historian have different channels"
                + (f"; only in the asset file: {', '.join(new)}" if new else "")
                + (f"; only in the historian: {', '.join(lost)}" if lost else "")
                + "; correct the asset file, or give the asset a new id"
            )
        return table


def _exists(path: Path) -> bool:
    return DeltaTable.is_deltatable(str(path))


def _create(path: Path, schema: dict[str, pl.DataType], partition_by: str | None = None) -> None:
    if not _exists(path):
        DeltaTable.create(
            path,
            pl.Schema(schema),
            mode="ignore",
            configuration=LOG_RETENTION,
            commit_properties=_pinned(),
            partition_by=partition_by,
        )


def _pinned(marks: dict[str, int] | None = None) -> CommitProperties:
    """Commit only if no other writer did since the table was opened."""
    transactions = [Transaction(mark, count) for mark, count in (marks or {}).items()]
    return CommitProperties(max_commit_retries=0, app_transactions=transactions)


def _month() -> pl.Expr:
    return pl.col("time").dt.strftime("%Y-%m")


def _present(table: DeltaTable, samples: pl.DataFrame) -> pl.DataFrame:
    """What the table holds at the times of these rows."""
    times = samples.select("time").unique()
    months = times.select(_month().unique()).to_series().implode()
    rows = pl.scan_delta(table).filter(
        pl.col("month").is_in(months),
        pl.col("time").is_between(times["time"].min(), times["time"].max()),
    )
    there = rows.join(times.lazy(), on="time", how="semi")
    return there.select(samples.columns).collect(engine="streaming")


def _commit(table: DeltaTable, changed: pl.DataFrame, marks: dict[str, int]) -> None:
    """Write all of it, with the marks of where it comes from, or nothing."""
    rows, pinned = changed.drop("is_new"), _pinned(marks)
    if rows.is_empty():
        table.create_write_transaction([], "append", table.schema(), commit_properties=pinned)
        return
    if changed["is_new"].all():
        write_deltalake(table, rows, mode="append", commit_properties=pinned)
        return
    months = ", ".join(f"'{month}'" for month in rows["month"].unique().sort())
    (
        table.merge(
            rows,
            f"t.month IN ({months}) AND s.month = t.month AND s.time = t.time",
            source_alias="s",
            target_alias="t",
            commit_properties=pinned,
        )
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )
