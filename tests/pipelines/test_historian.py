import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
from features.merging import Comparison, MergeCounts, compare_rows
from features.rows import Split, refuse_rows
from features.schema import LINE, QUARANTINE_SCHEMA, check_samples, samples_schema
from pipelines import historian as module
from pipelines import tables
from pipelines.historian import Historian, HistorianError, MovedOn
from pipelines.ledger import Progress

FLOW, PRESSURE = Channel(name="flow", unit="m3/h"), Channel(name="pressure", unit="bar")
CHANNELS = (FLOW, PRESSURE)
START = datetime(2026, 1, 31, 23, 58, tzinfo=UTC)
Row = tuple[int, float | None, float | None]


def frame(rows: list[Row]) -> pl.DataFrame:
    """Rows (minute, flow, pressure); the third minute begins a month."""
    return pl.DataFrame(
        [(START + timedelta(minutes=minute), *values) for minute, *values in rows],
        schema=samples_schema(CHANNELS),
        orient="row",
    )


def in_folder(folder: Path, channels: tuple[Channel, ...] = CHANNELS) -> Historian:
    return Historian(folder, "pump_07", channels)


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
    assert list(historian.slices()) == []
    assert historian.read_quarantine().schema == QUARANTINE_SCHEMA
    assert historian.merge(frame([]), source="a.csv") == MergeCounts()
    historian.check_schema()
    historian.check_meaning(1)
    historian.start_anew()
    historian.accept(["flow"])
    historian.maintain(timedelta(days=1))
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
    expected: list[Row] = [
        (0, 1.0, 5.0),
        (1, 2.0, 2.0),
        (2, 4.0, 3.0),
        (3, None, None),
        (4, 9.0, None),
    ]
    assert historian.read().equals(frame(expected))
    assert historian.read_quarantine().rows() == [
        (
            "b",
            3,
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


def test_an_early_source_does_not_overrule_a_later_one_when_it_comes_again(
    historian: Historian,
) -> None:
    log = frame([(0, 1.0, None), (1, 1.0, None)])
    historian.merge(log, source="log")
    historian.merge(frame([(0, 5.0, None)]), source="correction")
    assert historian.merge(log, source="log") == MergeCounts(superseded=1, duplicates=1)
    assert historian.read()["flow"].to_list() == [5.0, 1.0]
    assert historian.read_quarantine()["reason"][1] == (
        "superseded: channel 'flow' at 2026-01-31T23:58:00.000000Z is 1.0 here, but 5.0 in the "
        "later source correction"
    )


def test_the_later_of_two_rows_of_one_source_wins(historian: Historian) -> None:
    historian.merge(frame([(0, 1.0, None)]), source="log")
    historian.merge(frame([(0, 2.0, 3.0), (0, 4.0, None)]), source="log")
    assert historian.read().equals(frame([(0, 4.0, 3.0)]))
    assert historian.progress(historian.sources.of("log")).lines == 3


def test_rows_that_are_gone_come_back_when_they_are_merged_again(
    historian: Historian, tmp_path: Path
) -> None:
    rows = frame([(0, 1.0, None)])
    historian.merge(rows, source="a")
    DeltaTable(tmp_path / "pump_07" / "samples").delete()
    assert historian.merge(rows, source="a") == MergeCounts(kept=1)
    assert historian.read().equals(rows)


def test_what_was_read_of_a_source_survives_a_checkpoint(
    historian: Historian, tmp_path: Path
) -> None:
    historian.merge(frame([(0, 1.0, None)]), source="a")
    DeltaTable(tmp_path / "pump_07" / "samples").create_checkpoint()
    historian.merge(frame([(0, 2.0, None)]), source="b")
    historian.merge(frame([(0, 1.0, None)]), source="a")
    assert historian.read()["flow"].to_list() == [2.0]
    assert historian.progress(historian.sources.of("a")).counts == MergeCounts(kept=1, superseded=1)


def test_the_order_of_the_channels_does_not_matter(tmp_path: Path) -> None:
    in_folder(tmp_path).merge(frame([(0, 1.0, 2.0)]), source="a")
    turned = in_folder(tmp_path, CHANNELS[::-1])
    check_samples(turned.read(), CHANNELS[::-1])
    turned.merge(frame([(0, 1.5, None)]).select("time", "pressure", "flow"), source="b")
    assert turned.read().row(0) == (START, 2.0, 1.5)


def test_rows_that_are_no_samples_are_refused(historian: Historian) -> None:
    with pytest.raises(HistorianError, match="pump_07: rows of a: channel 'flow' has NaN"):
        historian.merge(frame([(0, float("nan"), None)]), source="a")


def test_endless_conflicts_end_in_a_sentence(
    historian: Historian, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian.merge(frame([(0, 1.0, None)]), source="a")
    rival = iter(range(1, 1000))

    def meanwhile(*args: pl.DataFrame, rank: int) -> Comparison:
        monkeypatch.setattr(module, "compare_rows", compare_rows)
        historian.merge(frame([(next(rival), 1.0, None)]), source="rival")
        monkeypatch.setattr(module, "compare_rows", meanwhile)
        return compare_rows(*args, rank=rank)

    monkeypatch.setattr(tables, "ATTEMPTS", 3)
    monkeypatch.setattr(module, "compare_rows", meanwhile)
    with pytest.raises(HistorianError, match="pump_07: other writers were first 3 times; run this"):
        historian.merge(frame([(0, 2.0, None)]), source="b")
    assert historian.read()["flow"].to_list() == [1.0] * 4


def test_rows_that_do_not_add_up_are_a_fault_of_ours(
    historian: Historian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Comparison, "counts", lambda _: MergeCounts())
    with pytest.raises(HistorianError, match="1 rows of a became 0; nothing may be lost"):
        historian.merge(frame([(0, 1.0, None)]), source="a")
    assert historian.read().is_empty()


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        writer = in_folder(tmp_path)
        for step in range(5):
            writer.merge(
                frame([(10 * number + step, 1.0, None), (100, None, float(number))]),
                source=f"{number}",
            )

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    historian = in_folder(tmp_path)
    check_samples(historian.read(), CHANNELS)
    assert historian.read()["flow"].count() == 15
    ranks = historian.sources.names()
    last_to_come = ranks[max(ranks)]
    assert historian.read()["pressure"][-1] == float(last_to_come)
    counts = [historian.progress(historian.sources.of(name)).counts for name in ranks.values()]
    assert sum(counts, MergeCounts()).rows == 30
    assert sum(one.kept for one in counts) == 16


def test_a_table_made_by_many_at_once_is_made_once(tmp_path: Path) -> None:
    made = [tables.Table(str(tmp_path / str(n)), {"note": pl.String()}) for n in range(20)]
    together = threading.Barrier(4)

    def create_all(_: int) -> None:
        for table in made:
            together.wait(timeout=60)
            table.create()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create_all, range(4)))
    assert [table.version() for table in made] == [0] * 20


def test_writers_of_one_source_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        writer = in_folder(tmp_path)
        for step in range(5):
            writer.merge(frame([(10 * number + step, 1.0, None)]), source="collector")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    historian = in_folder(tmp_path)
    assert historian.read()["flow"].count() == 15
    progress = historian.progress(historian.sources.of("collector"))
    assert (progress.lines, progress.counts) == (15, MergeCounts(kept=15))


def part_of(*lines: tuple[int, int, float], refused: tuple[int, ...] = ()) -> Split:
    """Rows (line, minute, flow) and lines that cannot be used."""
    samples = frame([(minute, flow, None) for _, minute, flow in lines])
    numbers = pl.Series(LINE, [line for line, *_ in lines], dtype=pl.Int64)
    reasons = [(line, "time is missing", f",{line}") for line in refused]
    return Split(samples.with_columns(numbers), refuse_rows("a", reasons))


def test_a_part_is_in_with_how_far_its_source_was_read(historian: Historian) -> None:
    source = historian.sources.of("a")
    after = Progress(place=90, lines=3, digest=7)
    done = historian.merge_part(
        part_of((2, 0, 1.0), refused=(3,)), source=source, before=Progress(), after=after
    )
    assert done == replace(after, kept=1, quarantined=1) == historian.progress(source)
    assert historian.sources.of("a") == source


def test_a_part_that_someone_else_read_is_not_merged_again(historian: Historian) -> None:
    source, part = historian.sources.of("a"), part_of((2, 0, 1.0), refused=(3,))
    after = Progress(lines=3)
    historian.merge_part(part, source=source, before=Progress(), after=after)
    version = historian.version()
    with pytest.raises(MovedOn):
        historian.merge_part(part, source=source, before=Progress(), after=after)
    assert historian.version() == version
    assert historian.read_quarantine()["line"].to_list() == [3]


class Killed(Exception):  # noqa: N818 - stands for the end of the process
    pass


def test_what_is_lost_is_in_quarantine_first_and_only_once(
    historian: Historian, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian.merge(frame([(0, 1.0, None)]), source="a")

    def killed(*_: object) -> None:
        raise Killed

    for _ in range(2):
        monkeypatch.setattr(module, "commit_rows", killed)
        with pytest.raises(Killed):
            historian.merge(frame([(0, 2.0, None)]), source="b")
        assert historian.read()["flow"].to_list() == [1.0]
        assert historian.read_quarantine().height == 1
    monkeypatch.undo()
    historian.merge(frame([(0, 2.0, None)]), source="b")
    assert historian.read()["flow"].to_list() == [2.0]
    assert historian.read_quarantine().height == 1


cell = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.0]))
rows = st.lists(st.tuples(st.integers(0, 6), cell, cell), max_size=8)
few = settings(max_examples=12)


@few
@given(st.lists(rows, min_size=1, max_size=3))
def test_counts_add_up_and_the_same_again_changes_no_sample(
    folders: Iterator[Path], chunks: list[list[Row]]
) -> None:
    historian = in_folder(next(folders))
    for number, chunk in enumerate(chunks):
        assert historian.merge(frame(chunk), source=f"{number}").rows == len(chunk)
    before = historian.read()
    check_samples(before, CHANNELS)
    last = len(chunks) - 1
    assert historian.merge(before, source=f"{last}") == MergeCounts(duplicates=before.height)
    for number, chunk in enumerate(chunks):
        again = historian.merge(frame(chunk[-1:]), source=f"{number}")
        assert again.kept == again.filled == 0
    assert historian.read().equals(before)


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
            historian.merge(frame(shuffled[start:end]), source="a")
            for start, end in pairwise([0, *cuts, len(shuffled)])
        ),
        MergeCounts(),
    )
    assert (counts.rows, counts.superseded) == (len(pieces), 0)
    assert historian.read().equals(truth)
    assert historian.read_quarantine().is_empty()
