from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.channels import Channel
from features.grid import WindowConfig
from features.source import SourceConfig
from pipelines import history as histories
from pipelines.config import AssetConfig, AssetInfo, RetrainConfig
from pipelines.historian import Historian
from pipelines.history import STRETCHES, HistoryError, read_history
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


# --- more than memory holds at once --------------------------------------------------------------


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A hundred days of one sample an hour, of which a tenth may teach."""
    monkeypatch.setattr(histories, "MOST_VALUES", 200)
    settings = Settings(home=tmp_path)
    times = pl.datetime_range(START, START + timedelta(days=100), "1h", time_unit="us", eager=True)
    samples = pl.DataFrame({"time": times, "flow": pl.int_range(len(times), eager=True) * 1.0})
    Historian(settings.historian_address, "pump", CHANNELS).merge(samples, source="a.csv")
    return settings


def test_of_a_long_history_stretches_all_over_it_teach(tmp_path: Path, long: Settings) -> None:
    asset = make_asset(tmp_path, RetrainConfig(lookback_days=100))
    history = read_history(asset, long)
    assert (history.normal.height, history.rows_there) == (200, 1_921)
    hours = history.normal["time"].diff().drop_nulls().dt.total_hours()
    assert STRETCHES / 2 < (hours > 1).sum() < STRETCHES
    assert (hours <= 2 * 1_921 / STRETCHES).all()  # from one part to the next
    assert history.normal["time"].dt.hour().n_unique() == 24
    assert history.held_out.height == 200  # the newest
    assert history.held_out["time"][-1] == START + timedelta(days=100)
    assert (
        "in 40 stretches spread over that time: 200 of 1921 rows of normal running"
        in history.learned()
    )
    assert read_history(asset, long).normal.equals(history.normal)


def test_a_fault_within_a_stretch_does_not_teach(tmp_path: Path, long: Settings) -> None:
    faults = [(START + timedelta(days=day)).isoformat() for day in range(0, 80, 2)]
    ends = [(START + timedelta(days=day, hours=20)).isoformat() for day in range(0, 80, 2)]
    labels = "".join(f"{start},{end},fault,leak\n" for start, end in zip(faults, ends, strict=True))
    asset = make_asset(tmp_path, RetrainConfig(lookback_days=100), labels)
    normal = read_history(asset, long).normal
    even, hour = (normal["time"] - START).dt.total_days() % 2 == 0, normal["time"].dt.hour()
    assert normal.height == 200
    assert not (even & (hour < 20)).any()


def test_a_short_history_teaches_as_a_whole(tmp_path: Path, settings: Settings) -> None:
    history = read_history(make_asset(tmp_path, RetrainConfig()), settings)
    assert history.normal.height == history.rows_there == 193
    assert "stretches" not in history.learned()
