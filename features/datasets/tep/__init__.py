"""The demo plant: normal running and twenty faults of a simulated Tennessee Eastman process.

The README beside this file says what the data are, how they were made and whom to credit.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import polars as pl

Kind = Literal["train", "held_out", "fault"]
"""What a run is for: normal running to train on, normal running kept apart, one fault."""

SAMPLE_PERIOD: Final = timedelta(minutes=3)
"""Spacing of the samples within a run."""

SAMPLE_FILES: Final[dict[Kind, str]] = {
    "train": "train.parquet",
    "held_out": "held_out.parquet",
    "fault": "faults.parquet",
}
"""The file that holds the samples of each kind of run."""

RUNS_FILE: Final = "runs.csv"
"""The table of runs."""

LABELS_FILE: Final = "labels.csv"
"""The faults as labelled intervals, as an asset file names them."""


@dataclass(frozen=True)
class Run:
    """One simulated run of the plant; its samples have ``start < time <= end``."""

    run: str
    """Name: ``train_01``, ``held_out_01``, ``idv_01``."""
    kind: Kind
    """What the run is for."""
    seed: int
    """Start of the simulator's random numbers."""
    start: datetime
    """When the run begins, one sample period before its first sample."""
    end: datetime
    """Time of the last sample."""
    disturbance: int | None = None
    """Number of the disturbance, 1 to 20; None in normal running."""
    description: str = ""
    """What the disturbance is; empty in normal running."""
    onset: datetime | None = None
    """When the disturbance begins; the first sample after this instant is the first faulty one."""
    shutdown_at: datetime | None = None
    """When the plant's own limits shut it down; None where it ran to the planned end."""


def dataset_folder() -> Path:
    """Folder of the data that come with the package."""
    return Path(__file__).parent


def load_runs(folder: Path | None = None) -> tuple[Run, ...]:
    """Table of runs, in order of time.

    Args:
        folder: Where the data set lies; the data that come with the package by default.

    Example:
        >>> first = load_runs()[0]
        >>> first.run, first.kind, first.end - first.start
        ('train_01', 'train', datetime.timedelta(days=3))
    """
    runs = pl.read_csv(_existing(folder, RUNS_FILE), infer_schema=False)
    return tuple(
        Run(
            run=row["run"],
            kind=row["kind"],
            seed=int(row["seed"]),
            start=datetime.fromisoformat(row["start"]),
            end=datetime.fromisoformat(row["end"]),
            disturbance=int(row["disturbance"]) if row["disturbance"] else None,
            description=row["description"] or "",
            onset=datetime.fromisoformat(row["onset"]) if row["onset"] else None,
            shutdown_at=datetime.fromisoformat(row["shutdown_at"]) if row["shutdown_at"] else None,
        )
        for row in runs.iter_rows(named=True)
    )


def load_samples(kind: Kind, folder: Path | None = None) -> pl.DataFrame:
    """Samples of all runs of one kind: ``time`` (UTC, sorted, unique), one column per channel.

    Args:
        kind: Which runs.
        folder: Where the data set lies; the data that come with the package by default.

    Example:
        >>> load_samples("held_out").shape  # 6 runs of 480 samples; time and 53 channels
        (2880, 54)
    """
    return pl.read_parquet(_existing(folder, SAMPLE_FILES[kind]))


def _existing(folder: Path | None, name: str) -> Path:
    """Path of a file of the data set, or an error that says how to make it."""
    path = (folder or dataset_folder()) / name
    if not path.is_file():
        msg = (
            f"'{path.parent}' has no {name}; make the data set there with "
            f"`python -m features.datasets.tep.generate --out {path.parent}`."
        )
        raise FileNotFoundError(msg)
    return path
