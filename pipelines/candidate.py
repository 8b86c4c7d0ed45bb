"""From normal running to a signed bundle: fit, threshold, export."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from faultwatch_edge.bundle import Bundle, Certificate, read_bundle, write_bundle
from faultwatch_edge.keys import key_id
from faultwatch_edge.manifest import (
    CONTRACT_VERSION,
    AlarmSpec,
    ChannelSpec,
    Manifest,
    ThresholdSpec,
    WindowSpec,
)
from features.channels import Channel
from features.grid import make_grid
from features.windows import Windows, make_windows
from models.config import ReconstructorName
from models.crossfit import FittedDetector, Recipe, fit_detector
from models.export import export_bundle
from models.fold_models import Taught
from models.training import TrainingLogger
from pipelines.config import AssetConfig
from pipelines.costs import Stopwatch
from pipelines.threshold import find_threshold, share_threshold

PARITY_WINDOWS = 3_000
"""Newest windows that the export is proven on."""


@dataclass(frozen=True)
class Origin:
    """Where a bundle comes from: goes into its manifest, unread by the device."""

    version: int
    created_at: datetime
    mlflow_run: str
    historian_version: int


@dataclass(frozen=True)
class Candidate:
    """A bundle that nobody promoted yet."""

    bundle: Bundle
    path: Path
    fitted: FittedDetector
    threshold: ThresholdSpec
    seconds: Mapping[str, float]
    """That ``learning`` and ``exporting`` took."""

    @property
    def warnings(self) -> list[str]:
        """What a person should know of what it was calibrated on."""
        new_states = [
            f"channel '{name}' has values in one part of normal running that no other part has: "
            "they teach, but neither calibrate nor count for the threshold; learn from running "
            "that shows them several times"
            for name in self.fitted.new_states
        ]
        drifting = [
            f"channel '{name}' is left out of the score, for it drifts by itself: {share:.0%} of "
            "what the other channels do not foretell of it goes one way all through normal "
            "running, and nothing says where that ends; its sensor is still watched; to have it "
            "back, learn from longer running or add the channel that it follows (load, weather)"
            for name, share in self.fitted.drifting.items()
        ]
        return new_states + drifting


def asset_windows(asset: AssetConfig, samples: pl.DataFrame) -> Windows:
    """Samples to windows, by the asset's grid."""
    return make_windows(
        make_grid(samples, asset.channel, asset.window), asset.channel, asset.window
    )


def recipe_of(asset: AssetConfig, reconstructor: ReconstructorName) -> Recipe:
    """What an asset's detector is made from, besides windows."""
    model = asset.model.model_copy(update={"reconstructor": reconstructor})
    return Recipe(asset.channel, asset.window, asset.regime, model)


def make_candidate(
    asset: AssetConfig,
    reconstructor: ReconstructorName,
    *,
    normal: Windows,
    recent: Windows | None,
    origin: Origin,
    folder: Path,
    private_key: Ed25519PrivateKey,
    far: float | None = None,
    taught: Sequence[Taught] = (),
    logger: TrainingLogger | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Candidate:
    """Fit a detector on normal running and write its bundle.

    Args:
        asset: options of model, regime and alarm.
        reconstructor: what expects the windows.
        normal: normal running to learn from.
        recent: running that the export is proven on first, faults included; nothing is learned
            from it. None = there is none.
        origin: where the bundle comes from.
        folder: where it is written.
        private_key: signs it.
        far: share of normal windows that may be anomalous; None = the alarm budget decides.
        taught: models that were fitted already; () = none was.
        logger: takes the losses of the epochs.
        say: takes a sentence on what is going on.
    """
    stopwatch, recipe = Stopwatch(), recipe_of(asset, reconstructor)
    with stopwatch.part("learning"):
        fitted = fit_detector(normal, recipe, taught=taught, logger=logger, say=say)
        threshold = (
            find_threshold(fitted.normal, asset.alarm, window_s=asset.window.hop_s)
            if far is None
            else share_threshold(fitted.normal, asset.alarm, far=far, window_s=asset.window.hop_s)
        )
    say(f"exporting {reconstructor}")
    with stopwatch.part("exporting"):
        path = export_bundle(
            fitted.detector,
            _manifest(asset, fitted, threshold, origin, name=reconstructor, key=private_key),
            _newest_cells(*([normal] if recent is None else [recent, normal])),
            folder,
            private_key=private_key,
        )
        bundle = read_bundle(path, trusted_keys=[private_key.public_key()])
    return Candidate(bundle, path, fitted, bundle.manifest.threshold, stopwatch.seconds)


def seal_certificate(
    candidate: Candidate, certificate: Certificate | None, private_key: Ed25519PrivateKey
) -> Candidate:
    """The candidate with its certificate in the bundle, which is signed anew; all else stays."""
    if certificate is None:
        return candidate
    bundle = candidate.bundle
    write_bundle(
        candidate.path,
        manifest=bundle.manifest,
        onnx=bundle.onnx,
        golden=bundle.golden,
        private_key=private_key,
        certificate=certificate,
    )
    sealed = read_bundle(candidate.path, trusted_keys=[private_key.public_key()])
    return replace(candidate, bundle=sealed)


def _manifest(
    asset: AssetConfig,
    fitted: FittedDetector,
    threshold: ThresholdSpec,
    origin: Origin,
    *,
    name: ReconstructorName,
    key: Ed25519PrivateKey,
) -> Manifest:
    return Manifest(
        contract=CONTRACT_VERSION,
        asset_id=asset.asset.id,
        asset_name=asset.asset.name,
        site=asset.asset.site,
        version=origin.version,
        created_at=origin.created_at.isoformat().replace("+00:00", "Z"),
        channels=tuple(_channel_spec(channel) for channel in asset.channel),
        window=WindowSpec(**asset.window.model_dump()),
        threshold=threshold,
        alarm=AlarmSpec(**asset.alarm.model_dump(exclude={"false_alarms_per_day"})),
        state_size=fitted.detector.state_size,
        reconstructor=name,
        mlflow_run=origin.mlflow_run,
        historian_version=origin.historian_version,
        git_revision=git_revision(),
        key_id=key_id(key.public_key()),
    )


def _channel_spec(channel: Channel) -> ChannelSpec:
    return ChannelSpec(**channel.model_dump(exclude={"description", "follows", "former_tags"}))


def _newest_cells(*periods: Windows) -> list[NDArray[np.float32]]:
    """Cells of the newest windows, by sequence; an earlier period helps out a short one."""
    chosen: list[NDArray[np.float32]] = []
    missing = PARITY_WINDOWS
    for windows in periods:
        for run in reversed(windows.runs()):
            newest = run[-missing:]
            first = windows.ends[newest[0]] - windows.length + 1
            chosen.append(windows.cells[first : windows.ends[newest[-1]] + 1])
            missing -= len(newest)
            if missing <= 0:
                return chosen
    return chosen


def git_revision() -> str:
    """Revision of the code that runs, or ``unknown`` outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
