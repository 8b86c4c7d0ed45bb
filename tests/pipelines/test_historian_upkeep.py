import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channels import Channel
from features.merging import MergeCounts
from features.schema import samples_schema
from pipelines import samples_table, tables
from pipelines.historian import Historian, HistorianError
from pipelines.ledger import Progress
from pipelines.tables import files_of

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


def test_the_meaning_of_rows_that_are_there_is_not_changed(historian: Historian) -> None:
    historian.note_meaning(7)
    historian.check_meaning(8)  # there is no row yet that was read in another way
    historian.merge(frame([(0, 1.0, None)]), source="a")
    historian.note_meaning(7)
    historian.check_meaning(7)
    with pytest.raises(HistorianError, match=r"pump_07: \[source\] now says otherwise how times"):
        historian.check_meaning(8)
    historian.start_anew()
    historian.check_meaning(8)


def test_anew_forgets_rows_and_progress_but_not_old_versions(historian: Historian) -> None:
    rows = frame([(0, 1.0, 2.0), (5, 1.0, 2.0)])
    historian.merge(rows, source="a")
    version = historian.version()
    historian.start_anew()
    assert historian.read().is_empty()
    assert historian.progress(historian.sources.of("a")) == Progress()
    historian.check_schema()
    assert historian.read(version=version).equals(rows)
    assert historian.merge(rows, source="a") == MergeCounts(kept=2)


def test_many_small_files_become_few_and_nothing_else_changes(
    historian: Historian, tmp_path: Path
) -> None:
    for minute in range(tables.MANY_SMALL_FILES + 4):
        historian.merge(frame([(minute, float(minute), None)]), source=f"{minute % 2}")
    before, version = historian.read(), historian.version()
    progress = [historian.progress(historian.sources.of(name)) for name in "01"]
    historian.maintain(timedelta(days=1))
    assert len(DeltaTable(tmp_path / "pump_07" / "samples").file_uris()) == 3
    assert historian.read().equals(before)
    assert [historian.progress(historian.sources.of(name)) for name in "01"] == progress
    assert historian.read(version=version).equals(before)
    assert historian.merge(before, source="0") == MergeCounts(duplicates=before.height)


def make_older(table: Path, by: timedelta) -> None:
    """Let what is in a table's log have been written that much earlier."""
    for entry in (table / "_delta_log").glob("*.json"):
        text = entry.read_text()
        for name in ("deletionTimestamp", "timestamp"):
            for found in set(re.findall(rf'"{name}":(\d+)', text)):
                earlier = int(found) - by // timedelta(milliseconds=1)
                text = text.replace(f'"{name}":{found}', f'"{name}":{earlier}')
        entry.write_text(text)


def test_an_old_version_is_readable_for_as_long_as_it_is_kept(
    historian: Historian, tmp_path: Path
) -> None:
    historian.merge(frame([(0, 1.0, None)]), source="a")
    version = historian.version()
    historian.merge(frame([(0, 2.0, None)]), source="b")
    make_older(tmp_path / "pump_07" / "samples", by=timedelta(days=3))
    historian.maintain(timedelta(days=4))
    assert historian.read(version=version)["flow"].to_list() == [1.0]
    historian.maintain(timedelta(days=2))
    assert historian.read()["flow"].to_list() == [2.0]
    with pytest.raises(HistorianError, match=f"pump_07: version {version} of the historian is no"):
        historian.read(version=version)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Historian:
    """Forty minutes over two months, in files that overlap."""
    historian = in_folder(tmp_path_factory.mktemp("historian"))
    for first in (0, 3, 1, 2):
        historian.merge(
            frame([(minute, float(minute), None) for minute in range(first, 40, 4)]),
            source=f"{first}",
        )
    return historian


edge = st.one_of(st.none(), st.integers(-5, 45))


@settings(max_examples=30)
@given(start=edge, end=edge, most=st.integers(1, 50))
def test_slices_hold_the_rows_of_a_span_whatever_their_size(
    filled: Historian, start: int | None, end: int | None, most: int
) -> None:
    first, last = (
        None if minute is None else START + timedelta(minutes=minute) for minute in (start, end)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples_table, "SLICE", most)
        slices = list(filled.slices(first, last))
    expected = filled.read(first, last)
    assert pl.concat([expected.clear(), *slices]).equals(expected)
    assert all(part.height for part in slices)


def test_a_compaction_gives_way_to_a_merge(
    historian: Historian, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(tables.MANY_SMALL_FILES + 4):
        historian.merge(frame([(minute, float(minute), None)]), source="a")

    def meanwhile(snapshot: tables.Snapshot) -> pl.DataFrame:
        found = files_of(snapshot)
        monkeypatch.undo()
        historian.merge(frame([(7, 99.0, None)]), source="b")
        return found

    monkeypatch.setattr(tables, "files_of", meanwhile)
    historian.maintain(timedelta(days=1))
    assert historian.read()["flow"].to_list() == [*range(7), 99.0, *range(8, 20)]
