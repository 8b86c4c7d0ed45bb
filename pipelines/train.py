"""Train flow: history in; a registered challenger with its figures and pictures out."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from pydantic import AwareDatetime

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.errors import EdgeError
from faultwatch_edge.keys import load_private_key, load_trusted_keys
from features.channels import channel_names
from features.labels import as_text
from features.quality import assess_quality
from features.remarks import in_time, unshown_remarks
from features.windows import Windows
from models.config import ReconstructorName
from models.crossfit import usable_windows, windows_needed
from models.fold_models import Taught
from models.training import LOSSES, TrainingLogger
from pipelines.candidate import (
    Candidate,
    Origin,
    asset_windows,
    git_revision,
    make_candidate,
    recipe_of,
    seal_certificate,
)
from pipelines.config import AssetConfig, load_asset
from pipelines.contest import pick_challenger
from pipelines.costs import Stopwatch
from pipelines.evaluate import certify_bundle, find_injected, score_bundle
from pipelines.historian import Historian
from pipelines.history import History, read_history
from pipelines.labelling import begin_anew
from pipelines.processes import one_training, this_process
from pipelines.registry import BASIS_TAG, Registry, RegistryError
from pipelines.report import draw_losses
from pipelines.review import Champion, Review, hold_beside
from pipelines.review_pictures import draw_challenger
from pipelines.settings import Settings
from pipelines.tracking import PROCESS_TAG, answered
from pipelines.verdict import Scorecard, metrics_of

RIVALS: tuple[ReconstructorName, ...] = ("window_pca", "pca")
"""The linear detectors that stand beside every challenger."""
Say = Callable[[str], None]


class TrainingError(Exception):
    """A training that cannot begin; the message says what is missing."""


@dataclass(frozen=True)
class Trained:
    """What a training left in the registry."""

    version: int
    run_id: str
    cards: tuple[Scorecard, ...]
    """The challenger's, then those of its rivals."""
    note: str
    """Better or not than the champion and the rivals, as Markdown."""


@dataclass(frozen=True)
class Lessons:
    """What an asset's training is made from."""

    history: History
    normal: Windows
    """Normal running that teaches."""
    recent: Windows
    """What judges."""
    taught: Sequence[Taught] = ()
    """Models that were fitted on them already; () = none was."""


def prepare_lessons(asset: AssetConfig, history: History) -> Lessons:
    """Divide history in what teaches and what judges.

    Raises:
        TrainingError: there is too little to learn from, or nothing to judge by.
    """
    return Lessons(history, *_windows(asset, history))


def train_asset(
    asset: AssetConfig,
    settings: Settings,
    *,
    at: datetime,
    reason: str = "by hand",
    lessons: Lessons | None = None,
    say: Say = lambda _: None,
) -> Trained:
    """Train, compare with the linear rivals and the champion, register the challenger.

    Args:
        asset: the asset.
        settings: historian, MLflow and signing key.
        at: when the training happens.
        reason: why now; a tag of the MLflow run.
        lessons: what it is made from; None = what the historian has now.
        say: takes a sentence on what is going on.

    Raises:
        TrainingError: there is no signing key, too little to learn from, or nothing to judge by.
        pipelines.history.HistoryError: there is nothing to learn from.
    """
    lessons = lessons or prepare_lessons(asset, read_history(asset, settings))
    history, recent, key = lessons.history, lessons.recent, signing_key(settings)
    registry = Registry(settings, asset.asset.id)
    version = registry.next_version()
    name = f"{asset.asset.id} {version}, {at:%d %b %Y %H:%M}"
    tags = {**_tags(asset, history), "reason": reason}
    with tempfile.TemporaryDirectory() as scratch, registry.runs.start(name, tags) as run:
        folder = Path(scratch)
        registry.runs.log_data(history.normal, version=history.version, context="train")
        registry.runs.log_parameters(_parameters(asset, history))
        made = _make_all(
            asset,
            lessons,
            origin=Origin(version, at, run.info.run_id, history.version),
            folder=folder,
            key=key,
            logger=registry.runs.logger(run),
            say=say,
        )
        review = _judge_all(
            asset, settings, made, history, registry=registry, folder=folder, key=key, say=say
        )
        chosen, cards = review.challenger, review.cards
        note = _as_note(review.note(), history.learned(), *_unshown(asset, history, chosen))
        registry.runs.log_results(
            metrics=review.metrics(recent),
            figures={
                "losses": draw_losses(registry.runs.losses(run, LOSSES)),
                **draw_challenger(chosen.bundle, recent, history.intervals, review.drift),
            },
            tables=review.tables(),
            note=note,
        )
        registry.runs.log_rivals([one.path for who, one in made.items() if who != cards[0].name])
        say("registering the challenger")
        registry.register(run, chosen.path, graph=chosen.bundle.onnx, version=version)
    return Trained(version, run.info.run_id, cards, note)


def _as_note(*paragraphs: str) -> str:
    return "\n\n".join(filter(None, paragraphs))


def _judge_all(
    asset: AssetConfig,
    settings: Settings,
    made: Mapping[str, Candidate],
    history: History,
    *,
    registry: Registry,
    folder: Path,
    key: Ed25519PrivateKey,
    say: Say,
) -> Review:
    """Pick the challenger, certify it, and hold it beside the champion."""
    stopwatch = Stopwatch()
    for one in made.values():
        stopwatch.add(one.seconds)
    say("replaying held-out running, labelled and injected faults")
    with stopwatch.part("replaying"):
        cards, why = _in_order(asset, made, history)
        champion = _champion(asset, registry, history, folder, settings)
    say("looking for the smallest faults that are found")
    with stopwatch.part("certifying"):
        certificate = certify_bundle(asset, made[cards[0].name].bundle, history)
        chosen = seal_certificate(made[cards[0].name], certificate, key)
    say("looking for the alarms of the last days, and how the data have moved")
    with stopwatch.part("reviewing"):
        historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
        alarms, drift = hold_beside(asset, historian, history, chosen.bundle, champion)
    return Review(chosen, cards, why, champion, alarms, drift, stopwatch.seconds)


def _in_order(
    asset: AssetConfig, made: Mapping[str, Candidate], history: History
) -> tuple[tuple[Scorecard, ...], str]:
    """What each detector achieved, the challenger's first; why it is not the asset's own."""
    cards = {who: score_bundle(asset, who, one.bundle, history) for who, one in made.items()}
    found = find_injected(asset, [one.bundle for one in made.values()], history)
    picked, why = pick_challenger(
        asset.model.reconstructor,
        cards,
        dict(zip(made, found, strict=True)),
        seed=asset.model.seed,
    )
    return (cards[picked], *(card for who, card in cards.items() if who != picked)), why


def basis_of(asset: AssetConfig, history: History) -> str:
    """What a training would be made from: asset file, samples and labels, in a few characters."""
    spans = [_told(part) for part in (history.normal, history.held_out)]
    said = [[as_text(one.start), as_text(one.end), one.kind] for one in history.intervals]
    since = as_text(history.baseline.start) if history.baseline else ""
    text = json.dumps([asset.model_dump(mode="json"), spans, said, since], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _told(samples: pl.DataFrame) -> list[object]:
    """What tells samples from others: rows, first and last time, values and mean by channel."""
    values = samples.drop("time")
    ends = [str(samples["time"][place]) for place in ((0, -1) if samples.height else ())]
    means = [f"{mean:.9g}" if mean is not None else "" for mean in values.mean().row(0)]
    return [samples.height, *ends, list(values.count().row(0)), means]


def _tags(asset: AssetConfig, history: History) -> dict[str, str]:
    tags = {"asset": asset.asset.id, "site": asset.asset.site, "git_revision": git_revision()}
    tags |= {BASIS_TAG: basis_of(asset, history), PROCESS_TAG: this_process()}
    return tags | ({"since": as_text(history.baseline.start)} if history.baseline else {})


def _windows(asset: AssetConfig, history: History) -> tuple[Windows, Windows]:
    """What teaches, and what judges; refused where either is too little."""
    normal, recent = (asset_windows(asset, part) for part in (history.normal, history.held_out))
    _check_enough(asset, history, normal)
    if not len(recent):
        raise TrainingError(
            f"{asset.asset.id}: the {history.held_out.height} newest samples, kept apart to judge "
            f"by, hold no window of {asset.window.length} cells; raise [retrain] holdout_days"
        )
    return normal, recent


def _check_enough(asset: AssetConfig, history: History, normal: Windows) -> None:
    """Refuse normal running that is too short before anything is trained."""
    usable = usable_windows(normal, recipe_of(asset, asset.model.reconstructor))
    needed = windows_needed(len(asset.channel), asset.model.folds)
    if usable >= needed:
        return
    hop_s, last = asset.window.hop_s, history.normal["time"][-1]
    apart = ((history.held_out["time"].max() or last) - last).total_seconds()
    since = history.baseline.start if history.baseline else history.normal["time"][0]
    earlier = ", or begin earlier with --since" if history.baseline else ""
    raise TrainingError(
        f"{asset.asset.id}: normal running since {since:%Y-%m-%d %H:%M} UTC gives {usable} windows "
        f"({in_time(usable * hop_s)}) to learn from, {needed} ({in_time(needed * hop_s)}) are "
        f"needed for {len(asset.channel)} channels; the newest {in_time(apart)} "
        f"judge and do not teach: ingest more, lower [retrain] holdout_days{earlier}"
    )


def _unshown(asset: AssetConfig, history: History, chosen: Candidate) -> list[str]:
    """What a person should know of channels that normal running did not show enough of."""
    report = assess_quality(
        [history.normal], asset.channel, window=asset.window, false_alarms_per_day=None
    )
    return [f"Check: {remark}." for remark in (*unshown_remarks(report), *chosen.warnings)]


def _make_all(
    asset: AssetConfig,
    lessons: Lessons,
    *,
    origin: Origin,
    folder: Path,
    key: Ed25519PrivateKey,
    logger: TrainingLogger,
    say: Say,
) -> dict[str, Candidate]:
    """The asset's detector and its linear rivals, each exported and signed."""
    return {
        name: make_candidate(
            asset,
            name,
            normal=lessons.normal,
            recent=lessons.recent,
            origin=origin,
            folder=folder / name,
            private_key=key,
            taught=lessons.taught if name == asset.model.reconstructor else (),
            logger=logger if name == asset.model.reconstructor else None,
            say=say,
        )
        for name in _contestants(asset)
    }


def _contestants(asset: AssetConfig) -> list[ReconstructorName]:
    chosen = asset.model.reconstructor
    return [
        chosen,
        *(name for name in RIVALS if name != chosen),
    ]


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """Private key that signs bundles.

    Raises:
        TrainingError: there is none.
    """
    path = settings.signing_key_file
    if not path.is_file():
        raise TrainingError(
            f"no signing key at {path}; make one with `faultwatch keys`, or set "
            "FAULTWATCH_SIGNING_KEY to yours"
        )
    return load_private_key(path)


def _champion(
    asset: AssetConfig, registry: Registry, history: History, folder: Path, settings: Settings
) -> Champion | None:
    """The champion, judged on the same samples; None where there is none that fits."""
    try:
        version = registry.version_of("champion")
        path = registry.download(version, folder / "champion")
        bundle = read_bundle(path, trusted_keys=load_trusted_keys([settings.public_key_file]))
    except (RegistryError, EdgeError):
        return None
    if bundle.manifest.channel_names != tuple(channel_names(asset.channel)):
        return None
    name = f"champion {bundle.manifest.version}"
    return Champion(bundle, registry.taught(version), score_bundle(asset, name, bundle, history))


def _parameters(asset: AssetConfig, history: History) -> dict[str, object]:
    sections = {
        "model": asset.model.model_dump(),
        "window": asset.window.model_dump(),
        "regime": asset.regime.model_dump(),
        "alarm": asset.alarm.model_dump(
            include={"false_alarms_per_day", "on_delay_s", "off_delay_s", "hysteresis"}
        ),
    }
    flat_sections = {
        f"{section}.{key}": value
        for section, part in sections.items()
        for key, value in part.items()
    }
    return {
        **flat_sections,
        "historian_version": history.version,
        "channels": len(asset.channel),
        "normal_samples": history.normal.height,
        "normal_from": history.normal["time"][0],
        "normal_to": history.normal["time"][-1],
        "since": as_text(history.baseline.start) if history.baseline else "the beginning",
        "held_out_samples": history.held_out.height,
    }


@flow(name="train", description="Train a challenger from the historian and register it.")
@answered()
def train(
    asset_file: str, since: AwareDatetime | None = None, by: str = ""
) -> dict[str, float | int | str]:
    """Train a challenger.

    Args:
        asset_file: asset file, or id of a shipped asset.
        since: what was before it teaches neither now nor in any later training; None = as before.
        by: who says so.
    """
    asset, settings, at = load_asset(asset_file), Settings(), datetime.now(UTC)
    if since is not None:
        begin_anew(asset, settings, since, by=by, at=at)
    with one_training(settings.home, asset.asset.id, at):
        trained = train_asset(asset, settings, at=at, say=get_run_logger().info)
    create_markdown_artifact(trained.note, key=f"train-{asset.asset.id}".replace("_", "-"))
    return {
        "version": trained.version,
        "run_id": trained.run_id,
        "note": trained.note,
        **metrics_of(trained.cards[0]),
    }
