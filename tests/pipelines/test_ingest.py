import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.channels import Channel
from features.merging import MergeCounts
from pipelines import reading
from pipelines.config import AssetConfig
from pipelines.historian import Historian, HistorianError
from pipelines.ingest import Ingested, IngestError, SourceCounts, ingest_asset
from pipelines.live import LiveConfig
from pipelines.reading import File, find_files, is_unchanged

FLOW, PRESSURE = Channel(name="flow", tag="FT-101"), Channel(name="pressure")
LEVEL = Channel(name="level", unit="m")
CHANNELS = (FLOW, PRESSURE)
START = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = "time,flow,pressure"


def asset_of(
    pattern: Path,
    channels: tuple[Channel, ...] = CHANNELS,
    **source: Any,
) -> AssetConfig:
    return AssetConfig.model_validate(
        {
            "asset": {"id": "pump_07"},
            "source": {"files": str(pattern), **source},
            "channel": [channel.model_dump() for channel in channels],
            "window": {"sample_period_s": 60.0},
        }
    )


def historian_in(folder: Path, channels: tuple[Channel, ...] = CHANNELS) -> Historian:
    return Historian(folder, "pump_07", channels)


def run(pattern: Path, historian: Historian, **source: Any) -> tuple[Ingested, list[str]]:
    said: list[str] = []
    done = ingest_asset(asset_of(pattern, historian.channels, **source), historian, say=said.append)
    return done, said


def write_csv(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return path


def minutes(first: int, count: int) -> list[str]:
    times = [START + timedelta(minutes=first + minute) for minute in range(count)]
    return [f"{at.isoformat()},{first + i}.5,{i}" for i, at in enumerate(times)]


def state_of(historian: Historian) -> tuple[int, pl.DataFrame, pl.DataFrame]:
    return historian.version(), historian.read(), historian.read_quarantine()


def check_unchanged(historian: Historian, before: tuple[int, pl.DataFrame, pl.DataFrame]) -> None:
    version, samples, quarantine = state_of(historian)
    assert version == before[0]
    assert samples.equals(before[1])
    assert quarantine.equals(before[2])


def test_csv_and_parquet_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_csv(tmp_path / "data" / "a.csv", *minutes(0, 3), "soon,1,2", "2026-01-01T00:00:00Z,9,0")
    pl.DataFrame(
        {"time": [START + timedelta(minutes=3)], "FT-101": [8], "pressure": [float("inf")]}
    ).write_parquet(tmp_path / "data" / "b.parquet")
    historian = historian_in(tmp_path / "historian")
    done, said = run(tmp_path / "data" / "*", historian)
    assert done.counts == MergeCounts(kept=3, superseded=1, quarantined=2)
    assert done.span == (START, START + timedelta(minutes=2))
    assert said == [
        "a.csv: 5 rows read: 3 kept, 0 filled, 1 superseded, 1 quarantined, 0 duplicates",
        "a.csv: 1 row cannot be used; `faultwatch quarantine` shows them",
        "b.parquet: 1 row read: 0 kept, 0 filled, 0 superseded, 1 quarantined, 0 duplicates",
        "b.parquet: 1 row cannot be used; `faultwatch quarantine` shows them",
    ]
    assert historian.read()["flow"].to_list() == [9.0, 1.5, 2.5]
    assert historian.read_quarantine().select("source", "line").rows() == [
        ("a.csv", 5),
        ("a.csv", 6),
        ("b.parquet", 1),
    ]


def test_twice_is_once(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", *minutes(0, 5), "x,1,1", *minutes(2, 5))
    write_csv(tmp_path / "b.csv", *minutes(1, 8))
    historian = historian_in(tmp_path)
    first, _ = run(tmp_path / "*.csv", historian)
    before = state_of(historian)
    second, said = run(tmp_path / "*.csv", historian)
    assert said == ["2 of 2 files unchanged, and not read"]
    assert first.counts.rows == second.counts.rows == 19
    assert first.counts.superseded > 0
    assert [(one.source, one.counts) for one in first.sources] == [
        (one.source, one.counts) for one in second.sources
    ]
    assert [one.new.rows for one in second.sources] == [0, 0]
    assert second.span is None
    check_unchanged(historian, before)


def test_an_unchanged_file_is_not_opened(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", *minutes(0, 3))
    historian = historian_in(tmp_path)
    run(path, historian)
    before, state = state_of(historian), path.stat()
    path.write_bytes(b"x" * state.st_size)  # nobody could read rows from this
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    done, said = run(path, historian)
    assert done.failures == ()
    assert said == ["1 of 1 file unchanged, and not read"]
    check_unchanged(historian, before)


def test_a_file_that_was_only_touched_brings_nothing(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", *minutes(0, 3), "soon,1,2")
    historian = historian_in(tmp_path)
    run(path, historian)
    _, samples, quarantine = state_of(historian)
    os.utime(path, ns=(1, 1))
    done, said = run(path, historian)
    assert said == ["a.csv: nothing new, 4 rows"]
    assert done.sources == (SourceCounts("a.csv", MergeCounts(kept=3, quarantined=1)),)
    assert historian.read().equals(samples)
    assert historian.read_quarantine().equals(quarantine)


def test_parts_are_small_and_know_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "most_rows", lambda *_: 4)
    path = write_csv(tmp_path / "a.csv", *minutes(0, 10), "soon,1,2", *minutes(10, 70))
    historian = historian_in(tmp_path)
    done, said = run(path, historian)
    assert done.counts == MergeCounts(kept=80, quarantined=1)
    assert historian.read_quarantine()["line"].to_list() == [12]
    assert said[:2] == ["a.csv: 40 rows so far", "a.csv: 80 rows so far"]


def test_unknown_columns_are_reported_once_and_not_all(tmp_path: Path) -> None:
    names = [f"note_{number:02}" for number in range(12)]
    for name in ("a.csv", "b.csv"):
        row = ",".join(["2026-01-01T00:00:00Z,1,2", *names])
        write_csv(tmp_path / name, row, header=",".join([HEADER, *names]))
    _, said = run(tmp_path / "*.csv", historian_in(tmp_path))
    assert [line for line in said if "ignored" in line] == [
        f"a.csv: columns without a channel are ignored: {', '.join(names[:10])} and 2 more"
    ]


def test_files_of_one_name_in_two_folders_are_two_sources(tmp_path: Path) -> None:
    for number, folder in enumerate(("north", "south")):
        write_csv(tmp_path / "data" / folder / "a.csv", f"2026-01-01T00:00:00Z,{number},", "soon,,")
    historian = historian_in(tmp_path / "historian")
    run(tmp_path / "data" / "*" / "a.csv", historian)
    sources = historian.read_quarantine()["source"].to_list()
    assert sources == ["north/a.csv", "south/a.csv", "south/a.csv"]


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    write_csv(tmp_path / "a[1].csv", *minutes(0, 2))
    done, _ = run(tmp_path / "*.csv", historian_in(tmp_path))
    assert done.counts == MergeCounts(kept=2)


def test_a_folder_of_a_fitting_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "old.csv").mkdir()
    assert find_files(str(tmp_path / "*.csv")) == []


def test_no_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"pump_07: no file matches .*; correct \[source\] files"):
        run(tmp_path / "*.csv", historian_in(tmp_path))


def test_an_asset_whose_samples_are_collected_needs_no_file(tmp_path: Path) -> None:
    historian = historian_in(tmp_path)
    live = LiveConfig(topic="plant/pump_07")
    asset = asset_of(tmp_path / "*.csv", historian.channels).model_copy(update={"live": live})
    assert ingest_asset(asset, historian).counts == MergeCounts()


def test_a_file_that_went_away_is_a_sentence_and_the_others_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_csv(tmp_path / "b.csv", *minutes(0, 2))
    files = [File(tmp_path / "a.csv", "a.csv"), File(path, "b.csv")]
    monkeypatch.setattr("pipelines.ingest.find_files", lambda _: files)
    done, said = run(tmp_path / "*.csv", historian_in(tmp_path))
    assert done.counts == MergeCounts(kept=2)
    assert done.failures == (said[0],)
    assert said[0] == "a.csv cannot be read: No such file or directory; repair or remove the file"


def test_rows_that_do_not_add_up_are_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_csv(tmp_path / "a.csv", *minutes(0, 2))
    monkeypatch.setattr("features.merging.Comparison.counts", lambda _: MergeCounts(kept=1))
    with pytest.raises(HistorianError, match=r"2 rows of a.csv became 1; nothing may be lost"):
        run(path, historian_in(tmp_path))


def test_a_later_correction_stays_when_an_early_file_is_edited(tmp_path: Path) -> None:
    first = write_csv(tmp_path / "a.csv", "2026-01-01T00:00:00Z,1,", "2026-01-01T00:01:00Z,1,")
    write_csv(tmp_path / "b.csv", "2026-01-01T00:00:00Z,2,")
    historian = historian_in(tmp_path / "one")
    run(tmp_path / "*.csv", historian)
    write_csv(first, "2026-01-01T00:00:00Z,1,", "2026-01-01T00:01:00Z,3,")
    run(tmp_path / "*.csv", historian)
    afresh = historian_in(tmp_path / "two")
    run(tmp_path / "*.csv", afresh)
    assert historian.read()["flow"].to_list() == [2.0, 3.0]
    assert historian.read().equals(afresh.read())


def test_a_new_channel_needs_a_choice_and_is_filled_from_all_files(tmp_path: Path) -> None:
    for number, name in enumerate(("a.csv", "b.csv")):
        rows = [f"{line},{number}" for line in minutes(3 * number, 3)]
        write_csv(tmp_path / name, *rows, header=f"{HEADER},level")
    run(tmp_path / "*.csv", historian_in(tmp_path))
    before = state_of(historian_in(tmp_path))
    channels = (*CHANNELS, LEVEL)
    asset, historian = asset_of(tmp_path / "*.csv", channels), historian_in(tmp_path, channels)
    with pytest.raises(HistorianError, match="pump_07: channel 'level' is new, the historian has"):
        ingest_asset(asset, historian)
    check_unchanged(historian_in(tmp_path), before)
    done = ingest_asset(asset, historian, accept=["level"])
    assert done.counts == MergeCounts(filled=6)
    assert historian.read()["level"].to_list() == [0.0] * 3 + [1.0] * 3
    assert historian.read().select("time", "flow", "pressure").equals(before[1])
    assert ingest_asset(asset, historian).counts == done.counts


def test_a_channel_that_is_gone_needs_a_choice(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", *minutes(0, 3))
    run(tmp_path / "*.csv", historian_in(tmp_path))
    write_csv(tmp_path / "b.csv", "2026-01-02T00:00:00Z,5", header="time,flow")
    asset, historian = asset_of(tmp_path / "*.csv", (FLOW,)), historian_in(tmp_path, (FLOW,))
    with pytest.raises(HistorianError, match="'pressure' is in the historian, but not in the ass"):
        ingest_asset(asset, historian)
    done = ingest_asset(asset, historian, accept=["pressure"])
    assert done.counts == MergeCounts(kept=1, duplicates=3)
    assert historian.read()["flow"].to_list() == [0.5, 1.5, 2.5, 5.0]


def test_a_renamed_tag_is_read_on_under_its_channel(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", "2026-01-01T00:00:00Z,1,1", header="time,FT-101,pressure")
    run(tmp_path / "*.csv", historian_in(tmp_path))
    write_csv(tmp_path / "b.csv", "2026-01-02T00:00:00Z,2,1", header="time,FT-901,pressure")
    historian = historian_in(tmp_path)
    done, said = run(tmp_path / "*.csv", historian)
    assert done.failures == (said[0],)
    assert said[0].startswith(
        "b.csv has no column for channel 'flow' (tag 'FT-101'); if it is now called 'FT-901', make "
        "that its tag and the old name one of its former_tags"
    )
    renamed = (FLOW.model_copy(update={"tag": "FT-901", "former_tags": ("FT-101",)}), PRESSURE)
    historian = historian_in(tmp_path, renamed)
    done, _ = run(tmp_path / "*.csv", historian)
    assert done.failures == ()
    assert historian.read()["flow"].to_list() == [1.0, 2.0]


def test_times_are_not_read_in_two_ways_in_one_table(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "2026-01-01 00:00:00,1,1")
    historian = historian_in(tmp_path)
    run(path, historian, time_zone="UTC")
    before = state_of(historian)
    with pytest.raises(HistorianError, match=r"restore these options, or .*`faultwatch ingest --a"):
        run(path, historian, time_zone="Europe/Berlin")
    check_unchanged(historian, before)
    asset = asset_of(path, time_zone="Europe/Berlin")
    done = ingest_asset(asset, historian, anew=True)
    assert done.counts == MergeCounts(kept=1)
    assert historian.read()["time"].to_list() == [START - timedelta(hours=1)]
    assert historian.read(version=before[0]).equals(before[1])


def test_rows_without_a_zone_are_read_once_it_is_known(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "2026-01-01 00:00:00,1,1", "2026-01-01 00:01:00,2,1")
    historian = historian_in(tmp_path)
    assert run(path, historian)[0].counts == MergeCounts(quarantined=2)
    done, said = run(path, historian, time_zone="UTC")
    assert done.counts == MergeCounts(kept=2)
    assert said[0].startswith(
        "a.csv: 2 rows read again, since the file or the asset file has changed: 2 kept"
    )
    assert historian.read_quarantine().height == 2


def test_words_that_are_bad_from_now_on_change_what_is_there(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "2026-01-01T00:00:00Z,frozen,1")
    historian = historian_in(tmp_path)
    assert run(path, historian)[0].counts == MergeCounts(quarantined=1)
    done, said = run(path, historian, bad_values=["Frozen"])
    assert done.counts == MergeCounts(kept=1)
    assert done.sources[0].bad == 1
    assert said[1] == "a.csv: 1 value of bad quality, taken as missing: 1 of 'flow'"


def test_anew_reads_everything_again_and_doubles_nothing(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", *minutes(0, 3), "soon,1,2", *minutes(1, 1))
    historian = historian_in(tmp_path)
    first, _ = run(path, historian)
    before = state_of(historian)
    done = ingest_asset(asset_of(path), historian, anew=True)
    assert done.counts == first.counts
    assert historian.read().equals(before[1])
    assert historian.read_quarantine().equals(before[2])


def test_a_file_is_unchanged_only_with_the_same_size_time_and_channels(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", *minutes(0, 3))
    historian = historian_in(tmp_path)
    run(path, historian)
    known = historian.progress(historian.sources.of("a.csv"))
    file = File(path, "a.csv")
    assert is_unchanged(file, known, known.channels)
    assert not is_unchanged(file, known, known.channels + 1)
    os.utime(path, ns=(1, 1))
    assert not is_unchanged(file, known, known.channels)
