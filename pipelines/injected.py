"""Faults put into held-out normal running: what the bundle finds of them, and how soon."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import numpy as np
import polars as pl

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.message import Message
from features.injection import FAULT_KINDS, FaultKind, InjectedFault, inject
from features.labels import Interval, outside
from pipelines.replay import contributor_names, moment, raised_alarms, replay

CHANNELS = 6
"""Channels that get a fault of each kind."""
SIZE = 5.0
"""Size of the faults, in standard deviations of the channel in normal running."""
NAMED = 3
"""Channels that a person looks at first."""
LONGEST = timedelta(hours=24)
"""Normal running that a fault is put into, at most; the fault begins in its middle."""
MOST_ROWS = 10_000
"""The same in rows: every fault is replayed by itself."""


@dataclass(frozen=True)
class InjectedFaults:
    """What became of the faults of one kind."""

    kind: FaultKind
    """What went wrong."""
    tried: int
    """How many were put in."""
    found: int
    """How many raised an alarm or a sensor event of their channel."""
    median_delay_s: float | None
    """Median delay of those found; None where none was."""
    first_hits: int
    """How many were blamed on the right channel first."""
    three_hits: int
    """How many had the right channel among the first three that were blamed."""


def judge_injected(
    bundle: Bundle,
    samples: pl.DataFrame,
    intervals: Sequence[Interval],
    *,
    deviations: dict[str, float],
    seed: int,
    count: int = CHANNELS,
) -> tuple[InjectedFaults, ...]:
    """Put faults of every kind into the longest held-out normal running, one at a time.

    Args:
        bundle: what the device would run.
        samples: held-out samples.
        intervals: labelled intervals, which are left out.
        deviations: standard deviation of each channel in normal running; 0 = constant, left alone.
        seed: decides the channels and the noise.
        count: how many channels get a fault of each kind, where there are as many that move.
    """
    stretch = _longest_normal(samples, intervals, bundle.manifest.window.max_gap_s)
    if stretch.height < 4 * bundle.manifest.window.length:
        return ()
    moving = [name for name in bundle.manifest.channel_names if deviations[name] > 0]
    places = np.random.default_rng(seed).permutation(len(moving))[:count]
    channels = [moving[place] for place in sorted(places.tolist())]
    onset: datetime = stretch["time"][stretch.height // 2]
    return tuple(
        _judge_kind(
            bundle,
            stretch,
            [
                InjectedFault(kind, name, size=SIZE * deviations[name], onset=onset)
                for name in channels
            ],
            seed,
        )
        for kind in FAULT_KINDS
    )


def _longest_normal(
    samples: pl.DataFrame, intervals: Sequence[Interval], max_gap_s: float
) -> pl.DataFrame:
    """End of the longest uninterrupted normal running, a day and `MOST_ROWS` at most."""
    normal = outside(samples, intervals)
    if normal.is_empty():
        return normal
    spacing = normal["time"].diff()
    longest = max(timedelta(seconds=max_gap_s), 2 * spacing.quantile(0.5))  # type: ignore[operator]
    numbered = normal.with_columns(part=(spacing > longest).fill_null(value=False).cum_sum())
    sizes = numbered.group_by("part", maintain_order=True).len()
    best = sizes["part"][sizes["len"].arg_max() or 0]
    part = numbered.filter(pl.col("part") == best).drop("part")
    newest: datetime = part["time"][-1]
    return part.filter(pl.col("time") > newest - LONGEST).tail(MOST_ROWS)


def _judge_kind(
    bundle: Bundle, stretch: pl.DataFrame, faults: Sequence[InjectedFault], seed: int
) -> InjectedFaults:
    outcomes = [_judge_one(bundle, stretch, fault, seed) for fault in faults]
    delays = [delay for delay, _ in outcomes if delay is not None]
    ranks = [rank for _, rank in outcomes if rank is not None]
    return InjectedFaults(
        kind=faults[0].kind,
        tried=len(faults),
        found=len(delays),
        median_delay_s=median(delays) if delays else None,
        first_hits=sum(rank < 1 for rank in ranks),
        three_hits=sum(rank < NAMED for rank in ranks),
    )


def _judge_one(
    bundle: Bundle, stretch: pl.DataFrame, fault: InjectedFault, seed: int
) -> tuple[float | None, int | None]:
    """Delay in seconds, None if it was not found; and how many channels were named before it."""
    replayed = replay(bundle, inject(stretch, fault, seed=seed))
    found: list[tuple[datetime, int | None]] = [
        (moment(alarm, "raised_at"), _rank(contributor_names(alarm), fault.channel))
        for alarm in raised_alarms(replayed)
    ]
    found += [
        (moment(event, "transition_at"), 0)
        for event in replayed.messages
        if _names_sensor(event, fault.channel)
    ]
    after = [outcome for outcome in found if outcome[0] >= fault.onset]
    if not after:
        return None, None
    at, rank = min(after, key=lambda outcome: outcome[0])
    return (at - fault.onset).total_seconds(), rank


def _rank(names: Sequence[str], channel: str) -> int | None:
    """Place of a channel among those named; None = it was not."""
    return names.index(channel) if channel in names else None


def _names_sensor(message: Message, channel: str) -> bool:
    return (
        message["kind"] == "event"
        and message["condition"] == "sensor_fault"
        and message["channel"] == channel
        and message["state"] == "active"
    )
