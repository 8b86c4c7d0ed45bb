"""Samples of an awkward asset through the grid and torch, and through the agent: equal scores.

The asset has all that the demo plant has not: every kind of channel, a hop, holes, silence that
cuts and silence that does not, stops of the machine, windows with too few channels.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge.agent import Agent
from faultwatch_edge.score_row import ScoreRow
from features.channels import Channel
from features.grid import WindowConfig
from features.source import SourceConfig
from features.windows import Windows
from models.config import ModelConfig, ReconstructorName, RegimeConfig, RunningCondition
from models.detector import score_run
from pipelines.candidate import Candidate, Origin, asset_windows, make_candidate
from pipelines.config import AssetConfig, AssetInfo

START = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLES = 9_000
FAULTY_FROM = 8_000
FAULT = START + timedelta(seconds=10 * FAULTY_FROM)
MIN_CHANNELS = 3


@pytest.fixture(scope="module")
def asset() -> AssetConfig:
    return AssetConfig(
        asset=AssetInfo(id="pump_07"),
        source=SourceConfig(files="*.csv"),
        channel=(
            Channel(name="flow", range=(0.0, 14.0)),
            Channel(name="speed"),
            Channel(name="valve", kind="discrete", reporting="on_change"),
            Channel(name="total", kind="counter"),
            Channel(name="power"),
        ),
        window=WindowConfig(
            sample_period_s=20.0,
            length=6,
            hop=3,
            max_gap_s=100.0,
            min_channels=MIN_CHANNELS,
        ),
        regime=RegimeConfig(
            running=(RunningCondition(channel="speed", above=500.0),), startup_ignore_s=200.0
        ),
        model=ModelConfig(latent=2, width=4, epochs=2, windows_per_epoch=512, folds=2),
    )


@pytest.fixture(scope="module")
def samples() -> pl.DataFrame:
    """A day at 10 s, awkward in every way."""
    generator = np.random.default_rng(0)
    load = np.convolve(generator.normal(size=SAMPLES + 99), np.full(100, 0.1), mode="valid")
    noise = generator.normal(size=(SAMPLES, 3))
    values: dict[str, np.ndarray] = {
        "flow": 10.0 + load + 0.2 * noise[:, 0],
        "speed": 1500.0 + 100.0 * load + 20.0 * noise[:, 1],
        "valve": np.round(load),
        "total": np.cumsum(10.0 + load),
        "power": 40.0 + 4.0 * load + noise[:, 2],
    }
    values["speed"][4_000:4_100] = 0.0
    values["total"][5_000:] -= values["total"][5_000]
    values["flow"][FAULTY_FROM:] += 3.0
    for column in values.values():
        column[generator.random(SAMPLES) < 0.1] = np.nan
    for name in ("flow", "speed", "power"):
        values[name][3_000:3_050] = np.nan
    at = [START + timedelta(seconds=10 * place) for place in range(SAMPLES)]
    frame = pl.DataFrame(
        {"time": at, **values}, schema_overrides={"time": pl.Datetime("us", "UTC")}
    )
    kept = np.ones(SAMPLES, dtype=np.bool_)
    kept[2_000:2_009] = False  # shorter than the longest gap
    kept[6_000:6_030] = False  # longer
    return frame.filter(pl.Series(kept)).with_columns(pl.all().exclude("time").fill_nan(None))


@pytest.fixture(scope="module")
def windows(asset: AssetConfig, samples: pl.DataFrame) -> Windows:
    return asset_windows(asset, samples)


@pytest.fixture(scope="module", params=["vae", "pca"])
def candidate(
    request: pytest.FixtureRequest,
    asset: AssetConfig,
    samples: pl.DataFrame,
    windows: Windows,
    tmp_path_factory: pytest.TempPathFactory,
) -> Candidate:
    reconstructor: ReconstructorName = request.param
    return make_candidate(
        asset,
        reconstructor,
        normal=asset_windows(asset, samples.filter(pl.col("time") < FAULT)),
        recent=windows,
        origin=Origin(1, START, "", 0),
        folder=tmp_path_factory.mktemp("bundles"),
        private_key=Ed25519PrivateKey.generate(),
    )


def by_torch(candidate: Candidate, windows: Windows) -> np.ndarray:
    """Scores, not a number where the device gives none; it never asks about too few channels."""
    scores = np.full(len(windows), np.nan)
    present = (~np.isnan(windows.take(slice(None)))).any(axis=2).sum(axis=1)
    for run in windows.runs():
        asked = run[present[run] >= MIN_CHANNELS]
        found = score_run(candidate.fitted.detector, [torch.from_numpy(windows.take(asked))])
        scores[asked] = np.where(found.gate.numpy() > 0, found.score.numpy(), np.nan)
    return scores


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_the_agent_says_what_the_grid_and_torch_say(
    candidate: Candidate, samples: pl.DataFrame, windows: Windows, batch: int
) -> None:
    rows: list[ScoreRow] = []
    agent = Agent(candidate.bundle, batch=batch, on_score=rows.append)
    values = samples.select(candidate.bundle.manifest.channel_names).to_numpy()
    for time_us, row in zip(samples["time"].dt.epoch("us").to_list(), values, strict=True):
        agent.process(time_us, row)
    agent.finish()
    assert [row.end_us for row in rows] == windows.end_times.astype(np.int64).tolist()
    found = np.array([np.nan if row.score is None else row.score for row in rows])
    expected = by_torch(candidate, windows)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    scored = ~np.isnan(expected)
    assert 0.9 < scored.mean() < 1.0
    allowed = 1e-4 * np.maximum(1.0, np.abs(expected[scored]))
    assert (np.abs(found[scored] - expected[scored]) <= allowed).all()
    threshold = candidate.threshold.score
    assert ((found >= threshold) == (expected >= threshold)).all()


def test_training_scores_the_windows_that_the_device_scores(
    candidate: Candidate, windows: Windows
) -> None:
    normal = candidate.fitted.normal
    on_device = dict(zip(windows.end_times, ~np.isnan(by_torch(candidate, windows)), strict=True))
    expected = [on_device[at] for at in normal.end_times]
    assert normal.scored.tolist() == expected
