import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channels import Channel
from features.grid import WindowConfig
from features.times import TIME
from features.windows import Windows, make_windows

CHANNELS = (Channel(name="flow"), Channel(name="pressure"))


def grid_of(lengths: list[int]) -> pl.DataFrame:
    """A grid of sequences of these many cells; flow counts the cells, pressure is often missing."""
    count = sum(lengths)
    numbers = pl.Series(range(count), dtype=pl.Float64)
    sequences = np.repeat(np.arange(len(lengths)), lengths).astype(np.uint32)
    return pl.DataFrame(
        {
            "time": pl.Series(range(count), dtype=pl.Int64).cast(TIME),
            "sequence": pl.Series(sequences, dtype=pl.UInt32),
            "flow": numbers,
            "pressure": pl.Series(
                [None if i % 3 else float(i) for i in range(count)], dtype=pl.Float64
            ),
        }
    )


def make(lengths: list[int], *, length: int, hop: int = 1) -> Windows:
    window = WindowConfig(sample_period_s=1.0, length=length, hop=hop)
    return make_windows(grid_of(lengths), CHANNELS, window)


runs = st.lists(st.integers(1, 15), max_size=6)


@settings(deadline=None)
@given(runs, st.integers(2, 6), st.data())
def test_windows_are_consecutive_cells_of_one_sequence(
    lengths: list[int], length: int, data: st.DataObject
) -> None:
    hop = data.draw(st.integers(1, length))
    windows = make(lengths, length=length, hop=hop)
    expected = [max(0, (n - length) // hop + 1) for n in lengths]
    assert len(windows) == sum(expected)
    for one, end in zip(windows.take(slice(None)), windows.ends, strict=True):
        assert one[0].tolist() == list(range(end - length + 1, end + 1))
        assert len(set(windows.sequences[end - length + 1 : end + 1])) == 1
    assert [len(run) for run in windows.runs()] == [n for n in expected if n]


def test_missing_cells_are_nan() -> None:
    (window,) = make([4], length=4).take(slice(None))
    assert window.dtype == np.float32
    np.testing.assert_array_equal(window[1], [0.0, np.nan, np.nan, 3.0])


def test_the_time_of_a_window_is_the_end_of_its_last_cell() -> None:
    windows = make([3, 4], length=3, hop=2)
    assert windows.end_times.astype(np.int64).tolist() == [2, 5]


def test_the_view_copies_no_cell() -> None:
    windows = make([9], length=4)
    assert np.shares_memory(windows.view, windows.cells)


def test_fewer_cells_than_a_window_give_none() -> None:
    windows = make([2], length=3)
    assert len(windows) == 0
    assert windows.view.shape == windows.take(slice(None)).shape == (0, 2, 3)
    assert windows.runs() == []
