from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.merging import MergeCounts
from pipelines import reading
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.ingest import Ingested, ingest_asset

Run = Callable[..., list[tuple[Any, ...]]]
START = datetime(2026, 1, 1, tzinfo=UTC)
MAKE = 'CREATE TABLE log (at timestamptz, "Flow m3/h" double precision, state text)'
INSERT = "INSERT INTO log VALUES (%s, %s, %s)"


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def asset_of(*, overlap_s: float = 3600.0, **source: object) -> AssetConfig:
    return AssetConfig.model_validate(
        {
            "asset": {"id": "pump_07"},
            "source": {
                "sql": "SELECT * FROM log;",
                "time": "at",
                "overlap_s": overlap_s,
                **source,
            },
            "channel": [{"name": "flow", "tag": "Flow m3/h"}],
            "window": {"sample_period_s": 60.0},
        }
    )


def ingest_from(
    address: str | None, historian: Historian, asset: AssetConfig | None = None
) -> tuple[Ingested, list[str]]:
    said: list[str] = []
    asset = asset or asset_of()
    done = ingest_asset(asset, historian, database=address, say=said.append)
    return done, said


@pytest.fixture
def historian(tmp_path: Path) -> Historian:
    return Historian(tmp_path / "historian", "pump_07", asset_of().channel)


def fill(run: Run, address: str, first: int, count: int) -> None:
    run(address, INSERT, rows=[(at(n), float(n), None) for n in range(first, first + count)])


def test_a_query_is_read_once_and_then_only_what_is_newer(
    in_postgres: str, run: Run, historian: Historian
) -> None:
    run(in_postgres, MAKE)
    fill(run, in_postgres, 0, 600)
    first, _ = ingest_from(in_postgres, historian)
    assert first.counts == MergeCounts(kept=600)
    version = historian.version()
    fill(run, in_postgres, 600, 10)
    second, _ = ingest_from(in_postgres, historian)
    assert second.sources[0].new == MergeCounts(kept=10, duplicates=61)  # an hour is read again
    assert historian.version() > version
    assert historian.read()["flow"].to_list() == [float(n) for n in range(610)]


def test_a_query_with_nothing_new_adds_nothing(
    in_postgres: str, run: Run, historian: Historian
) -> None:
    run(in_postgres, MAKE)
    fill(run, in_postgres, 0, 5)
    run(in_postgres, INSERT, rows=[(at(2), float("inf"), None)])
    ingest_from(in_postgres, historian)
    table, quarantine = historian.read(), historian.read_quarantine()
    ingest_from(in_postgres, historian)
    assert historian.read().equals(table)
    assert historian.read_quarantine().equals(quarantine)
    assert quarantine["reason"].to_list() == ["channel 'flow' is 'inf', expected a finite number"]


def test_late_rows_within_the_overlap_are_found_and_a_correction_wins(
    in_postgres: str, run: Run, historian: Historian
) -> None:
    run(in_postgres, MAKE)
    fill(run, in_postgres, 0, 100)
    run(in_postgres, "DELETE FROM log WHERE at = '2026-01-01 01:20:00+00'")
    ingest_from(in_postgres, historian)
    fill(run, in_postgres, 80, 1)
    run(in_postgres, "UPDATE log SET \"Flow m3/h\" = 7 WHERE at = '2026-01-01 01:30:00+00'")
    done, _ = ingest_from(in_postgres, historian)
    assert (done.sources[0].new.kept, done.sources[0].new.superseded) == (1, 1)
    flow = dict(historian.read().iter_rows())
    assert (flow[at(80)], flow[at(90)]) == (80.0, 7.0)
    assert "was 90.0 and is now 7.0" in historian.read_quarantine()["reason"].item()


def test_parts_of_a_long_result_are_merged_one_by_one(
    in_postgres: str, run: Run, historian: Historian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_ROWS", 1_000)
    monkeypatch.setattr(reading, "MOST_VALUES", 1_000)
    run(in_postgres, MAKE)
    fill(run, in_postgres, 0, 2_500)
    done, _ = ingest_from(in_postgres, historian)
    assert done.counts == MergeCounts(kept=2_500)
    assert historian.version() >= 3


def test_a_long_query_with_quality_is_read(
    in_postgres: str, run: Run, historian: Historian
) -> None:
    run(in_postgres, "CREATE TABLE log (at timestamp, tag text, value numeric, quality int)")
    rows = [
        (datetime(2026, 1, 1, 12), "Flow m3/h", 5, 192),  # noqa: DTZ001 - local time of the plant
        (datetime(2026, 1, 1, 13), "Flow m3/h", 6, 0),  # noqa: DTZ001
        (datetime(2026, 1, 1, 13), "other", 6, 192),  # noqa: DTZ001
    ]
    run(in_postgres, "INSERT INTO log VALUES (%s, %s, %s, %s)", rows=rows)
    asset = asset_of(layout="long", quality="quality", time_zone="Europe/Berlin")
    done, said = ingest_from(in_postgres, historian, asset)
    assert done.counts == MergeCounts(kept=2, unlisted=1)
    assert historian.read().rows() == [(at(11 * 60), 5.0), (at(12 * 60), None)]
    assert any("1 value of bad quality" in sentence for sentence in said)


def test_sqlite_is_read_like_postgresql(tmp_path: Path, run: Run, historian: Historian) -> None:
    address = f"sqlite:///{tmp_path / 'plant.db'}"
    run(address, 'CREATE TABLE log (at text, "Flow m3/h" real)')
    rows = [(at(n).isoformat(), float(n)) for n in range(50)]
    run(address, "INSERT INTO log VALUES (?, ?)", rows=[*rows, ("soon", 1.0)])
    done, _ = ingest_from(address, historian)
    assert done.counts == MergeCounts(kept=50, quarantined=1)
    ingest_from(address, historian)
    assert historian.read_quarantine().height == 1


def test_without_an_address_a_sentence_says_where_to_put_it(historian: Historian) -> None:
    done, said = ingest_from(None, historian)
    (failure,) = done.failures
    assert failure.startswith("pump_07: [source] sql needs a database; set FAULTWATCH_DATABASE")
    assert said[-1] == failure


def test_a_new_channel_makes_all_rows_be_read_again(
    in_postgres: str, run: Run, tmp_path: Path
) -> None:
    run(in_postgres, "CREATE TABLE log (at timestamptz, flow float8, level float8)")
    rows = [(at(n), float(n), 2.0 * n) for n in range(300)]
    run(in_postgres, "INSERT INTO log VALUES (%s, %s, %s)", rows=rows)
    asset = asset_of(overlap_s=60.0)
    more = asset.model_validate(
        {**asset.model_dump(), "channel": [{"name": "flow"}, {"name": "level"}]}
    )
    less = asset.model_validate({**asset.model_dump(), "channel": [{"name": "flow"}]})
    ingest_from(in_postgres, Historian(tmp_path, "pump_07", less.channel), less)
    wider = Historian(tmp_path, "pump_07", more.channel)
    ingest_asset(more, wider, database=in_postgres, accept=["level"])
    assert wider.read()["level"].to_list() == [2.0 * n for n in range(300)]
