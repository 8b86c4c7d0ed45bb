"""The journal's tables stay few files, and say the same."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from faultwatch_edge.config import MqttConfig
from pipelines.journal import Journal
from pipelines.records import AssetJournal
from pipelines.told import Row

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_tidying_changes_nothing_that_is_read(tmp_path: Path) -> None:
    scores = Journal(str(tmp_path), "pump_07").scores
    for second in range(20):
        row: Row = {"time": START + timedelta(seconds=second), "score": 1.5, "bundle_sha256": "ab"}
        assert scores.add([row]) == []
    before = scores.read()
    AssetJournal("pump_07", MqttConfig(), address=str(tmp_path), say=print).maintain()
    assert scores.read().equals(before)
    assert before.height == 20
    assert scores.table.open().file_uris()[1:] == []


def test_the_same_window_of_two_bundles_is_two_scores(tmp_path: Path) -> None:
    scores = Journal(str(tmp_path), "pump_07").scores
    rows: list[Row] = [
        {"time": START, "score": 1.0, "bundle_sha256": sha} for sha in ("ab", "cd", "")
    ]
    assert scores.add([*rows, *rows]) == []
    assert scores.read()["bundle_sha256"].to_list() == ["", "ab", "cd"]
