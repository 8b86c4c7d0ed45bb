"""Gives a rival a score and a threshold that rest on rows it was not trained on.

The same rules as for our own detector: normal running is divided into folds (whole runs, or blocks
of time with an embargo between them), each fold is scored by a model trained on the others, each
statistic becomes ``-log10 p``, several are combined by their maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from features.splits import fold_of_rows
from features.windows import Windows
from models.calibration import CalibrationError, PValueMap, fit_p_value_map
from models.metrics import threshold_at_rate
from models.rivals import FittedRival, Rival, Rows, Statistics

FOLDS = 3
MAPPED = 4096
"""Rows that are mapped at once: bounds the memory."""


@dataclass(frozen=True)
class CalibratedRival:
    """A rival that has learned from all normal running, with its score and threshold."""

    fitted: FittedRival
    to_score: PValueMap
    threshold: float
    """Score that a given share of the cross-fitted rows of normal running reaches."""

    def score(self, run: Rows) -> NDArray[np.float64]:
        """``-log10 p`` of each row of a run, (row,); NaN where there is no score yet."""
        return _combine(self.to_score, self.fitted.score(run))


@dataclass(frozen=True)
class _Piece:
    """Part of a run that one fold holds out."""

    rows: Rows
    fold: int
    run: int


def fit_calibrated(
    rival: Rival, runs: Sequence[Rows], *, far: float, embargo: int, seed: int
) -> CalibratedRival:
    """Cross-fit a rival, then train it on everything.

    Args:
        rival: what to fit.
        runs: normal running.
        far: share of the rows of normal running that reaches the threshold.
        embargo: rows beside a held-out block of the same run that are not trained on.
        seed: of the model trained on everything; the folds use the following ones.

    Raises:
        CalibrationError: too little normal running.
    """
    pieces = _cut_runs(runs)
    statistics = [
        part
        for held_out in range(FOLDS)
        for part in _score_fold(rival, pieces, held_out, embargo=embargo, seed=seed + 1 + held_out)
    ]
    unseen = np.concatenate([part[~np.isnan(part).any(axis=1)] for part in statistics])
    to_score = fit_p_value_map(unseen)
    threshold = threshold_at_rate(_combine(to_score, unseen), far)
    return CalibratedRival(rival.fit(runs, seed), to_score, threshold)


def _score_fold(
    rival: Rival, pieces: Sequence[_Piece], held_out: int, *, embargo: int, seed: int
) -> list[Statistics]:
    """Statistics of the pieces of a fold, by a model of the others."""
    trained = [
        rows
        for place, piece in enumerate(pieces)
        if piece.fold != held_out
        and len(rows := _without_embargo(pieces, place, held_out, embargo)) > rival.lookback
    ]
    if not trained:
        raise CalibrationError(
            f"too little normal running for {rival.title}: a fold of {FOLDS} has no run of more "
            f"than {rival.lookback + embargo} rows; add normal running"
        )
    fitted = rival.fit(trained, seed)
    return [fitted.score(piece.rows) for piece in pieces if piece.fold == held_out]


def _cut_runs(runs: Sequence[Rows]) -> list[_Piece]:
    lengths = [len(run) for run in runs]
    owner = np.repeat(np.arange(len(runs)), lengths)
    number = np.arange(len(owner))
    as_windows = Windows(
        np.empty((len(owner), 0), np.float32), number.astype("datetime64[us]"), owner, number, 1
    )
    fold = fold_of_rows(as_windows, FOLDS)
    rows = np.concatenate(runs)
    cuts = np.flatnonzero((np.diff(fold) != 0) | (np.diff(owner) != 0)) + 1
    return [
        _Piece(rows[place], int(fold[place[0]]), int(owner[place[0]]))
        for place in np.split(number, cuts)
    ]


def _without_embargo(pieces: Sequence[_Piece], place: int, held_out: int, embargo: int) -> Rows:
    """Rows of a piece, less those beside a piece of the same run that is held out."""

    def borders(other: int) -> bool:
        return (
            0 <= other < len(pieces)
            and pieces[other].run == pieces[place].run
            and pieces[other].fold == held_out
        )

    first = embargo if borders(place - 1) else 0
    last = len(pieces[place].rows) - (embargo if borders(place + 1) else 0)
    return pieces[place].rows[first : max(first, last)]


def _combine(to_score: PValueMap, statistics: Statistics) -> NDArray[np.float64]:
    score = np.full(len(statistics), np.nan)
    scored = np.flatnonzero(~np.isnan(statistics).any(axis=1))
    for start in range(0, len(scored), MAPPED):
        part = scored[start : start + MAPPED]
        mapped = to_score(torch.from_numpy(statistics[part]).float())
        score[part] = mapped.amax(dim=1).double().numpy()
    return score
