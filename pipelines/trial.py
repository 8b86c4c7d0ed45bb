"""Detectors fitted on normal running and tried on other rows: no asset file, registry or server."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from features.channels import Channel, channel_names
from features.grid import WindowConfig
from features.injection import normal_deviations
from features.source import SourceConfig
from models.config import AlarmConfig, ModelConfig, ReconstructorName
from models.crossfit import NormalScores
from pipelines.candidate import Candidate, Origin, asset_windows, make_candidate
from pipelines.config import AssetConfig, AssetInfo
from pipelines.injected import InjectedFaults, judge_injected
from pipelines.replay import replay
from pipelines.threshold import AlarmCounter, share_threshold
from pipelines.watch import watch, with_row_numbers

Say = Callable[[str], None]


def fit_candidates(
    asset: AssetConfig,
    samples: pl.DataFrame,
    reconstructors: Sequence[ReconstructorName],
    *,
    folder: Path,
    key: Ed25519PrivateKey,
    far: float | None,
    at: datetime,
    say: Say = lambda _: None,
) -> dict[ReconstructorName, Candidate]:
    """Fit, export and sign detectors, each in a folder of its own.

    Args:
        asset: channels, windows, model and delays.
        samples: normal running.
        reconstructors: what expects the windows.
        folder: where the bundles are written.
        key: signs them.
        far: share of normal windows that may be anomalous; None = the alarm budget.
        at: when this happens.
        say: takes a sentence on what is going on.

    Raises:
        models.calibration.CalibrationError: too little normal running.
    """
    normal = asset_windows(asset, samples)
    return {
        name: make_candidate(
            asset,
            name,
            normal=normal,
            recent=None,
            origin=Origin(1, at, "", 0),
            folder=folder / name,
            private_key=key,
            far=far,
            say=say,
        )
        for name in reconstructors
    }


class Trial:
    """A detector fitted on normal running, which other rows can be tried on.

    Args:
        candidate: its bundle, the scores that its thresholds rest on, and its budget's threshold.
        asset: channels, windows and delays.
        folder: for files in passing.
    """

    def __init__(self, candidate: Candidate, asset: AssetConfig, folder: Path) -> None:
        self.bundle = candidate.bundle
        self.budget = candidate.threshold
        """Threshold for the default alarm budget."""
        self._normal = candidate.fitted.normal
        self._asset = asset
        self._folder = folder

    def by_share(self, far: float) -> float:
        """Threshold for a share of anomalous normal rows."""
        alarm, window_s = self._asset.alarm, self._asset.window.hop_s
        return share_threshold(self._normal, alarm, far=far, window_s=window_s).score

    def score(self, samples: pl.DataFrame) -> NDArray[np.float64]:
        """Score of each row by the exported graph, from a fresh start, (row,); NaN = not scored."""
        names = {name: name for name in channel_names(self._asset.channel)}
        rows = with_row_numbers(samples)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            found = watch({"it": self.bundle}, self._asset, [rows], names, folder=Path(folder))
            scores: NDArray[np.float64] = (
                pl.read_parquet(found["it"].parts)["score"]
                .cast(pl.Float64)
                .fill_null(np.nan)
                .to_numpy()
            )
        return scores

    def count_alarms(self, samples: pl.DataFrame, score: NDArray[np.float64]) -> int:
        """Alarms that the scores of an uninterrupted run raise at the budget's threshold."""
        scored = np.isfinite(score)
        normal = NormalScores(
            score=np.where(scored, score, 0.0).astype(np.float32),
            scored=scored,
            segment=np.zeros(len(score), np.int64),
            end_times=samples["time"].dt.replace_time_zone(None).to_numpy(),
        )
        alarm, window_s = self._asset.alarm, self._asset.window.hop_s
        return AlarmCounter(normal, alarm, window_s=window_s)(self.budget.score)

    def count_sensor_events(self, samples: pl.DataFrame) -> int:
        """Events that blame a sensor, as the agent tells them."""
        return sum(
            message["kind"] == "event"
            and message["condition"] == "sensor_fault"
            and message["state"] == "active"
            for message in replay(self.bundle, samples).messages
        )

    def injected(self, samples: pl.DataFrame, count: int) -> tuple[InjectedFaults, ...]:
        """What the bundle finds of faults put into normal running, five deviations in size.

        Args:
            samples: normal running; the faults are put into the end of it.
            count: how many channels get a fault of each kind.
        """
        deviations = normal_deviations(samples, channel_names(self._asset.channel))
        return judge_injected(self.bundle, samples, (), deviations=deviations, seed=0, count=count)


@contextmanager
def fitted_trial(
    train: pl.DataFrame,
    *,
    channels: tuple[Channel, ...],
    window: WindowConfig,
    reconstructor: ReconstructorName,
    seed: int,
) -> Iterator[Trial]:
    """Fit a detector by the default configuration; its files are gone after the block.

    Args:
        train: samples frame of normal running; a gap parts its runs.
        channels: of all frames.
        window: grid and windows.
        reconstructor: what expects the windows.
        seed: of the training.

    Raises:
        models.calibration.CalibrationError: too little normal running.
    """
    period = window.sample_period_s
    asset = AssetConfig(
        asset=AssetInfo(id="trial"),
        source=SourceConfig(files="none"),
        channel=channels,
        window=window,
        model=ModelConfig(reconstructor=reconstructor, seed=seed),
        alarm=AlarmConfig(on_delay_s=3 * period, off_delay_s=10 * period),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = fit_candidates(
            asset,
            train,
            [reconstructor],
            folder=folder,
            key=Ed25519PrivateKey.generate(),
            far=None,
            at=datetime.fromtimestamp(0, UTC),
        )[reconstructor]
        yield Trial(made, asset, folder)


@dataclass(frozen=True)
class Tried:
    """What a detector says of rows that it was not fitted on."""

    score: NDArray[np.float64]
    """(row,); NaN = not scored."""
    by_share: float
    """Threshold for a share of anomalous normal rows."""
    by_budget: float
    """Threshold for the default alarm budget."""


def try_detector(
    train: pl.DataFrame,
    tests: Sequence[pl.DataFrame],
    *,
    channels: tuple[Channel, ...],
    window: WindowConfig,
    reconstructor: ReconstructorName,
    far: float,
    seed: int,
) -> list[Tried]:
    """Fit a detector on normal running and score other rows with its exported graph.

    Args:
        train: samples frame of normal running; a gap parts its runs.
        tests: samples frames; each is scored from a fresh start.
        channels: of all frames.
        window: grid and windows.
        reconstructor: what expects the windows.
        far: share of normal rows that may be anomalous.
        seed: of the training.
    """
    with fitted_trial(
        train, channels=channels, window=window, reconstructor=reconstructor, seed=seed
    ) as trial:
        by_share, by_budget = trial.by_share(far), trial.budget.score
        return [Tried(trial.score(test), by_share, by_budget) for test in tests]
