"""The historian: one Delta table of samples an asset, and one of rows that could not be used.

Three verbs: merge, read a span, version. A merge can be repeated, or killed and run again, and the
tables are the same; several writers at once lose nothing. This rests on three things:

* Every commit is pinned to the version that was looked at; if another writer was first, the table
  refuses it, and the merge looks again.
* What is about to be replaced reaches the quarantine first, and a row that is there already is not
  added again.
* The commit that brings rows of a source also says how far the source was read, and what became of
  its rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl

from features.cells import count_cells, is_one_value_each, spread_cells, spread_one_by_one
from features.channels import Channel, channel_names
from features.merging import (
    SOURCE,
    SOURCES,
    Comparison,
    MergeCounts,
    changed_rows,
    compare_rows,
    superseded_values,
)
from features.rows import Split
from features.schema import LINE, QUARANTINE_SCHEMA, SchemaError, check_rows, samples_schema
from pipelines.ledger import GENERATION, MEANING, Ledger, Progress, Source, generation_of
from pipelines.quarantine import Quarantine
from pipelines.samples_table import commit_rows, rows_at, slice_borders, time_span
from pipelines.stored_channels import accept_channel, schema_changes, stored_channels
from pipelines.tables import (
    Snapshot,
    Table,
    TableError,
    append,
    compact,
    files_of,
    forget,
    marks_of,
    replace_all,
    retried,
    rows_of,
)


class HistorianError(Exception):
    """The historian cannot take or give what was asked; the message says what to do."""


class MovedOn(Exception):  # noqa: N818 - no error: the reason to go on from somewhere else
    """Someone else has read on in this source."""


class Historian:
    """Samples and quarantine of one asset.

    Args:
        address: folder, or address such as ``s3://bucket/folder``, of all assets' tables.
        asset_id: whose tables.
        channels: the columns of the samples.
    """

    def __init__(self, address: str | Path, asset_id: str, channels: tuple[Channel, ...]) -> None:
        self.asset_id = asset_id
        self.channels = channels
        root = f"{str(address).rstrip('/')}/{asset_id}"
        schema = {
            **samples_schema(channels),
            SOURCE: pl.Int32(),
            SOURCES: pl.List(pl.Int32()),
            "month": pl.String(),
        }
        self._samples = Table(f"{root}/samples", schema, partition_by="month")
        self._quarantine = Quarantine(f"{root}/quarantine", asset_id)
        self.sources = Ledger(f"{root}/sources", asset_id)

    def version(self) -> int:
        """Version of the samples table; -1 while there is none."""
        return self._samples.version()

    def span(self) -> tuple[datetime, datetime] | None:
        """First and last time of the samples, to the millisecond; None = there are none."""
        return time_span(self._samples.open()) if self._samples.exists() else None

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
            version: of the table; None = the newest. Channels that it did not have are empty.

        Raises:
            HistorianError: the table has other channels, or not that version.
        """
        return self._read(self.channels, version, _span(start, end))

    def read_times(self, *, version: int | None = None) -> pl.DataFrame:
        """Times of all samples, sorted, and nothing else.

        Raises:
            HistorianError: the table has other channels, or not that version.
        """
        return self._read((), version, [])

    def _read(
        self, channels: tuple[Channel, ...], version: int | None, chosen: Sequence[pl.Expr]
    ) -> pl.DataFrame:
        if version is None and not self._samples.exists():
            return pl.DataFrame(schema=samples_schema(channels))
        snapshot = self._open(version)
        there = stored_channels(snapshot)
        values = (
            name if name in there else pl.lit(None, dtype=pl.Float64).alias(name)
            for name in channel_names(channels)
        )
        rows = rows_of(snapshot).filter(*chosen).select("time", *values)
        try:
            return rows.sort("time").collect()
        except FileNotFoundError as error:
            raise HistorianError(
                f"{self.asset_id}: version {snapshot.version()} of the historian is no longer "
                "there: its files are removed with time; read a newer one"
            ) from error

    def slices(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[pl.DataFrame]:
        """Samples like `read`, about 250,000 at once, in order of time.

        Raises:
            HistorianError: the table has other channels.
        """
        if not self._samples.exists():
            return
        snapshot = self._open()
        borders = [start, *slice_borders(files_of(snapshot), start, end), end]
        for first, last in pairwise(borders):
            rows = self.read(first, last, version=snapshot.version())
            if rows.height:
                yield rows

    def progress(self, source: Source) -> Progress:
        """How far a source was read."""
        if not self._samples.exists():
            return Progress()
        return self._progress(self._samples.open(), source)

    def finished(self) -> dict[str, Progress]:
        """How far each source was read that was once read to its end, by its name."""
        if not self._samples.exists():
            return {}
        return self.sources.finished(generation_of(self._samples.open()))

    def merge(self, samples: pl.DataFrame, *, source: str) -> MergeCounts:
        """Add rows; per cell, null meets value = filled, equal = duplicate, else the later wins.

        Args:
            samples: ``time`` and the channels; may be unsorted, and times may repeat: later rows
                come later.
            source: name of where they come from.

        Raises:
            HistorianError: the rows or the table have other channels, or others never stop writing.
        """
        try:
            check_rows(samples, self.channels)
        except SchemaError as error:
            raise HistorianError(f"{self.asset_id}: rows of {source}: {error}") from error
        if samples.is_empty():
            return MergeCounts()
        known = self.sources.of(source)
        before = self.progress(known)
        first = before.lines + 1
        lines = pl.int_range(first, first + samples.height, dtype=pl.Int64, eager=True).alias(LINE)
        split = Split(samples.with_columns(lines), pl.DataFrame(schema=QUARANTINE_SCHEMA))
        after = replace(before, lines=before.lines + samples.height)
        try:
            done = self.merge_part(split, source=known, before=before, after=after)
        except MovedOn:
            return self.merge(samples, source=source)
        return MergeCounts(
            **{name: n - getattr(before, name) for name, n in vars(done.counts).items()}
        )

    def merge_part(
        self, split: Split, *, source: Source, before: Progress, after: Progress
    ) -> Progress:
        """Add a part of a source, and note how far it was read.

        Args:
            split: the rows, in the wide layout or as cells.
            source: where they come from.
            before: how far it was read before them.
            after: how far with them, not counting what becomes of them.

        Returns:
            ``after``, with what became of them.

        Raises:
            MovedOn: the source was read on by someone else.
            HistorianError: the table has other channels, others never stop writing, or rows were
                lost.
        """
        self._samples.create({channel.name: channel.unit for channel in self.channels})
        self._quarantine.add(split.quarantined)
        try:
            return retried(
                lambda: self._merge(split, source, before=before, after=after), self.asset_id
            )
        except TableError as error:
            raise HistorianError(str(error)) from error

    def read_quarantine(self) -> pl.DataFrame:
        """Rows that could not be used: source, line, reason, raw."""
        return self._quarantine.read()

    def check_schema(self) -> None:
        """Raise if the asset file has other channels or units than the samples that are here.

        Raises:
            HistorianError: it has; the message says which, and what can be done.
        """
        if self._samples.exists():
            self._open()

    def check_meaning(self, meaning: int) -> None:
        """Raise if rows that are here were read with times or values written in another way.

        Args:
            meaning: digest of what decides that.

        Raises:
            HistorianError: they were.
        """
        if not self._samples.exists():
            return
        (known,) = marks_of(self._samples.open(), [self._meaning_mark()])
        if known is not None and known != meaning and self._has_rows():
            raise HistorianError(
                f"{self.asset_id}: [source] now says otherwise how times and values are written "
                "(time, time_format, time_zone, fold, decimal or layout), but the historian holds "
                "rows that were read as before; restore these options, or read everything anew "
                "with `faultwatch ingest --anew`"
            )

    def note_meaning(self, meaning: int) -> None:
        """Remember how times and values were written."""
        self._samples.create({channel.name: channel.unit for channel in self.channels})
        if marks_of(self._samples.open(), [self._meaning_mark()]) != [meaning]:
            retried(
                lambda: append(
                    self._samples.open(), pl.DataFrame(), {self._meaning_mark(): meaning}
                ),
                self.asset_id,
            )

    def start_anew(self) -> None:
        """Forget all samples, and how far each source was read; older versions keep them."""
        if self._samples.exists():
            retried(self._empty, self.asset_id)

    def accept(self, names: Sequence[str]) -> None:
        """Take over what the asset file says of these channels: new, gone, or of another unit.

        Args:
            names: of channels, in the asset file or in the historian.

        Raises:
            HistorianError: a name is in neither.
        """
        for name in names:
            if self._samples.exists() and not accept_channel(
                self._samples.open(), name, self.channels
            ):
                raise HistorianError(
                    f"{self.asset_id}: --accept {name}: no channel of the asset file or the "
                    "historian has that name"
                )

    def maintain(self, keep: timedelta) -> None:
        """Make few files of many small ones, and remove files that only older versions need."""
        for table in (self._samples, self._quarantine.table, self.sources.table):
            compact(table)
            forget(table, keep)

    def _merge(
        self, split: Split, source: Source, *, before: Progress, after: Progress
    ) -> Progress:
        snapshot = self._open()
        if self._progress(snapshot, source) != before:
            raise MovedOn
        compared, counts = self._compare(snapshot, split.samples, source.rank)
        names_of = self.sources.names() if any(_meets(one) for one in compared) else {}
        for one in compared:
            for values in superseded_values(one, source=source.name, names_of=names_of):
                self._quarantine.add(values)
        counts += MergeCounts(
            quarantined=split.quarantined.height, unlisted=sum(split.unlisted.values())
        )
        done = after.with_counts(counts, bad=sum(split.bad.values()))
        self._check_sum(split, counts, source)
        changed = [changed_rows(one) for one in compared]
        commit_rows(snapshot, changed, {_mark(snapshot, source): self.sources.note(source, done)})
        if done.size >= 0:
            self.sources.finish(source, done, generation=generation_of(snapshot))
        return done

    def _progress(self, snapshot: Snapshot, source: Source) -> Progress:
        return self.sources.read(source, *marks_of(snapshot, [_mark(snapshot, source)]))

    def _check_sum(self, split: Split, counts: MergeCounts, source: Source) -> None:
        rows = split.samples.height + split.quarantined.height + sum(split.unlisted.values())
        if counts.rows != rows:
            raise HistorianError(
                f"{self.asset_id}: {rows} rows of {source.name} became {counts.rows}; nothing may "
                "be lost: please report this"
            )

    def _compare(
        self, snapshot: Snapshot, samples: pl.DataFrame, rank: int
    ) -> tuple[list[Comparison], MergeCounts]:
        if samples.is_empty():
            return [], MergeCounts()
        names = stored_channels(snapshot)
        present = rows_at(snapshot, samples["time"], names)
        if "channel" not in samples.columns:
            gone = [pl.lit(None, dtype=pl.Float64).alias(n) for n in names if n not in samples]
            wide = samples.with_columns(gone).select("time", *names, LINE)
            compared = compare_rows(present, wide, rank=rank)
            return [compared], compared.counts()
        if is_one_value_each(samples):
            compared = compare_rows(present, spread_cells(samples, names), rank=rank)
            if not _meets(compared):
                return [compared], count_cells(samples, compared)
        parts = [
            compare_rows(present.join(part, on="time", how="semi"), part, rank=rank)
            for part in spread_one_by_one(samples, names)
        ]
        return parts, sum((part.counts() for part in parts), MergeCounts())

    def _open(self, version: int | None = None) -> Snapshot:
        try:
            snapshot = self._samples.open(version)
        except TableError as error:
            raise HistorianError(f"{self.asset_id}: {error}") from error
        changes = schema_changes(snapshot, self.channels) if version is None else []
        if changes:
            raise HistorianError(f"{self.asset_id}: {'; '.join(changes)}")
        return snapshot

    def _has_rows(self) -> bool:
        return bool(files_of(self._samples.open())["num_records"].sum())

    def _meaning_mark(self) -> str:
        return f"{generation_of(self._samples.open())}.{MEANING}"

    def _empty(self) -> None:
        snapshot = self._samples.open()
        nothing = rows_of(snapshot).head(0).collect()
        replace_all(snapshot, nothing, {GENERATION: generation_of(snapshot) + 1})


def _mark(snapshot: Snapshot, source: Source) -> str:
    """Under which a commit names the entry that says how far a source is read."""
    return f"{generation_of(snapshot)}.{source.rank}"


def _meets(compared: Comparison) -> bool:
    return bool((compared.rows["fate"] == "superseded").any())


def _span(start: datetime | None, end: datetime | None) -> list[pl.Expr]:
    after = [] if start is None else [pl.col("time") >= start]
    return after if end is None else [*after, pl.col("time") < end]
