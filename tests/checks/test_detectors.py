"""Every reconstructor through the same checks."""

import copy
import io
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from faultwatch_edge.detector import Detector as EdgeDetector
from faultwatch_edge.detector import Scores
from features.windows import Windows
from models import crossfit, fold_models
from models.calibration import CalibrationError
from models.crossfit import FittedDetector, Recipe, fit_detector
from models.detector import Detection, Detector, score_run
from models.sensors import FAILURE, GOOD, MAINTENANCE_REQUIRED

Cells = NDArray[np.float32]
Plant = Callable[[int, int], Cells]
Cut = Callable[[Sequence[Cells]], Windows]

SPREAD = {"flow": 1.0, "speed": 50.0, "pressure": 0.01, "level": 5.0}
"""Unit of each channel: the size of what is injected."""
NAMES = tuple(SPREAD)
NAN = np.float32("nan")


def score(detector: Detector, windows: NDArray[np.float32], batch: int = 256) -> Detection:
    return score_run(detector, torch.split(torch.from_numpy(windows), batch))


@pytest.fixture
def fresh(plant: Plant, cut: Cut) -> NDArray[np.float32]:
    """Consecutive windows of a run that nothing was fitted on."""
    windows = cut([plant(1_000, 400)])
    return windows.take(slice(None))


def test_one_seed_gives_one_detector(
    normal: Windows, recipe: Recipe, fitted: FittedDetector, fresh: NDArray[np.float32]
) -> None:
    again = fit_detector(normal, recipe)
    np.testing.assert_array_equal(again.normal.score, fitted.normal.score)
    for one, other in zip(score(again.detector, fresh), score(fitted.detector, fresh), strict=True):
        assert torch.equal(one, other)


def test_weights_saved_and_loaded_score_the_same(
    fitted: FittedDetector, fresh: NDArray[np.float32]
) -> None:
    file = io.BytesIO()
    torch.save(fitted.detector.state_dict(), file)
    file.seek(0)
    loaded = copy.deepcopy(fitted.detector)
    for tensor in loaded.state_dict().values():
        tensor.zero_()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(score(loaded, fresh).score, score(fitted.detector, fresh).score)


def test_the_exported_graph_says_what_torch_says(
    fitted: FittedDetector, runtime: EdgeDetector, fresh: NDArray[np.float32]
) -> None:
    fresh[100:140, 2] = NAN
    fresh[200:, 1] += 300.0
    fresh[300:, 3] = fresh[300, 3, 0]
    fresh[350, 3, -1] = NAN
    fresh[320:, 0, 7] += 50.0
    expected, found = score(fitted.detector, fresh), runtime.score(fresh)
    for name in (field.name for field in fields(Scores)):
        by_torch = getattr(expected, name).numpy()
        np.testing.assert_allclose(
            getattr(found, name), by_torch, rtol=1e-3, atol=1e-3, err_msg=name
        )
    assert {0, 1, 4} == set(np.unique(found.sensor_status))
    difference = np.abs(found.score - expected.score.numpy())
    assert (difference <= 1e-4 * np.maximum(1.0, expected.score.numpy())).all()


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_of_any_size_give_the_same_scores(
    fitted: FittedDetector, fresh: NDArray[np.float32], batch: int
) -> None:
    whole, parts = score(fitted.detector, fresh), score(fitted.detector, fresh, batch)
    for name, one, other in zip(Detection._fields, whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, msg=name)


def test_a_batch_of_one_is_a_batch_of_256_on_the_device(
    runtime: EdgeDetector, fresh: NDArray[np.float32]
) -> None:
    whole = runtime.score(fresh).score
    runtime.reset()
    single = np.concatenate([runtime.score(window[None]).score for window in fresh])
    np.testing.assert_allclose(single, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channel", SPREAD)
def test_the_score_rises_with_the_fault_and_its_channel_is_named(
    fitted: FittedDetector, recipe: Recipe, plant: Plant, cut: Cut, channel: str
) -> None:
    place = [one.name for one in recipe.channels].index(channel)
    means = []
    for size in (0.0, 2.0, 4.0, 8.0, 16.0, 1e4):
        cells = plant(1_000, 400)
        cells[200:, place] += np.float32(size * SPREAD[channel])
        found = score(fitted.detector, cut([cells]).take(slice(None)))
        means.append(found.score[220:].mean().item())
        assert torch.isfinite(found.score).all()
        if size >= 8.0:
            assert (found.contribution[220:].argmax(dim=1) == place).float().mean().item() > 0.9
    assert means == sorted(means)
    assert means[3] > means[0] + 2.0


def test_the_score_is_normal_again_soon_after_the_fault(
    fitted: FittedDetector, recipe: Recipe, plant: Plant, cut: Cut
) -> None:
    cells = plant(1_001, 600)
    cells[200:400, 1] += np.float32(8.0 * SPREAD[recipe.channels[1].name])
    found = score(fitted.detector, cut([cells]).take(slice(None))).score
    length = recipe.window.length
    over = 400 - (length - 1) + length + 8  # its last cell has left the window, and a little more
    normal = score(fitted.detector, cut([plant(1_001, 600)]).take(slice(None))).score
    assert found[210 : 400 - length].min().item() > normal.max().item()
    assert found[over:].max().item() < max(2.0, 1.5 * normal[over:].max().item())


def test_expected_values_are_in_engineering_units(
    fitted: FittedDetector, fresh: NDArray[np.float32]
) -> None:
    found = score(fitted.detector, fresh).reconstruction.numpy()
    distance = np.abs((found - fresh).mean(axis=(0, 2)))
    assert (distance < 0.5 * fresh.std(axis=(0, 2))).all()


def test_fresh_normal_running_is_anomalous_as_often_as_the_score_says(
    fitted: FittedDetector, plant: Plant, cut: Cut
) -> None:
    detections = [
        score(fitted.detector, cut([plant(2_000 + seed, 300)]).take(slice(None)))
        for seed in range(40)
    ]
    scores = torch.cat([found.score[found.gate > 0] for found in detections])
    often, seldom = ((scores >= level).float().mean().item() for level in (1.0, 2.0))
    assert 0.02 < often < 0.14  # fewer where fold models differ more from each other than from
    assert 0.0005 < seldom < 0.02  # the one trained on everything, as on so little data they do


def test_the_startup_of_every_run_is_not_scored(
    fitted: FittedDetector, normal: Windows, fresh: NDArray[np.float32]
) -> None:
    gate = score(fitted.detector, fresh).gate
    first = 20 + 1 - 16  # the window that ends with the cell after the start-up
    assert gate.argmax().item() == first
    opened = [normal.runs()[run][first] for run in (0, 1)]
    assert fitted.normal.scored[opened].all()
    assert not fitted.normal.scored[[place - 1 for place in opened]].any()


def test_dead_channels_break_nothing(recipe: Recipe, plant: Plant, cut: Cut) -> None:
    def dead(cells: Cells) -> Cells:
        cells[:, 4] = 20.0
        cells[:, 5] = NAN
        return cells

    fitted = fit_detector(cut([dead(plant(seed, 300)) for seed in range(6)]), recipe)
    assert np.isfinite(fitted.normal.score).all()
    cells = dead(plant(50, 300))
    cells[200:, 4] = 21.0
    found = score(fitted.detector, cut([cells]).take(slice(None)))
    assert all(torch.isfinite(part).all() for part in found)
    assert (found.sensor_status[:, 5] == FAILURE).all()
    assert (found.sensor_status[:, :5] == GOOD).all()
    assert not found.contribution[:, 5].any()
    assert found.score[210:].min() > found.score[:180].max()
    assert (found.contribution[210:].argmax(dim=1) == 4).all()


def test_channels_that_are_all_constant_score_finitely(recipe: Recipe, cut: Cut) -> None:
    still = np.tile(np.arange(6, dtype=np.float32), (300, 1))
    fitted = fit_detector(cut([still] * 4), recipe)
    found = score(fitted.detector, cut([still]).take(slice(None)))
    assert all(torch.isfinite(part).all() for part in found)
    moved = score(fitted.detector, cut([still + np.float32(1.0)]).take(slice(None)))
    assert torch.isfinite(moved.score).all()
    assert moved.score.min() > found.score.max()


@pytest.mark.parametrize("value", [NAN, 1e6, -1e25, 1e30])
def test_nothing_a_source_sends_makes_the_score_no_number(
    fitted: FittedDetector, fresh: NDArray[np.float32], value: float
) -> None:
    fresh[50] = value
    fresh[80, 1] = value
    fresh[120, :, -1] = value
    found = score(fitted.detector, fresh)
    assert all(torch.isfinite(part).all() for part in found)
    if not np.isnan(value):
        assert found.score[80] > 5.0


@pytest.mark.parametrize("recipe", ["vae"], indirect=True)
def test_sensors_that_fail_do_not_raise_the_score_of_the_others(
    fitted: FittedDetector, fresh: NDArray[np.float32]
) -> None:
    whole = score(fitted.detector, fresh).score.median()
    fresh[:, 3] = NAN
    assert score(fitted.detector, fresh).score.median() < whole + 2.0


def test_the_score_goes_on_without_a_stuck_sensor(
    fitted: FittedDetector, plant: Plant, cut: Cut
) -> None:
    stuck, silent = plant(1_000, 400), plant(1_000, 400)
    stuck[150:, 3] = 42.0  # a usual level
    silent[150:, 3] = NAN
    found, wanted = (
        score(fitted.detector, cut([one]).take(slice(None))) for one in (stuck, silent)
    )
    assert (found.sensor_status[150:, 3] == FAILURE).all()
    assert not found.sensor_status[:, [0, 1, 2, 4, 5]].any()
    assert not found.contribution[150:, 3].any()
    torch.testing.assert_close(found.score[-100:], wanted.score[-100:], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("recipe", ["vae", "window_pca"], indirect=True)
def test_a_sensor_that_the_others_contradict_is_named_and_nothing_beside_it(
    fitted: FittedDetector, plant: Plant, cut: Cut
) -> None:
    one, two = plant(1_000, 400), plant(1_000, 400)
    for cells, places in ((one, [1]), (two, [1, 3])):
        for place in places:
            cells[200:, place] += np.float32(16.0 * SPREAD[NAMES[place]])
    alone, together = (
        score(fitted.detector, cut([cells]).take(slice(None))) for cells in (one, two)
    )
    share = alone.contribution[220:] / alone.contribution[220:].sum(dim=1, keepdim=True)
    assert (share[:, 1] > 0.95).float().mean().item() > 0.9
    assert (alone.sensor_status[220:, 1] == MAINTENANCE_REQUIRED).float().mean().item() > 0.9
    assert not alone.sensor_status[:180].any()
    assert not alone.sensor_status[:, [0, 2, 3, 4, 5]].any()
    assert not together.sensor_status.any()


def test_a_new_operating_point_is_seen(fitted: FittedDetector, plant: Plant, cut: Cut) -> None:
    usual, moved = plant(1_000, 400), plant(1_000, 400)
    mean = usual.mean(axis=0)
    moved[200:] = mean + np.float32(6.0) * (moved[200:] - mean)  # all go six times as far
    usual_distance, moved_distance = (
        score(fitted.detector, cut([one]).take(slice(None))).operating_point.sum(dim=1)
        for one in (usual, moved)
    )
    assert usual_distance.max() < 1.0
    assert (moved_distance[220:] > 1.0).float().mean().item() > 0.5


def test_what_a_detector_is_calibrated_on_is_all_believed(
    fitted: FittedDetector, normal: Windows
) -> None:
    scored = torch.from_numpy(normal.take(np.flatnonzero(fitted.normal.scored)))
    codes, believed = fitted.detector.sensors(scored, torch.ones(len(scored)))
    assert not codes.any()
    assert torch.equal(believed, scored)


# --- folds ---------------------------------------------------------------------------------------


def test_a_fold_does_not_touch_its_own_model(
    recipe: Recipe, plant: Plant, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_model = fold_models.fit_model  # what is fitted on which windows
    states: list[dict[str, torch.Tensor]] = []

    def watched(*args: object, **options: object) -> object:
        taught = fit_model(*args, **options)  # type: ignore[arg-type]
        model = taught.model
        states.append({**model.normalizer.state_dict(), **model.reconstructor.state_dict()})
        return taught

    monkeypatch.setattr(crossfit, "fit_model", watched)
    runs = [plant(seed, 200) for seed in range(3)]  # three runs, three folds
    fit_detector(cut(runs), recipe)
    runs[0] = runs[0] * np.float32(1.5)
    fit_detector(cut(runs), recipe)
    own, others = [0], [1, 2, 3]  # the fourth is trained on everything

    def same(place: int) -> bool:
        before, after = states[place], states[4 + place]
        fitted = [name for name in before if name != "gain"]  # one number, told by all folds
        return all(torch.equal(before[name], after[name]) for name in fitted)

    assert all(same(place) for place in own)
    assert not any(same(place) for place in others)


def test_folds_that_overlap_are_refused(
    recipe: Recipe, plant: Plant, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        crossfit, "fold_of_windows", lambda windows, rows: rows[windows.ends]
    )  # no embargo
    with pytest.raises(CalibrationError, match=r"calibration row\(s\) were also trained on"):
        fit_detector(cut([plant(0, 900)]), recipe)


def test_one_long_run_is_cut_into_blocks(recipe: Recipe, plant: Plant, cut: Cut) -> None:
    windows = cut([plant(0, 900)])
    normal = fit_detector(windows, recipe).normal
    assert len(normal.score) == len(windows) - 2 * 15  # two embargoes of a window less one cell
    assert len(np.unique(normal.segment)) == 3
    assert (np.diff(normal.segment) >= 0).all()
    assert (np.diff(normal.end_times) > np.timedelta64(0, "s")).all()


def test_too_little_normal_running_is_refused(recipe: Recipe, plant: Plant, cut: Cut) -> None:
    message = r"117 windows of normal running after the start-up, 150 are needed for 6 channels"
    with pytest.raises(CalibrationError, match=message):
        fit_detector(cut([plant(seed, 59) for seed in range(3)]), recipe)


def test_runs_too_unequal_for_folds_are_refused(recipe: Recipe, plant: Plant, cut: Cut) -> None:
    runs = [plant(0, 1_000), plant(1, 10), plant(2, 10)]
    with pytest.raises(CalibrationError, match=r"the smallest of 3 folds .* has 0 windows, 25 are"):
        fit_detector(cut(runs), recipe)


def test_windows_that_the_device_would_not_score_do_not_calibrate(
    recipe: Recipe, plant: Plant, cut: Cut
) -> None:
    runs = [plant(seed, 200) for seed in range(6)]
    for run in runs:
        run[100:140, 1:] = NAN
    choosy = replace(recipe, window=recipe.window.model_copy(update={"min_channels": 2}))
    windows = cut(runs)
    normal = fit_detector(windows, choosy).normal
    present = (~np.isnan(windows.take(slice(None)))).any(axis=2).sum(axis=1)
    assert not normal.scored[present < 2].any()
    assert normal.scored[present >= 2].mean() > 0.8
