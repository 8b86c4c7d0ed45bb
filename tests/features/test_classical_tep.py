from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from features.datasets.errors import DatasetError
from features.datasets.tep.classical import CHANNELS, FAULTS, load_classical
from features.schema import check_samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of the published shapes; each value is its row, plus a hundredth of its channel."""
    table = np.arange(960)[:, None] + np.arange(52) / 100
    np.savetxt(tmp_path / "d00.dat", table[:500].T, fmt="%.2f")
    np.savetxt(tmp_path / "d00_te.dat", table, fmt="%.2f")
    written = (tmp_path / "d00_te.dat").read_text()
    for fault in range(1, FAULTS + 1):
        (tmp_path / f"d{fault:02d}_te.dat").write_text(written)
    return tmp_path


def test_the_training_file_is_turned_round(folder: Path) -> None:
    train, _ = load_classical(folder)
    check_samples(train, CHANNELS)
    assert train.shape == (500, 53)
    assert train["xmeas_01"].to_list()[:3] == [0.0, 1.0, 2.0]
    assert train["xmv_11"][0] == pytest.approx(0.51)


def test_faults_begin_after_160_rows_and_normal_running_has_none(folder: Path) -> None:
    _, runs = load_classical(folder)
    assert [run.name for run in runs[:2]] == ["d00_te", "d01_te"]
    assert [run.fault for run in runs] == [None, *range(1, 22)]
    assert not runs[0].faulty.any()
    for run in runs[1:]:
        assert not run.faulty[:160].any()
        assert run.faulty[160:].all()


def test_runs_lie_apart_and_their_rows_three_minutes(folder: Path) -> None:
    train, runs = load_classical(folder)
    frames = [train, *(run.samples for run in runs)]
    for frame in frames:
        assert frame["time"].diff().drop_nulls().unique().to_list() == [timedelta(minutes=3)]
    assert all(one["time"][-1] < other["time"][0] for one, other in pairwise(frames))


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "d07_te.dat").unlink()
    with pytest.raises(DatasetError, match=r"has no d07_te\.dat; the classical benchmark is"):
        load_classical(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 2\n3 x\n", "is not a table of numbers"),
        ("1 2\n3 4\n", "has 2 rows of 2 numbers; expected 960 of 52"),
        (("nan " * 52 + "\n") * 960, "all of them finite"),
    ],
)
def test_a_file_of_another_form_is_named(folder: Path, text: str, reason: str) -> None:
    (folder / "d21_te.dat").write_text(text)
    with pytest.raises(DatasetError, match=rf"d21_te\.dat' .*{reason}"):
        load_classical(folder)
