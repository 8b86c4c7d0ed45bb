"""What the run of a retraining shows beside the champion, of a small pump that runs on."""

import re
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from faultwatch_edge.bundle import Bundle
from pipelines import recent_alarms
from pipelines.historian import Historian
from pipelines.history import read_history
from pipelines.judging import fetch_bundle
from pipelines.recent_alarms import CHALLENGER, CHAMPION, find_recent_alarms
from pipelines.replay import moment, raised_alarms, replay

COSTS = [
    "edge.bundle_bytes",
    "edge.window_us",
    "peak_memory_mb",
    "seconds.certifying",
    "seconds.exporting",
    "seconds.learning",
    "seconds.replaying",
    "seconds.reviewing",
    "seconds.total",
]


def historian_of(pump: Any) -> Historian:
    asset = pump.asset
    return Historian(pump.settings.historian_address, asset.asset.id, asset.channel)


def bundle_of(pump: Any, version: int) -> Bundle:
    registered = pump.registry.version_of(str(version))
    return fetch_bundle(pump.registry, registered, pump.settings, pump.folder / str(version))


def table_of(pump: Any, run_id: str, name: str) -> pl.DataFrame:
    folder = pump.folder / "tables"
    folder.mkdir(exist_ok=True)
    client = pump.registry.client
    path = client.download_artifacts(run_id, f"tables/{name}.csv", str(folder))
    return pl.read_csv(path, try_parse_dates=True)


def as_the_device(pump: Any, version: int) -> list[Any]:
    """When an agent that lives through all there is raises its alarms."""
    replayed = replay(bundle_of(pump, version), historian_of(pump).read())
    return [moment(one, "raised_at") for one in raised_alarms(replayed)]


def check_recent_alarms(pump: Any, table: pl.DataFrame) -> None:
    """The table has the alarms of the device, and what people said of them.

    The champion stands in alarm from the shift on; that is not the fault that the challenger finds.
    """
    for version, who in ((1, CHAMPION), (2, CHALLENGER)):
        assert table[f"raised by {who} at"].drop_nulls().to_list() == as_the_device(pump, version)
    fault = table.filter(pl.col("labelled") == "true fault")
    assert fault.select("raised by", "taught this one").rows() == [(CHALLENGER, "no")]
    earlier = table.filter(pl.col("end") < fault["start"][0])
    assert set(earlier["taught this one"]) == {"yes: not unseen"}


@pytest.mark.slow
def test_the_run_of_a_challenger_shows_it_beside_the_champion(pump: Any) -> None:
    pump.run(4_000)
    pump.retrain()
    pump.run(1_500, shift=2.0, fault=(5_000, 5_012))
    pump.label(5_000, 5_012, "true_fault")
    pump.label(4_000, 5_000, "nuisance")
    pump.label(5_012, 5_500, "nuisance")
    assert pump.retrain().version == 2
    run_id = pump.registry.version_of("2").run_id
    run = pump.registry.client.get_run(run_id)
    note, metrics = run.data.tags["mlflow.note.content"], run.data.metrics

    check_recent_alarms(pump, table_of(pump, run_id, "recent_alarms"))
    assert "In the last 19 days the champion raised " in note
    drift = table_of(pump, run_id, "drift")
    assert (drift["channel"][0], drift["moved"][0]) == ("flow", "yes")
    moved = re.search(
        r"Data drift since the champion learned, by the held-out days: 'flow' is at ([\d.]+) m3/h, "
        r"was at ([\d.]+) m3/h",
        note,
    )
    assert moved is not None
    assert [float(level) for level in moved.groups()] == pytest.approx([12.0, 10.0], abs=0.1)
    assert table_of(pump, run_id, "faults").columns[:3] == ["fault", "pca, min", "champion 1, min"]
    assert "champion's smallest" in table_of(pump, run_id, "certificate").columns
    pictures = pump.registry.client.list_artifacts(run_id, "pictures")
    assert {"pictures/drift.png", "pictures/latent_map.png"} <= {one.path for one in pictures}
    assert all(metrics[name] > 0.0 for name in COSTS)
    parts = sum(value for name, value in metrics.items() if name.startswith("seconds."))
    assert parts == pytest.approx(2 * metrics["seconds.total"])
    assert "champion.faults.found_share" in metrics


@pytest.mark.slow
def test_of_a_fast_machine_fewer_days_are_replayed_and_the_sentence_says_how_many(
    pump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pump.run(4_000)
    pump.retrain()
    monkeypatch.setattr(recent_alarms, "MOST_WINDOWS", 3 * 288)
    history = read_history(pump.asset, pump.settings)
    bundles = {CHALLENGER: bundle_of(pump, 1)}
    found = find_recent_alarms(pump.asset, historian_of(pump), history, bundles)
    assert found.until - found.since == timedelta(days=3)
    assert found.sentence().startswith("In the last 3 days this one would have raised ")
