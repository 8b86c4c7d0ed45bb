"""The classical files of the Tennessee Eastman benchmark: ``d00.dat`` to ``d21_te.dat``.

500 rows of normal running to learn from, one run of 960 normal rows, and one run of 960 rows for
each of 21 faults, which begin after 160 rows. A row every three minutes; 41 measurements and 11
manipulated variables. The files have no times, so the runs are set apart on an invented calendar.

References:
    L. H. Chiang, E. L. Russell, R. D. Braatz: Fault Detection and Diagnosis in Industrial Systems,
    2001, https://doi.org/10.1007/978-1-4471-0347-9
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.channels import Channel, channel_names
from features.datasets.errors import DatasetError
from features.datasets.tep import SAMPLE_PERIOD
from features.times import TIME

TRAIN_FILE: Final = "d00.dat"
"""The file that says that a folder holds the classical benchmark."""
FAULTS: Final = 21
TRAIN_ROWS, RUN_ROWS, ONSET_ROW = 500, 960, 160
CHANNELS: Final = (
    *(Channel(name=f"xmeas_{number:02d}") for number in range(1, 42)),
    *(Channel(name=f"xmv_{number:02d}") for number in range(1, 12)),
)
BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
APART: Final = timedelta(days=10)
"""From the beginning of one run to that of the next, on the invented calendar."""


@dataclass(frozen=True)
class ClassicalRun:
    """A run that nothing may be learned from."""

    name: str
    """``d00_te`` is normal running."""
    fault: int | None
    """Number of the fault; None = normal running."""
    samples: pl.DataFrame
    faulty: NDArray[np.bool_]
    """(row,)"""


def load_classical(folder: Path) -> tuple[pl.DataFrame, tuple[ClassicalRun, ...]]:
    """Samples of normal running to learn from, and the runs to try a detector on.

    Raises:
        DatasetError: a file is missing or has not the published shape.
    """
    train = _samples(_read_rows(folder / TRAIN_FILE, TRAIN_ROWS), place=0)
    return train, tuple(_read_run(folder, fault) for fault in range(FAULTS + 1))


def _read_run(folder: Path, fault: int) -> ClassicalRun:
    rows = _read_rows(folder / f"d{fault:02d}_te.dat", RUN_ROWS)
    faulty = (np.arange(len(rows)) >= ONSET_ROW) & (fault > 0)
    return ClassicalRun(f"d{fault:02d}_te", fault or None, _samples(rows, place=fault + 1), faulty)


def _read_rows(path: Path, count: int) -> NDArray[np.float64]:
    """Rows by channels; ``d00.dat`` is published the other way round."""
    if not path.is_file():
        raise DatasetError(
            f"'{path.parent}' has no {path.name}; the classical benchmark is {TRAIN_FILE} and "
            f"d00_te.dat to d{FAULTS}_te.dat"
        )
    expected = (count, len(CHANNELS))
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise DatasetError(f"'{path}' is not a table of numbers: {error}") from error
    if rows.shape == expected[::-1]:
        rows = rows.T
    if rows.shape != expected or not np.isfinite(rows).all():
        raise DatasetError(
            f"'{path}' has {rows.shape[0]} rows of {rows.shape[1]} numbers; expected {count} of "
            f"{len(CHANNELS)}, all of them finite"
        )
    return rows


def _samples(rows: NDArray[np.float64], *, place: int) -> pl.DataFrame:
    start = BEGINNING + place * APART
    at = [start + number * SAMPLE_PERIOD for number in range(1, len(rows) + 1)]
    columns = dict(zip(channel_names(CHANNELS), rows.T, strict=True))
    return pl.DataFrame({"time": pl.Series(at, dtype=TIME), **columns})
