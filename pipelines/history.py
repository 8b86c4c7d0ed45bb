"""An asset's history, divided by what it may be used for."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from features.labels import Interval, outside
from features.remarks import in_time
from models.crossfit import windows_needed
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.labelling import Label, counted_intervals, find_baseline, read_labels
from pipelines.settings import Settings

HELD_OUT_SHARE = 0.2
"""Share of the history that is kept apart where the asset file does not say."""
MOST_VALUES = 20_000_000
"""Values that teach, and values that judge, at most: they are held in memory together."""
INSTANT = timedelta(microseconds=1)
"""From one time to the next that can be told from it."""
STRETCHES = 40
"""Parts of a longer history that teach; each lies at random in a part of time of its own."""


class HistoryError(Exception):
    """A history that nothing can be learned from; the message says what is missing."""


@dataclass(frozen=True)
class History:
    """What an asset's historian holds, divided by what it may be used for."""

    version: int
    """Version of the historian's table."""
    normal: pl.DataFrame
    """Normal running to learn from."""
    held_out: pl.DataFrame
    """The newest samples, faults included: nothing is learned from them."""
    intervals: tuple[Interval, ...]
    """What people labelled, in the asset's interval file and by `faultwatch label`."""
    baseline: Label | None = None
    """Who said that nothing before an instant teaches; None = nobody did."""
    rows_there: int = 0
    """Of normal running, whether they teach or not."""

    def learned(self) -> str:
        """From when to when was learned, and why not from before, as a sentence."""
        first, last = (self.normal["time"][place] for place in (0, -1))
        span = f"Learned from {_minute(first)} to {_minute(last)} UTC{self._thinned()}."
        if self.baseline is None or self.baseline.at is None:
            return span
        by = f"{self.baseline.by} said so " if self.baseline.by else "said "
        return (
            f"{span} Nothing before {_minute(self.baseline.start)} UTC teaches ({by}on "
            f"{self.baseline.at:%Y-%m-%d}); so it stays for every training until another "
            "`--since`."
        )

    def _thinned(self) -> str:
        if self.rows_there <= self.normal.height:
            return ""
        return (
            f", in {STRETCHES} stretches spread over that time: {self.normal.height} of "
            f"{self.rows_there} rows of normal running, for more than {MOST_VALUES // 10**6} "
            "million values do not teach at once"
        )

    def unseen(self, learned_to: datetime | None) -> "History":
        """The same, less what a bundle learned from: only what is later judges it.

        Raises:
            HistoryError: there is nothing later.
        """
        if learned_to is None:
            return self
        later = self.held_out.filter(pl.col("time") > learned_to)
        if later.is_empty() and not self.held_out.is_empty():
            raise HistoryError(
                f"the bundle learned from all there is, up to {_minute(learned_to)} UTC; ingest "
                "what came later, then judge it"
            )
        return replace(self, held_out=later)


def read_history(asset: AssetConfig, settings: Settings) -> History:
    """Read the historian and divide it: labelled faults and maintenance never count as normal.

    Raises:
        HistoryError: the historian is empty, or nothing of it is normal.
        LabelError: the interval file cannot be used.
    """
    historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
    version = historian.version()
    pinned = version if version >= 0 else None
    times = historian.read_times(version=pinned)
    if times.is_empty():
        raise HistoryError(
            f"{asset.asset.id}: the historian is empty; run `faultwatch ingest` first"
        )
    labels = read_labels(asset, settings)
    intervals, baseline = counted_intervals(labels), find_baseline(labels)
    newest: datetime = times["time"][-1]
    oldest = max(times["time"][0], newest - timedelta(days=asset.retrain.lookback_days))
    if baseline is not None:
        oldest = max(oldest, baseline.start)
    days = asset.retrain.holdout_days
    share = max(newest - oldest, timedelta()) * HELD_OUT_SHARE
    border = newest - (share if days is None else timedelta(days=days))
    past = times.filter((pl.col("time") >= oldest) & (pl.col("time") <= border))
    normal = outside(past, intervals)
    if normal.is_empty():
        raise HistoryError(f"{asset.asset.id}: {_nothing(asset, newest, border, baseline)}")
    most = max(STRETCHES, MOST_VALUES // len(asset.channel))
    teaching = [
        outside(historian.read(first, last + INSTANT, version=pinned), intervals)
        for first, last in _stretches(normal["time"], most)
    ]
    return History(
        version=version,
        normal=pl.concat(teaching),
        held_out=historian.read(_newest(times["time"], border, most), version=pinned),
        intervals=intervals,
        baseline=baseline,
        rows_there=normal.height,
    )


def _newest(times: pl.Series, border: datetime, most: int) -> datetime:
    """From when on samples judge: after the border, and ``most`` rows at most."""
    later = times.filter(times > border)
    return later[-min(most, len(later))] if len(later) else border + INSTANT


def _stretches(times: pl.Series, most: int) -> list[tuple[datetime, datetime]]:
    """First and last time of what is read: all of it, or stretches that hold ``most`` rows.

    Each stretch lies somewhere in a part of its own of the time there is: at random, so that they
    do not all fall on the same hour of the day.
    """
    if len(times) <= most:
        return [(times[0], times[-1])]
    draw = np.random.default_rng(0)
    rows, edges = most // STRETCHES, np.linspace(0, len(times), STRETCHES + 1).astype(int)
    firsts = [int(draw.integers(edge, end - rows + 1)) for edge, end in pairwise(edges)]
    return [(times[first], times[first + rows - 1]) for first in firsts]


def _nothing(asset: AssetConfig, newest: datetime, border: datetime, baseline: Label | None) -> str:
    """Why nothing teaches, and what to do."""
    if baseline is None:
        return (
            f"no normal running before {_minute(border)} UTC; the days after it are kept apart to "
            "judge by; ingest more history, set [retrain] holdout_days, or correct the labels"
        )
    there = max((newest - baseline.start).total_seconds(), 0.0)
    needed = windows_needed(len(asset.channel), asset.model.folds) * asset.window.hop_s
    return (
        f"{in_time(there)} of history since {_minute(baseline.start)} UTC, what is after "
        f"{_minute(border)} UTC is kept apart to judge by, and before that nothing is normal "
        f"running: {in_time(needed)} or more is needed; ingest more, lower [retrain] holdout_days, "
        "or begin earlier with --since"
    )


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
