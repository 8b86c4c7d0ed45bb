"""The whole way in, with the tables in object storage (a stand-in that speaks S3)."""

from datetime import timedelta
from pathlib import Path

from features.merging import MergeCounts
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset

ROWS = [f"2026-01-01T00:{minute:02}:00Z,{minute}" for minute in range(60)]


def test_an_ingest_into_object_storage_is_one_into_a_folder(s3: str, tmp_path: Path) -> None:
    asset = AssetConfig.model_validate(
        {
            "asset": {"id": "pump_07"},
            "source": {"files": str(tmp_path / "*.csv")},
            "channel": [{"name": "flow"}],
            "window": {"sample_period_s": 60.0},
        }
    )
    (tmp_path / "a.csv").write_text("\n".join(["time,flow", *ROWS[:40], "soon,1", ""]))
    (tmp_path / "b.csv").write_text("\n".join(["time,flow", ROWS[3].replace(",3", ",7"), ""]))
    there = Historian(f"{s3}/plant/", "pump_07", asset.channel)
    here = Historian(tmp_path / "historian", "pump_07", asset.channel)
    for historian in (there, here):
        done = ingest_asset(asset, historian)
        assert done.counts == MergeCounts(kept=40, superseded=1, quarantined=1)
    (tmp_path / "a.csv").write_text("\n".join(["time,flow", *ROWS[:40], "soon,1", *ROWS[40:], ""]))
    for historian in (there, here):
        ingest_asset(asset, historian)
        historian.maintain(timedelta(days=1))
    assert there.read().equals(here.read())
    assert there.read_quarantine().equals(here.read_quarantine())
    assert there.version() == here.version()
    assert there.read().height == 60
