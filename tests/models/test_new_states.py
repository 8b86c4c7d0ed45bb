"""Channels of few values: a state that normal running never has, or has once."""

import numpy as np
import pytest
import torch

from features.channels import Channel
from features.grid import WindowConfig
from features.windows import Windows
from models.config import ModelConfig, ReconstructorName, RegimeConfig
from models.crossfit import FittedDetector, Recipe, fit_detector
from models.detector import Detection, score_run
from models.new_states import find_new_states

LENGTH, ROWS = 8, 3_000
CHANNELS = (
    Channel(name="flow"),
    Channel(name="pressure"),
    Channel(name="pump_on", kind="discrete"),
)
NUMBERS = np.arange(ROWS)
ALWAYS_ON = np.ones(ROWS)
OFF_ONCE = np.where((NUMBERS >= 2_500) & (NUMBERS < 2_600), 0.0, 1.0)
OFF_OFTEN = np.where(NUMBERS % 300 < 30, 0.0, 1.0)


def windows_of(cells: np.ndarray) -> Windows:
    rows = np.arange(len(cells))
    times = np.datetime64("2026-01-01", "us") + rows * np.timedelta64(60, "s")
    ends = rows[LENGTH - 1 :]
    return Windows(cells.astype(np.float32), times, np.zeros(len(cells), np.int64), ends, LENGTH)


def running(pump_on: np.ndarray, *, seed: int) -> np.ndarray:
    generator, rows = np.random.default_rng(seed), len(pump_on)
    load = np.convolve(generator.normal(size=rows + 19), np.ones(20) / 5, mode="valid")
    noise = generator.normal(size=(2, rows))
    return np.stack([50 + 2 * load + 0.3 * noise[0], 5 - 0.3 * load + 0.05 * noise[1], pump_on], 1)


def fit(pump_on: np.ndarray, reconstructor: ReconstructorName = "window_pca") -> FittedDetector:
    model = ModelConfig(reconstructor=reconstructor)
    window = WindowConfig(sample_period_s=60.0, length=LENGTH)
    recipe = Recipe(CHANNELS, window, RegimeConfig(), model)
    return fit_detector(windows_of(running(pump_on, seed=1)), recipe)


def score(fitted: FittedDetector, cells: np.ndarray) -> Detection:
    window = torch.from_numpy(windows_of(cells).take(slice(None)))
    return score_run(fitted.detector, [window])


@pytest.mark.parametrize("reconstructor", ["window_pca", "pca"])
@pytest.mark.parametrize("state", [0.0, 1.0])
def test_a_channel_that_was_constant_and_switches_is_an_anomaly_that_names_it(
    reconstructor: ReconstructorName, state: float
) -> None:
    fitted = fit(np.full(ROWS, state), reconstructor)
    cells = running(np.full(400, state), seed=2)
    cells[200:, 2] = 1.0 - state
    found = score(fitted, cells)
    first = 200 - LENGTH + 1
    assert found.score[:first].max() < 4.0  # what it was before the switch stays normal
    assert torch.isfinite(found.score).all()
    assert found.score[first:].min() > 10.0
    assert set(found.contribution[first:].argmax(dim=1).tolist()) == {2}
    assert fitted.new_states == ()


@pytest.mark.parametrize("pump_on", [ALWAYS_ON, OFF_ONCE, OFF_OFTEN])
@pytest.mark.parametrize("reconstructor", ["window_pca", "pca"])
def test_a_state_that_was_there_once_does_not_hide_faults_of_other_channels(
    reconstructor: ReconstructorName, pump_on: np.ndarray
) -> None:
    cells = running(np.ones(400), seed=2)
    cells[200:, 1] += 0.5
    fitted = fit(pump_on, reconstructor)
    assert score(fitted, cells).score[210:].min() > 8.0
    assert fitted.new_states == (("pump_on",) if pump_on is OFF_ONCE else ())


def test_windows_of_such_a_state_do_not_count_for_the_threshold() -> None:
    once, always = fit(OFF_ONCE).normal, fit(ALWAYS_ON).normal
    assert always.scored.sum() - once.scored.sum() == 100 + LENGTH - 1


def test_a_channel_that_has_values_in_one_fold_only_is_new_there() -> None:
    cells = np.array([[np.nan, 0.0], [np.nan, 2.0], [3.0, 0.0], [np.nan, np.nan]], np.float32)
    windows = Windows(
        cells, np.arange(4).astype("datetime64[us]"), np.zeros(4, np.int64), np.arange(1, 4), 2
    )
    fold = np.array([0, -1, 1])
    found = find_new_states(windows, np.array([0, 0, 1, 1]), fold, fold >= 0)
    assert found.tolist() == [[False, True], [True, True], [True, True]]
