"""Detectors fitted on normal running and tried on other rows: no asset file, registry or server."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from faultwatch_edge.bundle import Bundle
from features.channels import Channel, channel_names
from features.grid import WindowConfig
from features.source import SourceConfig
from models.config import AlarmConfig, ModelConfig, ReconstructorName
from pipelines.candidate import Candidate, Origin, asset_windows, make_candidate
from pipelines.config import AssetConfig, AssetInfo
from pipelines.threshold import find_threshold, share_threshold
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
    period = window.sample_period_s
    asset = AssetConfig(
        asset=AssetInfo(id="trial"),
        source=SourceConfig(files="none"),
        channel=channels,
        window=window,
        model=ModelConfig(reconstructor=reconstructor, seed=seed),
        alarm=AlarmConfig(on_delay_s=3 * period, off_delay_s=10 * period),
    )
    names = {name: name for name in channel_names(channels)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = fit_candidates(
            asset,
            train,
            [reconstructor],
            folder=folder,
            key=Ed25519PrivateKey.generate(),
            far=far,
            at=datetime.fromtimestamp(0, UTC),
        )[reconstructor]
        by_budget = find_threshold(made.fitted.normal, asset.alarm, window_s=window.hop_s).score
        by_share = share_threshold(
            made.fitted.normal, asset.alarm, far=far, window_s=window.hop_s
        ).score
        return [
            Tried(
                _scores(made.bundle, asset, test, names, folder / f"rows_{number}"),
                by_share,
                by_budget,
            )
            for number, test in enumerate(tests)
        ]


def _scores(
    bundle: Bundle,
    asset: AssetConfig,
    samples: pl.DataFrame,
    columns: Mapping[str, str],
    folder: Path,
) -> NDArray[np.float64]:
    rows = with_row_numbers(samples)
    found = watch({"it": bundle}, asset, [rows], columns, folder=folder)["it"]
    scores: NDArray[np.float64] = (
        pl.read_parquet(found.parts)["score"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    )
    return scores
