"""Values of normal running that the model of a fold has never seen anything like."""

import warnings

import numpy as np
from numpy.typing import NDArray

from features.windows import Windows
from models.normalizer import CONSTANT


def find_new_states(
    windows: Windows, rows: NDArray[np.int64], fold: NDArray[np.int64], scored: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Windows in which a channel leaves the one value that it has in all other folds.

    A pump that is off once in all of normal running is off in one fold only. To the model of that
    fold, any other value is thousands of deviations away: such windows would stretch the
    calibration until nothing is anomalous any more. The detector that is exported has seen them.

    Args:
        windows: normal running.
        rows: fold of each grid row.
        fold: fold of each window, -1 = none.
        scored: whether each window is.

    Returns:
        Whether it does, (window, channel).

    Example:
        >>> pump = np.array([1, 1, 1, 1, 0, 1], np.float32)[:, None]
        >>> times = np.arange(6).astype("datetime64[us]")
        >>> windows = Windows(pump, times, np.zeros(6, int), np.array([1, 3, 5]), 2)
        >>> fold = np.array([0, 1, 2])
        >>> find_new_states(windows, np.repeat(fold, 2), fold, fold >= 0)[:, 0].tolist()
        [False, False, True]
    """
    cells = windows.cells
    new = np.zeros(cells.shape, dtype=np.bool_)
    for held_out in range(fold.max() + 1):
        seen = cells[windows.ends[(fold >= 0) & (fold != held_out) & scored]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a channel without any value
            low, high = np.nanmin(seen, axis=0), np.nanmax(seen, axis=0)
        reach = CONSTANT * np.where(low == 0, 1.0, np.abs(low))
        is_constant = np.isnan(low) | (high - low <= reach)
        there = ~np.isnan(cells) & (rows == held_out)[:, None]
        new |= there & is_constant & ~(np.abs(cells - low) <= reach)
    found = np.zeros((len(windows), cells.shape[1]), dtype=np.bool_)
    for channel in np.flatnonzero(new.any(axis=0)):
        before = np.concatenate(([0], np.cumsum(new[:, channel])))
        found[:, channel] = before[windows.ends + 1] > before[windows.ends + 1 - windows.length]
    return found
