"""After a repair only what came later teaches, in this training and in every later one."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from faultwatch_edge.keys import make_key_pair
from features.labels import LabelError
from pipelines.cli import main
from pipelines.config import AssetConfig, load_asset
from pipelines.evaluate import evaluate_asset
from pipelines.historian import Historian
from pipelines.history import HistoryError, read_history
from pipelines.labelling import begin_anew, find_baseline, print_labels, read_labels
from pipelines.registry import Registry
from pipelines.settings import Settings
from pipelines.train import TrainingError, train, train_asset

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=30)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REPAIR = START + 10 * DAY
ASSET = """
[asset]
id = "pump"
[source]
files = "*.csv"
labels = "labels.csv"
[window]
sample_period_s = 600.0
length = 4
[model]
reconstructor = "pca"
[[channel]]
name = "flow"
[[channel]]
name = "pressure"
"""
Begin = Callable[[datetime], bool]


@pytest.fixture
def asset(tmp_path: Path) -> AssetConfig:
    (tmp_path / "labels.csv").write_text("start,end,kind,note\n")
    (tmp_path / "pump.toml").write_text(ASSET)
    return load_asset(tmp_path / "pump.toml")


@pytest.fixture
def settings(tmp_path: Path, asset: AssetConfig) -> Settings:
    """A historian with twenty days, ten before a repair that moved the flow and ten after it."""
    settings = Settings(home=tmp_path / "home")
    make_key_pair(settings.signing_key_file.parent)
    times = pl.datetime_range(START, START + 20 * DAY, "10m", time_unit="us", eager=True)
    noise = np.random.default_rng(0).normal(size=(2, len(times)))
    flow = 50.0 + noise[0] + 30.0 * (times >= REPAIR).to_numpy()
    samples = pl.DataFrame({"time": times, "flow": flow, "pressure": 5 + noise[0] + noise[1]})
    historian = Historian(settings.historian_address, "pump", asset.channel)
    historian.merge(samples, source="a.csv")
    return settings


@pytest.fixture
def begin(asset: AssetConfig, settings: Settings) -> Begin:
    """Anna says since when history teaches."""

    clock = count()

    def begin(since: datetime) -> bool:
        at = NOW + timedelta(minutes=next(clock))
        return begin_anew(asset, settings, since, by="anna", at=at)

    return begin


def test_nothing_before_it_teaches_and_the_newest_fifth_since_then_judges(
    asset: AssetConfig, settings: Settings, begin: Begin
) -> None:
    begin(REPAIR)
    history = read_history(asset, settings)
    assert history.normal["time"][0] == REPAIR
    assert history.normal["time"][-1] == START + 18 * DAY
    assert history.held_out["time"][0] == START + 18 * DAY + timedelta(minutes=10)


def test_the_instant_that_was_said_last_counts(
    asset: AssetConfig, settings: Settings, begin: Begin
) -> None:
    assert begin(REPAIR)
    assert not begin(REPAIR)
    assert begin(START)
    assert read_history(asset, settings).normal["time"][0] == START
    assert begin(REPAIR)
    baseline = find_baseline(read_labels(asset, settings))
    assert baseline is not None
    assert (baseline.start, baseline.by) == (REPAIR, "anna")


def test_it_stands_among_the_labels_and_is_no_interval_of_time(
    asset: AssetConfig, settings: Settings, begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(REPAIR)
    assert read_history(asset, settings).intervals == ()
    print_labels(read_labels(asset, settings))
    assert "baseline" in capsys.readouterr().out


def test_an_instant_that_is_yet_to_come_is_refused_and_not_kept(
    asset: AssetConfig, settings: Settings, begin: Begin
) -> None:
    with pytest.raises(LabelError, match=r"--since 2026-01-31T01:00:00Z is yet to come"):
        begin(NOW + HOUR)
    assert read_labels(asset, settings) == []


@pytest.mark.usefixtures("asset")
@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-05-01T08:00", ""])
def test_a_text_that_is_no_time_gives_one_sentence(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "pump.toml"), "--since", text]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"faultwatch: --since is '{text}', ")
    assert len(said.splitlines()) == 1


def test_history_that_is_too_short_since_then_says_how_much_there_is_and_is_needed(
    asset: AssetConfig, settings: Settings, begin: Begin
) -> None:
    begin(START + 19 * DAY)
    with pytest.raises(
        TrainingError,
        match=r"since 2026-01-20 00:00 UTC gives \d+ windows \(1\d\.?\d* h\) to learn from, 150 "
        r"\(1.04 d\) are needed for 2 channels; .* or begin earlier with --since",
    ):
        train_asset(asset, settings, at=NOW)
    assert Registry(settings, "pump").versions() == []


def test_no_history_since_then_says_so(
    asset: AssetConfig, settings: Settings, begin: Begin
) -> None:
    begin(START + 25 * DAY)
    with pytest.raises(HistoryError, match=r"0 s of history since .* begin earlier with --since"):
        read_history(asset, settings)


def test_a_repair_at_the_newest_sample_leaves_too_little(
    asset: AssetConfig, settings: Settings, begin: Begin
) -> None:
    begin(START + 20 * DAY)
    with pytest.raises(TrainingError, match=r"since 2026-01-21 00:00 UTC gives 0 windows \(0 s\)"):
        train_asset(asset, settings, at=NOW)


def test_it_is_kept_even_if_there_is_too_little_to_train_from_yet(
    tmp_path: Path, asset: AssetConfig, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTWATCH_HOME", str(settings.home))
    monkeypatch.setattr("pipelines.train.get_run_logger", lambda: logging.getLogger("train"))
    since = START + 19 * DAY
    for told in (since, None):  # the second time as a schedule calls it
        with pytest.raises(TrainingError, match=r"since 2026-01-20 00:00 UTC gives"):
            train.fn(str(tmp_path / "pump.toml"), since=told, by="anna")
    baseline = find_baseline(read_labels(asset, settings))
    assert baseline is not None
    assert (baseline.start, baseline.by) == (since, "anna")


def test_every_training_and_evaluation_heeds_it_and_says_so(
    tmp_path: Path, asset: AssetConfig, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTWATCH_HOME", str(tmp_path / "home"))
    file = str(tmp_path / "pump.toml")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setattr("pipelines.train.get_run_logger", lambda: logging.getLogger("train"))
    monkeypatch.setattr("pipelines.train.create_markdown_artifact", lambda *_, **__: None)
    begin_anew(asset, settings, REPAIR, by="anna", at=NOW)
    trained = train.fn(file)  # as a schedule calls it
    registry = Registry(settings, "pump")
    run = registry.client.get_run(str(trained["run_id"]))
    assert run.data.tags["since"] == run.data.params["since"] == "2026-01-11T00:00:00Z"
    assert run.data.params["normal_from"].startswith("2026-01-11 00:00:00")
    for note in (str(trained["note"]), run.data.tags["mlflow.note.content"]):
        assert "Learned from 2026-01-11 00:00 to 2026-01-19 00:00 UTC." in note
        assert "Nothing before 2026-01-11 00:00 UTC teaches (anna said so on " in note
    begin_anew(asset, settings, START, by="bo", at=NOW)
    note = evaluate_asset(asset, settings, "1")  # the newest fifth now begins before the 19th
    assert "vae" not in note
    days = registry.client.search_runs([run.info.experiment_id], max_results=1)[0].data.metrics
    assert days["false_alarms.held_out_days"] == pytest.approx(2.0, abs=0.05)
