"""Retrain flow: new samples in; a challenger that is better becomes the champion.

Every step leaves what it did where the next run finds it, so that a run that was killed is finished
by the next one, whatever step it was in.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from prefect import Task, flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from typing_extensions import override

from features.findings import QualityReport
from features.labels import outside
from features.quality import QualityTally
from features.quality_gate import why_unfit
from pipelines.config import AssetConfig, load_asset
from pipelines.connection import DatabaseError
from pipelines.gate_verdict import Verdict, note_verdict, verdict_of
from pipelines.historian import Historian
from pipelines.history import History, read_history
from pipelines.ingest import ingest
from pipelines.judging import judge_version
from pipelines.processes import BusyError, one_training
from pipelines.promote import promote_version
from pipelines.promotion_gate import Outcome
from pipelines.registry import RegisteredVersion, Registry
from pipelines.release import mirror_champion
from pipelines.settings import Settings
from pipelines.tracking import AwayError, answered
from pipelines.train import basis_of, prepare_lessons, train_asset

Say = Callable[[str], None]
Clock = Callable[[], datetime]
UNFIT = "unfit samples"
WAITS = "waits"
INSTANT = timedelta(microseconds=1)
AGAIN_AFTER_S = [60.0, 600.0, 3600.0]
"""When a scheduled run tries again what may pass."""
BY = "retrain"
"""Who promoted, where it was this flow."""


class RetrainingError(Exception):
    """Samples that may not teach; the message says what is wrong with them."""


@dataclass(frozen=True)
class Retrained:
    """What came of it."""

    outcome: str
    """``promoted``, ``refused``, ``left to a person``, ``nothing new``, `WAITS` or `UNFIT`."""
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
    first = since - timedelta(days=asset.retrain.lookback_days)
    new = _quality(asset, settings, history, since + INSTANT, None)
    return why_unfit(new, _quality(asset, settings, history, first, since)) if new.rows else ()


def _quality(
    asset: AssetConfig,
    settings: Settings,
    history: History,
    start: datetime,
    end: datetime | None,
) -> QualityReport:
    """Quality of normal running; gaps are those of the source, not of what was labelled."""
    historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
    normal, every = QualityTally(asset.channel), QualityTally(asset.channel)
    for part in historian.slices(start, end):
        normal.add(outside(part, history.intervals))
        every.add(part)
    report, whole = (tally.report(asset.window, None) for tally in (normal, every))
    return replace(report, gaps=whole.gaps, days_spanned=whole.days_spanned)


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
    lessons = prepare_lessons(asset, history)
    trained = train_asset(asset, settings, at=at, reason=reason, lessons=lessons, say=say)
    return registry.version_of(str(trained.version))


def is_finished(registry: Registry, version: RegisteredVersion) -> bool:
    """Whether nothing is left to do with a version: it was given to devices, or kept back."""
    if any(one.version == int(version.version) for one in registry.promotions()):
        return True
    verdict = verdict_of(version)
    return verdict is not None and verdict.outcome != Outcome.PROMOTED.value


def why_wait(registry: Registry, settings: Settings) -> str:
    """What keeps a version that the gate allows from its promotion; '' = nothing."""
    if trial := registry.trial():
        return f"version {trial.version} is on trial with the canaries"
    if settings.keys_apart:
        return f"signing is for whoever may read {settings.release_key}, by `faultwatch sign`"
    return ""


def judge_and_promote(
    asset: AssetConfig, settings: Settings, history: History, version: int, *, clock: Clock
) -> tuple[Verdict, str]:
    """Ask the gate, write down what it says, and do it; return it with its note.

    What was written down and not done by a run that was killed is done now. If a person has made
    another version the champion meanwhile, it is judged anew, beside that one. While the canaries
    try another version, or where the key that devices trust is not at hand, what the gate allows
    waits.
    """
    registry = Registry(settings, asset.asset.id)
    registered = registry.version_of(str(version))
    verdict, note = verdict_of(registered), ""
    while True:
        beside = registry.champion_version()
        if verdict is None or verdict.beside != beside:
            judgement = judge_version(asset, settings, history, registered)
            said = judgement.decision
            note = judgement.note()
            verdict = Verdict(said.outcome.value, said.reason, clock(), beside)
            note_verdict(registry, registered, verdict, note)
        if verdict.outcome != Outcome.PROMOTED.value:
            return verdict, note
        if why := why_wait(registry, settings):
            note = note and f"**Version {version} waits: {why}.**\n\n{note}"
            return replace(verdict, outcome=WAITS, reason=f"{verdict.reason}; {why}"), note
        if registry.champion_version() == beside:
            name, why = str(version), verdict.reason
            promote_version(registry, settings, name, at=clock(), by=BY, reason=why)
            return verdict, note


@answered()
def retrain_asset(
    asset: AssetConfig, settings: Settings, *, clock: Clock, reason: str, say: Say
) -> Retrained:
    """Train on what the historian holds, judge the challenger, promote it if it is better.

    Args:
        asset: the asset.
        settings: historian, MLflow, keys, folder of releases.
        clock: tells the time: a training takes a while, and a promotion has a time of its own.
        reason: why now; kept with the MLflow run.
        say: takes a sentence on what is going on.

    Raises:
        pipelines.train.TrainingError: nothing can be learned.
        pipelines.history.HistoryError: there is nothing to learn from.
        pipelines.processes.BusyError: another process trains the asset.
        pipelines.tracking.AwayError: MLflow does not answer.
    """
    with one_training(settings.home, asset.asset.id, clock()):
        registry = Registry(settings, asset.asset.id)
        _finish_before(registry, settings, say)
        history = read_history(asset, settings)
        if unfit := find_unfit(asset, settings, history):
            return Retrained(UNFIT, "; ".join(unfit))
        challenger = find_challenger(asset, settings, history, at=clock(), reason=reason, say=say)
        version = int(challenger.version)
        if is_finished(registry, challenger):
            before = verdict_of(challenger)
            told = f"; the gate said: {before.outcome}, {before.reason}" if before else ""
            return Retrained("nothing new", f"no sample or label since its training{told}", version)
        say("comparing challenger and champion")
        verdict, note = judge_and_promote(asset, settings, history, version, clock=clock)
        mirror_champion(registry, settings)
        return Retrained(verdict.outcome, verdict.reason, version, note)


def _finish_before(registry: Registry, settings: Settings, say: Say) -> None:
    """Finish what a run that was killed left half done."""
    for name in registry.finish_before(settings):
        say(f"'{name}' was killed, and is marked so")
    mirror_champion(registry, settings)


def may_pass(_task: "Task[..., Retrained]", _run: TaskRun, state: State[Retrained]) -> bool:
    """Whether a scheduled run failed by what may be over soon: a server away, another training.

    A person who waits at a terminal hears it at once.
    """
    error = state.result(raise_on_failure=False)
    scheduled = runtime.deployment.id is not None
    return scheduled and isinstance(error, AwayError | BusyError | DatabaseError)


@task(
    name="retrain",
    retries=len(AGAIN_AFTER_S),
    retry_delay_seconds=AGAIN_AFTER_S,
    retry_condition_fn=may_pass,
    cache_policy=NO_CACHE,
)
def take_in_and_retrain(asset_file: str, reason: str) -> Retrained:
    """Take in what is new, then `retrain_asset`; once more if a server was away."""
    ingest(asset_file)
    return retrain_asset(
        load_asset(asset_file),
        Settings(),
        clock=lambda: datetime.now(UTC),
        reason=reason,
        say=get_run_logger().info,
    )


@flow(name="retrain", description="Take in what is new, train, and promote what is better.")
def retrain(asset_file: str, reason: str = "schedule") -> Retrained:
    """Take in what is new, train a challenger, and promote it if it is better.

    Args:
        asset_file: asset file, or id of a shipped asset.
        reason: why now; kept with the MLflow run.

    Raises:
        RetrainingError: what came may not teach.
    """
    asset = load_asset(asset_file)
    came = take_in_and_retrain(asset_file, reason)
    get_run_logger().info("%s", came)
    text = f"# Retraining of {asset.asset.id}\n\n{came.note or str(came)}\n"
    create_markdown_artifact(text, key=f"retrain-{asset.asset.id}".replace("_", "-"))
    if came.outcome == UNFIT:
        raise RetrainingError(f"{asset.asset.id}: nothing was trained: {came.reason}")
    return came
