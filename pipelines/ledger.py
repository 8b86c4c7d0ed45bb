"""What was read of each source: true with the commits that bring its rows, or not at all.

A source is a file, by its name below the fixed part of the glob, or the query of a database. Its
rank says in which order sources first came: the later one wins where they disagree.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import polars as pl

from features.merging import MergeCounts
from pipelines.tables import Snapshot, Table, append, marks_of, retried

GENERATION = "generation"
"""Mark: how often an asset was read anew from the beginning."""
MEANING = "meaning"
"""Mark: how times and values were written when rows were first read."""


@dataclass(frozen=True)
class Source:
    """Where rows come from."""

    rank: int
    name: str


@dataclass(frozen=True)
class Progress:
    """How far a source was read, and what became of its rows.

    Example:
        >>> Progress(place=120, lines=4).is_new
        False
    """

    place: int = 0
    """Bytes of the text, or rows of a Parquet file, or microseconds since 1970 of a query."""
    lines: int = 0
    """Lines or rows."""
    digest: int = 0
    """Of what was read."""
    size: int = -1
    """Bytes of the file when it was read to its end; -1 = it was not yet."""
    modified_us: int = 0
    """When that file was last modified, microseconds since 1970."""
    channels: int = 0
    """Digest of the channels and options it was read with."""
    open_place: int = -1
    """Where a last line without an end began; -1 = there is none."""
    kept: int = 0
    filled: int = 0
    superseded: int = 0
    quarantined: int = 0
    duplicates: int = 0
    unlisted: int = 0
    bad: int = 0
    """Values that are missing because their quality is not good."""

    @property
    def is_new(self) -> bool:
        """Whether nothing was read yet."""
        return self == Progress()

    @property
    def counts(self) -> MergeCounts:
        """What became of the rows read."""
        return MergeCounts(**{one.name: getattr(self, one.name) for one in fields(MergeCounts)})

    def with_counts(self, more: MergeCounts, *, bad: int) -> "Progress":
        """After some more rows."""
        return replace(self, **asdict(self.counts + more), bad=self.bad + bad)


FIELDS = [one.name for one in fields(Progress)]
LEDGER_SCHEMA: dict[str, pl.DataType] = {
    "rank": pl.Int32(),
    "source": pl.String(),
    "entry": pl.Int64(),
    "finished": pl.Int64(),
    **dict.fromkeys(FIELDS, pl.Int64()),
}
"""Columns of the ledger: entry 0 gives a source its rank, each other one says how far it is read.
``finished`` is the generation in which a source was read to its end, in rows that say so."""


def generation_of(snapshot: Snapshot) -> int:
    """How often the asset was read anew from the beginning."""
    (generation,) = marks_of(snapshot, [GENERATION])
    return generation or 0


class Ledger:
    """The sources of one asset, their ranks, and how far each was read.

    What is noted here is true once a commit to the samples names the entry, by a mark. That is slow
    to ask for; so what is read to its end is noted again afterwards, and known at once.

    Args:
        address: of the Delta table.
        asset_id: whose, for messages.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     ledger = Ledger(folder + "/sources", "pump_07")
        ...     log = ledger.of("log.csv")
        ...     entry = ledger.note(log, Progress(lines=4))
        ...     log.rank, ledger.read(log, entry).lines
        (1, 4)
    """

    def __init__(self, address: str, asset_id: str) -> None:
        self.table = Table(address, LEDGER_SCHEMA, indexed="rank,entry")
        self._asset_id = asset_id
        self._ranks: dict[str, int] = {}
        self._newest: dict[int, tuple[int, Progress]] = {}
        self._unsaid: list[dict[str, int | str]] = []

    def names(self) -> dict[int, str]:
        """Each source's name, by rank."""
        rows = self.table.scan().filter(pl.col("entry") == 0).select("rank", "source").collect()
        self._ranks = {name: rank for rank, name in rows.sort("rank").iter_rows()}
        return {rank: name for name, rank in self._ranks.items()}

    def of(self, name: str) -> Source:
        """The source of that name; a new one gets the next rank.

        Raises:
            pipelines.tables.TableError: others never stop writing.
        """
        self.register([name])
        return Source(self._ranks[name], name)

    def register(self, names: Sequence[str]) -> None:
        """Give the next ranks to those of these sources that are new, in their order.

        Raises:
            pipelines.tables.TableError: others never stop writing.
        """
        if not set(names) <= set(self._ranks):
            self.table.create()
            retried(lambda: self._add_new(names), self._asset_id)

    def note(self, source: Source, progress: Progress) -> int:
        """Write down how far a source is read; true once a commit names the entry.

        Raises:
            pipelines.tables.TableError: others never stop writing.
        """
        entry = retried(lambda: self._append([_row(source, progress)]), self._asset_id)
        self._newest[source.rank] = entry, progress
        return entry

    def read(self, source: Source, entry: int | None) -> Progress:
        """How far a source was read, as that entry says; None = not at all."""
        if entry is None:
            return Progress()
        known, progress = self._newest.get(source.rank, (None, Progress()))
        if known != entry:
            rows = self.table.scan().filter(
                pl.col("rank") == source.rank,
                pl.col("entry") == entry,
                pl.col("finished").is_null(),
            )
            found = rows.select(FIELDS).collect().row(0, named=True)
            progress = Progress(**found)
            self._newest[source.rank] = entry, progress
        return progress

    def finish(self, source: Source, progress: Progress, *, generation: int) -> None:
        """Remember that a source was read to its end; `settle` or the next note writes it."""
        self._unsaid.append({**_row(source, progress), "finished": generation})

    def settle(self) -> None:
        """Write what `finish` remembered.

        Raises:
            pipelines.tables.TableError: others never stop writing.
        """
        if self._unsaid:
            retried(lambda: self._append([]), self._asset_id)

    def finished(self, generation: int) -> dict[str, Progress]:
        """How far sources were read that were once read to their end, the newest word of each."""
        rows = self.table.scan().filter(pl.col("finished") == generation).collect()
        newest = rows.sort("entry").unique("rank", keep="last")
        return {
            row["source"]: Progress(**{name: row[name] for name in FIELDS})
            for row in newest.iter_rows(named=True)
        }

    def _add_new(self, names: Sequence[str]) -> None:
        snapshot = self.table.open()
        count = len(self.names())
        new = [name for name in dict.fromkeys(names) if name not in self._ranks]
        ranks = {name: rank for rank, name in enumerate(new, start=count + 1)}
        if ranks:
            append(
                snapshot,
                _frame([{"rank": ranks[name], "source": name, "entry": 0} for name in new]),
            )
            self._ranks |= ranks

    def _append(self, rows: list[dict[str, int | str]]) -> int:
        snapshot = self.table.open()
        entry, unsaid = snapshot.version() + 1, len(self._unsaid)
        append(snapshot, _frame([{**row, "entry": entry} for row in (*self._unsaid, *rows)]))
        del self._unsaid[:unsaid]
        return entry


def _row(source: Source, progress: Progress) -> dict[str, int | str]:
    return {"rank": source.rank, "source": source.name, **asdict(progress)}


def _frame(rows: list[dict[str, int | str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=LEDGER_SCHEMA)
