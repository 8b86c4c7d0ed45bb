"""A bundle's life over windows that come in slices: scores, alarms, and what was behind them.

The detector and the alarm logic are those of the edge package, so that what is found here is what
a device would have done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge.alarm import Alarm, AlarmState, Transition, advance
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.decisions import decide
from faultwatch_edge.detector import Detector, Scores
from faultwatch_edge.times import microseconds
from features.windows import Windows
from pipelines.operating_points import OperatingPoints
from pipelines.sensor_events import SensorEvents

BATCH = 1_024
BEFORE, AFTER = 120, 240
"""Windows before and after an alarm that its traces show."""
MOST_TRACED = 40
"""Alarms with traces."""
TRACED_CHANNELS = 4
ACTIVE = (AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED)


@dataclass(frozen=True)
class ScoredWindows:
    """What a bundle says of consecutive windows."""

    end_us: NDArray[np.int64]
    """(window,), microseconds since the epoch."""
    score: NDArray[np.float32]
    """(window,); NaN = not scored."""
    anomalous: NDArray[np.bool_]
    """(window,); not where it was not scored."""
    alarm: NDArray[np.bool_]
    """(window,); whether the alarm is active after it."""
    contribution: NDArray[np.float32]
    """(window, channel)"""
    observed: NDArray[np.float32]
    """(window, channel); last cell, engineering units."""
    expected: NDArray[np.float32]
    """(window, channel); its reconstruction."""


@dataclass
class AlarmRecord:
    """One alarm from its onset to its end, and what its channels did around it."""

    onset_us: int
    """First anomalous window."""
    raised_us: int
    contribution: NDArray[np.float32]
    """(channel,); of the window that raised it."""
    ended_us: int | None = None
    """None = it was still active at the end."""
    peak: float = 0.0
    """Highest score while it was active."""
    times_us: list[NDArray[np.int64]] = field(default_factory=list)
    observed: list[NDArray[np.float32]] = field(default_factory=list)
    expected: list[NDArray[np.float32]] = field(default_factory=list)
    wanted: int = 0
    """Windows that its traces still lack."""

    @property
    def strongest(self) -> list[int]:
        """Places of the channels behind it, the strongest first."""
        order = np.argsort(-self.contribution, kind="stable")[:TRACED_CHANNELS]
        return [int(place) for place in order if self.contribution[place] > 0]

    @property
    def shares(self) -> NDArray[np.float32]:
        """Share of each channel in the contributions, (channel,)."""
        total: NDArray[np.float32] = self.contribution / max(float(self.contribution.sum()), 1e-12)
        return total


class BundleScorer:
    """Scores the windows of one asset as they come, and lives through its alarm.

    Args:
        bundle: what a device would run.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self.alarms: list[AlarmRecord] = []
        self.sensors = SensorEvents(bundle)
        self.operating_points = OperatingPoints(manifest)
        self.windows = 0
        """Windows that were scored."""
        self._detector = Detector.from_bundle(bundle)
        self._threshold = manifest.threshold.score
        self._hysteresis = manifest.alarm.hysteresis
        self._min_channels = manifest.window.min_channels
        self._on_us = microseconds(manifest.alarm.on_delay_s)
        self._off_us = microseconds(manifest.alarm.off_delay_s)
        self._alarm = Alarm()
        self._sequence: int | None = None
        self._recent: list[ScoredWindows] = []

    def score(self, windows: Windows) -> ScoredWindows:
        """Score the next windows; each sequence starts from a fresh state.

        Args:
            windows: later than those before, all their sequences numbered in the same way.
        """
        parts = [self._nothing(windows.cells.shape[1])]
        for run in windows.runs():
            self._enter(int(windows.sequences[windows.ends[run[0]]]), windows.end_times[run[0]])
            parts += [
                self._batch(windows, run[start : start + BATCH])
                for start in range(0, len(run), BATCH)
            ]
        return joined(parts)

    def _enter(self, sequence: int, at: np.datetime64) -> None:
        """Nothing from before a cut may be used after it."""
        if sequence != self._sequence:
            self._sequence = sequence
            self._detector.reset()
            at_us = int(at.astype(np.int64))
            self.operating_points.cut(at_us)
            self._advance(None, at_us)

    def _batch(self, windows: Windows, index: NDArray[np.int64]) -> ScoredWindows:
        window = windows.take(index)
        usable = usable_windows(window, self._min_channels)
        found = self._nothing(window.shape[1], len(window))
        found.end_us[:] = windows.end_times[index].astype(np.int64)
        found.observed[:] = window[:, :, -1]
        decisions: list[bool | None] = [None] * len(window)
        moves = decisions
        shares = np.zeros(found.contribution.shape, np.float32)
        if usable.any():
            scores = self._detector.score(window[usable])
            found.score[usable] = np.where(scores.scored, scores.score, np.nan)
            found.contribution[usable] = scores.contribution
            shares[usable] = scores.operating_point
            found.expected[usable] = scores.reconstruction[:, :, -1]
            self.sensors.add(scores.sensor_status, window[usable], found.end_us[usable])
            decisions = placed_decisions(scores, usable, self._threshold)
            moves = placed_decisions(scores, usable, self._threshold, self._hysteresis)
        self.operating_points.add(shares, decisions, found.end_us)
        self._live(found, decisions, moves)
        return found

    def _live(
        self,
        found: ScoredWindows,
        decisions: Sequence[bool | None],
        moves: Sequence[bool | None],
    ) -> None:
        """Take the windows through the alarm logic, one by one, and remember what is traced."""
        self.windows += sum(decision is not None for decision in decisions)
        for place, (at_us, anomalous, moved) in enumerate(
            zip(found.end_us.tolist(), decisions, moves, strict=True)
        ):
            found.anomalous[place] = bool(anomalous)
            for changed in self._advance(moved, at_us):
                self._record(changed, found, place)
            if self._alarm.state in ACTIVE:
                found.alarm[place] = True
                if anomalous is not None:
                    self.alarms[-1].peak = max(self.alarms[-1].peak, float(found.score[place]))
        self._trace(found)

    def _advance(self, anomalous: bool | None, at_us: int) -> tuple[Transition, ...]:  # noqa: FBT001
        self._alarm, transitions = advance(
            self._alarm,
            anomalous=anomalous,
            at_us=at_us,
            on_delay_us=self._on_us,
            off_delay_us=self._off_us,
        )
        return transitions

    def _record(self, changed: Transition, found: ScoredWindows, place: int) -> None:
        if changed.state is not AlarmState.UNACKNOWLEDGED:
            self.alarms[-1].ended_us = changed.at_us
            return
        record = AlarmRecord(changed.onset_us, changed.raised_us, found.contribution[place].copy())
        if len(self.alarms) < MOST_TRACED:
            before = joined([*self._recent, _part(found, slice(0, place))])
            _keep(record, _part(before, slice(max(0, len(before.end_us) - BEFORE), None)))
            record.wanted = AFTER
            _keep_wanted(record, _part(found, slice(place, None)))
        self.alarms.append(record)

    def _trace(self, found: ScoredWindows) -> None:
        for record in self.alarms[:MOST_TRACED]:
            if record.wanted and record.times_us[-1][-1] < found.end_us[0]:
                _keep_wanted(record, found)
        if len(self.alarms) < MOST_TRACED:
            recent = joined([*self._recent, found])
            self._recent = [_part(recent, slice(max(0, len(recent.end_us) - BEFORE), None))]

    def _nothing(self, channels: int, count: int = 0) -> ScoredWindows:
        return ScoredWindows(
            end_us=np.zeros(count, np.int64),
            score=np.full(count, np.nan, np.float32),
            anomalous=np.zeros(count, np.bool_),
            alarm=np.zeros(count, np.bool_),
            contribution=np.zeros((count, channels), np.float32),
            observed=np.full((count, channels), np.nan, np.float32),
            expected=np.full((count, channels), np.nan, np.float32),
        )


def usable_windows(windows: NDArray[np.float32], min_channels: int) -> NDArray[np.bool_]:
    """Whether each window has enough channels with a value to be scored, (window,)."""
    usable: NDArray[np.bool_] = (~np.isnan(windows)).any(axis=2).sum(axis=1) >= min_channels
    return usable


def placed_decisions(
    scores: Scores, usable: NDArray[np.bool_], threshold: float, hysteresis: float = 0.0
) -> list[bool | None]:
    """Whether each window is anomalous, (window,); None also where it is not usable.

    Args:
        scores: of the usable windows.
        usable: (window,)
        threshold: see ``decide``.
        hysteresis: see ``decide``.
    """
    decided = decide(scores.score, threshold, scored=scores.scored, hysteresis=hysteresis)
    places = np.cumsum(usable) - 1
    return [
        decided[place] if is_usable else None
        for place, is_usable in zip(places, usable, strict=True)
    ]


def joined(parts: Sequence[ScoredWindows]) -> ScoredWindows:
    """Windows after windows."""
    names = ScoredWindows.__dataclass_fields__
    return ScoredWindows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def _part(scored: ScoredWindows, places: slice) -> ScoredWindows:
    names = ScoredWindows.__dataclass_fields__
    return ScoredWindows(**{name: getattr(scored, name)[places] for name in names})


def _keep(record: AlarmRecord, scored: ScoredWindows) -> None:
    record.times_us.append(scored.end_us)
    record.observed.append(scored.observed[:, record.strongest])
    record.expected.append(scored.expected[:, record.strongest])


def _keep_wanted(record: AlarmRecord, scored: ScoredWindows) -> None:
    kept = _part(scored, slice(0, record.wanted))
    _keep(record, kept)
    record.wanted -= len(kept.end_us)
