"""Channels that drift by themselves: what the others do not foretell of them goes one way.

Such a channel has not shown its range in normal running, and will soon be where it never was
although nothing is wrong: a winding that still warms up, the water of the day. One that drifts with
others is no such channel, for they say where it has to be.

Reference:
    N. Meinshausen, P. Buehlmann: High-dimensional graphs and variable selection with the lasso,
    2006, https://doi.org/10.1214/009053606000000281: each channel foretold by all others.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.channels import Channel
from models.normalizer import CONSTANT

BY_ITSELF = 0.5
"""Share of a straight line in what the others leave of a channel, from which it drifts."""
LEAST_ROWS = 200
"""Fewer say nothing about it."""
MOST_LEFT_OUT = 0.5
"""Share of the channels that move; where more drift, it is the machine that does."""
MOST_ROWS = 100_000
"""Rows that decide, at most, evenly spread."""
RIDGE = 0.1
"""Added to the correlations of the channels, so that few rows do not foretell by chance."""


def find_drifting(
    cells: NDArray[np.float32], fold: NDArray[np.int64], channels: Sequence[Channel]
) -> dict[str, float]:
    """Channels that drift by themselves, and the share of a straight line in what is left of each.

    Each channel is foretold from all others by ridge regression on the other folds. The worst goes
    first and foretells no other any more, for two that drift at once agree by chance; but none goes
    that was well foretold before.

    Args:
        cells: normal running in order of time, engineering units, NaN = missing, (row, channel).
        fold: that holds out each row, (row,).
        channels: in order; only continuous ones can drift.

    Returns:
        By name; none where more than `MOST_LEFT_OUT` of the channels drift.

    Example:
        >>> cells = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
        >>> cells[:, 0] += np.linspace(0.0, 6.0, 600)
        >>> channels = [Channel(name=name) for name in ("winding", "flow", "pressure")]
        >>> list(find_drifting(cells, np.arange(600) // 200, channels))
        ['winding']
    """
    step = -(-len(cells) // MOST_ROWS)
    rows, fold = cells[::step].astype(np.float64), fold[::step]
    kept = np.flatnonzero(_moving(rows)).tolist()
    most, found = MOST_LEFT_OUT * len(kept), dict[str, float]()
    suspects = {place for place in kept if channels[place].kind == "continuous"}
    while suspects:
        lefts = zip(kept, _left_over(rows[:, kept], fold).T, strict=True)
        shares = {place: _trend_share(left) for place, left in lefts if place in suspects}
        suspects = {place for place, share in shares.items() if share >= BY_ITSELF}
        if suspects:
            worst = max(suspects, key=shares.__getitem__)
            found[channels[worst].name] = shares[worst]
            kept.remove(worst)
            suspects.remove(worst)
    return found if len(found) <= most else {}


def _moving(cells: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Channels that have values, and not always the same."""
    present = ~np.isnan(cells)
    low = np.where(present, cells, np.inf).min(axis=0)
    high = np.where(present, cells, -np.inf).max(axis=0)
    moving: NDArray[np.bool_] = high - low > CONSTANT * np.where(low == 0, 1.0, np.abs(low))
    return moving


def _left_over(cells: NDArray[np.float64], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """What the other channels do not foretell, by the other folds, NaN = missing."""
    left = np.full_like(cells, np.nan)
    for held_out in np.unique(fold):
        known, unseen = cells[fold != held_out], cells[fold == held_out]
        mean, spread = _mean_and_spread(known)
        precision = np.linalg.inv(_correlation((known - mean) / spread))
        values = np.nan_to_num((unseen - mean) / spread)
        residual = values @ precision / np.diagonal(precision)
        left[fold == held_out] = np.where(np.isnan(unseen), np.nan, residual)
    return left


def _mean_and_spread(
    cells: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the values present; 0 and 1 where there are none, or all are the same."""
    present = ~np.isnan(cells)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, cells, 0.0).sum(axis=0) / count
    variance = (np.where(present, cells - mean, 0.0) ** 2).sum(axis=0) / count
    flat = variance <= (CONSTANT * mean) ** 2
    return mean, np.sqrt(np.where(flat, 1.0, variance))


def _correlation(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the channels, a missing value at its mean; with `RIDGE`, so that it can be inverted."""
    filled = np.nan_to_num(scaled)
    together: NDArray[np.float64] = filled.T @ filled / len(filled)
    return together + RIDGE * np.eye(len(together))


def _trend_share(values: NDArray[np.float64]) -> float:
    """Share of the variance that a straight line through time explains; NaN = missing."""
    place = np.flatnonzero(~np.isnan(values))
    if len(place) < LEAST_ROWS:
        return 0.0
    return float(np.corrcoef(place, values[place])[0, 1] ** 2)
