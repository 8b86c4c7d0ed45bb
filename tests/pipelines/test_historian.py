import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channels import Channel
from features.merging import MergeCounts, compare_rows
from features.schema import QUARANTINE_SCHEMA, check_samples, samples_schema
from pipelines import historian as module
from pipelines.historian import Historian, HistorianError

CHANNELS = (Channel(name="flow"), Channel(name="pressure"))
START = datetime(2026, 1, 31, 23, 58, tzinfo=UTC)
Row = tuple[int, float | None, float | None]


def frame(rows: list[Row]) -> pl.DataFrame:
    """Rows (minute, flow, pressure); the third minute begins a month."""
    return pl.DataFrame(
        [(START + timedelta(minutes=minute), *values) for minute, *values in rows],
        schema=samples_schema(CHANNELS),
        orient="row",
    )


def in_folder(folder: Path) -> Historian:
    return Historian(folder, "pump_07", CHANNELS)


@pytest.fixture
def historian(tmp_path: Path) -> Historian:
    return in_folder(tmp_path)


@pytest.fixture(scope="module")
def folders() -> Iterator[Iterator[Path]]:
    """New folders for the examples of one test."""

    def make(root: str) -> Iterator[Path]:
        number = 0
        while True:
            number += 1
            yield Path(root) / str(number)

    with TemporaryDirectory() as root:
        yield make(root)


def test_before_the_first_merge_there_is_an_empty_table(historian: Historian) -> None:
    assert historian.version() == -1
    check_samples(historian.read(), CHANNELS)
    assert historian.read_quarantine().schema == QUARANTINE_SCHEMA
    assert historian.merge(frame([]), source="a.csv") == MergeCounts()
    assert historian.version() == -1


def test_a_cell_is_filled_equal_or_superseded(historian: Historian) -> None:
    historian.merge(
        frame([(0, 1.0, None), (1, 2.0, 2.0), (2, 3.0, 3.0), (3, None, None)]), source="a"
    )
    counts = historian.merge(
        frame([(0, 1.0, 5.0), (1, 2.0, None), (2, 4.0, 3.0), (3, None, None), (4, 9.0, None)]),
        source="b",
    )
    assert counts == MergeCounts(kept=1, filled=1, superseded=1, duplicates=2)
    expected = [(0, 1.0, 5.0), (1, 2.0, 2.0), (2, 4.0, 3.0), (3, None, None), (4, 9.0, None)]
    assert historian.read().equals(frame(expected))
    assert historian.read_quarantine().rows() == [
        (
            "b",
            None,
            "superseded: channel 'flow' at 2026-02-01T00:00:00.000000Z was 3.0 and is now 4.0",
            '{"time": "2026-02-01T00:00:00.000000Z", "flow": 3.0}',
        )
    ]


def test_a_span_is_half_open_and_an_old_version_stays_readable(historian: Historian) -> None:
    historian.merge(frame([(minute, float(minute), None) for minute in range(6)]), source="a")
    version = historian.version()
    historian.merge(frame([(0, 7.0, None)]), source="b")
    at = [START + timedelta(minutes=minute) for minute in range(6)]
    assert historian.read(at[1], at[3])["flow"].to_list() == [1.0, 2.0]
    assert historian.read(end=at[1])["flow"].to_list() == [7.0]
    assert historian.read(end=at[1], version=version)["flow"].to_list() == [0.0]
    with pytest.raises(HistorianError, match="pump_07: the historian has no version 99; the"):
        historian.read(version=99)


def test_months_are_partitions(historian: Historian, tmp_path: Path) -> None:
    historian.merge(frame([(0, 1.0, None), (5, 2.0, None)]), source="a")
    table = DeltaTable(tmp_path / "pump_07" / "samples")
    assert sorted(part["month"] or "" for part in table.partitions()) == ["2026-01", "2026-02"]


def test_what_a_source_brought_before_replaces_nothing_again(historian: Historian) -> None:
    first, second = frame([(0, 1.0, 1.0)]), frame([(0, 2.0, None)])
    historian.merge(first, source="a")
    historian.merge(second, source="b")
    before = (historian.version(), historian.read(), historian.read_quarantine())
    for samples, source in ((first, "a"), (second, "b"), (first, "a")):
        counts = historian.merge(samples, source=source)
        assert counts == MergeCounts(duplicates=1)
    assert historian.version() == before[0]
    assert historian.read().equals(before[1])
    assert historian.read_quarantine().equals(before[2])


def test_an_equal_row_of_another_source_is_remembered_too(historian: Historian) -> None:
    row = frame([(0, 1.0, 1.0)])
    historian.merge(row, source="a")
    historian.merge(row, source="b")
    historian.merge(frame([(0, 2.0, 1.0)]), source="c")
    historian.merge(row, source="b")
    assert historian.read()["flow"].to_list() == [2.0]


def test_a_grown_source_does_not_undo_a_later_correction(historian: Historian) -> None:
    historian.merge(frame([(0, 1.0, None)]), source="log", first_line=2)
    historian.merge(frame([(0, 5.0, None)]), source="correction")
    historian.merge(frame([(0, 1.0, None), (1, 2.0, None)]), source="log", first_line=2)
    assert historian.read()["flow"].to_list() == [5.0, 2.0]


def test_rows_that_are_gone_come_back_when_they_are_merged_again(
    historian: Historian, tmp_path: Path
) -> None:
    rows = frame([(0, 1.0, None)])
    historian.merge(rows, source="a")
    DeltaTable(tmp_path / "pump_07" / "samples").delete()
    assert historian.merge(rows, source="a") == MergeCounts(kept=1)
    assert historian.read().equals(rows)


def test_marks_survive_a_checkpoint(historian: Historian, tmp_path: Path) -> None:
    historian.merge(frame([(0, 1.0, None)]), source="a")
    DeltaTable(tmp_path / "pump_07" / "samples").create_checkpoint()
    historian.merge(frame([(0, 2.0, None)]), source="b")
    historian.merge(frame([(0, 1.0, None)]), source="a")
    assert historian.read()["flow"].to_list() == [2.0]


@pytest.mark.parametrize(
    ("here", "message"),
    [
        ("flow level", "only in the asset file: level; only in the historian: pressure; correct"),
        ("flow", "different channels; only in the historian: pressure; correct the asset file"),
        ("flow pressure level", "different channels; only in the asset file: level; correct the"),
    ],
)
def test_a_table_with_other_channels_is_refused(tmp_path: Path, here: str, message: str) -> None:
    in_folder(tmp_path).merge(frame([(0, 1.0, 2.0)]), source="a")
    other = Historian(tmp_path, "pump_07", tuple(Channel(name=name) for name in here.split()))
    with pytest.raises(HistorianError, match=message):
        other.read()
    row = (START, *[1.0] * len(other.channels))
    rows = pl.DataFrame([row], schema=samples_schema(other.channels), orient="row")
    with pytest.raises(HistorianError, match=message):
        other.merge(rows, source="b")


def test_the_order_of_the_channels_does_not_matter(tmp_path: Path) -> None:
    in_folder(tmp_path).merge(frame([(0, 1.0, 2.0)]), source="a")
    turned = Historian(tmp_path, "pump_07", CHANNELS[::-1])
    check_samples(turned.read(), CHANNELS[::-1])
    turned.merge(frame([(0, 1.5, None)]).select("time", "pressure", "flow"), source="b")
    assert turned.read().row(0) == (START, 2.0, 1.5)


def test_rows_that_are_no_samples_are_refused(historian: Historian) -> None:
    with pytest.raises(HistorianError, match="pump_07: rows of a: channel 'flow' has NaN"):
        historian.merge(frame([(0, float("nan"), None)]), source="a")


def test_a_quarantined_row_is_kept_once(historian: Historian) -> None:
    row = pl.DataFrame([("a", 3, "time is missing", "{}")], schema=QUARANTINE_SCHEMA, orient="row")
    other = row.with_columns(line=pl.lit(None, dtype=pl.Int64))
    for rows in (row, row, pl.concat([row, other, other]), other, row.clear()):
        historian.quarantine(rows)
    assert sorted(historian.read_quarantine()["line"].to_list(), key=str) == [3, None]


def test_endless_conflicts_end_in_a_sentence(
    historian: Historian, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian.merge(frame([(0, 1.0, None)]), source="a")
    rival = iter(range(1, 1000))

    def meanwhile(*args: pl.DataFrame, repeated: int) -> pl.DataFrame:
        monkeypatch.setattr(module, "compare_rows", compare_rows)
        historian.merge(frame([(next(rival), 1.0, None)]), source="rival")
        monkeypatch.setattr(module, "compare_rows", meanwhile)
        return compare_rows(*args, repeated=repeated)

    monkeypatch.setattr(module, "ATTEMPTS", 3)
    monkeypatch.setattr(module, "compare_rows", meanwhile)
    with pytest.raises(HistorianError, match="pump_07: other writers were first 3 times; run this"):
        historian.merge(frame([(0, 2.0, None)]), source="b")
    assert historian.read()["flow"].to_list() == [1.0] * 4


def test_rows_that_do_not_add_up_are_a_fault_of_ours(
    historian: Historian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "count_rows", lambda _: MergeCounts())
    with pytest.raises(HistorianError, match="1 rows of a became 0; nothing may be lost"):
        historian.merge(frame([(0, 1.0, None)]), source="a")


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        writer = in_folder(tmp_path)
        for step in range(5):
            rows = frame([(10 * number + step, 1.0, None), (100, None, float(number))])
            writer.merge(rows, source=f"{number}", first_line=2 * step)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = in_folder(tmp_path).read()
    check_samples(table, CHANNELS)
    assert table["flow"].count() == 15
    last = table["pressure"][-1]
    replaced = in_folder(tmp_path).read_quarantine()["reason"].str.extract(r"was (\S+) ")
    assert {last, *(float(value) for value in replaced)} == {0.0, 1.0, 2.0}


cell = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.0]))
rows = st.lists(st.tuples(st.integers(0, 6), cell, cell), max_size=8)
few = settings(max_examples=25, deadline=None)


@few
@given(st.lists(rows, min_size=1, max_size=3))
def test_counts_add_up_and_twice_is_once(folders: Iterator[Path], chunks: list[list[Row]]) -> None:
    historian = in_folder(next(folders))
    for number, chunk in enumerate(chunks):
        assert historian.merge(frame(chunk), source=f"{number}").rows == len(chunk)
    before = (historian.version(), historian.read(), historian.read_quarantine())
    check_samples(before[1], CHANNELS)
    for number, chunk in enumerate(chunks):
        assert historian.merge(frame(chunk), source=f"{number}") == MergeCounts(
            duplicates=len(chunk)
        )
    assert historian.version() == before[0]
    assert historian.read().equals(before[1])
    assert historian.read_quarantine().equals(before[2])


@few
@given(st.lists(cell, max_size=10), st.data())
def test_chunks_without_conflict_give_the_same_table_in_any_order(
    folders: Iterator[Path], values: list[float | None], data: st.DataObject
) -> None:
    truth = frame([(minute, value, value) for minute, value in enumerate(values)])
    repeats = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=2)
    pieces = [
        (minute, value if flow else None, value if pressure else None)
        for minute, value in enumerate(values)
        for flow, pressure in (*data.draw(repeats), (True, False), (False, True))
    ]
    shuffled = data.draw(st.permutations(pieces))
    cuts = data.draw(st.lists(st.integers(0, len(shuffled)), max_size=3).map(sorted))
    historian = in_folder(next(folders))
    counts = sum(
        (
            historian.merge(frame(shuffled[start:end]), source="a", first_line=start)
            for start, end in pairwise([0, *cuts, len(shuffled)])
        ),
        MergeCounts(),
    )
    assert (counts.rows, counts.superseded) == (len(pieces), 0)
    assert historian.read().equals(truth)
    assert historian.read_quarantine().is_empty()
