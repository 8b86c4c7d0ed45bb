"""What a bundle would have said: the device's own code run over recorded samples.

Everything here scores the exported file with the edge package, so that a figure in a report is
what a device would have done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.message import Message
from faultwatch_edge.score_row import ScoreRow
from features.labels import Interval, not_normal
from pipelines.threshold import SECONDS_PER_DAY, flags_interval, rate_interval

BATCH = 256
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Replay:
    """What the agent did with recorded samples."""

    messages: list[Message]
    """In order."""
    windows: list[ScoreRow]
    """One row a window, in order."""


@dataclass(frozen=True)
class NormalRunning:
    """How a bundle behaves while nothing is wrong."""

    days: float
    """Days of scored running outside labelled intervals."""
    alarms: int
    """Alarms raised in them: all false."""
    interval_per_day: tuple[float, float]
    """90% interval of the rate."""
    anomalous_share: float
    """Share of scored windows at or above the threshold."""
    share_interval: tuple[float, float] = (0.0, 1.0)
    """90% interval of that share."""

    @property
    def per_day(self) -> float:
        """False alarms a day."""
        return self.alarms / self.days if self.days else float("nan")


@dataclass(frozen=True)
class FoundFault:
    """What became of one labelled fault."""

    name: str
    """What the label says."""
    onset: datetime
    """Start of the labelled interval."""
    delay_s: float | None
    """Seconds from the onset to the alarm; None = never raised."""
    anomalous_share: float
    """Share of the interval's scored windows at or above the threshold."""
    contributors: tuple[str, ...]
    """Channels named by the alarm, the strongest first."""


@dataclass(frozen=True)
class Evaluation:
    """All of it, for one bundle."""

    reconstructor: str
    normal: NormalRunning
    faults: tuple[FoundFault, ...]

    @property
    def found_share(self) -> float:
        """Share of the labelled faults that raised an alarm."""
        found = [fault.delay_s is not None for fault in self.faults]
        return float(np.mean(found)) if found else float("nan")


def replay(bundle: Bundle, samples: pl.DataFrame) -> Replay:
    """Let the agent live through recorded samples.

    Args:
        bundle: what the device runs.
        samples: a samples frame with the bundle's channels.
    """
    windows: list[ScoreRow] = []
    agent = Agent(bundle, batch=BATCH, is_historical=True, on_score=windows.append)
    values = samples.select(bundle.manifest.channel_names).to_numpy()
    messages: list[Message] = []
    for time_us, row in zip(samples["time"].dt.epoch("us").to_list(), values, strict=True):
        messages += agent.process(time_us, row)
    messages += agent.finish()
    return Replay(messages, windows)


def raised_alarms(replayed: Replay) -> list[Message]:
    """The messages by which an alarm was raised."""
    return [
        message
        for message in replayed.messages
        if message["kind"] == "alarm" and message["state"] == "unacknowledged"
    ]


def moment(message: Message, key: str) -> datetime:
    """One of the instants in a message."""
    return datetime.fromisoformat(str(message[key]))


def judge_bundle(
    bundle: Bundle, samples: pl.DataFrame, intervals: Sequence[Interval]
) -> Evaluation:
    """Measure false alarms and labelled faults on samples that nobody trained on.

    Args:
        bundle: what the device would run.
        samples: held-out samples, labelled faults included.
        intervals: labelled intervals.
    """
    return judge_replay(bundle, samples, replay(bundle, samples), intervals)


def judge_replay(
    bundle: Bundle, samples: pl.DataFrame, replayed: Replay, intervals: Sequence[Interval]
) -> Evaluation:
    """The same of samples that were already replayed."""
    faults = [interval for interval in intervals if interval.kind in {"fault", "true_fault"}]
    return Evaluation(
        reconstructor=bundle.manifest.reconstructor,
        normal=judge_normal(bundle, replayed, intervals),
        faults=tuple(_judge_fault(replayed, fault) for fault in faults if _covers(samples, fault)),
    )


def judge_normal(bundle: Bundle, replayed: Replay, intervals: Sequence[Interval]) -> NormalRunning:
    """Count what happened in normal running: in windows with nothing of faults and maintenance."""
    window = bundle.manifest.window
    upset = not_normal(intervals, tail_s=(window.length - 1) * window.sample_period_s)
    anomalous, scored = _decisions(replayed)
    normal = scored & ~_within([row.end_us for row in replayed.windows], upset)
    hop_s = window.sample_period_s * window.hop
    days = float(normal.sum()) * hop_s / SECONDS_PER_DAY
    alarms = int((~_raised_within(raised_alarms(replayed), upset)).sum())
    return NormalRunning(
        days=days,
        alarms=alarms,
        interval_per_day=rate_interval(alarms, days) if days else (0.0, float("inf")),
        anomalous_share=_share(anomalous[normal]),
        share_interval=flags_interval(
            anomalous[normal], looks=normal.sum() * window.hop / window.length
        ),
    )


def _judge_fault(replayed: Replay, fault: Interval) -> FoundFault:
    """An alarm that was active before the onset finds nothing: only one raised after it counts."""
    anomalous, scored = _decisions(replayed)
    within = _within([row.end_us for row in replayed.windows], [fault])
    raised = raised_alarms(replayed)
    during = np.flatnonzero(_raised_within(raised, [fault]))
    first = raised[during[0]] if len(during) else None
    return FoundFault(
        name=fault.note or fault.kind,
        onset=fault.start,
        delay_s=(moment(first, "raised_at") - fault.start).total_seconds() if first else None,
        anomalous_share=_share(anomalous[within & scored]),
        contributors=contributor_names(first) if first else (),
    )


def _decisions(replayed: Replay) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each window is anomalous, and whether it was scored at all."""
    decided = [row.anomalous for row in replayed.windows]
    anomalous = np.array([bool(decision) for decision in decided], dtype=np.bool_)
    return anomalous, np.array([decision is not None for decision in decided], dtype=np.bool_)


def contributor_names(message: Message) -> tuple[str, ...]:
    """Channels named by a message, the strongest first."""
    contributors = cast("list[dict[str, object]]", message["contributors"])
    return tuple(str(contributor["channel"]) for contributor in contributors)


def _covers(samples: pl.DataFrame, interval: Interval) -> bool:
    return bool(_within(samples["time"].dt.epoch("us").to_list(), [interval]).any())


def _raised_within(alarms: Sequence[Message], intervals: Sequence[Interval]) -> NDArray[np.bool_]:
    """Whether each alarm was raised in an interval, both ends included.

    The first sample of a fault may raise it: its cell, and so the window, ends at the onset.
    """
    times = [microseconds_of(moment(alarm, "raised_at")) for alarm in alarms]
    begun = [replace(one, start=one.start - MICROSECOND) for one in intervals]
    return _within(times, begun)


def microseconds_of(at: datetime) -> int:
    """Microseconds since the epoch."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _within(times_us: Sequence[int], intervals: Sequence[Interval]) -> NDArray[np.bool_]:
    """Whether each instant lies in an interval, ``start < t <= end``.

    A window is told by its end: one that ends at the onset is still normal, one that ends with the
    fault is not.
    """
    times = np.asarray(times_us, dtype=np.int64)
    within = np.zeros(len(times), dtype=np.bool_)
    for interval in intervals:
        start, end = microseconds_of(interval.start), microseconds_of(interval.end)
        within |= (start < times) & (times <= end)
    return within


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
