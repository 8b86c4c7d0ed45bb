"""Whatever is committed is there after the process was killed, and in order."""

import sqlite3
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from faultwatch_edge.errors import SpoolError
from faultwatch_edge.spool import SCORE, Record, Spool, Waiting

ALARM = Record("pump", "alarm", '{"sequence": 1}')


def score(body: str) -> Record:
    return Record("pump", SCORE, body)


def bodies(spool: Spool) -> list[str]:
    return [one.record.body for one in spool.waiting("mqtt", 1_000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def test_what_was_committed_is_there_when_it_is_opened_again(path: Path) -> None:
    with Spool(path) as spool:
        spool.commit({"pump": "one"}, [ALARM, score("1")], at_us=7)
        spool.commit({"pump": "two", "fan": "x"}, [score("2")], at_us=7)
    with Spool(path) as spool:
        assert [one.record for one in spool.waiting("mqtt", 9)] == [ALARM, score("1"), score("2")]
        assert (spool.state("pump"), spool.state("fan"), spool.state("mill")) == ("two", "x", None)


def test_a_record_waits_until_it_is_forgotten_and_numbers_are_never_used_twice(path: Path) -> None:
    with Spool(path) as spool:
        spool.commit({}, [ALARM], at_us=7)
        (first,) = spool.waiting("mqtt", 9)
        spool.forget("mqtt", [first.number])
        spool.commit({}, [ALARM, score("1")], at_us=7)
        later = spool.waiting("mqtt", 9)
        assert later[0].number > first.number
        assert spool.waiting("mqtt", 9, after=later[0].number) == [
            Waiting(later[1].number, score("1"), 7)
        ]
        assert spool.count() == {"alarm": 1, "score": 1}


def test_a_record_waits_for_every_sink_and_a_webhook_is_spared_the_scores(path: Path) -> None:
    with Spool(path, sinks=("mqtt", "webhook", "file")) as spool:
        spool.commit({}, [score("1"), ALARM, Record("pump", "rejected", "x")], at_us=7)
        everything = spool.waiting("mqtt", 9)
        assert spool.waiting("file", 9) == everything
        assert [one.record for one in spool.waiting("webhook", 9)] == [ALARM]
        spool.forget("mqtt", [one.number for one in everything])
        assert spool.waiting("mqtt", 9) == []
        assert spool.waiting("file", 9) == everything
        spool.forget("file", [one.number for one in everything])
        assert spool.count() == {"alarm": 1}
        spool.forget("webhook", [everything[1].number])
        assert spool.count() == {}


def test_what_waits_for_a_sink_that_is_no_more_is_given_up_and_counted(path: Path) -> None:
    with Spool(path, sinks=("mqtt", "file")) as spool:
        spool.commit({}, [ALARM, score("1")], at_us=7)
        spool.forget("file", [spool.waiting("file", 1)[0].number])
        assert spool.give_up_others() == 0
    with Spool(path, sinks=("webhook", "file")) as spool:
        assert spool.give_up_others() == 1
        assert [one.record for one in spool.waiting("file", 9)] == [score("1")]
        spool.forget("file", [one.number for one in spool.waiting("file", 9)])
        assert spool.count() == {}


def test_what_nobody_wants_is_not_kept(path: Path) -> None:
    with Spool(path, sinks=("webhook",)) as spool:
        spool.commit({"pump": "one"}, [score("1"), ALARM], at_us=7)
        assert spool.count() == {"alarm": 1}
        assert spool.state("pump") == "one"


def test_a_spool_of_the_version_before_is_taken_over(path: Path) -> None:
    with Spool(path) as spool:
        spool.commit({"pump": "one"}, [ALARM], at_us=7)
    older = sqlite3.connect(path)
    older.executescript("ALTER TABLE outbox DROP COLUMN waits_for; PRAGMA user_version = 1;")
    older.close()
    with Spool(path, sinks=("mqtt", "file")) as spool:
        spool.commit({}, [score("2")], at_us=7)
        assert [one.record for one in spool.waiting("mqtt", 9)] == [ALARM, score("2")]
        assert [one.record for one in spool.waiting("file", 9)] == [score("2")]
        assert spool.state("pump") == "one"


def test_at_the_bound_the_oldest_scores_make_way_and_alarms_never(path: Path) -> None:
    with Spool(path, most_scores=3) as spool:
        for number in range(9):
            spool.commit({}, [score(str(number)), ALARM], at_us=7)
        assert [body for body in bodies(spool) if body != ALARM.body] == ["6", "7", "8"]
        assert spool.count()["alarm"] == 9
        assert spool.dropped == 6


def test_an_order_waits_until_what_came_of_it_is_kept(path: Path) -> None:
    with Spool(path) as spool, Spool(path) as other:
        other.order("pump", "first")
        other.order("fan", "second")
        first, second = spool.orders()
        assert (first[1:], second[1:]) == (("pump", "first"), ("fan", "second"))
        spool.commit({}, [ALARM], at_us=7, obeyed=[first[0]])
        assert spool.orders() == [second]


def test_a_file_that_is_no_spool_is_refused(path: Path) -> None:
    path.write_bytes(b"no database" * 100)
    with pytest.raises(SpoolError, match=r"spool\.db: cannot be used as a spool"):
        Spool(path)


def test_a_spool_of_another_version_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(SpoolError, match="is a spool of version 7, expected 2; install"):
        Spool(path)


def test_a_spool_that_is_gone_says_so(path: Path) -> None:
    with Spool(path) as spool:
        pass
    uses = (
        lambda: spool.commit({}, [ALARM], at_us=7),
        lambda: spool.forget("mqtt", [1]),
        lambda: spool.waiting("mqtt", 1),
    )
    for use in uses:
        with pytest.raises(SpoolError, match=r"spool\.db: cannot be (read|written)"):
            use()


KILLED = """
import sys
from pathlib import Path
from faultwatch_edge.spool import Record, Spool
spool = Spool(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    spool.commit({"pump": str(number)}, [Record("pump", "alarm", str(number))], at_us=7)
    print(number, flush=True)
"""


def test_nothing_that_was_committed_is_lost_when_the_process_is_killed(path: Path) -> None:
    with subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        while int(child.stdout.readline()) < 50:
            pass
        child.kill()
        told = [50, *map(int, child.stdout.read().split())]
    with Spool(path) as spool:
        kept = list(map(int, bodies(spool)))
        assert kept == list(range(1, len(kept) + 1))
        assert len(kept) >= told[-1]
        assert spool.state("pump") == str(len(kept))


def test_on_a_full_disk_scores_make_way_and_nothing_is_kept_by_halves(path: Path) -> None:
    filler, alarms = "x" * 800, 0
    with Spool(path) as spool:
        spool._connection.execute("PRAGMA max_page_count = 300")  # noqa: SLF001 - a disk of 1.2 MB
        while not spool.dropped:
            spool.commit({}, [score(filler)] * 10 + [replace(ALARM, body=filler)], at_us=7)
            alarms += 1
        assert spool.count() == {"alarm": alarms}
        with suppress(SpoolError):
            while True:
                spool.commit({"pump": str(alarms + 1)}, [replace(ALARM, body=filler)], at_us=7)
                alarms += 1
        with pytest.raises(SpoolError, match=r"spool\.db: cannot be written \(.* is full\)"):
            spool.commit({"pump": "x"}, [replace(ALARM, body=filler)], at_us=7)
        assert spool.count() == {"alarm": alarms}
        assert spool.state("pump") == str(alarms)
        spool.forget("mqtt", [one.number for one in spool.waiting("mqtt", 100)])
        spool.commit({"pump": "again"}, [ALARM], at_us=7)
        assert spool.state("pump") == "again"


def test_room_is_held_back_where_there_is_some(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = path.with_suffix(".reserve")
    with Spool(path) as spool:
        assert reserve.stat().st_size > 1_000_000
        reserve.unlink()
        spool.forget("mqtt", [])
        assert not reserve.exists()
        monkeypatch.setattr(Path, "write_bytes", _full_disk)
        spool.forget("mqtt", [1])
        assert not reserve.exists()
        monkeypatch.undo()
        spool.forget("mqtt", [1])
        assert reserve.exists()


def test_a_spool_is_opened_in_the_room_that_was_held_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Spool(path) as spool:
        spool.commit({}, [ALARM], at_us=7)
    connect = sqlite3.connect

    def full(*arguments: object, **options: object) -> sqlite3.Connection:
        if path.with_suffix(".reserve").exists():
            raise sqlite3.OperationalError("disk I/O error")
        return connect(*arguments, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr("faultwatch_edge.spool.sqlite3.connect", full)
    with Spool(path) as spool:
        assert bodies(spool) == [ALARM.body]


def test_what_was_kept_is_kept_also_where_scores_cannot_make_way(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SpoolError("full")

    with Spool(path, most_scores=1) as spool:
        monkeypatch.setattr(spool, "_drop_scores", fail)
        spool.commit({}, [score("1"), score("2"), ALARM], at_us=7)
        assert bodies(spool) == ["1", "2", ALARM.body]


def _full_disk(path: Path, data: bytes) -> int:
    with path.open("wb") as file:
        file.write(data[:100])
    raise OSError(28, "No space left on device")


class SpoolLife(RuleBasedStateMachine):
    """Any order of commits, deliveries and openings, beside a list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.spool = Spool(Path(self.folder.name) / "spool.db", most_scores=5)
        self.expected: list[Record] = []
        self.states: dict[str, str] = {}

    @rule(kinds=st.lists(st.sampled_from(["alarm", "event", SCORE]), max_size=4), text=st.text())
    def commit(self, kinds: list[str], text: str) -> None:
        records = [Record("pump", kind, text) for kind in kinds]
        self.states["pump"] = text
        self.spool.commit({"pump": text}, records, at_us=7)
        self.expected += records

    @rule(most=st.integers(1, 5))
    def deliver(self, most: int) -> None:
        waiting = self.spool.waiting("mqtt", most)
        assert len(waiting) == min(most, len(self.expected))
        self.spool.forget("mqtt", [one.number for one in waiting])
        del self.expected[: len(waiting)]

    @invariant()
    def order_is_kept_and_only_the_oldest_scores_are_gone(self) -> None:
        found = [one.record for one in self.spool.waiting("mqtt", 1_000)]
        excess = sum(one.kind == SCORE for one in self.expected) - sum(
            one.kind == SCORE for one in found
        )
        kept = []
        for one in self.expected:
            if one.kind == SCORE and excess > 0:
                excess -= 1
            else:
                kept.append(one)
        self.expected = kept
        assert found == kept
        assert sum(one.kind == SCORE for one in found) < 5 + 5  # it looks every five scores

    @invariant()
    def the_state_is_the_last_one(self) -> None:
        assert self.spool.state("pump") == self.states.get("pump")

    @override
    def teardown(self) -> None:
        self.spool.__exit__(None, None, None)
        self.folder.cleanup()


SpoolLife.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
test_spool_life = SpoolLife.TestCase
