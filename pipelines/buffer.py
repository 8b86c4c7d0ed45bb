"""What the broker has been told is kept, until it is in the tables: one SQLite file.

The broker forgets a message when it is acknowledged, so every commit is synchronised to disk first.
A message stays here until all it says is in a table; whoever is killed in between writes it again,
and the tables tell that they have it.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from faultwatch_edge.errors import SpoolError

MOST_WAITING: Final = 200_000
MOST_BYTES: Final = 256 * 1024 * 1024
"""What waits, at most: more stays at the broker."""
MOST_AT_ONCE: Final = 20_000
MOST_BYTES_AT_ONCE: Final = 16 * 1024 * 1024
"""What is written to the tables in one go, about: bounds the memory."""
_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS made (at_us INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL,
    topic TEXT NOT NULL, payload BLOB NOT NULL, heard_us INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS places ON messages (place, number);
CREATE TABLE IF NOT EXISTS gone (agent TEXT PRIMARY KEY) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message, as it came."""

    topic: str
    payload: bytes
    heard_us: int
    """When it came, microseconds since the epoch by this machine's clock."""
    number: int = 0
    """Rises in the order in which messages were kept."""


class Buffer:
    """Messages on their way into the tables; every method is one transaction.

    Args:
        path: file, made where there is none.
        at_us: now; tells the file from one that was here before.

    Raises:
        SpoolError: the file cannot be used, or another process uses it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Buffer(Path(folder, "b.db"), at_us=0) as buffer:
        ...     buffer.keep([("pump_07", Heard("plant/pump_07", b"{}", 5))])
        ...     (kept,) = buffer.waiting("pump_07")
        ...     buffer.forget([kept.number])
        ...     kept.payload, buffer.count
        (b'{}', 0)
    """

    def __init__(self, path: Path, *, at_us: int) -> None:
        self._path = path
        self._connection = _opened(path)
        try:
            with self._transaction() as connection:
                connection.execute(
                    "INSERT INTO made SELECT ? WHERE NOT EXISTS (SELECT 1 FROM made)", (at_us,)
                )
            (self.made_us,) = self._row("SELECT at_us FROM made")
            self.count, self._bytes = self._row(
                "SELECT count(*), coalesce(sum(length(payload)), 0) FROM messages"
            )
        except SpoolError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    @property
    def has_room(self) -> bool:
        """Whether more may be taken from the broker."""
        return self.count < MOST_WAITING and self._bytes < MOST_BYTES

    def keep(self, messages: Sequence[tuple[str, Heard]]) -> None:
        """Keep messages, each for its place; when this returns they are on disk.

        Raises:
            SpoolError: the file cannot be written; nothing of it is kept.
        """
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO messages (place, topic, payload, heard_us) VALUES (?, ?, ?, ?)",
                [(place, one.topic, one.payload, one.heard_us) for place, one in messages],
            )
        self.count += len(messages)
        self._bytes += sum(len(one.payload) for _, one in messages)

    def places(self) -> list[str]:
        """Where messages wait to go."""
        with self._reading() as connection:
            rows = connection.execute("SELECT DISTINCT place FROM messages ORDER BY place")
            return [place for (place,) in rows]

    def waiting(self, place: str) -> list[Heard]:
        """The oldest messages for a place, in their order; not more than fits into memory."""
        query = (
            "SELECT topic, payload, heard_us, number FROM messages "
            "WHERE place = ? ORDER BY number LIMIT ?"
        )
        found, size = [], 0
        with self._reading() as connection, closing(connection.cursor()) as rows:
            for row in rows.execute(query, (place, MOST_AT_ONCE)):
                found.append(Heard(*row))
                size += len(found[-1].payload)
                if size >= MOST_BYTES_AT_ONCE:
                    break
        return found

    def gone(self) -> set[str]:
        """Agents whose last sign was that they have vanished."""
        with self._reading() as connection:
            return {agent for (agent,) in connection.execute("SELECT agent FROM gone")}

    def forget(self, numbers: Iterable[int], *, gone: Collection[str] = ()) -> None:
        """These messages are in the tables; with them, which agents have vanished as of now.

        Raises:
            SpoolError: the file cannot be written; nothing is forgotten.
        """
        rows = [(number,) for number in numbers]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM messages WHERE number = ?", rows)
            connection.execute("DELETE FROM gone")
            connection.executemany("INSERT INTO gone VALUES (?)", [(one,) for one in gone])
        self.count, self._bytes = self._row(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM messages"
        )

    def _row(self, query: str) -> tuple[int, ...]:
        with self._reading() as connection:
            (row,) = connection.execute(query).fetchall()
            return tuple(row)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise SpoolError(f"{self._path}: cannot be read ({error})") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
        except sqlite3.Error as error:
            raise SpoolError(f"{self._path}: cannot be written ({error})") from error


def _opened(path: Path) -> sqlite3.Connection:
    """A connection that nobody else can have as long as it lasts."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise SpoolError(f"{path}: cannot be used as a buffer ({error})") from error
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _check_version(path, connection)
        connection.executescript(f"{_TABLES} PRAGMA user_version = {_VERSION};")
    except sqlite3.Error as error:
        connection.close()
        raise SpoolError(
            f"{path}: cannot be used ({error}); if another collector runs, stop it, or give this "
            "one a FAULTWATCH_HOME and a client_id of its own"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise SpoolError(
            f"{path}: is a buffer of version {version}, expected {_VERSION}; let the collector "
            "that wrote it empty it"
        )
