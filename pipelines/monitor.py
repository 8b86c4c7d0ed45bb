"""Monitor flow: whether the champion still fits the machine, and whether retraining still works.

It looks at what came since the champion learned. What it finds is an event, ``drift.detected``,
that a Prefect automation turns into a retraining.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound

from faultwatch_edge.bundle import Bundle
from features.drift import find_shifts
from features.labels import Interval
from pipelines.channel_drift import BLOCK, hourly_means
from pipelines.config import AssetConfig, load_asset
from pipelines.evaluate import check_channels
from pipelines.historian import Historian
from pipelines.judging import fetch_bundle, standing_since
from pipelines.labelling import counted_intervals, find_baseline, read_labels
from pipelines.promise import Promise
from pipelines.registry import Registry, RegistryError
from pipelines.replay import judge_replay, replay
from pipelines.schedules import DRIFT, ended_runs, resource_of, runs_of
from pipelines.settings import Settings
from pipelines.tracking import answered

OVERDUE = "retraining.overdue"
LATE = timedelta(hours=1)
"""How long a retraining may wait for a worker."""
MOST_DAYS = timedelta(days=14)
"""Of what came since, the newest days are looked at."""
REPLAYED = 90_000
"""Newest rows that the champion lives through again: a little more than a day at one a second."""
QUIET = timedelta(days=1)
"""No event within this time of a training: what it learned has yet to show."""


@dataclass(frozen=True)
class Findings:
    """What is known of the champion and the samples since it learned."""

    asset_id: str
    version: int | None
    """The champion; None = there is none."""
    drifted: tuple[str, ...]
    """Why it no longer fits, a sentence each."""
    quiet: str = ""
    """Why no event follows; '' = one does, if anything drifted."""

    @property
    def is_event(self) -> bool:
        """Whether a retraining is to follow."""
        return bool(self.drifted) and not self.quiet

    def note(self) -> str:
        """Markdown for people."""
        if self.version is None:
            return f"{self.asset_id} has no champion yet: nothing to watch."
        lines = [f"# Is {self.asset_id} {self.version} still true?", ""]
        lines += [f"- {reason}" for reason in self.drifted] or ["Nothing has drifted."]
        if self.drifted and self.quiet:
            lines += ["", f"No retraining is asked for: {self.quiet}."]
        return "\n".join(lines)


def look(asset: AssetConfig, settings: Settings, *, at: datetime) -> Findings:
    """Look at what came since the champion learned.

    Args:
        asset: the asset.
        settings: historian and MLflow.
        at: now.
    """
    registry = Registry(settings, asset.asset.id)
    champion = registry.champion()
    learned_to = None if champion is None else registry.learned_to(champion)
    if champion is None:
        return Findings(asset.asset.id, None, ())
    if learned_to is None:
        unknown = "what it learned from is not noted: train it again"
        return Findings(asset.asset.id, int(champion.version), (), quiet=unknown)
    historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
    labels = read_labels(asset, settings)
    intervals, baseline = counted_intervals(labels), find_baseline(labels)
    span = historian.span()
    since = learned_to + timedelta(microseconds=1)
    if span is None or span[1] < since:
        return Findings(asset.asset.id, int(champion.version), ())
    taught_from = learned_to - timedelta(days=asset.retrain.lookback_days)
    taught_from = max(taught_from, baseline.start) if baseline else taught_from
    newest_from = max(since, span[1] - MOST_DAYS)
    taught, new = (
        hourly_means(asset, historian, intervals, start, end)
        for start, end in ((taught_from, since), (newest_from, None))
    )
    shifts = find_shifts(taught, new, asset.channel, block=BLOCK)
    newest = newest_rows(historian, newest_from, most=REPLAYED)
    with TemporaryDirectory() as scratch:
        bundle = fetch_bundle(registry, champion, settings, Path(scratch))
    return Findings(
        asset.asset.id,
        int(champion.version),
        (
            *(f"{shift} since {newest_from:%Y-%m-%d}" for shift in shifts),
            *_alarms(asset, bundle, newest, intervals),
        ),
        _why_quiet(asset, registry, at),
    )


def newest_rows(historian: Historian, since: datetime, *, most: int) -> pl.DataFrame:
    """The newest samples, at most so many; the earlier ones are read and let go in slices."""
    kept: list[pl.DataFrame] = []
    for part in historian.slices(since, None):
        kept = [pl.concat([*kept, part]).tail(most)]
    return kept[0] if kept else historian.read(since)


def _alarms(
    asset: AssetConfig, bundle: Bundle, rows: pl.DataFrame, intervals: Sequence[Interval]
) -> Iterator[str]:
    """More alarms in what counts as normal running than were promised, as a sentence."""
    try:
        check_channels(asset, bundle)
    except RegistryError as error:
        yield str(error)
        return
    replayed = replay(bundle, rows)
    normal = judge_replay(bundle, rows, replayed, intervals).normal
    promise = Promise(bundle.manifest.threshold)
    since = standing_since(bundle, replayed, intervals)
    if since is not None:
        yield f"it stands in alarm since {since:%Y-%m-%d %H:%M} UTC, and nobody called it a fault"
    elif promise.is_exceeded(normal):
        yield f"in the newest {normal.days:.1f} days it raised {promise.figures(normal)}"


def _why_quiet(asset: AssetConfig, registry: Registry, at: datetime) -> str:
    """Why what has drifted leads to no retraining now; '' = it does."""
    if not asset.retrain.drift:
        return "[retrain] drift = false"
    newest = next(iter(registry.versions()), None)
    if newest is None:
        return ""
    trained = datetime.fromtimestamp(newest.creation_timestamp / 1000.0, UTC)
    if at - trained < QUIET:
        return f"version {newest.version} was trained at {trained:%Y-%m-%d %H:%M} UTC"
    return ""


def find_overdue(client: SyncPrefectClient, asset_id: str, *, at: datetime) -> str:
    """Why what was scheduled did not bring a training, as a sentence; '' = it did.

    Args:
        client: of the Prefect server.
        asset_id: the asset.
        at: now.
    """
    try:
        deployment = client.read_deployment_by_name(f"retrain/{asset_id}")
    except ObjectNotFound:
        return ""
    ended = ended_runs(client, deployment)
    failed = list(takewhile(lambda run: run.state_type is not StateType.COMPLETED, ended))
    if failed:
        last = failed[0]
        return (
            f"the last {len(failed)} retrainings of {asset_id} failed, the last of them "
            f"'{last.name}': look at its log in Prefect"
        )
    late = [
        run
        for run in runs_of(client, deployment, StateType.SCHEDULED)
        if run.next_scheduled_start_time and at - run.next_scheduled_start_time > LATE
    ]
    if late:
        since = late[0].next_scheduled_start_time
        return f"a retraining of {asset_id} waits since {since:%Y-%m-%d %H:%M} UTC: start a worker"
    return ""


@flow(name="monitor", description="Look whether the champion still fits, and say so if not.")
@answered()
def monitor(asset_file: str) -> Findings:
    """Look whether the champion still fits the machine; an event says so if it does not.

    Args:
        asset_file: asset file, or id of a shipped asset.
    """
    asset, at = load_asset(asset_file), datetime.now(UTC)
    say = get_run_logger().info
    found = look(asset, Settings(), at=at)
    for reason in found.drifted:
        say(f"{asset.asset.id}: {reason}")
    key = f"monitor-{asset.asset.id}".replace("_", "-")
    with get_client(sync_client=True) as client:
        overdue = find_overdue(client, asset.asset.id, at=at)
    if overdue:
        get_run_logger().warning(overdue)
        emit(OVERDUE, found.asset_id, {"reason": overdue})
    create_markdown_artifact("\n\n".join(filter(None, [found.note(), overdue])), key=key)
    if found.is_event:
        emit(DRIFT, found.asset_id, {"reasons": list(found.drifted), "version": found.version})
    return found


def emit(event: str, asset_id: str, payload: dict[str, object]) -> None:
    """Tell Prefect's automations something of an asset."""
    resource = {
        "prefect.resource.id": resource_of(asset_id),
        "prefect.resource.name": asset_id,
    }
    emit_event(event=event, resource=resource, payload=payload)
