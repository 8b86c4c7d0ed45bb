"""Challenger and champion on the same unseen running: what the promotion gate decides on."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from faultwatch_edge.bundle import Bundle, read_bundle
from faultwatch_edge.detector import Detector, check_golden
from faultwatch_edge.errors import EdgeError
from faultwatch_edge.keys import load_trusted_keys
from features.labels import Interval, not_normal
from pipelines.config import AssetConfig
from pipelines.detectability import Difference, difference
from pipelines.evaluate import check_channels, find_injected
from pipelines.history import History, HistoryError
from pipelines.promise import Promise
from pipelines.promotion_gate import Contender, Decision, Outcome, decide
from pipelines.registry import RegisteredVersion, Registry, RegistryError
from pipelines.replay import Replay, judge_replay, moment, raised_alarms, replay
from pipelines.settings import Settings

STANDING = {"unacknowledged", "acknowledged"}
MOST_ALARMS = 10
"""Alarms of a kind that the table names."""


@dataclass(frozen=True)
class Judged:
    """A contender, and when it raised its alarms."""

    contender: Contender
    alarms: tuple[tuple[str, str], ...]
    """Of each alarm: when it was raised, to the minute, and what it says."""
    unjudged: tuple[str, ...]
    """The same of those of which nobody has said anything."""


@dataclass(frozen=True)
class Judgement:
    """What the gate said, and of what."""

    decision: Decision
    challenger: Judged
    champion: Judged | None
    detected: Difference | None

    def note(self) -> str:
        """Markdown for people: the decision, then what it rests on."""
        said, version = self.decision, self.challenger.contender.version
        lines = [f"**Version {version} is {said.outcome.value}: {said.reason}.**", ""]
        both = [self.challenger, *([self.champion] if self.champion else [])]
        lines += [
            "| version | learned to | false alarms a day (90%) | labelled faults found |",
            "| --- | --- | --- | --- |",
            *(_row(one.contender) for one in both),
        ]
        if self.detected is not None:
            lines += ["", f"It finds {self.detected.than('the champion')}."]
        return "\n".join(lines + self._changed_alarms())

    def _changed_alarms(self) -> list[str]:
        """Alarms that only one of the two raised, as a list."""
        if self.champion is None:
            return []
        mine, theirs = dict(self.challenger.alarms), dict(self.champion.alarms)
        gained = [f"{at}: {mine[at]}" for at in mine if at not in theirs]
        lost = [f"{at}: {theirs[at]}" for at in theirs if at not in mine]
        unjudged = list(self.champion.unjudged)
        return [
            *_listed("Alarms gained", gained),
            *_listed("Alarms lost", lost),
            *_listed("Alarms of the champion of which nobody has said anything", unjudged),
        ]


def _listed(title: str, alarms: Sequence[str]) -> list[str]:
    more = [f"- and {len(alarms) - MOST_ALARMS} more"] if len(alarms) > MOST_ALARMS else []
    return ["", f"{title}: {len(alarms)}", *(f"- {one}" for one in alarms[:MOST_ALARMS]), *more]


def _row(one: Contender) -> str:
    to = f"{one.learned_to:%Y-%m-%d %H:%M}" if one.learned_to else "-"
    low, high = one.normal.interval_per_day
    return (
        f"| {one.version} | {to} | {one.normal.per_day:.2f} ({low:.2f} to {high:.2f}), budget "
        f"{one.promise.rate:g} | {one.found_faults} of {len(one.faults)} |"
    )


def judge_version(
    asset: AssetConfig,
    settings: Settings,
    history: History,
    challenger: RegisteredVersion,
) -> Judgement:
    """Judge a registered bundle beside the champion, on what neither learned from.

    Args:
        asset: its channels, and the seed of the injected faults.
        settings: MLflow and the public key.
        history: its held-out part judges.
        challenger: the registered bundle.

    Raises:
        RegistryError: what is registered is damaged.
        HistoryError: nothing is there that the challenger did not learn from.
    """
    registry = Registry(settings, asset.asset.id)
    champion = registry.champion()
    history = history.unseen(registry.learned_to(challenger))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ours = fetch_bundle(registry, challenger, settings, folder / "challenger")
        theirs = None
        if champion is not None and champion.version != challenger.version:
            try:
                history = history.unseen(registry.learned_to(champion))
                theirs = fetch_bundle(registry, champion, settings, folder / "champion")
                check_channels(asset, theirs)
            except (EdgeError, RegistryError, HistoryError) as error:
                return _left(asset, history, ours, challenger, registry, why=str(error))
    judged = _judge(ours, history, registry, challenger)
    if theirs is None or champion is None:
        decision = decide(judged.contender, None, detected=None, flaw=_flaw(ours))
        return Judgement(decision, judged, None, None)
    rival = _judge(theirs, history, registry, champion)
    found = find_injected(asset, [ours, theirs], history)
    detected = difference(*found, seed=asset.model.seed)
    decision = decide(judged.contender, rival.contender, detected=detected, flaw=_flaw(ours))
    return Judgement(decision, judged, rival, detected)


def fetch_bundle(
    registry: Registry, version: RegisteredVersion, settings: Settings, folder: Path
) -> Bundle:
    """A registered bundle, with its signature checked.

    Raises:
        RegistryError: what arrived is not what was registered.
        faultwatch_edge.errors.EdgeError: a device would not read it.
    """
    path = registry.download(version, folder)
    return read_bundle(path, trusted_keys=load_trusted_keys([settings.public_key_file]))


def _flaw(bundle: Bundle) -> str:
    """Why a device would refuse the bundle; '' = it would not."""
    try:
        check_golden(Detector.from_bundle(bundle), bundle)
    except EdgeError as error:
        return str(error)
    return ""


def _left(
    asset: AssetConfig,
    history: History,
    ours: Bundle,
    challenger: RegisteredVersion,
    registry: Registry,
    *,
    why: str,
) -> Judgement:
    """Nothing to compare with: a person decides."""
    decision = Decision(
        Outcome.LEFT_TO_A_PERSON,
        f"the champion of {asset.asset.id} cannot be judged beside it: {why}",
    )
    return Judgement(decision, _judge(ours, history, registry, challenger), None, None)


def _judge(
    bundle: Bundle, history: History, registry: Registry, version: RegisteredVersion
) -> Judged:
    """Let a bundle live through the held-out history."""
    replayed = replay(bundle, history.held_out)
    evaluation = judge_replay(bundle, history.held_out, replayed, history.intervals)
    raised = [(moment(one, "raised_at"), str(one["message"])) for one in raised_alarms(replayed)]
    said = tuple((f"{at:%Y-%m-%d %H:%M}", text) for at, text in raised)
    standing = standing_since(bundle, replayed, history.intervals)
    until = history.held_out["time"][-1] if standing is not None else None
    is_judged = [
        _is_judged(history.intervals, at, until if at == standing else None) for at, _ in raised
    ]
    unjudged = tuple(
        ": ".join(one) for one, known in zip(said, is_judged, strict=True) if not known
    )
    contender = Contender(
        version=int(version.version),
        learned_to=registry.learned_to(version),
        promise=Promise(bundle.manifest.threshold),
        normal=evaluation.normal,
        faults=evaluation.faults,
        unjudged_alarms=len(unjudged),
        standing_since=standing,
    )
    return Judged(contender, said, unjudged)


def standing_since(
    bundle: Bundle, replayed: Replay, intervals: Sequence[Interval]
) -> datetime | None:
    """When the alarm was raised that still stands at the end, if that counts as normal running."""
    alarms = [one for one in replayed.messages if one["kind"] == "alarm"]
    if not alarms or alarms[-1]["state"] not in STANDING:
        return None
    raised = moment(alarms[-1], "raised_at")
    window = bundle.manifest.window
    upset = not_normal(intervals, tail_s=(window.length - 1) * window.sample_period_s)
    is_excused = any(one.start <= raised <= one.end for one in upset)
    return None if is_excused else raised


def _is_judged(intervals: Sequence[Interval], at: datetime, until: datetime | None) -> bool:
    """Whether somebody said what an alarm was; of one that stands, to the end."""
    return any(
        one.start <= at <= one.end and (until is None or one.end >= until) for one in intervals
    )
