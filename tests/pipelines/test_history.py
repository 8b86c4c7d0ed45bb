from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.channels import Channel
from features.grid import WindowConfig
from features.source import SourceConfig
from pipelines.config import AssetConfig, AssetInfo, RetrainConfig
from pipelines.historian import Historian
from pipelines.history import HistoryError, read_history
from pipelines.labelling import Verdict, label_interval
from pipelines.settings import Settings
from pipelines.train import TrainingError, train_asset

START = datetime(2026, 1, 1, tzinfo=UTC)
CHANNELS = (Channel(name="flow"),)


def make_asset(tmp_path: Path, retrain: RetrainConfig, labels: str = "") -> AssetConfig:
    (tmp_path / "labels.csv").write_text("start,end,kind,note\n" + labels)
    return AssetConfig(
        asset=AssetInfo(id="pump"),
        source=SourceConfig(files="*.csv", labels=str(tmp_path / "labels.csv")),
        channel=CHANNELS,
        window=WindowConfig(sample_period_s=3600.0, length=16),
        retrain=retrain,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A historian with ten days of one sample an hour."""
    settings = Settings(home=tmp_path)
    times = pl.datetime_range(START, START + timedelta(hours=240), "1h", time_unit="us", eager=True)
    samples = pl.DataFrame({"time": times, "flow": [1.0] * len(times)})
    Historian(settings.historian_address, "pump", CHANNELS).merge(samples, source="a.csv")
    return settings


def test_the_newest_days_are_kept_apart(tmp_path: Path, settings: Settings) -> None:
    history = read_history(make_asset(tmp_path, RetrainConfig(holdout_days=3)), settings)
    border = START + timedelta(days=7)
    assert history.normal["time"].max() == border
    assert history.held_out["time"].min() == border + timedelta(hours=1)
    assert history.version == 1


def test_a_fifth_is_kept_apart_unless_the_asset_file_says_otherwise(
    tmp_path: Path, settings: Settings
) -> None:
    history = read_history(make_asset(tmp_path, RetrainConfig()), settings)
    assert history.held_out.height == 48


def test_a_labelled_fault_is_not_learned_but_judged(tmp_path: Path, settings: Settings) -> None:
    labels = "2026-01-02T00:00:00Z,2026-01-02T06:00:00Z,fault,leak\n"
    history = read_history(make_asset(tmp_path, RetrainConfig(), labels), settings)
    assert history.normal.height == 193 - 6
    assert [interval.note for interval in history.intervals] == ["leak"]


def test_only_the_lookback_is_read(tmp_path: Path, settings: Settings) -> None:
    retrain = RetrainConfig(lookback_days=5, holdout_days=1)
    history = read_history(make_asset(tmp_path, retrain), settings)
    assert history.normal["time"].min() == START + timedelta(days=5)


@pytest.mark.parametrize(
    ("retrain", "labels"),
    [
        (RetrainConfig(), "2026-01-01T00:00:00Z,2026-02-01T00:00:00Z,maintenance,\n"),
        (RetrainConfig(holdout_days=30), ""),
    ],
)
def test_nothing_left_to_learn_from_is_said(
    tmp_path: Path, settings: Settings, retrain: RetrainConfig, labels: str
) -> None:
    with pytest.raises(HistoryError, match="no normal running before"):
        read_history(make_asset(tmp_path, retrain, labels), settings)


def test_an_empty_historian_says_what_to_do_first(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="run `faultwatch ingest` first"):
        read_history(make_asset(tmp_path, RetrainConfig()), Settings(home=tmp_path / "new"))


def test_held_out_days_without_a_window_are_refused(tmp_path: Path, settings: Settings) -> None:
    retrain = RetrainConfig(holdout_days=0.5)
    with pytest.raises(TrainingError, match="hold no window of 16 cells"):
        train_asset(make_asset(tmp_path, retrain), settings, at=START)


def say(asset: AssetConfig, settings: Settings, verdict: Verdict, hours: int) -> None:
    """A person says what the second day's first hours were."""
    start = START + timedelta(days=1)
    end = start + timedelta(hours=hours)
    label_interval(asset, settings, start, end, verdict, by="anna", note="", at=START)


@pytest.mark.parametrize(
    ("verdict", "left"), [("maintenance", 193 - 6), ("true_fault", 193 - 6), ("nuisance", 193)]
)
def test_what_people_said_counts_as_what_the_file_says(
    tmp_path: Path, settings: Settings, verdict: Verdict, left: int
) -> None:
    asset = make_asset(tmp_path, RetrainConfig())
    say(asset, settings, verdict, hours=6)
    history = read_history(asset, settings)
    assert history.normal.height == left
    assert [interval.kind for interval in history.intervals] == [verdict]


def test_a_fault_of_the_file_that_was_none_is_learned_from(
    tmp_path: Path, settings: Settings
) -> None:
    labels = "2026-01-02T00:00:00Z,2026-01-02T06:00:00Z,fault,leak\n"
    asset = make_asset(tmp_path, RetrainConfig(), labels)
    say(asset, settings, "nuisance", hours=6)
    assert read_history(asset, settings).normal.height == 193
    say(asset, settings, "maintenance", hours=8)
    assert read_history(asset, settings).normal.height == 193 - 8
