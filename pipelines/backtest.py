"""The verb `backtest`: a detector from one file, tried on another, with an honest page about it.

It trains, exports and scores with the edge package, as a device would: no row of TEST is seen
before it is scored.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.keys import load_private_key, make_key_pair
from features.channels import channel_names
from features.injection import normal_deviations
from features.labels import Interval, outside, read_intervals
from features.quality import QualityTally
from models.config import ReconstructorName
from models.crossfit import windows_needed
from pipelines.candidate import Candidate, asset_windows, seal_certificate
from pipelines.certificate import certify
from pipelines.operating_points import tell_points
from pipelines.outcome import Outcome, count_figures
from pipelines.outcome_files import OUTPUTS, write_outcome
from pipelines.progress import Told
from pipelines.promise import Promise
from pipelines.trial import fit_candidates
from pipelines.trial_files import BacktestError, Rows, count_rows
from pipelines.two_files import (
    Learned,
    OutOfOrderError,
    Pair,
    TrialOptions,
    in_order,
    open_pair,
    read_normal,
    read_test,
    read_test_in_order,
)
from pipelines.watch import Watched, runtime_rate, watch

MOST_KEPT = 5_000_000
"""Values of TEST into which faults are put, at most: its first ones."""
MOST_READY = 5_000
"""Samples on whose windows the runtime alone is timed, at most."""
MOST_TOLD = 5
"""Sensors at fault that are told on the terminal."""
PUBLIC_KEY = "faultwatch.pub"
NOBODY = Told()
RIVALS: tuple[ReconstructorName, ...] = ("window_pca", "pca")
"""The linear detectors that stand beside every trial."""


@dataclass
class _Tested:
    """What is noted of TEST while it is read."""

    quality: QualityTally
    since_row: int
    """Rows before it only taught."""
    rows: int = 0
    bad: int = 0
    in_order: bool = True

    def __post_init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self.kept: list[pl.DataFrame] = []

    def note(self, rows: Rows, names: Sequence[str]) -> pl.DataFrame:
        """Take a slice; return its rows."""
        self.rows += rows.frame.height
        self.bad += rows.bad
        self.refused.update(rows.refused)
        usable = rows.frame.filter(pl.col("time").is_not_null()).select("time", *names)
        self.quality.add(in_order(usable))
        self._keep(rows.frame, names)
        return rows.frame

    def _keep(self, frame: pl.DataFrame, names: Sequence[str]) -> None:
        """Keep the first rows that nothing was learned from: faults are put into them later."""
        wanted = MOST_KEPT // len(names) - sum(part.height for part in self.kept)
        if wanted > 0:
            usable = (pl.col("row") >= self.since_row) & pl.col("time").is_not_null()
            self.kept.append(frame.filter(usable).select("time", *names).head(wanted))


def run_backtest(
    train: Path,
    test: Path,
    out: Path,
    options: TrialOptions,
    *,
    labels: Path | None,
    at: datetime,
    told: Told = NOBODY,
) -> dict[str, object]:
    """Learn from one file, score another, and write what came of it into a folder.

    The folder gets ``scores.parquet``, ``summary.json``, ``report.html``, the bundle and the public
    key by which a device would trust it.

    Args:
        train: normal running, CSV or Parquet.
        test: what is scored; may be the same file, if ``train_rows`` says where it begins.
        out: the folder.
        options: what the user says of the files.
        labels: intervals to judge by, which are left out of what is learned; None = there are none.
        at: when this happens.
        told: is told how far it is.

    Returns:
        What is in ``summary.json``.

    Raises:
        BacktestError: the files cannot be tried together.
        models.calibration.CalibrationError: too little normal running.
        features.labels.LabelError: the labels cannot be used.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BacktestError(f"--out {out}: {error.strerror}; name a folder to write to") from error
    with tempfile.TemporaryDirectory(dir=out, prefix=".unfinished-") as scratch:
        folder = Path(scratch)
        trial = Trial(train, test, options, folder=folder, told=told)
        outcome = trial.run(labels, at=at)
        told.say("writing the report")
        summary = write_outcome(outcome, folder)
        bundle = folder / "bundles" / outcome.chosen / str(summary["bundle"])
        for path in (bundle, folder / PUBLIC_KEY, *(folder / name for name in OUTPUTS)):
            path.replace(out / path.name)
    return summary


def _sensors_in_brief(sensors: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    told = list(dict.fromkeys(f"{one['channel']} ({one['what']})" for one in sensors))
    if told:
        more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
        yield f"Sensors at fault: {', '.join(told[:MOST_TOLD])}{more}"


def _points_in_brief(summary: Mapping[str, Any]) -> Iterator[str]:
    points = summary["operating_points"]
    if points:
        channels = [one["channels"] for one in points]
        yield tell_points(channels, points[0]["began"], summary["learned_from"])


def told_in_brief(summary: Mapping[str, Any], out: Path) -> str:
    """What a person wants to know at once, and where the rest is."""
    own, rows = summary["detectors"][summary["reconstructor"]], summary["rows"]
    share = own["anomalous_share"]
    rate = summary["windows_per_second"] or 0.0
    shown = "no row was scored" if share is None else f"{share:.2%} of the scored rows anomalous"
    found = f"{own['found']} of {own['faults']} labelled faults found; outside them " * bool(
        own["faults"]
    )
    device = f"faultwatch-edge run {out / summary['bundle']} --key {out / PUBLIC_KEY} --source FILE"
    lines = [
        f"{summary['tried_on']}: {found}{own['alarms']} alarms, {shown}",
        f"{rows['scored']} of {rows['test']} rows scored, {rate:.0f} windows a second",
        summary["promise"]["realised"],
        *_sensors_in_brief(summary["sensors"]),
        *_points_in_brief(summary),
        *(f"CHECK: {warning}" for warning in summary["warnings"]),
        f"The page:    {out / 'report.html'}",
        f"Every row:   {out / 'scores.parquet'}",
        f"On a device: {device}",
    ]
    return "\n".join(lines)


class Trial:
    """Two files that are tried.

    Args:
        train: normal running.
        test: what is scored.
        options: what the user says.
        folder: for everything that is written on the way.
        told: is told how far it is.
    """

    def __init__(
        self,
        train: Path,
        test: Path,
        options: TrialOptions,
        *,
        folder: Path,
        told: Told,
    ) -> None:
        told.say("looking at the files")
        copies = folder / "copies"
        copies.mkdir()
        self.pair = open_pair(train, test, options, folder=copies)
        self._options = options
        self._folder = folder
        self._told = told
        self._key = load_private_key(make_key_pair(folder)[0])
        self._since_row = (options.train_rows or 0) if self.pair.is_one_file else 0

    def run(self, labels: Path | None, *, at: datetime) -> Outcome:
        """Fit the detector and its rivals, and let them live through TEST."""
        pair, window = self.pair, self.pair.asset.window
        intervals = self._intervals(labels)
        began = time.perf_counter()
        learned = read_normal(pair)
        learned.samples = outside(learned.samples, intervals)
        check_enough(pair, learned)
        candidates = self._fit(learned, at)
        seconds_to_fit = time.perf_counter() - began
        bundles = {str(name): one.bundle for name, one in candidates.items()}
        self._told.say("scoring")
        watched, tested = self._watch(bundles)
        quality = QualityTally(pair.asset.channel, intervals)
        quality.add(learned.samples)
        chosen = candidates[self._options.reconstructor]
        self._told.say("looking for the smallest faults that are found")
        certificate = certify(
            chosen.bundle,
            in_order(pl.concat(tested.kept)),
            intervals,
            deviations=normal_deviations(learned.samples, channel_names(pair.asset.channel)),
            seed=pair.asset.model.seed,
        )
        seal_certificate(chosen, certificate, self._key)
        ready = asset_windows(pair.asset, learned.samples[-MOST_READY:])
        return Outcome(
            asset=pair.asset,
            columns=pair.columns,
            learned_from=pair.train.name,
            tried_on=pair.test.name,
            samples=learned.samples,
            bundles=bundles,
            normal=chosen.fitted.normal,
            far=self._options.far,
            watched=watched,
            figures=count_figures(watched, intervals, window=window, since_row=self._since_row),
            intervals=intervals,
            rows=tested.rows,
            since_row=self._since_row,
            has_times=pair.has_times,
            is_in_order=tested.in_order,
            quality=(quality.report(window, None), tested.quality.report(window, None)),
            seconds_to_fit=seconds_to_fit,
            runtime_windows_per_second=runtime_rate(chosen.bundle, ready),
            certificate=certificate,
            warnings=tuple(_warnings(pair, learned, tested, chosen, self._options)),
        )

    def _intervals(self, labels: Path | None) -> tuple[Interval, ...]:
        if labels is None:
            return ()
        if not self.pair.has_times:
            raise BacktestError(
                f"--labels {labels}: labels are intervals of time, but {self.pair.train.name} has "
                "no column of times; name one with --time, or leave the labels out"
            )
        return read_intervals(labels, "UTC")

    def _fit(self, learned: Learned, at: datetime) -> dict[ReconstructorName, Candidate]:
        own = self._options.reconstructor
        return fit_candidates(
            self.pair.asset,
            learned.samples,
            [own, *(name for name in RIVALS if name != own)],
            folder=self._folder / "bundles",
            key=self._key,
            far=self._options.far,
            at=at,
            say=self._told.say,
        )

    def _watch(self, bundles: dict[str, Bundle]) -> tuple[dict[str, Watched], _Tested]:
        """Let all live through TEST; rows out of order are put in order first, all of them."""
        try:
            return self._live(bundles, read_test(self.pair), self._folder / "scores")
        except OutOfOrderError:
            rows = iter([read_test_in_order(self.pair)])
            watched, tested = self._live(bundles, rows, self._folder / "scores_in_order")
            tested.in_order = False
            return watched, tested

    def _live(
        self, bundles: dict[str, Bundle], slices: Iterator[Rows], folder: Path
    ) -> tuple[dict[str, Watched], _Tested]:
        pair = self.pair
        tested = _Tested(QualityTally(pair.asset.channel, None), self._since_row)
        self._told.begin(count_rows(pair.test))
        names = channel_names(pair.asset.channel)
        watched = watch(
            bundles,
            pair.asset,
            (tested.note(rows, names) for rows in slices),
            pair.columns,
            folder=folder,
            advance=self._told.advance,
        )
        return watched, tested


def check_enough(pair: Pair, learned: Learned) -> None:
    """Refuse normal running that is too short before anything is trained.

    Raises:
        BacktestError: it is; the message says how many rows are needed.
    """
    window, folds = pair.asset.window, pair.asset.model.folds
    channels = len(pair.asset.channel)
    needed = windows_needed(channels, folds) * window.hop + folds * (window.length - 1)
    if learned.samples.height < needed:
        raise BacktestError(
            f"{pair.train.name} has {learned.samples.height} rows of normal running that can be "
            f"used, {needed} or more are needed for {channels} channels and windows of "
            f"{window.length} cells of {window.sample_period_s:g} s; give more normal running"
        )


def _warnings(
    pair: Pair, learned: Learned, tested: _Tested, chosen: Candidate, options: TrialOptions
) -> Iterator[str]:
    """What a person should know before trusting the figures, the gravest first."""
    promise = Promise(chosen.threshold, options.far, hop_s=pair.asset.window.hop_s)
    if promise.shortage():
        yield promise.shortage()
    yield from chosen.warnings
    for name, refused in ((pair.train.name, learned.refused), (pair.test.name, tested.refused)):
        if refused:
            reason = refused.most_common(1)[0][0]
            yield f"{refused.total()} rows of {name} cannot be used, most often: {reason}"
    if tested.bad:
        yield f"{tested.bad} values of TEST are words that say bad: taken as missing"
    if not tested.in_order:
        yield f"{pair.test.name} is not in order of time; its rows were scored in that order"
    yield from learned.notes
    yield from pair.notes
