"""The files that an outcome is kept in: scores of every row, figures, and a page for people."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import polars as pl

from pipelines.outcome import Outcome
from pipelines.outcome_page import make_page
from pipelines.page import write_page
from pipelines.threshold import days_needed, share_interval

OUTPUTS = ("scores.parquet", "summary.json", "report.html")


def write_outcome(outcome: Outcome, folder: Path) -> dict[str, object]:
    """Write ``scores.parquet``, ``summary.json`` and ``report.html``; return the summary."""
    write_scores(outcome, folder / "scores.parquet")
    summary = summarise(outcome)
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "summary.json").write_text(text, encoding="utf-8")
    write_page(folder / "report.html", make_page(outcome))
    return summary


def write_scores(outcome: Outcome, path: Path) -> None:
    """Write one row a row of TEST: row, time, score, anomalous, alarm, contributions.

    Rows that only taught have no score; neither have those of the warm-up.
    """
    rows = pl.scan_parquet(outcome.watched[outcome.chosen].parts)
    counts = pl.col("row") >= outcome.since_row
    flags = ("anomalous", "alarm")
    numbers = pl.selectors.exclude("row", "time", *flags)
    if not outcome.has_times:
        rows = rows.with_columns(pl.lit(None).cast(pl.Datetime("us", "UTC")).alias("time"))
    rows = rows.with_columns(
        pl.when(counts).then(numbers).name.keep(),
        *((counts & pl.col(flag)).alias(flag) for flag in flags),
    )
    if outcome.is_in_order:
        rows.sink_parquet(path)
    else:
        rows.collect().sort("row").write_parquet(path)


def summarise(outcome: Outcome) -> dict[str, object]:
    """What is in ``summary.json``; docs/backtest.md explains it."""
    threshold = outcome.bundles[outcome.chosen].manifest.threshold
    window, watched = outcome.asset.window, outcome.watched[outcome.chosen]
    windows = watched.scorer.windows
    is_by_budget = outcome.far is None
    return {
        "faultwatch": version("faultwatch"),
        "learned_from": outcome.learned_from,
        "tried_on": outcome.tried_on,
        "bundle": outcome.bundles[outcome.chosen].manifest.file_name,
        "reconstructor": outcome.chosen,
        "channels": list(outcome.columns.values()),
        "sample_period_s": window.sample_period_s,
        "window_length": window.length,
        "threshold": threshold.score,
        "extrapolated": threshold.extrapolated,
        "false_alarms_per_day": {
            "promised": threshold.false_alarms_per_day if is_by_budget else None,
            "crossfitted": threshold.expected_per_day,
            "interval_90": list(threshold.interval_per_day),
        },
        "anomalous_share": _share(outcome, threshold.score),
        "days_learned": threshold.scored_days,
        "days_needed": days_needed(threshold.false_alarms_per_day) if is_by_budget else None,
        "promise": _promise(outcome),
        "rows": {
            "learned": outcome.samples.height,
            "test": outcome.rows,
            "scored": outcome.figures[outcome.chosen].rows_scored,
        },
        "windows": windows,
        "seconds_to_fit": outcome.seconds_to_fit,
        "seconds_to_score": watched.seconds,
        "windows_per_second": windows / watched.seconds if watched.seconds else None,
        "runtime_windows_per_second": outcome.runtime_windows_per_second,
        "detectors": {name: _detector(outcome, name) for name in outcome.bundles},
        "sensors": _sensors(outcome),
        "operating_points": _operating_points(outcome),
        "certificate": outcome.certificate and json.loads(outcome.certificate.to_json()),
        "warnings": list(outcome.warnings),
    }


def _promise(outcome: Outcome) -> Mapping[str, object]:
    """What is promised, what came of it, and by how many days the data fall short of it."""
    promise, normal = outcome.promise(outcome.chosen), outcome.figures[outcome.chosen].normal
    return {
        "says": promise.says(),
        "realised": promise.realised(normal, is_labelled=bool(outcome.intervals)),
        "days_to_support": promise.days_to_support,
        "days_to_check": promise.days_to_check(normal),
    }


def _sensors(outcome: Outcome) -> list[Mapping[str, object]]:
    """Sensors at fault: column of the file, what, from when to when."""
    return [
        {
            "channel": outcome.columns[record.channel],
            "what": record.what,
            "began": outcome.instant(record.began_us),
            "ended": None if record.ended_us is None else outcome.instant(record.ended_us),
        }
        for record in outcome.sensors
    ]


def _operating_points(outcome: Outcome) -> list[Mapping[str, object]]:
    """New operating points: columns of the file, from when to when."""
    return [
        {
            "channels": outcome.column_names(record.channels),
            "began": outcome.instant(record.onset_us),
            "ended": None if record.ended_us is None else outcome.instant(record.ended_us),
        }
        for record in outcome.operating_points
    ]


def _detector(outcome: Outcome, name: str) -> Mapping[str, object]:
    figures = outcome.figures[name]
    normal = figures.normal
    return {
        "threshold": outcome.bundles[name].manifest.threshold.score,
        **asdict(figures),
        "share_interval": list(normal.share_interval),
        "alarms_per_day": normal.per_day if normal.days else None,
        "alarms_per_day_interval": list(normal.interval_per_day) if normal.days else None,
        "promise_inside": outcome.promise(name).is_inside(normal) if normal.days else None,
    }


def _share(outcome: Outcome, threshold: float) -> Mapping[str, object]:
    """Share of normal windows that are anomalous, as far as it is known."""
    if outcome.normal is None:
        return {"promised": outcome.far, "crossfitted": None, "interval_90": None}
    share, interval = share_interval(outcome.normal, threshold, length=outcome.asset.window.length)
    return {"promised": outcome.far, "crossfitted": share, "interval_90": list(interval)}
