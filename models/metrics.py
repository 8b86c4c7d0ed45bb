"""Figures of a detector, as pure functions of what it alarmed and what was true.

Counts of rows are arrays whose last axis is ``(hit, false alarm, miss, quiet)``, so that sums over
runs, folds of a bootstrap or seeds are sums of arrays. A row that a detector cannot score counts
as not alarmed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

Counts = NDArray[np.float64]
"""(..., 4): faulty and alarmed, normal and alarmed, faulty and quiet, normal and quiet."""
Figures = NDArray[np.float64]

IN_A_ROW = 3
"""Anomalous rows in a row that make an alarm."""
DRAWS = 2_000
"""Draws of a bootstrap."""


def count_rows(faulty: NDArray[np.bool_], alarmed: NDArray[np.bool_]) -> Counts:
    """Rows of each kind.

    Example:
        >>> faulty = np.array([False, False, True, True, True])
        >>> count_rows(faulty, np.array([True, False, True, True, False])).tolist()
        [2.0, 1.0, 1.0, 1.0]
    """
    kinds = [faulty & alarmed, ~faulty & alarmed, faulty & ~alarmed, ~faulty & ~alarmed]
    return np.array([kind.sum() for kind in kinds], dtype=np.float64)


def fault_detection_rate(counts: Counts) -> Figures:
    """FDR, share of the faulty rows that are alarmed; NaN where no row is faulty."""
    return _share(counts[..., 0], counts[..., 0] + counts[..., 2])


def false_alarm_rate(counts: Counts) -> Figures:
    """FAR, share of the normal rows that are alarmed; NaN where no row is normal."""
    return _share(counts[..., 1], counts[..., 1] + counts[..., 3])


def missed_alarm_rate(counts: Counts) -> Figures:
    """MAR, share of the faulty rows that are not alarmed; NaN where no row is faulty."""
    return _share(counts[..., 2], counts[..., 0] + counts[..., 2])


def f1_score(counts: Counts) -> Figures:
    """Harmonic mean of precision and recall: ``2 hit / (2 hit + false alarm + miss)``.

    Example:
        >>> float(f1_score(np.array([2.0, 1.0, 1.0, 1.0])))
        0.6666666666666666
    """
    return _share(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2])


def _share(part: Counts, whole: Counts) -> Figures:
    filled = np.where(whole > 0, whole, 1)
    return np.where(whole > 0, part / filled, np.nan)


def roc_auc(faulty: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Chance that a faulty row scores higher than a normal one, ties counting half.

    Rows without a score (NaN) rank lowest; NaN if all rows are of one kind.

    References:
        J. A. Hanley, B. J. McNeil: The meaning and use of the area under a receiver operating
        characteristic (ROC) curve, 1982, https://doi.org/10.1148/radiology.143.1.7063747

    Example:
        >>> roc_auc(np.array([False, False, True, True]), np.array([0.0, 2.0, 2.0, 3.0]))
        0.875
    """
    if faulty.all() or not faulty.any():
        return float("nan")
    scored = score[~np.isnan(score)]
    lowest = scored.min() - 1.0 if len(scored) else 0.0
    return float(roc_auc_score(faulty, np.where(np.isnan(score), lowest, score)))


def rows_to_alarm(anomalous: NDArray[np.bool_], *, in_a_row: int = IN_A_ROW) -> int | None:
    """Rows up to and with the one that completes the first alarm; None = no alarm.

    Args:
        anomalous: the rows from the onset of a fault on, (row,).
        in_a_row: consecutive anomalous rows that make an alarm.

    Example:
        >>> rows_to_alarm(np.array([True, False, True, True, True, False]))
        5
    """
    if len(anomalous) < in_a_row:
        return None
    run = np.convolve(anomalous, np.ones(in_a_row, dtype=np.int64), mode="valid") == in_a_row
    return int(np.argmax(run)) + in_a_row if run.any() else None


def threshold_at_rate(normal: NDArray[np.float64], rate: float) -> float:
    """Lowest threshold that at most a share ``rate`` of normal rows reaches.

    Args:
        normal: scores of normal rows, (row,), NaN = not scored, never alarmed.
        rate: share of all rows, scored or not.

    Example:
        >>> threshold = threshold_at_rate(np.arange(100.0), 0.05)
        >>> 94 < threshold <= 95
        True
    """
    allowed = int(np.floor(rate * len(normal) + 1e-9))
    ordered = np.sort(normal[~np.isnan(normal)])[::-1]
    if len(ordered) <= allowed:
        return float(ordered[-1]) if len(ordered) else np.inf
    return float(np.nextafter(ordered[allowed], np.inf))


@dataclass(frozen=True)
class Difference:
    """One figure of one detector minus that of another."""

    value: float
    low: float
    """Lower end of the 90% interval."""
    high: float


@dataclass(frozen=True)
class Share:
    """A share of rows, and how well it is known."""

    value: float
    low: float
    """Lower end of the 90% interval."""
    high: float


def limit_of_none(looks: float) -> float:
    """Upper end of the 90% interval of a share that none of so many independent looks showed.

    Example:
        >>> round(limit_of_none(50), 3)  # 1 - 0.05 ** (1 / 50)
        0.058
    """
    return float(1.0 - 0.05 ** (1.0 / max(looks, 1.0)))


def pooled_share(
    reached: NDArray[np.float64], rows: NDArray[np.float64], *, length: int, seed: int
) -> Share:
    """Share of the rows of all runs that reach something, and its 90% interval over the runs.

    Rows of a run are alike, so runs are drawn anew, not rows. Where no row reaches it, the upper
    limit is that of as many independent looks as whole windows fit in.

    Args:
        reached: rows that do, (run,).
        rows: rows of each run, (run,).
        length: rows of a window.
        seed: decides the draws.

    Example:
        >>> share = pooled_share(np.array([2.0, 0.0]), np.array([100.0, 100.0]), length=4, seed=0)
        >>> share.value, share.low, share.high
        (0.01, 0.0, 0.02)
        >>> never = pooled_share(np.zeros(2), np.array([100.0, 100.0]), length=4, seed=0)
        >>> never.high == limit_of_none(50)
        True
    """
    value = float(reached.sum() / rows.sum())
    if not reached.any():
        return Share(value, 0.0, limit_of_none(float(rows.sum()) / length))
    drawn = np.random.default_rng(seed).integers(len(rows), size=(DRAWS, len(rows)))
    low, high = np.quantile(reached[drawn].sum(axis=1) / rows[drawn].sum(axis=1), [0.05, 0.95])
    return Share(value, float(low), float(high))


def paired_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    figure: Callable[[NDArray[np.float64]], Figures],
    *,
    seed: int,
) -> Difference:
    """Difference of a figure, and its 90% interval by a bootstrap over the units.

    Each draw takes the units (runs, or faults) with replacement, the same ones for both detectors,
    so that what makes a unit hard for both cancels out. Repetitions by other seeds are averaged.

    Args:
        first: what is counted of the units, (seed, unit, count).
        second: the same of the other detector.
        figure: takes sums over units, (..., count), and gives the figure, (...).
        seed: decides the draws.

    References:
        B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13.

    Example:
        >>> counts = np.array([[[5.0, 0.0, 5.0, 10.0], [9.0, 1.0, 1.0, 9.0]]])
        >>> same = paired_difference(counts, counts, f1_score, seed=0)
        >>> same.value, same.low, same.high
        (0.0, 0.0, 0.0)
    """
    units = first.shape[1]
    drawn = np.random.default_rng(seed).integers(units, size=(DRAWS, units))

    def difference(index: NDArray[np.int64]) -> Figures:
        one, other = (figure(counts[:, index].sum(axis=2)) for counts in (first, second))
        found: Figures = one.mean(axis=0) - other.mean(axis=0)
        return found

    value = float(difference(np.arange(units)[None])[0])
    draws = difference(drawn)
    low, high = np.quantile(draws[np.isfinite(draws)], [0.05, 0.95]) if units > 1 else (np.nan,) * 2
    return Difference(value, float(low), float(high))
