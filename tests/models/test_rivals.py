from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import plain_autoencoders
from models.calibration import CalibrationError
from models.plain_autoencoders import conv_autoencoder, lstm_autoencoder
from models.rival_calibration import CalibratedRival, fit_calibrated
from models.rivals import FittedRival, Rival, fit_scale, isolation_forest, nearest_neighbours, pca

LENGTH = 6
RIVALS = (
    pca(),
    pca(lags=3),
    isolation_forest(),
    nearest_neighbours(),
    lstm_autoencoder(LENGTH),
    conv_autoencoder(LENGTH),
)
NAMES = [rival.name for rival in RIVALS]
each_rival = pytest.mark.parametrize("rival", RIVALS, ids=NAMES)


def make_run(rows: int, seed: int) -> NDArray[np.float64]:
    """Four channels that follow two slow ones, and a fifth that never moves."""
    generator = np.random.default_rng(seed)
    slow = np.cumsum(generator.normal(size=(rows, 2)), axis=0) * 0.1 + generator.normal(size=2)
    mixed = slow @ np.array([[1.0, 2.0, -1.0, 0.5], [0.3, -1.0, 1.0, 2.0]])
    noisy = mixed + 0.1 * generator.normal(size=mixed.shape)
    return np.concatenate([50.0 + noisy, np.full((rows, 1), 7.0)], axis=1)


RUNS = [make_run(150, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def fitted() -> dict[str, FittedRival]:
    """Every rival, trained for a moment: these tests are about rows, not about detection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_autoencoders, "LEAST_STEPS", 20)
        patch.setattr(plain_autoencoders, "MOST_STEPS", 20)
        return {rival.name: rival.fit(RUNS, 0) for rival in RIVALS}


@each_rival
@settings(max_examples=10)
@given(row=st.integers(0, 39), seed=st.integers(0, 99), value=st.sampled_from([np.nan, 1e3]))
def test_later_rows_never_change_earlier_statistics(
    fitted: dict[str, FittedRival], rival: Rival, row: int, seed: int, value: float
) -> None:
    run = make_run(40, seed)
    changed = run.copy()
    changed[row:] = value
    before, after = (fitted[rival.name].score(one)[:row] for one in (run, changed))
    np.testing.assert_allclose(before, after, rtol=1e-6)


@each_rival
def test_a_run_cut_short_scores_the_same(fitted: dict[str, FittedRival], rival: Rival) -> None:
    run = make_run(40, 7)
    scorer = fitted[rival.name]
    np.testing.assert_allclose(scorer.score(run[:25]), scorer.score(run)[:25], rtol=1e-4)


@each_rival
@pytest.mark.parametrize("rows", [1, 3, LENGTH, 30])
def test_only_the_rows_of_the_warm_up_have_no_score(
    fitted: dict[str, FittedRival], rival: Rival, rows: int
) -> None:
    statistics = fitted[rival.name].score(make_run(rows, 8))
    assert len(statistics) == rows
    assert np.isnan(statistics[: rival.lookback]).all()
    assert np.isfinite(statistics[rival.lookback :]).all()


@each_rival
def test_a_channel_far_off_scores_higher(fitted: dict[str, FittedRival], rival: Rival) -> None:
    run = make_run(60, 9)
    strange = run.copy()
    strange[30:, 1] += 40.0
    usual, odd = (fitted[rival.name].score(one)[30:].mean(axis=0) for one in (run, strange))
    assert (odd > usual).any()


@each_rival
def test_a_constant_channel_that_moves_and_missing_values_keep_scores_finite(
    fitted: dict[str, FittedRival], rival: Rival
) -> None:
    run = make_run(30, 10)
    run[10:, 4] = 1e12
    run[5] = np.nan
    run[:, 2] = np.nan
    assert np.isfinite(fitted[rival.name].score(run)[rival.lookback :]).all()


@each_rival
def test_the_seed_decides_and_only_where_it_should(rival: Rival) -> None:
    run = make_run(30, 11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_autoencoders, "LEAST_STEPS", 3)
        patch.setattr(plain_autoencoders, "MOST_STEPS", 3)
        first, again, other = (rival.fit(RUNS, seed).score(run) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other, equal_nan=True) is not rival.is_seeded


def test_principal_components_by_hand() -> None:
    rows = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    along, across = pca().fit([rows], 0).score(np.array([[2.0, 2.0], [1.0, -1.0]]))
    variance = 8 / 3  # of the scores +-sqrt(2), by n - 1
    np.testing.assert_allclose(along, [8 / variance, 0.0], atol=1e-9)
    np.testing.assert_allclose(across, [0.0, 2.0], atol=1e-9)


def test_neighbours_by_hand() -> None:
    rows = np.array([[-1.0], [1.0]] * 3)  # mean 0, deviation 1
    distance = nearest_neighbours().fit([rows], 0).score(np.array([[1.0]]))
    assert distance.tolist() == [[pytest.approx(4 / 5)]]  # three at 0, two at 2


def test_a_channel_without_values_has_a_scale() -> None:
    scale = fit_scale([np.array([[np.nan, 2.0], [np.nan, 2.0]])])
    assert scale.standardise(np.array([[np.nan, 2.0]])).tolist() == [[0.0, 0.0]]


@each_rival
@pytest.mark.parametrize("runs", [RUNS, [make_run(600, 20)]], ids=["by run", "by block of time"])
def test_the_threshold_holds_on_unseen_normal_running(
    monkeypatch: pytest.MonkeyPatch, rival: Rival, runs: list[NDArray[np.float64]]
) -> None:
    monkeypatch.setattr(plain_autoencoders, "LEAST_STEPS", 20)
    monkeypatch.setattr(plain_autoencoders, "MOST_STEPS", 20)
    made = fit_calibrated(rival, runs, far=0.01, embargo=LENGTH, seed=0)
    assert isinstance(made, CalibratedRival)
    score = made.score(make_run(100, 0))
    assert np.isnan(score[: rival.lookback]).all()
    assert 1.0 < made.threshold < 4.0  # -log10 p of the most anomalous of a hundred
    assert (score[rival.lookback :] >= 0.0).all()


class Recorder:
    """A rival that keeps what it was trained on, and scores a row by its first value."""

    def __init__(self) -> None:
        self.trained: list[NDArray[np.float64]] = []

    def fit(self, runs: Sequence[NDArray[np.float64]], seed: int) -> FittedRival:
        del seed
        self.trained.append(np.concatenate(runs)[:, 0])
        return self

    def score(self, run: NDArray[np.float64]) -> NDArray[np.float64]:
        return run[:, :1]


def test_a_block_is_never_trained_on_nor_are_its_neighbours() -> None:
    recorder = Recorder()
    rows = np.arange(300.0)[:, None]
    made = fit_calibrated(
        Rival("recorder", "recorder", recorder.fit), [rows], far=0.01, embargo=5, seed=0
    )
    first, second, third, everything = recorder.trained
    assert first.tolist() == list(range(105, 300))
    assert second.tolist() == [*range(95), *range(205, 300)]
    assert third.tolist() == list(range(195))
    assert everything.tolist() == list(range(300))
    assert np.sum(made.score(rows) >= made.threshold) == 3  # 1% of all rows


def test_whole_runs_have_no_embargo() -> None:
    recorder = Recorder()
    runs = [np.arange(start, start + 100.0)[:, None] for start in (0.0, 100.0, 200.0)]
    rival = Rival("recorder", "recorder", recorder.fit)
    fit_calibrated(rival, runs, far=0.01, embargo=5, seed=0)
    assert recorder.trained[0].tolist() == list(range(100, 300))


def test_too_little_normal_running_is_said() -> None:
    with pytest.raises(CalibrationError, match="add normal running"):
        fit_calibrated(pca(), [make_run(60, 0)], far=0.01, embargo=2, seed=0)
    with pytest.raises(CalibrationError, match="no run of more than 21 rows"):
        fit_calibrated(lstm_autoencoder(12), [make_run(30, 0)], far=0.01, embargo=10, seed=0)
