"""Fits a detector so that its calibration never saw what its model was trained on.

Normal running is divided into folds (whole runs, or blocks of time). Each fold's residuals come
from a model trained on the other folds; its statistics use the covariance of the other runs'
residuals. All maps, and later the threshold, are fitted on these. The detector that is exported is
trained on everything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from features.channels import Channel
from features.grid import WindowConfig
from features.splits import fold_of_rows, fold_of_windows
from features.windows import Windows, covered_rows
from models.calibration import (
    NEUTRAL,
    CalibrationError,
    DistanceMap,
    PValueMap,
    check_unseen,
    fit_distance_map,
    fit_p_value_map,
)
from models.config import ModelConfig, ReconstructorName, RegimeConfig
from models.correction import CorrectedPca, find_gain
from models.detector import Calibration, Detector
from models.drifting import find_drifting
from models.fold_models import LINEAR_WINDOWS, Lesson, Taught, fit_model, make_lesson
from models.gate import RegimeGate
from models.head import SCALES, EnergyHead, PcaHead
from models.held_out import FoldModel, HeldOut, carried
from models.memory import supported_rates
from models.new_states import find_new_states
from models.sensors import fit_sensor_status
from models.single_cause import SingleCause, fit_single_cause
from models.smoothing import LIMIT, LONG_RATE, RATE, SurpriseAverages
from models.training import TrainingLogger

BATCH = 256
MAPPED = 65_536
"""Windows whose statistics are mapped at once: the map holds each of them at every knot."""
LEAST_WINDOWS = 100
GAIN_WINDOWS = 2_000
"""Windows of each fold that decide the share of the corrections, about."""


@dataclass(frozen=True)
class NormalScores:
    """Out-of-fold scores of normal running: what the threshold rests on."""

    score: NDArray[np.float32]
    """(window,)"""
    scored: NDArray[np.bool_]
    """Whether the gate was open, (window,)."""
    segment: NDArray[np.int64]
    """Number of the uninterrupted stretch of each window, rising, (window,)."""
    end_times: NDArray[np.datetime64]
    """End of each window, (window,)."""


@dataclass(frozen=True)
class FittedDetector:
    """A detector ready for export, and the scores that its threshold is found from."""

    detector: Detector
    normal: NormalScores
    new_states: tuple[str, ...] = ()
    """Channels that have values in one fold which no other has: those do not calibrate."""
    drifting: Mapping[str, float] = field(default_factory=dict)
    """Channels that drift by themselves, which the score leaves out, and how straight they go."""


@dataclass(frozen=True)
class Recipe:
    """What a detector is made from, besides windows."""

    channels: tuple[Channel, ...]
    window: WindowConfig
    regime: RegimeConfig
    model: ModelConfig


class Division(NamedTuple):
    """Which windows teach, and which of the models does not see them."""

    gate: RegimeGate
    scored: NDArray[np.bool_]
    """Whether the gate was open, (window,)."""
    rows: NDArray[np.int64]
    """Fold of each row."""
    fold: NDArray[np.int64]
    """Fold that holds out each window, -1 = none, (window,)."""
    drifting: dict[str, float]


def divide(windows: Windows, recipe: Recipe) -> tuple[Division, list[Lesson]]:
    """Divide normal running into folds, and say what each model learns from.

    Args:
        windows: normal running only, no fault and no maintenance in it.
        recipe: channels, grid, regime and model options.

    Returns:
        The division, and the lessons of the folds' models and of the one that is exported.

    Raises:
        CalibrationError: too little normal running.
    """
    gate = RegimeGate(recipe.channels, recipe.regime, recipe.window)
    scored = _gate_windows(gate, windows, min_channels=recipe.window.min_channels)
    rows = fold_of_rows(windows, recipe.model.folds)
    fold = fold_of_windows(windows, rows)
    _check_enough(fold, scored, recipe)
    drifting = _find_drifting(windows, fold, scored, recipe.channels)
    used = torch.tensor([channel.name not in drifting for channel in recipe.channels])
    lessons: list[Lesson] = []
    for held_out in range(recipe.model.folds):
        index = np.flatnonzero((fold >= 0) & (fold != held_out) & scored)
        _check_fold(windows, index, np.flatnonzero(fold == held_out))
        seed = recipe.model.seed + 1 + held_out
        lessons.append(make_lesson(windows, index, recipe.model, seed=seed, used=used))
    every, seed = np.flatnonzero(scored), recipe.model.seed
    lessons.append(make_lesson(windows, every, recipe.model, seed=seed, used=used))
    return Division(gate, scored, rows, fold, drifting), lessons


def fit_detector(
    windows: Windows,
    recipe: Recipe,
    *,
    taught: Sequence[Taught] = (),
    logger: TrainingLogger | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> FittedDetector:
    """Fit reconstructor, head and calibration on normal running.

    Args:
        windows: normal running only, no fault and no maintenance in it.
        recipe: channels, grid, regime and model options.
        taught: models of the lessons that `divide` gives; () = they are fitted here.
        logger: takes the epoch losses of the model that is exported.
        say: takes a sentence on what is going on.

    Raises:
        CalibrationError: too little normal running.
    """
    (gate, scored, rows, fold, drifting), lessons = divide(windows, recipe)
    *models, model = _fit_all(lessons, taught, logger=logger, say=say)
    index, new = np.flatnonzero(scored), find_new_states(windows, rows, fold, scored)
    scored = scored & ~new.any(axis=1)
    gain = _share_corrections(models, windows, np.where(scored, fold, -1))
    held_out = HeldOut(windows, models, fold, scored)
    statistics, kept = held_out.statistics()
    averaged = averaged_statistics(recipe.model.reconstructor, int(held_out.fitted.sum()))
    calibration, score = _calibrate(held_out, statistics, kept, averaged)
    if isinstance(model.reconstructor, CorrectedPca):
        model.reconstructor.gain.fill_(gain)
        say(f"taking {gain:.0%} of the corrections of the linear model")
    recovery, memory, head = held_out.head(model)
    detector = Detector(
        normalizer=model.normalizer,
        reconstructor=model.reconstructor,
        recovery=recovery,
        memory=memory,
        head=head,
        calibration=calibration,
        gate=gate,
        operating_point=model.operating_point,
        sensors=fit_sensor_status(recipe.channels, windows, index),
        cause=_fit_cause(windows, index, model, head, statistics[held_out.fitted]),
    )
    whole = fold >= 0
    normal = NormalScores(
        score[whole], scored[whole], held_out.segment[whole], windows.end_times[whole]
    )
    names = (recipe.channels[place].name for place in np.flatnonzero(new.any(axis=0)))
    return FittedDetector(detector.eval(), normal, tuple(names), drifting)


def _find_drifting(
    windows: Windows,
    fold: NDArray[np.int64],
    scored: NDArray[np.bool_],
    channels: tuple[Channel, ...],
) -> dict[str, float]:
    """`find_drifting` in the last cells of the windows that teach."""
    index = np.flatnonzero((fold >= 0) & scored)
    return find_drifting(windows.cells[windows.ends[index]], fold[index], channels)


def windows_needed(channels: int, folds: int) -> int:
    """Windows of normal running that a detector needs: what trains each fold's model, at least.

    Example:
        >>> windows_needed(8, 3), windows_needed(200, 3)
        (150, 300)
    """
    return max(LEAST_WINDOWS, channels) * folds // 2


def usable_windows(windows: Windows, recipe: Recipe) -> int:
    """Windows of normal running that a fit can use: after the start-up, and whole in a fold."""
    gate = RegimeGate(recipe.channels, recipe.regime, recipe.window)
    scored = _gate_windows(gate, windows, min_channels=recipe.window.min_channels)
    fold = fold_of_windows(windows, fold_of_rows(windows, recipe.model.folds))
    return int((scored & (fold >= 0)).sum())


def _gate_windows(gate: RegimeGate, windows: Windows, *, min_channels: int) -> NDArray[np.bool_]:
    """Windows that the device would score: it never asks about those with too few channels."""
    scored = np.zeros(len(windows), dtype=np.bool_)
    for run in windows.runs():
        state = torch.zeros(1)
        for start in range(0, len(run), BATCH):
            part = run[start : start + BATCH]
            window = windows.take(part)
            usable = (~np.isnan(window)).any(axis=2).sum(axis=1) >= min_channels
            if usable.any():
                opened, state = gate(torch.from_numpy(window[usable]), state)
                scored[part[usable]] = opened.numpy() > 0
    return scored


def _check_enough(fold: NDArray[np.int64], scored: NDArray[np.bool_], recipe: Recipe) -> None:
    folds = recipe.model.folds
    sizes = np.bincount(fold[(fold >= 0) & scored], minlength=folds)
    usable = int(sizes.sum())
    needed = windows_needed(len(recipe.channels), folds)
    if usable < needed:
        raise CalibrationError(
            f"{usable} windows of normal running after the start-up, {needed} are needed for "
            f"{len(recipe.channels)} channels; add normal running, shorten [window] length = "
            f"{recipe.window.length} or startup_ignore_s = {recipe.regime.startup_ignore_s:g}"
        )
    fewest = needed // (2 * folds)
    if sizes.min() < fewest:
        raise CalibrationError(
            f"the smallest of {folds} folds of normal running has {sizes.min()} windows, {fewest} "
            "are needed: the runs are too unequal; add normal running, raise [window] max_gap_s so "
            "that fewer gaps cut it, or lower [model] folds"
        )


def _fit_all(
    lessons: Sequence[Lesson],
    taught: Sequence[Taught],
    *,
    logger: TrainingLogger | None,
    say: Callable[[str], None],
) -> list[FoldModel]:
    """One model for each fold, trained on the others, and one trained on everything."""
    if taught:
        for epoch, losses in enumerate(taught[-1].losses):
            if logger is not None:
                logger.log_metrics(losses, epoch)
        return [model for model, _ in taught]
    name, (*folds, whole) = lessons[0].config.reconstructor, lessons
    models: list[FoldModel] = []
    for number, lesson in enumerate(folds, start=1):
        say(f"training {name}, fold {number} of {len(folds)}")
        models.append(fit_model(lesson).model)
    say(f"training {name} on all normal running")
    return [*models, fit_model(whole, logger=logger).model]


def _check_fold(windows: Windows, trained: NDArray[np.int64], held_out: NDArray[np.int64]) -> None:
    seen, kept = (covered_rows(windows, index) for index in (trained, held_out))
    check_unseen(trained=seen, calibrated=kept)


def _fit_cause(
    windows: Windows,
    index: NDArray[np.int64],
    model: FoldModel,
    head: EnergyHead | PcaHead,
    statistics: NDArray[np.float64],
) -> SingleCause | None:
    """None for the classical statistics: they are a rival, and name no cause."""
    if isinstance(head, PcaHead):
        return None
    some = index[:: max(1, len(index) // LINEAR_WINDOWS)]
    values, _ = model.normalizer(torch.from_numpy(windows.cells[windows.ends[some], :, None]))
    return fit_single_cause(
        model.reconstructor,
        head,
        values=values[:, :, 0],
        statistics=statistics,
        length=windows.length,
    )


def _share_corrections(models: list[FoldModel], windows: Windows, fold: NDArray[np.int64]) -> float:
    """Find how much of the corrections to take on windows that they were not made from, and do."""
    unseen = []
    for held_out, (normalizer, model, _) in enumerate(models):
        if isinstance(model, CorrectedPca):
            index = np.flatnonzero(fold == held_out)
            some = index[:: max(1, len(index) // GAIN_WINDOWS)]
            unseen.append((model, *normalizer(torch.from_numpy(windows.take(some)))))
    gain = find_gain(unseen)
    for model, *_ in unseen:
        model.gain.fill_(gain)
    return gain


def averaged_statistics(
    reconstructor: ReconstructorName, windows: int
) -> dict[float, tuple[int, ...]]:
    """Which statistics of the head are averaged at which rate.

    Args:
        reconstructor: single rows of PCA have T2 and Q, all others the energies of `SCALES`.
        windows: of normal running that the averages are calibrated on.

    Example:
        >>> averaged_statistics("vae", 400), averaged_statistics("vae", 1_250)
        ({0.15: (0, 1, 2)}, {0.15: (0, 1, 2), 0.04: (1,)})
    """
    if reconstructor == "pca":
        return {RATE: (0, 1)}
    long = {rate: (SCALES.index("quarter"),) for rate in supported_rates((LONG_RATE,), windows)}
    return {RATE: tuple(range(len(SCALES))), **long}


def _calibrate(
    held_out: HeldOut,
    statistics: NDArray[np.float64],
    kept: NDArray[np.float32],
    averaged: Mapping[float, Sequence[int]],
) -> tuple[Calibration, NDArray[np.float32]]:
    """Fit the three maps in turn; return them and the score of every window."""
    fitted = held_out.fitted
    instant = fit_p_value_map(statistics[fitted])
    surprise = _mapped(instant, statistics)
    smoothing = SurpriseAverages(averaged)
    excess = torch.from_numpy(np.minimum(surprise, LIMIT) - NEUTRAL).float()
    left = torch.from_numpy(kept)
    averages = carried(smoothing, excess, held_out.scored, left, held_out.segment).double().numpy()
    smoothed = fit_p_value_map(averages[fitted])
    evidence = np.concatenate([surprise, _mapped(smoothed, averages)], axis=1)
    strongest, distance = evidence.max(axis=1), held_out.distance()
    combined = fit_distance_map(strongest[fitted], distance[fitted])
    score = _mapped(combined, strongest, distance).astype(np.float32)
    return Calibration(instant, smoothing, smoothed, combined), score


def _mapped(to_score: PValueMap | DistanceMap, *values: NDArray[np.float64]) -> NDArray[np.float64]:
    parts = (torch.split(torch.from_numpy(value).float(), MAPPED) for value in values)
    mapped = [to_score(*part) for part in zip(*parts, strict=True)]
    scores: NDArray[np.float64] = torch.cat(mapped).double().numpy()
    return scores
