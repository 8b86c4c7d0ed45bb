"""Retrain flow: new samples in; a challenger that is better becomes the champion.

Every step leaves what it did where the next run finds it, so that a run that was killed is finished
by the next one, whatever step it was in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from typing_extensions import override

from features.labels import outside
from features.quality import assess_quality
from features.quality_gate import why_unfit
from pipelines.config import AssetConfig, load_asset
from pipelines.historian import Historian
from pipelines.history import History, read_history
from pipelines.ingest import ingest
from pipelines.judging import Judgement, judge_version
from pipelines.promote import promote_version
from pipelines.promotion_gate import Outcome
from pipelines.release import mirror_champion
from pipelines.settings import Settings
from pipelines.tracking import RegisteredVersion, Registry
from pipelines.train import basis_of, train_asset
from pipelines.verdicts import Verdict, note_verdict, verdict_of

Say = Callable[[str], None]
INSTANT = timedelta(microseconds=1)
BY = "retrain"
"""Who promoted, where it was this flow."""


@dataclass(frozen=True)
class Retrained:
    """What came of it."""

    outcome: str
    """``promoted``, ``refused``, ``left to a person``, ``nothing new`` or ``unfit samples``."""
    reason: str
    """For people."""
    version: int | None = None
    """The challenger; None where none was trained."""
    note: str = ""
    """Markdown; what the gate compared."""

    @override
    def __str__(self) -> str:
        who = "" if self.version is None else f"version {self.version}, "
        return f"{who}{self.outcome}: {self.reason}"


def find_unfit(asset: AssetConfig, settings: Settings, history: History) -> tuple[str, ...]:
    """Why what came since the champion learned may not teach; () = it may."""
    registry = Registry(settings, asset.asset.id)
    champion = registry.champion()
    since = registry.learned_to(champion) if champion is not None else None
    if since is None:
        return ()
    historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
    before, new = (
        assess_quality(
            (outside(part, history.intervals) for part in historian.slices(start, end)),
            asset.channel,
            window=asset.window,
            false_alarms_per_day=None,
        )
        for start, end in ((None, since + INSTANT), (since + INSTANT, None))
    )
    return why_unfit(new, before) if new.rows else ()


def find_challenger(
    asset: AssetConfig,
    settings: Settings,
    history: History,
    *,
    at: datetime,
    reason: str,
    say: Say,
) -> RegisteredVersion:
    """The newest registered bundle, if it was made from what is there now; else one made now."""
    registry = Registry(settings, asset.asset.id)
    newest = next(iter(registry.versions()), None)
    if newest is not None and registry.basis(newest) == basis_of(asset, history):
        return newest
    tags = {"reason": reason, "flow": "retrain"}
    trained = train_asset(asset, settings, at=at, tags=tags, say=say)
    return registry.version_of(str(trained.version))


def is_finished(registry: Registry, version: RegisteredVersion) -> bool:
    """Whether the gate has judged a version, and what it said was done."""
    verdict = verdict_of(version)
    if verdict is None:
        return False
    since = [one for one in registry.champions() if one.at >= verdict.at]
    return verdict.outcome != Outcome.PROMOTED.value or bool(since)


def judge_and_promote(
    asset: AssetConfig, settings: Settings, history: History, version: int, *, at: datetime
) -> tuple[Verdict, str]:
    """Ask the gate, write down what it says, and do it; return it with its note.

    What was written down and not done by a run that was killed is done now.
    """
    registry = Registry(settings, asset.asset.id)
    registered = registry.version_of(str(version))
    verdict, note = verdict_of(registered), ""
    if verdict is None:
        judgement: Judgement = judge_version(asset, settings, history, registered)
        said = judgement.decision
        verdict, note = Verdict(said.outcome.value, said.reason, at), judgement.note()
        note_verdict(registry, registered, verdict, note)
    if verdict.outcome == Outcome.PROMOTED.value:
        promote_version(registry, str(version), at=at, by=BY, reason=verdict.reason)
    return verdict, note


def retrain_asset(
    asset: AssetConfig, settings: Settings, *, at: datetime, reason: str, say: Say
) -> Retrained:
    """Train on what the historian holds, judge the challenger, promote it if it is better.

    Args:
        asset: the asset.
        settings: historian, MLflow, keys, folder of releases.
        at: now.
        reason: why now; kept with the MLflow run.
        say: takes a sentence on what is going on.

    Raises:
        pipelines.train.TrainingError: nothing can be learned.
        pipelines.history.HistoryError: there is nothing to learn from.
    """
    registry = Registry(settings, asset.asset.id)
    if lost := registry.end_lost_runs("retrain"):
        say(f"{lost} run that was killed is marked so" if lost == 1 else f"{lost} runs were killed")
    registry.settle()
    history = read_history(asset, settings)
    if unfit := find_unfit(asset, settings, history):
        return Retrained("unfit samples", "; ".join(unfit))
    challenger = find_challenger(asset, settings, history, at=at, reason=reason, say=say)
    version = int(challenger.version)
    if is_finished(registry, challenger):
        before = verdict_of(challenger)
        said = f"; the gate said: {before.outcome}, {before.reason}" if before else ""
        return Retrained("nothing new", f"no sample or label since its training{said}", version)
    say("comparing challenger and champion")
    verdict, note = judge_and_promote(asset, settings, history, version, at=at)
    return Retrained(verdict.outcome, verdict.reason, version, note)


@task(name="train and judge", cache_policy=NO_CACHE)
def _train_and_judge(asset_file: str, reason: str, at: datetime) -> Retrained:
    say = get_run_logger().info
    return retrain_asset(load_asset(asset_file), Settings(), at=at, reason=reason, say=say)


@task(name="release", cache_policy=NO_CACHE)
def _release(asset_file: str) -> None:
    settings, asset = Settings(), load_asset(asset_file)
    released = mirror_champion(Registry(settings, asset.asset.id), settings)
    if released is not None:
        get_run_logger().info("devices find %s in %s", released.name, released.parent)


@flow(name="retrain", description="Take in what is new, train, and promote what is better.")
def retrain(asset_file: str, reason: str = "schedule", take_in: bool = True) -> Retrained:  # noqa: FBT001, FBT002 - a parameter of the form in Prefect
    """Take in what is new, train a challenger, and promote it if it is better.

    Args:
        asset_file: asset file, or id of a shipped asset.
        reason: why now; kept with the MLflow run.
        take_in: read the asset's files or database first.
    """
    asset, at = load_asset(asset_file), datetime.now(UTC)
    if take_in:
        ingest(asset_file)
    came = _train_and_judge(asset_file, reason, at)
    _release(asset_file)
    get_run_logger().info("%s", came)
    text = f"# Retraining of {asset.asset.id}\n\n{came.note or str(came)}\n"
    create_markdown_artifact(text, key=f"retrain-{asset.asset.id}".replace("_", "-"))
    return came
