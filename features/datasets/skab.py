"""Skoltech Anomaly Benchmark: 34 labelled runs of a pump loop, about one row a second.

The data do not come with the package: they are under the GPL-3.0. The folder is that of the
published repository: ``valve1``, ``valve2`` and ``other`` with one file a run. In each run the
first 400 rows are there to learn from, as on the benchmark's own leaderboard.

References:
    I. D. Katser, V. O. Kozitsin: Skoltech Anomaly Benchmark (SKAB), 2020,
    https://doi.org/10.34740/KAGGLE/DSV/1693952
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.channels import Channel
from features.datasets.errors import DatasetError
from features.schema import SchemaError, check_samples
from features.times import TIME

GROUPS: Final = ("valve1", "valve2", "other")
"""Folders of the runs: which part of the loop was meddled with."""
LEARNED_ROWS: Final = 400
"""Rows at the start of each run that a detector may learn from."""
COLUMNS: Final = {
    "Accelerometer1RMS": Channel(name="accelerometer_1_rms", unit="g"),
    "Accelerometer2RMS": Channel(name="accelerometer_2_rms", unit="g"),
    "Current": Channel(name="current", unit="A"),
    "Pressure": Channel(name="pressure", unit="bar"),
    "Temperature": Channel(name="temperature", unit="degC"),
    "Thermocouple": Channel(name="thermocouple", unit="degC"),
    "Voltage": Channel(name="voltage", unit="V"),
    "Volume Flow RateRMS": Channel(name="volume_flow_rate_rms", unit="l/min"),
}
"""The channels, by the names that the files have for them."""
LABELS: Final = ("anomaly", "changepoint")
CHANNELS: Final = tuple(COLUMNS.values())


@dataclass(frozen=True)
class SkabRun:
    """One run; the labels stand beside the samples, so that they cannot become inputs."""

    name: str
    """Folder and file: ``valve1/0``."""
    samples: pl.DataFrame
    """``time`` and the eight channels."""
    anomaly: NDArray[np.bool_]
    """Whether the loop was meddled with, (row,)."""
    changepoint: NDArray[np.bool_]
    """Whether that began or ended about then, (row,)."""


def load_skab(folder: Path) -> tuple[SkabRun, ...]:
    """Read the runs, group by group, in the order of their numbers.

    Args:
        folder: holds ``valve1``, ``valve2`` and ``other``.

    Raises:
        DatasetError: a folder is missing or empty, or a file is not as published.
    """
    return tuple(_read_run(path) for group in GROUPS for path in _run_files(folder / group))


def _run_files(group: Path) -> list[Path]:
    files = sorted(group.glob("*.csv"), key=lambda path: (len(path.stem), path.stem))
    if not files:
        raise DatasetError(
            f"'{group.parent}' has no {group.name}/*.csv; name the `data` folder of the Skoltech "
            f"Anomaly Benchmark, with {', '.join(GROUPS)} in it"
        )
    return files


def _read_run(path: Path) -> SkabRun:
    types = {"datetime": pl.Datetime("us"), **dict.fromkeys((*COLUMNS, *LABELS), pl.Float64())}
    try:
        table = pl.read_csv(path, separator=";", columns=list(types), schema_overrides=types)
        samples = table.select(
            pl.col("datetime").dt.replace_time_zone("UTC").cast(TIME).alias("time"),
            *(pl.col(column).fill_nan(None).alias(of.name) for column, of in COLUMNS.items()),
        )
        check_samples(samples, CHANNELS)
    except (pl.exceptions.PolarsError, SchemaError) as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(f"'{path}' is not a run of the benchmark: {reason}") from error
    if table.select(LABELS).null_count().sum_horizontal().item():
        raise DatasetError(f"'{path}' has rows without a label; take the file as published")
    anomaly, changepoint = (table[name].to_numpy() > 0 for name in LABELS)
    return SkabRun(f"{path.parent.name}/{path.stem}", samples, anomaly, changepoint)
