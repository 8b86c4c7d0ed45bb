"""What an agent remembers and has yet to deliver, on disk: nothing between decision and delivery.

One SQLite file, write-ahead log, synchronised at every commit. The states of the agents and the
messages that they led to are written in one transaction: after a power cut either both are there or
neither, and whoever sent the samples sends them again. Where the room is used up, scores make way,
the oldest first; alarms and events never do.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from faultwatch_edge.errors import SpoolError

SCORE: Final = "score"
"""Kind of the records that make way."""
SinkName = Literal["mqtt", "webhook", "file"]
_BITS: Final[Mapping[SinkName, int]] = {"mqtt": 1, "webhook": 2, "file": 4}
_URGENT: Final = frozenset({"alarm", "event"})
"""Kinds that a webhook takes; the other sinks take all."""
MOST_SCORES: Final = 200_000
_VERSION: Final = 2
_BUSY_S: Final = 10.0
_RESERVE_BYTES: Final = 4 * 1024 * 1024
"""Held back on the disk: to drop scores takes room, too."""
_LOG_PAGES: Final = 256
"""Pages of 4 KiB that the write-ahead log grows to, about."""
_DROPPED_AT_ONCE: Final = 500
"""Scores: more of them would not fit the reserve."""
_CHECKED_EVERY: Final = 1_000
"""Scores between two looks at how many there are."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS states (asset TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    asset TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, kept_us INTEGER NOT NULL,
    waits_for INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX IF NOT EXISTS kinds ON outbox (kind, number);
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, asset TEXT NOT NULL, body TEXT NOT NULL
) STRICT;
"""
_DROP_OLDEST: Final = """
DELETE FROM outbox
WHERE number IN (SELECT number FROM outbox WHERE kind = ? ORDER BY number LIMIT ?)
"""
_FROM_1: Final = """
BEGIN IMMEDIATE;
ALTER TABLE outbox ADD COLUMN waits_for INTEGER NOT NULL DEFAULT 1;
PRAGMA user_version = 2;
COMMIT;
"""
"""It knew one sink."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to deliver."""

    asset: str
    kind: str
    """``alarm``, ``event``, ``rejected``, ``score`` ...: part of where it goes."""
    body: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that waits for its delivery."""

    number: int
    """Rises in the order in which records were kept."""
    record: Record
    kept_us: int
    """When it was kept, microseconds since the epoch."""


class Spool:
    """Keeps states, records and orders; every method is one transaction.

    Args:
        path: file, made where there is none.
        sinks: what records kept from now on wait for.
        most_scores: scores that wait, at most; older ones are dropped.

    Raises:
        SpoolError: the file cannot be used, or is full.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> spool = Spool(Path(folder.name) / "spool.db")
        >>> said = [Record("pump", "alarm", "1"), Record("pump", "score", "2")]
        >>> spool.commit({"pump": "{}"}, said, at_us=0)
        >>> [one.record.body for one in spool.waiting("mqtt", 10)], spool.state("pump")
        (['1', '2'], '{}')
        >>> spool.forget("mqtt", [one.number for one in spool.waiting("mqtt", 1)])
        >>> [one.record.body for one in spool.waiting("mqtt", 10)]
        ['2']
        >>> folder.cleanup()
    """

    def __init__(
        self,
        path: Path,
        *,
        sinks: Sequence[SinkName] = ("mqtt",),
        most_scores: int = MOST_SCORES,
    ) -> None:
        self._path = path
        self._all = sum(_BITS[sink] for sink in sinks)
        self._most_scores = most_scores
        self._unchecked = 0
        self._reserve = path.with_suffix(".reserve")
        self.dropped = 0
        """Scores that made way so far."""
        try:
            self._connection = _opened(path)
        except sqlite3.Error:  # perhaps the disk is full: there is a little room for that
            self._reserve.unlink(missing_ok=True)
            try:
                self._connection = _opened(path)
            except sqlite3.Error as error:
                raise SpoolError(f"{path}: cannot be used as a spool ({error})") from error
        self._hold_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def commit(
        self,
        states: Mapping[str, str],
        records: Iterable[Record],
        *,
        at_us: int,
        obeyed: Sequence[int] = (),
    ) -> None:
        """Keep what agents remember now, and what they have said since the last commit.

        Where the disk is full, all scores make way, and it is tried once more.

        Args:
            states: by asset.
            records: in the order of their delivery.
            at_us: now.
            obeyed: numbers of the orders that led to them.
        """
        kept = [
            (one.asset, one.kind, one.body, at_us, waits_for)
            for one in records
            if (waits_for := self._waits_for(one.kind))
        ]
        try:
            self._write(states, kept, obeyed)
        except SpoolError:
            self._make_room()
            self._write(states, [one for one in kept if one[1] != SCORE], obeyed)
            self.dropped += sum(one[1] == SCORE for one in kept)
            return
        self._unchecked += sum(one[1] == SCORE for one in kept)
        if self._unchecked >= min(_CHECKED_EVERY, self._most_scores):
            with suppress(SpoolError):  # everything is kept; fewer scores can wait
                self._drop_scores(keep=self._most_scores)
                self._unchecked = 0

    def state(self, asset: str) -> str | None:
        """What the agent of an asset remembered at the last commit; None = nothing."""
        found = self._run("SELECT body FROM states WHERE asset = ?", (asset,))
        return str(found[0][0]) if found else None

    def waiting(self, sink: SinkName, most: int, *, after: int = 0) -> list[Waiting]:
        """Records that wait for a sink, in their order, beginning after a number."""
        query = (
            "SELECT number, asset, kind, body, kept_us FROM outbox "
            "WHERE number > ? AND waits_for & ? ORDER BY number LIMIT ?"
        )
        return [
            Waiting(number, Record(asset, kind, body), kept_us)
            for number, asset, kind, body, kept_us in self._run(query, (after, _BITS[sink], most))
        ]

    def forget(self, sink: SinkName, numbers: Iterable[int]) -> None:
        """These records were delivered to a sink; those that wait for no other are gone."""
        bit = _BITS[sink]
        rows = [(number, bit) for number in numbers]
        if rows:
            self._many(
                ("DELETE FROM outbox WHERE number = ? AND waits_for = ?", rows),
                (
                    "UPDATE outbox SET waits_for = waits_for & ~? WHERE number = ?",
                    [(bit, number) for number, _ in rows],
                ),
            )
            self._hold_back()

    def give_up_others(self) -> int:
        """Forget what waits for sinks that there are no more; how many records that ends."""
        others = sum(_BITS.values()) - self._all
        found = self._run("SELECT count(*) FROM outbox WHERE waits_for & ? = 0", (self._all,))
        self._many(
            ("DELETE FROM outbox WHERE waits_for & ? = 0", [(self._all,)]),
            ("UPDATE outbox SET waits_for = waits_for & ?", [(self._all,)] if others else []),
        )
        return int(found[0][0])

    def count(self) -> dict[str, int]:
        """How many records of each kind wait."""
        found = self._run("SELECT kind, count(*) FROM outbox GROUP BY kind")
        return dict(found)

    def order(self, asset: str, body: str) -> None:
        """Leave an order of an operator for the agent that runs."""
        self._many(("INSERT INTO orders (asset, body) VALUES (?, ?)", [(asset, body)]))

    def orders(self) -> list[tuple[int, str, str]]:
        """Number, asset and body of the orders that nobody has obeyed, oldest first."""
        return self._run("SELECT number, asset, body FROM orders ORDER BY number")

    def _write(
        self,
        states: Mapping[str, str],
        records: Sequence[tuple[str, str, str, int, int]],
        obeyed: Sequence[int],
    ) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO states VALUES (?, ?) "
                "ON CONFLICT (asset) DO UPDATE SET body = excluded.body",
                list(states.items()),
            )
            self._connection.executemany(
                "INSERT INTO outbox (asset, kind, body, kept_us, waits_for) VALUES (?, ?, ?, ?, ?)",
                records,
            )
            self._connection.executemany(
                "DELETE FROM orders WHERE number = ?", [(number,) for number in obeyed]
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise SpoolError(f"{self._path}: cannot be written ({error})") from error

    def _waits_for(self, kind: str) -> int:
        """Bits of the sinks that a record of a kind waits for."""
        return self._all if kind in _URGENT else self._all & ~_BITS["webhook"]

    def _drop_scores(self, *, keep: int) -> None:
        """Remove the oldest scores but so many."""
        excess = self.count().get(SCORE, 0) - keep
        while excess > 0:
            piece = min(excess, _DROPPED_AT_ONCE)
            self._many((_DROP_OLDEST, [(SCORE, piece)]))
            self._run("PRAGMA wal_checkpoint(TRUNCATE)")
            self.dropped += piece
            excess -= piece

    def _make_room(self) -> None:
        """Drop all scores, in the room that was held back for that."""
        self._reserve.unlink(missing_ok=True)
        self._drop_scores(keep=0)
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")

    def _hold_back(self) -> None:
        """Take a little of the disk; where there is none left, the next time will do."""
        if self._reserve.exists():
            return
        try:
            self._reserve.write_bytes(bytes(_RESERVE_BYTES))
        except OSError:
            self._reserve.unlink(missing_ok=True)

    def _run(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise SpoolError(f"{self._path}: cannot be read ({error})") from error

    def _many(self, *steps: tuple[str, Sequence[Sequence[object]]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for query, rows in steps:
                self._connection.executemany(query, rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise SpoolError(f"{self._path}: cannot be written ({error})") from error

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the error that led here may have done so already
            self._connection.execute("ROLLBACK")


def _opened(path: Path) -> sqlite3.Connection:
    """A connection to the file, with its tables.

    Raises:
        SpoolError: another version wrote it.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        version = _version(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        if version == 1:
            connection.executescript(_FROM_1)
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _version(path: Path, connection: sqlite3.Connection) -> int:
    """Version of the agent's that wrote the file; 0 = nobody has."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found not in (0, 1, _VERSION):
        raise SpoolError(
            f"{path}: is a spool of version {found}, expected {_VERSION}; install the agent that "
            "wrote it, or name another folder"
        )
    return int(found)
