import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.splits import fold_of_rows, fold_of_windows
from features.windows import Windows


def make(lengths: list[int], *, length: int = 3) -> Windows:
    """Windows of runs of these many cells."""
    sequences = np.repeat(np.arange(len(lengths)), lengths)
    rows = np.arange(len(sequences))
    position = rows - np.searchsorted(sequences, sequences)
    cells = np.zeros((len(rows), 1), np.float32)
    ends = rows[position >= length - 1]
    return Windows(cells, rows.astype("datetime64[us]"), sequences, ends, length)


runs = st.lists(st.integers(1, 30), min_size=1, max_size=12)
fold_counts = st.integers(2, 5)


@settings(deadline=None)
@given(runs, fold_counts)
def test_every_row_is_held_out_by_one_fold(lengths: list[int], folds: int) -> None:
    rows = fold_of_rows(make(lengths), folds)
    assert rows.shape == (sum(lengths),)
    assert set(rows.tolist()) <= set(range(folds))


@settings(deadline=None)
@given(runs, fold_counts)
def test_enough_runs_stay_whole_and_share_the_folds_evenly(lengths: list[int], folds: int) -> None:
    windows = make(lengths)
    rows = fold_of_rows(windows, folds)
    if len(lengths) < folds:
        return
    for run in np.unique(windows.sequences):
        assert len(set(rows[windows.sequences == run])) == 1
    loads = np.bincount(rows, minlength=folds)
    assert loads.min() > 0
    assert loads.max() - loads.min() <= max(lengths)


@settings(deadline=None)
@given(st.integers(20, 200), fold_counts)
def test_one_run_is_cut_into_consecutive_blocks_of_equal_size(count: int, folds: int) -> None:
    rows = fold_of_rows(make([count]), folds)
    assert (np.diff(rows) >= 0).all()
    loads = np.bincount(rows, minlength=folds)
    assert loads.max() - loads.min() <= 1


@settings(deadline=None)
@given(runs, fold_counts, st.integers(2, 6))
def test_no_two_folds_share_a_row(lengths: list[int], folds: int, length: int) -> None:
    windows = make(lengths, length=length)
    rows = fold_of_rows(windows, folds)
    fold = fold_of_windows(windows, rows)
    for end, owner in zip(windows.ends, fold, strict=True):
        owners = set(rows[end - length + 1 : end + 1])
        assert owners == {owner} if owner >= 0 else len(owners) > 1


def test_windows_across_a_border_are_an_embargo() -> None:
    windows = make([12], length=4)
    fold = fold_of_windows(windows, fold_of_rows(windows, 2))
    assert fold.tolist() == [0, 0, 0, -1, -1, -1, 1, 1, 1]


@pytest.mark.parametrize("folds", [2, 3])
def test_no_window_is_no_fold(folds: int) -> None:
    windows = make([1])
    assert fold_of_windows(windows, fold_of_rows(windows, folds)).tolist() == []
