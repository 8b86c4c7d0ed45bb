"""Every window of the demo plant that nothing is trained on: torch, ONNX Runtime, the agent."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.detector import Detector as EdgeDetector
from faultwatch_edge.score_row import ScoreRow
from features.channels import channel_names
from features.datasets.tep import load_samples
from features.windows import Windows
from models.detector import score_run
from pipelines.candidate import Candidate, Origin, asset_windows, make_candidate
from pipelines.config import AssetConfig, load_asset
from pipelines.watch import watch, with_row_numbers

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Scores:
    """What one runtime says of every window; not a number where the gate is shut."""

    end_us: NDArray[np.int64]
    score: NDArray[np.float64]

    def anomalous(self, threshold: float) -> list[bool | None]:
        return [None if np.isnan(score) else bool(score >= threshold) for score in self.score]


def gated(score: NDArray[np.float32], gate: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.where(gate > 0, score.astype(np.float64), np.nan)


@pytest.fixture(scope="module")
def asset() -> AssetConfig:
    """The demo plant, with a training that is over in seconds."""
    plant = load_asset("tennessee_eastman")
    quick = {"epochs": 2, "windows_per_epoch": 2_048, "folds": 2}
    return plant.model_copy(update={"model": plant.model.model_copy(update=quick)})


@pytest.fixture(scope="module")
def samples() -> pl.DataFrame:
    return pl.concat([load_samples("held_out"), load_samples("fault")])


@pytest.fixture(scope="module")
def windows(asset: AssetConfig, samples: pl.DataFrame) -> Windows:
    return asset_windows(asset, samples)


@pytest.fixture(scope="module")
def candidate(
    asset: AssetConfig, windows: Windows, tmp_path_factory: pytest.TempPathFactory
) -> Candidate:
    return make_candidate(
        asset,
        "vae",
        normal=asset_windows(asset, load_samples("train")[:8_640]),
        recent=windows,
        origin=Origin(1, datetime(2026, 6, 10, tzinfo=UTC), "", 0),
        folder=tmp_path_factory.mktemp("bundles"),
        private_key=Ed25519PrivateKey.generate(),
    )


@pytest.fixture(scope="module")
def by_torch(candidate: Candidate, windows: Windows) -> Scores:
    parts = []
    for run in windows.runs():
        cells = torch.from_numpy(windows.take(run))
        found = score_run(candidate.fitted.detector, torch.split(cells, 256))
        parts.append(gated(found.score.numpy(), found.gate.numpy()))
    return Scores(windows.end_times.astype(np.int64), np.concatenate(parts))


def by_runtime(bundle: Bundle, windows: Windows) -> Scores:
    runtime, parts = EdgeDetector.from_bundle(bundle), []
    for run in windows.runs():
        runtime.reset()
        found = runtime.score(windows.take(run))
        parts.append(gated(found.score, found.gate))
    return Scores(windows.end_times.astype(np.int64), np.concatenate(parts))


def by_agent(bundle: Bundle, samples: pl.DataFrame, *, batch: int) -> Scores:
    rows: list[ScoreRow] = []
    agent = Agent(bundle, batch=batch, is_historical=True, on_score=rows.append)
    values = samples.select(bundle.manifest.channel_names).to_numpy()
    for time_us, row in zip(samples["time"].dt.epoch("us").to_list(), values, strict=True):
        agent.process(time_us, row)
    agent.finish()
    return Scores(
        np.array([row.end_us for row in rows]),
        np.array([np.nan if row.score is None else row.score for row in rows]),
    )


def by_backtest(
    bundle: Bundle, asset: AssetConfig, samples: pl.DataFrame, folder: Path
) -> tuple[Scores, list[bool]]:
    """Scores and alarms of the rows, which come in slices, at which a window ends."""
    rows = with_row_numbers(samples)
    slices = [rows[start : start + 700] for start in range(0, rows.height, 700)]
    columns = {name: name for name in bundle.manifest.channel_names}
    watched = watch({"it": bundle}, asset, slices, columns, folder=folder)["it"]
    found = pl.concat([pl.read_parquet(part) for part in sorted(watched.parts.glob("*"))])
    scores = Scores(
        found["time"].dt.epoch("us").to_numpy(),
        found["score"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
    )
    assert found["anomalous"].to_list() == [
        bool(anomalous) for anomalous in scores.anomalous(bundle.manifest.threshold.score)
    ]
    return scores, found["alarm"].to_list()


def assert_same(found: Scores, expected: Scores, threshold: float) -> None:
    np.testing.assert_array_equal(found.end_us, expected.end_us)
    np.testing.assert_array_equal(np.isnan(found.score), np.isnan(expected.score))
    allowed = TOLERANCE * np.maximum(1.0, np.abs(expected.score))
    assert np.nanmax(np.abs(found.score - expected.score) / allowed) <= 1.0
    assert found.anomalous(threshold) == expected.anomalous(threshold)


def test_there_is_something_to_decide(
    candidate: Candidate, by_torch: Scores, windows: Windows, asset: AssetConfig
) -> None:
    assert len(windows.runs()) == 26
    assert len(windows.cells) == len(windows) + 26 * (asset.window.length - 1)
    decisions = by_torch.anomalous(candidate.threshold.score)
    assert decisions.count(True) > 1_000
    assert decisions.count(False) > 3_000
    assert decisions.count(None) == 26 * 5  # an hour of start-up less a window, and one cell
    assert candidate.bundle.manifest.channel_names == tuple(channel_names(asset.channel))


def test_onnx_runtime_decides_as_torch(
    candidate: Candidate, by_torch: Scores, windows: Windows
) -> None:
    assert_same(by_runtime(candidate.bundle, windows), by_torch, candidate.threshold.score)


@pytest.mark.parametrize("batch", [1, 256])
def test_the_agent_decides_as_torch(
    candidate: Candidate, by_torch: Scores, samples: pl.DataFrame, batch: int
) -> None:
    found = by_agent(candidate.bundle, samples, batch=batch)
    assert_same(found, by_torch, candidate.threshold.score)


@pytest.fixture(params=[0.0, 1.0])
def bundle(candidate: Candidate, request: pytest.FixtureRequest) -> Bundle:
    """With and without hysteresis."""
    manifest = candidate.bundle.manifest
    alarm = replace(manifest.alarm, hysteresis=request.param)
    return replace(candidate.bundle, manifest=replace(manifest, alarm=alarm))


def test_a_backtest_decides_and_alarms_as_the_agent(
    bundle: Bundle, by_torch: Scores, asset: AssetConfig, samples: pl.DataFrame, tmp_path: Path
) -> None:
    """Every row of every run: score, anomaly and alarm; a row before the first window has none."""
    found, alarms = by_backtest(bundle, asset, samples, tmp_path / "rows")
    ends = np.isin(found.end_us, by_torch.end_us)
    assert np.isnan(found.score[~ends]).all()
    at_ends = Scores(found.end_us[ends], found.score[ends])
    assert_same(at_ends, by_torch, bundle.manifest.threshold.score)

    states: list[bool] = []
    agent = Agent(
        bundle,
        batch=256,
        is_historical=True,
        on_score=lambda row: states.append(row.state.value == "unacknowledged"),
    )
    values = samples.select(bundle.manifest.channel_names).to_numpy()
    for time_us, row in zip(samples["time"].dt.epoch("us").to_list(), values, strict=True):
        agent.process(time_us, row)
    agent.finish()
    assert sum(states) > 1_000
    assert [alarm for alarm, ended in zip(alarms, ends, strict=True) if ended] == states
