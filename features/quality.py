"""Quality of an asset's samples, found in one pass over slices of any number of rows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.channels import Channel, channel_names
from features.findings import (
    ChannelQuality,
    HeldValue,
    QualityReport,
    RateChange,
    Silence,
    Stretch,
)
from features.grid import WindowConfig
from features.labels import Interval, outside
from features.remarks import make_remarks
from features.schema import SchemaError, check_samples
from features.slow_movement import SlowMovement
from features.tallies import Durations, Holes, Longest, Run, RunLengths, Spacings

GAP_FACTOR: Final = 3
"""A silence is a gap when it is longer than this many usual spacings."""
DAY_S: Final = 86_400.0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US: Final = 1e6


def assess_quality(
    slices: Iterable[pl.DataFrame],
    channels: tuple[Channel, ...],
    *,
    window: WindowConfig,
    false_alarms_per_day: float | None,
    upset: Sequence[Interval] | None = (),
) -> QualityReport:
    """Judge samples; the memory needed is that of one slice.

    Args:
        slices: samples frames, each later than the one before; runs and gaps go across.
        channels: the asset's channels.
        window: the configured sample period, and the longest silence that is no gap.
        false_alarms_per_day: the alarm budget; it needs ``1 / budget`` days. None = not judged,
            for a part of a history.
        upset: faults and maintenance, which do not count for how slowly a channel moves; None =
            nothing of it teaches, so that nobody needs to know.

    Raises:
        features.schema.SchemaError: a slice is no samples frame, or not later than the one before.

    Example:
        >>> at = [datetime(2026, 1, 1, 0, minute, tzinfo=UTC) for minute in (0, 1, 2, 12)]
        >>> samples = pl.DataFrame(
        ...     {"time": at, "flow": [1.0, 3.0, 4.0, 5.0]},
        ...     schema_overrides={"time": pl.Datetime("us", "UTC")},
        ... )
        >>> report = assess_quality(
        ...     [samples[:2], samples[2:]],
        ...     (Channel(name="flow"),),
        ...     window=WindowConfig(sample_period_s=60.0),
        ...     false_alarms_per_day=0.1,
        ... )
        >>> report.usual_period_s, report.gaps.total_s, round(report.days_short, 3)
        (60.0, 600.0, 9.999)
    """
    found = QualityTally(channels, upset)
    for samples in slices:
        found.add(samples)
    return found.report(window, false_alarms_per_day)


class QualityTally:
    """What is known of all samples so far; `assess_quality` for slices that come one by one."""

    def __init__(
        self, channels: tuple[Channel, ...], upset: Sequence[Interval] | None = ()
    ) -> None:
        self._channels, self._upset = channels, upset
        self._tallies = [_ChannelTally(channel) for channel in channels]
        self._spacings = Spacings()
        self._rows, self._first, self._last = 0, 0, 0

    def add(self, samples: pl.DataFrame) -> None:
        """Take the next slice."""
        samples = samples.select("time", *channel_names(self._channels))
        check_samples(samples, self._channels)
        if samples.is_empty():
            return
        self._advance(samples["time"].to_physical().to_numpy())
        measured = _with_values(samples)
        times = measured["time"].to_physical().to_numpy()
        self._spacings.add(times)
        for tally, values in zip(self._tallies, measured.drop("time"), strict=True):
            tally.add(values, times)
        if self._upset is not None:
            normal = outside(measured, self._upset)
            for tally, values in zip(self._tallies, normal.drop("time"), strict=True):
                tally.add_normal(values)

    def _advance(self, times: NDArray[np.int64]) -> None:
        if not self._rows:
            self._first = int(times[0])
            self._spacings.add(times[:1])
        elif times[0] <= self._last:
            raise SchemaError(
                f"a slice starts at {_at(int(times[0]))}, expected it later than "
                f"{_at(self._last)}, where the one before ends; read slices in order of time"
            )
        self._rows += len(times)
        self._last = int(times[-1])

    def report(self, window: WindowConfig, false_alarms_per_day: float | None) -> QualityReport:
        """What was found; no slice comes after it."""
        if self._rows:
            self._spacings.add(np.array([self._last]))
        spacings = self._spacings.all
        bound = max(window.max_gap_s * SECOND_US, GAP_FACTOR * (spacings.usual or 0))
        gaps = _silence(spacings, bound)
        span_s = (self._last - self._first) / SECOND_US
        report = QualityReport(
            rows=self._rows,
            first_at=_at(self._first) if self._rows else None,
            last_at=_at(self._last) if self._rows else None,
            days_spanned=span_s / DAY_S,
            days_covered=(span_s - gaps.total_s) / DAY_S,
            days_needed=1.0 / false_alarms_per_day if false_alarms_per_day else None,
            sample_period_s=window.sample_period_s,
            usual_period_s=spacings.usual / SECOND_US if spacings.usual else None,
            regular_share=spacings.regular_share,
            gaps=replace(gaps, longest=gaps.longest if gaps.count else None),
            rate_changes=tuple(
                RateChange(_at(start), before / SECOND_US, after / SECOND_US)
                for start, before, after in self._spacings.changes()
            ),
            channels=tuple(
                tally.report(self._rows, self._last, bound, teaches=self._upset is not None)
                for tally in self._tallies
            ),
            remarks=(),
        )
        return replace(report, remarks=make_remarks(report))


class _ChannelTally:
    """What is known of one channel so far."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._holes, self._runs, self._slow = Holes(), RunLengths(), SlowMovement()
        self._samples = self._outside = 0
        self._lowest, self._highest = np.inf, -np.inf
        self._outside_since: int | None = None

    def add(self, values: pl.Series, times: NDArray[np.int64]) -> None:
        """Take the channel's column of the next rows, and their times."""
        missing = values.is_null().to_numpy()
        self._holes.add(missing, times)
        if values.null_count():
            values, times = values.drop_nulls(), times[~missing]
        if values.is_empty():
            return
        measured = values.to_numpy()
        self._samples += len(measured)
        self._lowest = min(self._lowest, float(measured.min()))
        self._highest = max(self._highest, float(measured.max()))
        self._look_outside(measured, times)
        if self._channel.kind == "continuous" and self._channel.reporting == "periodic":
            self._runs.add(measured, times)

    def add_normal(self, values: pl.Series) -> None:
        """Take those of these values that are normal running."""
        if self._channel.kind == "continuous":
            self._slow.add(values.drop_nulls().to_numpy())

    def _look_outside(self, measured: NDArray[np.float64], times: NDArray[np.int64]) -> None:
        low, high = self._channel.range or (-np.inf, np.inf)
        outside = np.flatnonzero((measured < low) | (measured > high))
        self._outside += len(outside)
        if len(outside) and self._outside_since is None:
            self._outside_since = int(times[outside[0]])

    def report(self, rows: int, end: int, bound: float, *, teaches: bool) -> ChannelQuality:
        """What was found; no row comes after it.

        Args:
            rows: how many there were, with and without a value.
            end: time of the last.
            bound: longest silence of all channels that is no gap, microseconds.
            teaches: whether any of it is learned from.
        """
        self._holes.finish(end)
        self._runs.finish()
        stuck_runs, stuck_samples = self._runs.stuck()
        since = self._outside_since
        return ChannelQuality(
            name=self._channel.name,
            unit=self._channel.unit,
            range=self._channel.range,
            samples=self._samples,
            missing_share=1.0 - self._samples / rows if rows else 0.0,
            missing=self._missing(bound),
            sparse=self._sparse,
            constant=self._lowest == self._highest,
            longest_run=_held(self._runs.longest),
            stuck_runs=stuck_runs,
            stuck_share=_share(stuck_samples, self._samples),
            outside_share=_share(self._outside, self._samples),
            worst=self._worst(),
            outside_since=None if since is None else _at(since),
            slow_share=self._slow.share() if teaches else None,
        )

    @property
    def _sparse(self) -> bool:
        return 2 * self._holes.all.count > self._samples > 0

    def _missing(self, bound: float) -> Silence:
        """A slow channel may be silent three times as long as it usually is."""
        if self._channel.reporting == "on_change":
            return _silence(self._holes.all, np.inf)
        usual = self._holes.all.usual if self._sparse else 0
        return _silence(self._holes.all, max(bound, GAP_FACTOR * (usual or 0)))

    def _worst(self) -> float | None:
        if not self._outside or self._channel.range is None:
            return None
        below = self._channel.range[0] - self._lowest
        above = self._highest - self._channel.range[1]
        return self._lowest if below >= above else self._highest


def _with_values(samples: pl.DataFrame) -> pl.DataFrame:
    """Rows in which any channel has a value."""
    values = samples.drop("time")
    if any(not column.null_count() for column in values):
        return samples
    return samples.filter(pl.any_horizontal(pl.col(values.columns).is_not_null()))


def _at(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _silence(durations: Durations, bound: float) -> Silence:
    count, total = durations.longer_than(bound)
    longest = durations.longest
    return Silence(count, total / SECOND_US, _stretch(longest) if longest else None)


def _stretch(longest: Longest) -> Stretch:
    return Stretch(_at(longest.start), longest.us / SECOND_US)


def _held(run: Run | None) -> HeldValue | None:
    if run is None:
        return None
    return HeldValue(
        run.value, run.samples, Stretch(_at(run.start), (run.end - run.start) / SECOND_US)
    )
