"""Time-ordered splits: whole runs, or blocks of time where there are too few runs."""

import numpy as np
from numpy.typing import NDArray

from features.windows import Windows


def fold_of_rows(windows: Windows, folds: int) -> NDArray[np.int64]:
    """Say for every grid row which fold holds it out.

    With at least ``folds`` sequences each sequence goes whole to one fold, the longest first to
    the emptiest fold. With fewer, time is cut into ``folds`` consecutive blocks of equal size.

    Returns:
        Fold number of each row, (row,).

    Example:
        >>> cells = np.zeros((6, 1), np.float32)
        >>> one_run = Windows(
        ...     cells, np.arange(6).astype("datetime64[us]"), np.zeros(6, int), np.arange(1, 6), 2
        ... )
        >>> fold_of_rows(one_run, 3).tolist()
        [0, 0, 1, 1, 2, 2]
    """
    sequences, lengths = np.unique(windows.sequences, return_counts=True)
    if len(sequences) < folds:
        return np.arange(len(windows.sequences)) * folds // len(windows.sequences)
    load = np.zeros(folds, dtype=np.int64)
    home = np.zeros(len(sequences), dtype=np.int64)
    for place in np.argsort(-lengths, kind="stable"):
        home[place] = np.argmin(load)
        load[home[place]] += lengths[place]
    return home[np.searchsorted(sequences, windows.sequences)]


def fold_of_windows(windows: Windows, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold of each window, or -1 where its rows belong to more than one fold.

    A window of -1 neither trains nor calibrates: it is the embargo between two blocks.

    Args:
        windows: the windows.
        rows: fold of each grid row, as `fold_of_rows` gives it.
    """
    last = rows[windows.ends]
    changed = np.concatenate(([0], np.cumsum(np.diff(rows) != 0)))
    whole = changed[windows.ends] == changed[windows.ends - windows.length + 1]
    return np.where(whole, last, -1)
