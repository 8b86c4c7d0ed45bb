import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.calibration import (
    NEUTRAL,
    CalibrationError,
    DistanceMap,
    PValueMap,
    check_unseen,
    fit_distance_map,
    fit_p_value_map,
)


def apply(to_score: PValueMap, values: np.ndarray) -> np.ndarray:
    column = torch.from_numpy(np.asarray(values, dtype=np.float32))[:, None]
    scores: np.ndarray = to_score(column)[:, 0].numpy()
    return scores


samples = hnp.arrays(
    np.float64,
    st.integers(100, 400),
    elements=st.floats(-1e4, 1e4, allow_subnormal=False).map(lambda x: round(x, 3)),
)


@settings(deadline=None, max_examples=60)
@given(samples, st.lists(st.floats(-1e5, 1e5, width=32), min_size=2, max_size=50))
def test_more_anomalous_never_scores_less(normal: np.ndarray, values: list[float]) -> None:
    scores = apply(fit_p_value_map(normal[:, None]), np.sort(values))
    assert np.isfinite(scores).all()
    assert (scores >= 0.0).all()
    assert (np.diff(scores) >= 0.0).all()


@settings(deadline=None, max_examples=30)
@given(samples)
def test_no_step_at_any_knot(normal: np.ndarray) -> None:
    to_score = fit_p_value_map(normal[:, None])
    knots = to_score.knots[0].double().numpy()
    resolution = 1e-6 * max(np.abs(knots).max(), 1e-6)
    steepest = to_score.slopes[0].max().item()
    below = apply(to_score, knots - resolution)
    above = apply(to_score, knots + resolution)
    assert (above - below <= 4 * resolution * steepest + 1e-3).all()


def test_scores_go_on_rising_beyond_all_that_was_seen() -> None:
    normal = np.random.default_rng(0).exponential(size=(5_000, 1))
    scores = apply(fit_p_value_map(normal), np.array([20.0, 40.0, 80.0, 160.0]))
    np.testing.assert_allclose(
        np.diff(scores) / np.diff([20.0, 40.0, 80.0, 160.0]), 0.434, rtol=0.2
    )


def test_p_values_of_fresh_normal_running_are_uniform() -> None:
    generator = np.random.default_rng(0)
    to_score = fit_p_value_map(generator.gamma(2.0, size=(20_000, 1)))
    scores = apply(to_score, generator.gamma(2.0, size=200_000))
    for level in (0.1, 0.5, 1.0, 2.0, 3.0):
        expected = 10.0**-level
        tolerance = 0.02 * expected + 4.0 * np.sqrt(expected / 20_000)
        assert np.mean(scores >= level) == pytest.approx(expected, abs=tolerance)


def test_statistics_are_calibrated_one_by_one() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.exponential(size=(2, 1_000, 1))
    both = fit_p_value_map(np.concatenate([one, 100.0 * other], axis=1))
    values = torch.tensor([[0.5, 50.0], [3.0, 300.0]])
    for place, column in enumerate((one, 100.0 * other)):
        alone = fit_p_value_map(column)(values[:, place : place + 1])
        torch.testing.assert_close(both(values)[:, place : place + 1], alone)


def test_a_gross_outlier_in_normal_running_does_not_blind() -> None:
    normal = np.random.default_rng(0).exponential(size=(5_000, 1))
    spoilt = normal.copy()
    spoilt[17] = 1e9
    values = np.array([0.1, 1.0, 5.0, 20.0])
    clean, dirty = (apply(fit_p_value_map(part), values) for part in (normal, spoilt))
    np.testing.assert_allclose(dirty, clean, rtol=0.05)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_a_statistic_that_never_moves_scores_finitely(value: float) -> None:
    to_score = fit_p_value_map(np.full((200, 1), value))
    scores = apply(to_score, np.array([value, value + 1.0, 1e12]))
    assert np.isfinite(scores).all()
    assert scores[0] == pytest.approx(NEUTRAL, abs=1e-3)
    assert scores[1] > 3.0


def test_a_statistic_that_is_rounding_is_one_that_never_moves() -> None:
    noise = 1e-9 * np.random.default_rng(0).normal(size=(5_000, 1))
    scores = apply(fit_p_value_map(noise), np.array([-1e-9, 3e-9, 1e-5, 1.0]))
    np.testing.assert_allclose(scores[:3], NEUTRAL, atol=2e-3)
    assert scores[3] > 2.0


def test_too_few_windows_are_refused_with_their_number() -> None:
    with pytest.raises(CalibrationError, match=r"99 windows .* at least 100 are needed: add"):
        fit_p_value_map(np.zeros((99, 1)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_statistic_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(CalibrationError, match="not finite"):
        fit_p_value_map(np.append(np.zeros(200), value)[:, None])


def test_rows_trained_on_are_refused() -> None:
    check_unseen(trained=np.array([0, 1, 2]), calibrated=np.array([3, 4]))
    with pytest.raises(CalibrationError, match=r"2 calibration row\(s\) were also trained on"):
        check_unseen(trained=np.array([0, 1, 2, 3]), calibrated=np.array([2, 3, 4]))


# --- by distance from training -------------------------------------------------------------------


def make_distance_map(*, windows: int = 20_000, seed: int = 0) -> DistanceMap:
    """Of normal running that surprises the more, the further away it is."""
    generator = np.random.default_rng(seed)
    distance = generator.exponential(0.3, size=windows)
    return fit_distance_map(generator.exponential(size=windows) * (1.0 + 3.0 * distance), distance)


def at(to_score: DistanceMap, statistic: np.ndarray, distance: np.ndarray) -> np.ndarray:
    both = (torch.from_numpy(np.asarray(one, dtype=np.float32)) for one in (statistic, distance))
    scores: np.ndarray = to_score(*both).numpy()
    return scores


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 3),
    statistic=st.floats(0.0, 1e5, width=32),
    distances=st.lists(st.floats(0.0, 1e3, width=32), min_size=2, max_size=20),
)
def test_further_from_training_never_scores_more(
    seed: int, statistic: float, distances: list[float]
) -> None:
    to_score = make_distance_map(windows=3_000, seed=seed)
    scores = at(to_score, np.full(len(distances), statistic), np.sort(distances))
    assert (scores >= 0.0).all()
    assert (np.diff(scores) <= 1e-5 * np.maximum(1.0, scores[:-1])).all()


def test_no_step_at_any_distance() -> None:
    to_score = make_distance_map()
    distance = np.linspace(0.0, 2.0, 20_001)
    scores = at(to_score, np.full(len(distance), 12.0), distance)
    assert np.abs(np.diff(scores)).max() < 0.005
    assert scores[0] > scores[-1] + 1.0


def test_more_anomalous_scores_more_at_any_distance() -> None:
    to_score = make_distance_map()
    for distance in (0.0, 0.3, 0.7, 5.0):
        statistic = np.linspace(0.0, 100.0, 500)
        assert (np.diff(at(to_score, statistic, np.full(500, distance))) >= 0.0).all()


def test_fresh_normal_running_is_as_seldom_anomalous_near_as_far() -> None:
    generator = np.random.default_rng(9)
    distance = generator.exponential(0.3, size=20_000)
    statistic = generator.exponential(size=20_000) * (1.0 + 3.0 * distance)
    scores = at(make_distance_map(), statistic, distance)
    for near, far in ((0.0, 0.3), (0.3, 0.6), (0.6, 1.0)):
        within = (distance >= near) & (distance < far)
        assert 0.006 < (scores[within] >= 2.0).mean() < 0.015


def test_too_few_windows_to_part_are_calibrated_together() -> None:
    generator = np.random.default_rng(0)
    statistic, distance = generator.exponential(size=399), generator.exponential(size=399)
    values = np.linspace(0.0, 10.0, 50)
    np.testing.assert_array_equal(
        at(fit_distance_map(statistic, distance), values, generator.exponential(size=50)),
        apply(fit_p_value_map(statistic[:, None]), values),
    )
