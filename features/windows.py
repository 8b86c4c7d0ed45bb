"""Grid to windows: ``(window, channel, time)`` views, cut without copying the cells."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from features.channels import Channel, channel_names
from features.grid import WindowConfig


@dataclass(frozen=True)
class Windows:
    """All windows of a grid, in order of time.

    Example:
        >>> cells = np.arange(6, dtype=np.float32).reshape(6, 1)
        >>> times = np.arange(6).astype("datetime64[us]")
        >>> windows = Windows(cells, times, np.zeros(6, np.int64), np.array([2, 3, 4, 5]), 3)
        >>> windows.take(np.array([0, 3]))[:, 0].tolist()
        [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    """

    cells: NDArray[np.float32]
    """Grid cells, (row, channel), engineering units, NaN = missing."""
    times: NDArray[np.datetime64]
    """End of each cell, (row,), microseconds, UTC."""
    sequences: NDArray[np.int64]
    """Number of the uninterrupted sequence of each cell, (row,)."""
    ends: NDArray[np.int64]
    """Row of the last cell of each window, (window,)."""
    length: int
    """Cells in a window."""

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def end_times(self) -> NDArray[np.datetime64]:
        """End of the last cell of each window, (window,)."""
        return self.times[self.ends]

    @property
    def view(self) -> NDArray[np.float32]:
        """Windows at every row, (row - length + 1, channel, time): a view on ``cells``."""
        if len(self.cells) < self.length:
            return np.empty((0, self.cells.shape[1], self.length), np.float32)
        return sliding_window_view(self.cells, self.length, axis=0)

    def take(self, index: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Some windows by number, (window, channel, time)."""
        starts = self.ends[index] - self.length + 1
        return np.ascontiguousarray(self.view[starts])

    def runs(self) -> list[NDArray[np.int64]]:
        """Numbers of the windows of each sequence, in order."""
        if not len(self):
            return []
        cuts = np.flatnonzero(np.diff(self.sequences[self.ends])) + 1
        return np.split(np.arange(len(self)), cuts)


def make_windows(
    grid: pl.DataFrame,
    channels: tuple[Channel, ...],
    window: WindowConfig,
    *,
    cells_before: int = 0,
    done: int = 0,
) -> Windows:
    """Cut a grid into windows that never span two sequences.

    The first window of a sequence ends at its ``length``-th cell, the next ``hop`` cells later.

    Args:
        grid: what `features.grid.make_grid` returns.
        channels: the channels, in order.
        window: length and hop.
        cells_before: cells of the grid's first sequence that came before it and are not in it.
        done: first rows of the grid at which no window ends any more.
    """
    cells = grid.select(channel_names(channels)).cast(pl.Float32).fill_null(np.nan).to_numpy()
    sequences = grid["sequence"].cast(pl.Int64).to_numpy()
    rows = np.arange(len(cells))
    starts = np.searchsorted(sequences, sequences, side="left")
    position = rows - starts - (window.length - 1)
    position[sequences == sequences[:1]] += cells_before
    ends = rows[(position >= 0) & (position % window.hop == 0) & (rows >= done)]
    times = grid["time"].dt.replace_time_zone(None).to_numpy()
    return Windows(np.ascontiguousarray(cells), times, sequences, ends, window.length)


def covered_rows(windows: Windows, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Grid rows that some windows cover, rising.

    Example:
        >>> times = np.arange(9).astype("datetime64[us]")
        >>> cells = np.zeros((9, 1), np.float32)
        >>> windows = Windows(cells, times, np.zeros(9, np.int64), np.arange(1, 9), 2)
        >>> covered_rows(windows, np.array([0, 1, 5])).tolist()
        [0, 1, 2, 5, 6]
    """
    changes = np.zeros(len(windows.cells) + 1, dtype=np.int64)
    changes[windows.ends[index] - windows.length + 1] += 1  # no two windows end at one row
    changes[windows.ends[index] + 1] -= 1
    return np.flatnonzero(np.cumsum(changes[:-1]) > 0)
