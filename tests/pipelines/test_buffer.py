"""What is kept is on disk; what does not fit is not taken."""

import sqlite3
from pathlib import Path

import pytest

from faultwatch_edge.errors import SpoolError
from pipelines import buffer as buffers
from pipelines.buffer import Buffer, Heard


def heard(size: int = 1) -> Heard:
    return Heard("plant/pump", b"x" * size, 7)


def test_what_was_kept_is_there_after_a_restart_in_order(tmp_path: Path) -> None:
    path = tmp_path / "collect" / "buffer.db"
    with Buffer(path, at_us=5) as buffer:
        buffer.keep([("pump", heard(1)), ("fan", heard(2)), ("pump", heard(3))])
        buffer.forget([], gone=["edge"])
    with Buffer(path, at_us=6) as buffer:
        assert (buffer.made_us, buffer.count, buffer.places()) == (5, 3, ["fan", "pump"])
        assert [len(one.payload) for one in buffer.waiting("pump")] == [1, 3]
        assert buffer.gone() == {"edge"}


def test_numbers_are_never_given_again(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    with Buffer(path, at_us=0) as buffer:
        buffer.keep([("pump", heard())])
        (first,) = buffer.waiting("pump")
        buffer.forget([first.number])
    with Buffer(path, at_us=0) as buffer:
        buffer.keep([("pump", heard())])
        assert buffer.waiting("pump")[0].number > first.number


def test_room_is_bounded_by_messages_and_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "MOST_WAITING", 3)
    monkeypatch.setattr(buffers, "MOST_BYTES", 100)
    with Buffer(tmp_path / "buffer.db", at_us=0) as buffer:
        rooms = []
        for size in (1, 1, 1):
            buffer.keep([("pump", heard(size))])
            rooms.append(buffer.has_room)
        buffer.forget([one.number for one in buffer.waiting("pump")])
        rooms.append(buffer.has_room)
        buffer.keep([("pump", heard(100))])
        assert [*rooms, buffer.has_room] == [True, True, False, True, False]


def test_what_is_written_at_once_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "MOST_AT_ONCE", 3)
    monkeypatch.setattr(buffers, "MOST_BYTES_AT_ONCE", 10)
    with Buffer(tmp_path / "buffer.db", at_us=0) as buffer:
        buffer.keep([("pump", heard(2))] * 5 + [("fan", heard(6))] * 5)
        assert (len(buffer.waiting("pump")), len(buffer.waiting("fan"))) == (3, 2)


def test_on_a_full_disk_nothing_is_kept_by_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def full(*arguments: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]  # as they came
        connection.execute("PRAGMA max_page_count = 20")
        return connection

    monkeypatch.setattr(sqlite3, "connect", full)
    with Buffer(tmp_path / "buffer.db", at_us=0) as buffer:
        buffer.keep([("pump", heard(1_000))])
        with pytest.raises(SpoolError, match=r"cannot be written \(database or disk is full\)"):
            buffer.keep([("pump", heard(1_000))] * 100)
        assert buffer.count == 1
        assert len(buffer.waiting("pump")) == 1
        buffer.keep([("pump", heard(1_000))])


def test_only_one_may_use_it(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    with Buffer(path, at_us=0), pytest.raises(SpoolError, match="if another collector runs"):
        Buffer(path, at_us=0)


def test_a_file_that_is_no_buffer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    path.write_text("something else, and long enough to be looked at as a database" * 20)
    with pytest.raises(SpoolError, match="cannot be used"):
        Buffer(path, at_us=0)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(SpoolError, match="is a buffer of version 9, expected 1"):
        Buffer(path, at_us=0)
    with pytest.raises(SpoolError, match="cannot be used as a buffer"):
        Buffer(path / "below" / "buffer.db", at_us=0)
