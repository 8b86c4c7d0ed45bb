"""What was read of each source: kept in the commits that bring its rows, so that both are true.

A source is a file, by its name below the fixed part of the glob, or the query of a database. Its
rank says in which order sources first came: the later one wins where they disagree.
"""

from dataclasses import asdict, dataclass, fields, replace

import polars as pl

from features.merging import MergeCounts
from pipelines.tables import Snapshot, Table, append, marks_of, retried, rows_of

SOURCES_SCHEMA: dict[str, pl.DataType] = {"rank": pl.Int32(), "source": pl.String()}
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


def generation_of(snapshot: Snapshot) -> int:
    """How often the asset was read anew from the beginning."""
    (generation,) = marks_of(snapshot, [GENERATION])
    return generation or 0


def read_progress(snapshot: Snapshot, rank: int) -> Progress:
    """What the commits say of a source."""
    names = [one.name for one in fields(Progress)]
    generation = generation_of(snapshot)
    found = marks_of(snapshot, [f"{generation}.{rank}.{name}" for name in names])
    known = {name: mark for name, mark in zip(names, found, strict=True) if mark is not None}
    return Progress(**known)


def progress_marks(snapshot: Snapshot, rank: int, progress: Progress) -> dict[str, int]:
    """What a commit must leave for `read_progress`."""
    generation = generation_of(snapshot)
    return {f"{generation}.{rank}.{name}": number for name, number in asdict(progress).items()}


class Sources:
    """The sources of one asset, and their ranks.

    Args:
        address: of the Delta table that lists them.
        asset_id: whose, for messages.
    """

    def __init__(self, address: str, asset_id: str) -> None:
        self._table = Table(address, SOURCES_SCHEMA, indexed="rank")
        self._asset_id = asset_id

    def names(self) -> dict[int, str]:
        """Each source's name, by rank."""
        return dict(self._table.scan().select("rank", "source").sort("rank").collect().iter_rows())

    def of(self, name: str) -> Source:
        """The source of that name; a new one gets the next rank.

        Raises:
            pipelines.tables.TableError: others never stop writing.
        """
        self._table.create()
        return retried(lambda: self._find_or_add(name), self._asset_id)

    def _find_or_add(self, name: str) -> Source:
        snapshot = self._table.open()
        known = rows_of(snapshot).select("rank", "source").collect()
        found = known.filter(pl.col("source") == name)["rank"]
        if len(found):
            return Source(int(found[0]), name)
        rank = known.height + 1
        append(snapshot, pl.DataFrame({"rank": [rank], "source": [name]}, schema=SOURCES_SCHEMA))
        return Source(rank, name)
