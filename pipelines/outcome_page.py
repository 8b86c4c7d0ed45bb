"""An outcome as a page: what was learned, what is promised, what was found, for people."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.channels import Channel
from features.remarks import in_time
from pipelines.operating_points import tell_points
from pipelines.outcome import Outcome, interval_at
from pipelines.page import AlarmLine, ChannelLine, DetectorLine, Page, Stretch, Trace, is_better
from pipelines.page_certificate import LimitTable, make_limit_table
from pipelines.page_sensors import SensorLine
from pipelines.replay import microseconds_of
from pipelines.scoring import AlarmRecord
from pipelines.sensor_events import SensorRecord

MOST_BUCKETS = 6_000
"""Points of a timeline."""
MOST_ALARMS = 300
"""Alarms that are listed."""
SECOND_US = 1e6
NAMES = {
    "vae": "Faultwatch (VAE)",
    "window_pca": "Window-PCA, same head",
    "pca": "PCA T²+Q",
}


def make_page(outcome: Outcome) -> Page:
    """Put an outcome into the words and numbers of a page."""
    x, scores = _timelines(outcome)
    lines = [_detector(outcome, name, score) for name, score in scores.items()]
    alarms = outcome.alarms
    files = (f"learned from: {outcome.learned_from}", f"tried on: {outcome.tried_on}")
    return Page(
        title=f"{outcome.tried_on}, as seen by a detector that learned from {_teacher(outcome)}",
        verdict=" ".join(_verdict(outcome, dict(zip(scores, lines, strict=True)))),
        facts=tuple(_facts(outcome)),
        promise=_promise(outcome),
        warnings=(*outcome.warnings, *_new_points(outcome), *_too_many(len(alarms))),
        channels=tuple(_channel(outcome, channel) for channel in outcome.asset.channel),
        quality=tuple(
            (name, report.remarks) for name, report in zip(files, outcome.quality, strict=True)
        ),
        has_times=outcome.has_times,
        x=x,
        detectors=tuple(lines),
        alarms=tuple(_alarm(outcome, record) for record in alarms[:MOST_ALARMS]),
        labels=tuple(
            Stretch(_seconds(one.start), _seconds(one.end), one.kind, one.note)
            for one in outcome.intervals
        ),
        sensors=tuple(_sensors(outcome)),
        certificate=_certificate(outcome),
    )


def _certificate(outcome: Outcome) -> LimitTable | None:
    if outcome.certificate is None:
        return None
    return make_limit_table(
        outcome.certificate,
        outcome.columns,
        row_s=None if outcome.has_times else outcome.asset.window.sample_period_s,
        is_labelled=bool(outcome.intervals),
    )


def _teacher(outcome: Outcome) -> str:
    if outcome.since_row:
        return f"its first {outcome.since_row:,} rows"
    return outcome.learned_from


def _too_many(count: int) -> Iterator[str]:
    if count > MOST_ALARMS:
        yield f"{count} alarms were raised; the first {MOST_ALARMS} are listed"


def _timelines(outcome: Outcome) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """First instant of each bucket of rows, and each detector's highest score in it."""
    size = -(-max(outcome.rows - outcome.since_row, 1) // MOST_BUCKETS)
    at = pl.col("row").cast(pl.Float64)
    if outcome.has_times:
        at = pl.col("time").dt.epoch("us").forward_fill().fill_null(strategy="backward") / SECOND_US
    x, scores = np.empty(0), dict[str, NDArray[np.float64]]()
    for name, watched in outcome.watched.items():
        buckets = (
            pl.scan_parquet(watched.parts)
            .filter(pl.col("row") >= outcome.since_row)
            .select(at.alias("x"), "score")
            .with_row_index("place")
            .group_by(pl.col("place") // size, maintain_order=True)
            .agg(pl.col("x").first(), pl.col("score").max().cast(pl.Float64))
            .collect()
        )
        x = buckets["x"].to_numpy()
        scores[name] = buckets["score"].fill_null(np.nan).to_numpy()
    return x, scores


def _detector(outcome: Outcome, name: str, score: NDArray[np.float64]) -> DetectorLine:
    figures, promise = outcome.figures[name], outcome.promise(name)
    normal = figures.normal
    return DetectorLine(
        name=NAMES.get(name, name),
        threshold=outcome.bundles[name].manifest.threshold.score,
        score=score,
        alarms=figures.alarms,
        anomalous_share=np.nan if figures.anomalous_share is None else figures.anomalous_share,
        days=figures.days if outcome.has_times else 0.0,
        found=figures.found if figures.faults else None,
        median_delay_s=figures.median_delay_s,
        kept=f"{promise.figures(normal)}: {promise.verdict(normal)}" if normal.days else "",
    )


def _verdict(outcome: Outcome, lines: Mapping[str, DetectorLine]) -> Iterator[str]:
    own = outcome.figures[outcome.chosen]
    where = f"{outcome.rows - outcome.since_row:,} rows"
    if outcome.has_times:
        where += f" ({in_time(own.days * 86_400)} of scored running)"
    if not own.rows_scored:
        yield f"None of the {where} could be scored."
        return
    count = f"{own.alarms} alarm{'' if own.alarms == 1 else 's'}" if own.alarms else "No alarm"
    if own.faults:
        yield f"{own.found} of {own.faults} labelled faults found; {count.lower()} outside them."
    else:
        yield f"{count} in {where}."
    chosen = lines[outcome.chosen]
    better = [name for name, line in lines.items() if is_better(line, chosen)]
    if better:
        names = " and ".join(NAMES.get(name, name) for name in better)
        yield f"{names} did better here: take --reconstructor {better[0]}."
    elif own.faults:
        yield "No linear rival did better."


def _facts(outcome: Outcome) -> Iterator[tuple[str, str]]:
    window = outcome.asset.window
    threshold = outcome.bundles[outcome.chosen].manifest.threshold
    times = outcome.samples["time"]
    yield "Learned from", f"{outcome.samples.height:,} rows of {outcome.learned_from}"
    if outcome.has_times:
        yield "From, to", f"{_minute(times[0])} to {_minute(times[-1])} UTC"
    yield "Tried on", f"{outcome.rows - outcome.since_row:,} rows of {outcome.tried_on}"
    yield "Channels", str(len(outcome.asset.channel))
    yield "Sample period", in_time(window.sample_period_s)
    yield "Window", f"{window.length} cells, {in_time(window.span_s)}"
    yield "Detector", NAMES.get(outcome.chosen, outcome.chosen)
    yield "Threshold", f"score {threshold.score:.2f}"
    if outcome.seconds_to_fit is not None:
        yield "Time to learn", in_time(outcome.seconds_to_fit)
    watched = outcome.watched[outcome.chosen]
    if watched.seconds:
        rate = watched.scorer.windows / watched.seconds
        yield "Scored", f"{rate:,.0f} windows a second, from file to file"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _promise(outcome: Outcome) -> str:
    promise, normal = outcome.promise(outcome.chosen), outcome.figures[outcome.chosen].normal
    return f"{promise.says()} {promise.realised(normal, is_labelled=bool(outcome.intervals))}"


def _channel(outcome: Outcome, channel: Channel) -> ChannelLine:
    values = outcome.samples[channel.name]
    measured = values.drop_nulls().to_numpy()
    low, high, mean, deviation = (
        (
            float(measured.min()),
            float(measured.max()),
            float(measured.mean()),
            float(measured.std()),
        )
        if len(measured)
        else (None, None, None, None)
    )
    return ChannelLine(
        name=outcome.columns[channel.name],
        unit=channel.unit,
        kind=channel.kind,
        low=low,
        high=high,
        mean=mean,
        deviation=deviation,
        missing_share=values.null_count() / max(len(values), 1),
        constant=low is not None and low == high,
    )


def _alarm(outcome: Outcome, record: AlarmRecord) -> AlarmLine:
    interval = interval_at(outcome.intervals, record.raised_us)
    return AlarmLine(
        onset=_place(outcome, record.onset_us),
        raised=_place(outcome, record.raised_us),
        ended=None if record.ended_us is None else _place(outcome, record.ended_us),
        peak=record.peak,
        during="" if interval is None else interval.note or interval.kind,
        traces=tuple(_traces(outcome, record)),
    )


def _sensors(outcome: Outcome) -> Iterator[SensorLine]:
    """One line a channel and kind of fault, in the order in which they were first told."""
    told: dict[tuple[str, str], list[SensorRecord]] = {}
    for record in outcome.sensors:
        told.setdefault((record.channel, record.what), []).append(record)
    for (channel, what), records in told.items():
        ended_us = records[-1].ended_us
        yield SensorLine(
            channel=outcome.columns[channel],
            what=what,
            times=len(records),
            began=_place(outcome, records[0].began_us),
            ended=None if ended_us is None else _place(outcome, ended_us),
        )


def _new_points(outcome: Outcome) -> Iterator[str]:
    points = outcome.operating_points
    if points:
        channels = [outcome.column_names(point.channels) for point in points]
        yield tell_points(channels, outcome.instant(points[0].onset_us), outcome.learned_from)


def _traces(outcome: Outcome, record: AlarmRecord) -> Iterator[Trace]:
    empty = [np.empty((0, len(record.strongest)), np.float32)]
    times_us = np.concatenate([np.empty(0, np.int64), *record.times_us])
    observed, expected = (
        np.concatenate([*empty, *parts]).astype(np.float64)
        for parts in (record.observed, record.expected)
    )
    for number, place in enumerate(record.strongest):
        channel = outcome.asset.channel[place]
        yield Trace(
            channel=outcome.columns[channel.name],
            unit=channel.unit,
            share=float(record.shares[place]),
            x=_places(outcome, times_us),
            observed=observed[:, number],
            expected=expected[:, number],
        )


def _place(outcome: Outcome, at_us: int) -> float:
    return float(_places(outcome, np.array([at_us]))[0])


def _places(outcome: Outcome, at_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Instants as seconds since 1970; without times as the rows that ended then."""
    if outcome.has_times:
        return at_us / SECOND_US
    return at_us / outcome.asset.window.sample_period_us - 1.0


def _seconds(at: datetime) -> float:
    return microseconds_of(at) / SECOND_US
