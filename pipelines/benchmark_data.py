"""Public data sets as cases of one form: what may be learned from, and what is then tried."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.channels import Channel, channel_names
from features.datasets.errors import DatasetError
from features.datasets.skab import CHANNELS as PUMP_CHANNELS
from features.datasets.skab import LEARNED_ROWS, load_skab
from features.datasets.tep import (
    SAMPLE_FILES,
    SAMPLE_PERIOD,
    Kind,
    Run,
    load_runs,
    load_samples,
)
from features.datasets.tep.classical import CHANNELS as CLASSICAL_CHANNELS
from features.datasets.tep.classical import TRAIN_FILE, load_classical
from features.grid import WindowConfig
from features.schema import SchemaError, check_samples

BenchmarkName = Literal["tep", "skab"]
PLANT_WINDOW = WindowConfig(sample_period_s=SAMPLE_PERIOD.total_seconds())
PLANT_LAGS = 3
PUMP_WINDOW = WindowConfig(sample_period_s=1.0, max_gap_s=5.0, min_channels=4)
"""As `init` and `backtest` choose it for such a file."""
PUMP_LAGS = 5
"""More than on the plant, whose rows lie further apart; not tuned here."""
HARD_FAULTS = (3, 9, 15)
"""Faults of the plant that the literature leaves out: they hardly show."""
RULES = (
    "Every detector is causal and scores each row; all thresholds come from the rows it learned "
    "from, cross-fitted; a row that it cannot score yet counts as not alarmed."
)


@dataclass(frozen=True)
class UnseenRun:
    """A run that nothing is learned from."""

    name: str
    fault: int | None
    """Number of the fault in it; None = normal running, or a fault without a number."""
    samples: pl.DataFrame
    faulty: NDArray[np.bool_]
    """(row,)"""


@dataclass(frozen=True)
class Case:
    """One detector's work: normal running to learn from, and runs to try it on."""

    name: str
    train: pl.DataFrame
    unseen: tuple[UnseenRun, ...]


@dataclass(frozen=True)
class BenchmarkData:
    """A data set and its protocol."""

    name: BenchmarkName
    title: str
    """For people."""
    protocol: str
    """What is learned from, what is tried, what the rules are."""
    channels: tuple[Channel, ...]
    window: WindowConfig
    """Grid and windows of every detector that looks at windows."""
    lags: int
    """Of the dynamic PCA."""
    cases: tuple[Case, ...]


def load_benchmark(name: BenchmarkName, folder: Path | None) -> BenchmarkData:
    """Load a data set.

    Args:
        name: ``tep`` or ``skab``.
        folder: where it lies; None = the plant that comes with the package.

    Raises:
        DatasetError: the folder is missing, or does not hold the data set.
    """
    if folder is not None and not folder.is_dir():
        raise DatasetError(f"'{folder}' is not a folder; name the one that holds the data set")
    if name == "skab":
        return _load_pump(folder)
    if folder is not None and (folder / TRAIN_FILE).is_file():
        return _load_classical(folder)
    return _load_plant(folder)


def uninterrupted(
    samples: pl.DataFrame, channels: tuple[Channel, ...], window: WindowConfig
) -> list[NDArray[np.float64]]:
    """Rows of each run between gaps in time, (row, channel), NaN = missing.

    A silence longer than ``max_gap_s`` separates two runs, as it does on the grid.

    Example:
        >>> from datetime import UTC, datetime, timedelta
        >>> at = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s) for s in (0, 1, 2, 30)]
        >>> samples = pl.DataFrame({"time": at, "flow": [1.0, 2.0, None, 4.0]})
        >>> runs = uninterrupted(samples, (Channel(name="flow"),), PUMP_WINDOW)
        >>> [run[:, 0].tolist() for run in runs]
        [[1.0, 2.0, nan], [4.0]]
    """
    values = samples.select(channel_names(channels)).fill_null(np.nan).to_numpy()
    longest = window.max_gap_s + 1.5 * window.sample_period_s
    seconds = samples["time"].diff().dt.total_microseconds().to_numpy()[1:] / 1e6
    return np.split(values, np.flatnonzero(seconds > longest) + 1)


def _load_pump(folder: Path | None) -> BenchmarkData:
    if folder is None:
        raise DatasetError("skab does not come with Faultwatch; name its folder with --data")
    cases = []
    for run in load_skab(folder):
        learned, rest = run.samples[:LEARNED_ROWS], run.samples[LEARNED_ROWS:]
        if rest.is_empty():
            raise DatasetError(
                f"run {run.name} has {run.samples.height} rows; expected more than {LEARNED_ROWS}"
            )
        unseen = UnseenRun(run.name, None, rest, run.anomaly[LEARNED_ROWS:])
        cases.append(Case(run.name, learned, (unseen,)))
    return BenchmarkData(
        name="skab",
        title=f"Skoltech Anomaly Benchmark, {len(cases)} runs of a pump loop",
        protocol=(
            f"Of each run the first {LEARNED_ROWS} rows are learned from by a detector of its own "
            "and the rest is tried, on its own too; rows are counted over all runs, without any "
            f"adjustment. {RULES}"
        ),
        channels=PUMP_CHANNELS,
        window=PUMP_WINDOW,
        lags=PUMP_LAGS,
        cases=tuple(cases),
    )


def _load_classical(folder: Path) -> BenchmarkData:
    train, runs = load_classical(folder)
    unseen = tuple(UnseenRun(run.name, run.fault, run.samples, run.faulty) for run in runs)
    return BenchmarkData(
        name="tep",
        title="Tennessee Eastman process, classical files",
        protocol=(
            f"{train.height} rows of normal running are learned from; {len(unseen) - 1} faults and "
            f"one run of normal running are tried. {RULES}"
        ),
        channels=CLASSICAL_CHANNELS,
        window=PLANT_WINDOW,
        lags=PLANT_LAGS,
        cases=(Case("classical", train, unseen),),
    )


def _load_plant(folder: Path | None) -> BenchmarkData:
    runs, samples = _read_plant(folder)
    channels = tuple(Channel(name=name) for name in samples["train"].columns if name != "time")
    _check_plant(samples, channels)
    unseen = tuple(_plant_run(run, samples[run.kind]) for run in runs if run.kind != "train")
    normal = sum(run.fault is None for run in unseen)
    if not normal or not {run.fault for run in unseen} - {None, *HARD_FAULTS}:
        raise DatasetError(
            "the table of runs needs a held-out run of normal running and a fault other than "
            f"{', '.join(map(str, HARD_FAULTS))}"
        )
    return BenchmarkData(
        name="tep",
        title="Tennessee Eastman process, simulated plant",
        protocol=(
            f"{samples['train'].height} rows of normal running are learned from; "
            f"{len(unseen) - normal} faults and {normal} runs of normal running are tried. {RULES}"
        ),
        channels=channels,
        window=PLANT_WINDOW,
        lags=PLANT_LAGS,
        cases=(Case("plant", samples["train"], unseen),),
    )


def _read_plant(folder: Path | None) -> tuple[tuple[Run, ...], dict[Kind, pl.DataFrame]]:
    try:
        return load_runs(folder), {kind: load_samples(kind, folder) for kind in SAMPLE_FILES}
    except FileNotFoundError as error:
        raise DatasetError(str(error)) from error
    except (KeyError, ValueError, pl.exceptions.PolarsError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DatasetError(
            f"'{folder}' does not hold a plant as `python -m features.datasets.tep.generate` "
            f"makes it: {reason}"
        ) from error


def _check_plant(samples: dict[Kind, pl.DataFrame], channels: tuple[Channel, ...]) -> None:
    for kind, frame in samples.items():
        try:
            check_samples(frame, channels)
        except SchemaError as error:
            raise DatasetError(f"{SAMPLE_FILES[kind]} is no samples frame: {error}") from error


def _plant_run(run: Run, samples: pl.DataFrame) -> UnseenRun:
    own = samples.filter(pl.col("time") > run.start, pl.col("time") <= run.end)
    if own.is_empty():
        raise DatasetError(f"run {run.run} has no samples; make the data set again")
    onset = run.onset or run.end  # a run without an onset is normal to its end
    return UnseenRun(run.run, run.disturbance, own, (own["time"] > onset).to_numpy())
