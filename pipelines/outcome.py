"""What came of a trial: all that its summary and its page say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf, nan
from statistics import median

import polars as pl

from faultwatch_edge.bundle import Bundle, Certificate
from faultwatch_edge.times import to_iso
from features.findings import QualityReport
from features.grid import WindowConfig
from features.labels import Interval, not_normal
from models.crossfit import NormalScores
from pipelines.config import AssetConfig
from pipelines.operating_points import PointRecord
from pipelines.promise import Promise
from pipelines.replay import NormalRunning, microseconds_of
from pipelines.scoring import AlarmRecord
from pipelines.sensor_events import SensorRecord
from pipelines.threshold import flags_interval, rate_interval
from pipelines.watch import Watched

DAY_S = 86_400.0
FAULTS = ("fault", "true_fault")


@dataclass(frozen=True)
class Figures:
    """What one detector made of the rows."""

    rows_scored: int
    anomalous_share: float | None
    """Of the scored rows outside labelled faults and maintenance; None = there are none."""
    share_interval: tuple[float, float]
    """90% interval of that share."""
    alarms: int
    """Alarms raised outside labelled faults and maintenance."""
    days: float
    """Scored days in which they were."""
    faulty_share: float | None
    """Anomalous share of the scored rows within labelled faults; None = there are none."""
    faults: int
    """Labelled faults within the rows."""
    found: int
    """Those during which an alarm was raised."""
    median_delay_s: float | None
    """From the start of those that were found to the alarm."""

    @property
    def normal(self) -> NormalRunning:
        """The rows outside labelled faults and maintenance."""
        return NormalRunning(
            days=self.days,
            alarms=self.alarms,
            interval_per_day=rate_interval(self.alarms, self.days) if self.days else (0.0, inf),
            anomalous_share=nan if self.anomalous_share is None else self.anomalous_share,
            share_interval=self.share_interval,
        )


@dataclass(frozen=True)
class Outcome:
    """A detector and its rivals, tried on rows that nothing was learned from."""

    asset: AssetConfig
    columns: Mapping[str, str]
    """Column of each channel in the files."""
    learned_from: str
    tried_on: str
    """What the two are, for people."""
    samples: pl.DataFrame
    """Normal running that was learned from."""
    bundles: Mapping[str, Bundle]
    """By reconstructor: the detector that is reported on, then its rivals."""
    normal: NormalScores | None
    """Its cross-fitted scores of normal running; None = only what the bundle says of them."""
    far: float | None
    """Share of normal rows that may be anomalous; None = the alarm budget."""
    watched: Mapping[str, Watched]
    figures: Mapping[str, Figures]
    intervals: tuple[Interval, ...]
    rows: int
    """Rows of what it was tried on."""
    since_row: int
    """Rows before it only taught."""
    has_times: bool
    is_in_order: bool
    """Whether the rows are in order of time."""
    quality: tuple[QualityReport, QualityReport]
    """Of what was learned from, and of what it was tried on."""
    seconds_to_fit: float | None
    """None = it was fitted before."""
    runtime_windows_per_second: float
    """Of ONNX Runtime alone, on the same graph."""
    certificate: Certificate | None
    """Smallest faults that the detector finds; None = there is too little normal running."""
    warnings: tuple[str, ...]

    @property
    def chosen(self) -> str:
        """The detector that is reported on."""
        return next(iter(self.bundles))

    def promise(self, name: str) -> Promise:
        """What the threshold of one detector promises."""
        window, threshold = self.asset.window, self.bundles[name].manifest.threshold
        return Promise(threshold, self.far, hop_s=window.hop_s, span_s=window.span_s)

    @property
    def alarms(self) -> list[AlarmRecord]:
        """Its alarms, without those of rows that only taught."""
        return alarms_since(self.watched[self.chosen], self._start)

    @property
    def sensors(self) -> list[SensorRecord]:
        """Sensors at fault, as it tells them, without those of rows that only taught."""
        records = self.watched[self.chosen].scorer.sensors.records
        start_us = self._start_us
        return [one for one in records if one.began_us >= start_us]

    @property
    def operating_points(self) -> list[PointRecord]:
        """New operating points, as it tells them, without those of rows that only taught."""
        records = self.watched[self.chosen].scorer.operating_points.records
        start_us = self._start_us
        return [one for one in records if one.onset_us >= start_us]

    def instant(self, at_us: int) -> str | int:
        """An instant; without times the row that ended then."""
        if self.has_times:
            return to_iso(at_us)
        return at_us // self.asset.window.sample_period_us - 1

    def column_names(self, channels: Sequence[str]) -> list[str]:
        """What the files call them."""
        return [self.columns[channel] for channel in channels]

    @property
    def _start_us(self) -> float:
        """When the first row that counts ends, in microseconds; infinite where there is none."""
        start = self._start
        return inf if start is None else microseconds_of(start)

    @property
    def _start(self) -> datetime | None:
        """Time of the first row that counts; None = there is none."""
        rows = pl.scan_parquet(self.watched[self.chosen].parts)
        counted = rows.filter(pl.col("row") >= self.since_row)
        start: datetime | None = counted.select(pl.col("time").min()).collect().item()
        return start


def count_figures(
    watched: Mapping[str, Watched],
    intervals: Sequence[Interval],
    *,
    window: WindowConfig,
    since_row: int = 0,
) -> dict[str, Figures]:
    """Count what each detector made of the rows.

    Args:
        watched: their lives, by name.
        intervals: labels; a row or an alarm belongs to one if ``start < t <= end``, and counts as
            no normal running while windows hold some of it.
        window: of the detectors.
        since_row: rows before it do not count.
    """
    return {
        name: _count(one, intervals, window=window, since_row=since_row)
        for name, one in watched.items()
    }


def _count(
    watched: Watched, intervals: Sequence[Interval], *, window: WindowConfig, since_row: int
) -> Figures:
    upset = not_normal(intervals, tail_s=(window.length - 1) * window.sample_period_s)
    faults = [one for one in intervals if one.kind in FAULTS]
    rows = pl.scan_parquet(watched.parts).filter(pl.col("row") >= since_row)
    is_scored = pl.col("score").is_not_null()
    scored = rows.filter(is_scored)
    normal, faulty = scored.filter(~_within(upset)), scored.filter(_within(faults))
    counts = pl.collect_all(
        [
            scored.select(pl.len()),
            *(part.select(pl.len(), pl.col("anomalous").sum()) for part in (normal, faulty)),
            rows.select(start=pl.col("time").min(), end=pl.col("time").max()),
            pl.scan_parquet(watched.parts).select(is_scored.sum()),
        ]
    )
    every, with_those_that_taught = counts[0].item(), counts[4].item()
    start, end = counts[3].row(0)
    (normal_rows, false_rows), (faulty_rows, true_rows) = counts[1].row(0), counts[2].row(0)
    raised = [record.raised_us for record in alarms_since(watched, start)]
    there = [fault for fault in faults if _overlaps(fault, start, end)]
    days = (
        watched.scorer.windows * window.hop_s / DAY_S * normal_rows / max(with_those_that_taught, 1)
    )
    flags = normal.select("anomalous").collect()["anomalous"].to_numpy()
    delays = [found for fault in there if (found := _delay_s(fault, raised)) is not None]
    return Figures(
        rows_scored=every,
        anomalous_share=false_rows / normal_rows if normal_rows else None,
        alarms=sum(not any(_holds(one, at_us) for one in upset) for at_us in raised),
        share_interval=flags_interval(flags, looks=days * DAY_S / window.span_s),
        days=days,
        faulty_share=true_rows / faulty_rows if faulty_rows else None,
        faults=len(there),
        found=len(delays),
        median_delay_s=median(delays) if delays else None,
    )


def alarms_since(watched: Watched, start: datetime | None) -> list[AlarmRecord]:
    """Alarms that were raised from a time on; None = there is no row of that time."""
    if start is None:
        return []
    return [one for one in watched.scorer.alarms if one.raised_us >= microseconds_of(start)]


def interval_at(intervals: Sequence[Interval], at_us: int) -> Interval | None:
    """The first labelled interval that an instant belongs to."""
    return next((one for one in intervals if _holds(one, at_us)), None)


def _within(intervals: Sequence[Interval]) -> pl.Expr:
    within = pl.lit(value=False)
    for one in intervals:
        within |= (pl.col("time") > one.start) & (pl.col("time") <= one.end)
    return within.fill_null(value=False)


def _holds(interval: Interval, at_us: int) -> bool:
    return microseconds_of(interval.start) < at_us <= microseconds_of(interval.end)


def _overlaps(interval: Interval, start: datetime | None, end: datetime | None) -> bool:
    return start is not None and end is not None and interval.start < end and start <= interval.end


def _delay_s(fault: Interval, raised_us: Sequence[int]) -> float | None:
    during = [at_us for at_us in raised_us if _holds(fault, at_us)]
    return (min(during) - microseconds_of(fault.start)) / 1e6 if during else None
