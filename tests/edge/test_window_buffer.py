import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.grid import Cell
from faultwatch_edge.window import WindowBuffer, sequence_windows


def cells_of(rows: np.ndarray, *, starts: frozenset[int] = frozenset()) -> list[Cell]:
    return [Cell(i, row, starts_sequence=i in starts) for i, row in enumerate(rows)]


@given(st.integers(0, 30), st.integers(1, 6), st.integers(1, 8), st.integers(1, 3))
def test_windows_pushed_one_by_one_are_the_sliding_view(
    row_count: int, length: int, hop: int, channel_count: int
) -> None:
    rows = np.arange(row_count * channel_count, dtype=np.float64).reshape(-1, channel_count)
    rows[::7] = np.nan
    buffer = WindowBuffer(length=length, hop=hop, channel_count=channel_count)
    pushed = [window for cell in cells_of(rows) if (window := buffer.push(cell)) is not None]
    view = sequence_windows(rows.astype(np.float32), length=length, hop=hop)
    assert len(pushed) == len(view) == max(0, (row_count - length) // hop + (row_count >= length))
    for one, other in zip(pushed, view, strict=True):
        np.testing.assert_array_equal(one, other)


def test_cell_that_starts_a_sequence_clears_the_buffer() -> None:
    buffer = WindowBuffer(length=3, hop=1, channel_count=1)
    cells = cells_of(np.arange(8.0).reshape(8, 1), starts=frozenset({0, 4}))
    windows = [buffer.push(cell) for cell in cells]
    ends = [i for i, window in enumerate(windows) if window is not None]
    assert ends == [2, 3, 6, 7]
    assert windows[6] is not None
    assert windows[6].tolist() == [[4.0, 5.0, 6.0]]


def test_a_window_is_not_changed_by_later_cells() -> None:
    buffer = WindowBuffer(length=2, hop=1, channel_count=1)
    windows = [buffer.push(cell) for cell in cells_of(np.arange(4.0).reshape(4, 1))]
    assert windows[1] is not None
    assert windows[1].tolist() == [[0.0, 1.0]]
    assert windows[1].dtype == np.float32


def test_all_windows_are_a_view() -> None:
    rows = np.zeros((10, 2), dtype=np.float32)
    assert np.shares_memory(sequence_windows(rows, length=4, hop=2), rows)
