"""Cells to windows: one by one as they close, or all at once as a view."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from faultwatch_edge.errors import BundleError
from faultwatch_edge.grid import Cell
from faultwatch_edge.packed import pack, unpack

Window = NDArray[np.float32]
"""(channel, time), engineering units, NaN = missing."""


@dataclass(frozen=True, slots=True)
class WindowState:
    """What a buffer remembers."""

    ring: str
    """(channel, cell), packed; NaN = missing, or not yet filled."""
    next_place: int
    cells_to_window: int


class WindowBuffer:
    """Holds the last ``length`` cells of a sequence.

    A window ends at the ``length``-th cell of a sequence and then every ``hop`` cells. A cell that
    starts a sequence clears the buffer; whoever pushes it also resets the detector.

    Example:
        >>> buffer = WindowBuffer(length=2, hop=1, channel_count=1)
        >>> def cell(value): return Cell(0, np.array([value]), starts_sequence=False)
        >>> buffer.push(cell(1.0)) is None
        True
        >>> buffer.push(cell(2.0)).tolist(), buffer.push(cell(3.0)).tolist()
        ([[1.0, 2.0]], [[2.0, 3.0]])
    """

    def __init__(self, *, length: int, hop: int, channel_count: int) -> None:
        self._ring = np.full((channel_count, length), np.nan, dtype=np.float32)
        self._length = length
        self._hop = hop
        self._next = 0
        self._cells_to_window = length

    @property
    def state(self) -> WindowState:
        """What it remembers, for ``resume``."""
        return WindowState(pack(self._ring), self._next, self._cells_to_window)

    def resume(self, state: WindowState) -> None:
        """Go on from where ``state`` was taken, with the same channels and length.

        Raises:
            BundleError: it is of other windows.
        """
        if not (0 <= state.next_place < self._length and state.cells_to_window > 0):
            raise BundleError(f"next_place is {state.next_place}, expected one of {self._length}")
        self._ring = unpack(state.ring, np.float32, self._ring.shape)
        self._next, self._cells_to_window = state.next_place, state.cells_to_window

    def push(self, cell: Cell) -> Window | None:
        """Take the next cell; return the window that ends at it, if one does."""
        if cell.starts_sequence:
            self._next = 0
            self._cells_to_window = self._length
        self._ring[:, self._next] = cell.values
        self._next = (self._next + 1) % self._length
        self._cells_to_window -= 1
        if self._cells_to_window:
            return None
        self._cells_to_window = self._hop
        return np.concatenate([self._ring[:, self._next :], self._ring[:, : self._next]], axis=1)


def sequence_windows(cells: NDArray[Any], *, length: int, hop: int) -> NDArray[Any]:
    """All windows of one sequence, without copying.

    Args:
        cells: (row, channel), consecutive.
        length: cells in a window.
        hop: cells between the ends of consecutive windows.

    Returns:
        (window, channel, time), a read-only view of ``cells``.

    Example:
        >>> sequence_windows(np.arange(5.0).reshape(5, 1), length=3, hop=2).tolist()
        [[[0.0, 1.0, 2.0]], [[2.0, 3.0, 4.0]]]
    """
    if len(cells) < length:
        return np.empty((0, cells.shape[1], length), dtype=cells.dtype)
    return sliding_window_view(cells, length, axis=0)[::hop]
