"""Held-out normal running as a bundle lives through it, and instants at which a fault may begin.

The detector's state is kept as the running goes by, so that a fault can be put in anywhere and only
the windows after its onset are scored.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from faultwatch_edge.alarm import Alarm, AlarmState, advance
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.detector import Detector
from faultwatch_edge.times import microseconds
from features.channels import Channel
from features.grid import WindowConfig, make_grid
from features.windows import Windows, make_windows
from pipelines.scoring import ACTIVE, placed_decisions, usable_windows
from pipelines.threshold import SECONDS_PER_DAY

BATCH = 256


@dataclass(frozen=True)
class Judged:
    """What a bundle says of consecutive windows, one by one."""

    anomalous: list[bool | None]
    moves: list[bool | None]
    """The same for the alarm: None also within the hysteresis."""
    """None = not scored."""
    sensor_status: NDArray[np.int8]
    """(window, channel); NE 107, 0 where the window had too few channels to be judged."""


@dataclass(frozen=True)
class Life:
    """What a device remembers between two windows."""

    state: NDArray[np.float32]
    alarm: Alarm


@dataclass(frozen=True)
class Onset:
    """An instant at which a fault may begin: right after a window's end."""

    last: int
    """Number of the last window without the fault."""
    life: Life
    """After that window."""
    sensor_status: NDArray[np.int8]
    """(window, channel); of the windows after it, without any fault."""


class DeviceRules:
    """A bundle's detector, threshold and delays, applied to any stretch of windows.

    Args:
        bundle: what a device would run.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._detector = Detector.from_bundle(bundle)
        self._threshold = manifest.threshold.score
        self._hysteresis = manifest.alarm.hysteresis
        self._min_channels = manifest.window.min_channels
        self._advance = partial(
            advance,
            on_delay_us=microseconds(manifest.alarm.on_delay_s),
            off_delay_us=microseconds(manifest.alarm.off_delay_s),
        )
        self.fresh = self._detector.state

    def judge(
        self, windows: NDArray[np.float32], state: NDArray[np.float32]
    ) -> tuple[Judged, NDArray[np.float32]]:
        """Judge consecutive windows from a state on; return the state after them.

        Args:
            windows: (window, channel, time), engineering units, NaN = missing.
            state: after the window before them.
        """
        usable = usable_windows(windows, self._min_channels)
        anomalous: list[bool | None] = [None] * len(windows)
        moves = anomalous
        status = np.zeros(windows.shape[:2], np.int8)
        self._detector.resume(state)
        if usable.any():
            scores = self._detector.score(windows[usable])
            status[usable] = scores.sensor_status
            anomalous = placed_decisions(scores, usable, self._threshold)
            moves = placed_decisions(scores, usable, self._threshold, self._hysteresis)
        return Judged(anomalous, moves, status), self._detector.state

    def advance(self, alarm: Alarm, moves: bool | None, at_us: int) -> tuple[Alarm, bool]:  # noqa: FBT001
        """Take the next window; say whether it raised the alarm."""
        alarm, transitions = self._advance(alarm, anomalous=moves, at_us=at_us)
        return alarm, any(one.state is AlarmState.UNACKNOWLEDGED for one in transitions)


class UntouchedRunning:
    """Normal running, lived through once without any fault.

    Args:
        bundle: what a device would run.
        samples: samples frame of held-out normal running; a gap parts its sequences.
    """

    def __init__(self, bundle: Bundle, samples: pl.DataFrame) -> None:
        manifest = bundle.manifest
        self.channels = tuple(Channel(**asdict(one)) for one in manifest.channels)
        self.window = WindowConfig(**asdict(manifest.window))
        self.samples = samples
        self.rules = DeviceRules(bundle)
        self.windows = self._windows()
        self.times_us: NDArray[np.int64] = self.windows.end_times.astype(np.int64)
        self._sample_us: NDArray[np.int64] = samples["time"].dt.epoch("us").to_numpy()
        self._anomalous: list[bool | None] = []
        self._alarms: list[Alarm] = []
        self._raised: list[bool] = []
        self._states: dict[int, NDArray[np.float32]] = {}
        alarm = Alarm()
        for run in self.windows.runs():
            alarm = self._live(run, alarm)

    def _windows(self) -> Windows:
        grid = make_grid(self.samples, self.channels, self.window)
        return make_windows(grid, self.channels, self.window)

    def _live(self, run: NDArray[np.int64], alarm: Alarm) -> Alarm:
        """Live through one sequence; states are kept at the start of each batch."""
        state = self.rules.fresh
        alarm, _ = self.rules.advance(alarm, None, int(self.times_us[run[0]]))
        for start in range(0, len(run), BATCH):
            index = run[start : start + BATCH]
            self._states[int(index[0])] = state
            judged, state = self.rules.judge(self.windows.take(index), state)
            self._anomalous += judged.anomalous
            for number, moves in zip(index.tolist(), judged.moves, strict=True):
                alarm, raised = self.rules.advance(alarm, moves, int(self.times_us[number]))
                self._alarms.append(alarm)
                self._raised.append(raised)
        return alarm

    @property
    def alarms(self) -> int:
        """Alarms raised: all false."""
        return sum(self._raised)

    @property
    def days(self) -> float:
        """Scored days."""
        scored = sum(one is not None for one in self._anomalous)
        return scored * self.window.hop_s / SECONDS_PER_DAY

    def onsets(self, count: int, *, windows_after: int, seed: int) -> tuple[Onset, ...]:
        """Instants spread over the running, each drawn at random from its own part of it.

        A fault may begin where the machine is scored, no alarm is active and, without the fault,
        none is raised in the windows after it: what is raised there is raised by the fault.

        Args:
            count: most of them.
            windows_after: windows of the same sequence that each needs after it.
            seed: of the draw.
        """
        possible = self.quiet_windows(windows_after)
        return tuple(
            self.onset(last, windows_after) for last in spread_over(possible, count, seed=seed)
        )

    def quiet_windows(self, windows_after: int) -> NDArray[np.int64]:
        """Numbers of the windows after which a fault may begin, as `onsets` says."""
        return np.array(list(self._quiet(windows_after)), np.int64)

    def _quiet(self, windows_after: int) -> Iterator[int]:
        raised = np.cumsum([0, *self._raised])
        for run in self.windows.runs():
            for number in run[: max(len(run) - windows_after, 0)].tolist():
                is_quiet = raised[number + 1 + windows_after] == raised[number + 1]
                is_active = self._alarms[number].state in ACTIVE
                if is_quiet and not is_active and self._anomalous[number] is not None:
                    yield number

    def onset(self, last: int, windows_after: int) -> Onset:
        """The onset after a window."""
        start = max(number for number in self._states if number <= last)
        _, state = self.rules.judge(self.windows.take(slice(start, last + 1)), self._states[start])
        after = self.windows.take(slice(last + 1, last + 1 + windows_after))
        judged, _ = self.rules.judge(after, state)
        return Onset(last, Life(state, self._alarms[last]), judged.sensor_status)

    def samples_around(self, onset: Onset, count: int) -> pl.DataFrame:
        """Samples of so many windows before an onset and after it, from its sequence alone.

        What a channel that reports changes said last stands in the first row.
        """
        last_us = int(self.times_us[onset.last])
        span_us = count * self.window.hop * self.window.sample_period_us
        sequence = self.windows.sequences[self.windows.ends[onset.last]]
        first_row = int(np.searchsorted(self.windows.sequences, sequence))
        first_us = int(self.windows.times[first_row].astype(np.int64))
        first_us -= self.window.sample_period_us
        bounds = [first_us, max(last_us - span_us, first_us), last_us + span_us]
        first, begin, end = np.searchsorted(self._sample_us, bounds, side="right").tolist()
        held = [one.name for one in self.channels if one.reporting == "on_change"]
        known = self.samples[first : begin + 1].select(pl.col(held).forward_fill()).tail(1)
        around = self.samples[begin:end]
        return pl.concat([around.head(1).with_columns(known), around[1:]])

    def begins_at(self, onset: Onset) -> datetime:
        """The first instant of a fault."""
        last_us = int(self.times_us[onset.last])
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=last_us + 1)

    def changed_cells(
        self, frame: pl.DataFrame, onset: Onset, place: int, count: int
    ) -> dict[str, NDArray[np.float32]]:
        """Cells of one channel under several faults, as the windows after an onset need them.

        Args:
            frame: ``time``, ``is_there`` where anything was measured, and a column of samples for
                each fault.
            onset: when they begin; cells before it stay as they are.
            place: of the channel.
            count: windows after the onset.

        Returns:
            For each fault (cell,), from the first cell of the first window after the onset.
        """
        names = [name for name in frame.columns if name not in {"time", "is_there"}]
        channel = self.channels[place]
        copies = tuple(channel.model_copy(update={"name": name}) for name in names)
        grid = make_grid(frame, (*copies, Channel(name="is_there")), self.window)
        last_row = int(self.windows.ends[onset.last])
        first = int(self.windows.ends[onset.last + 1]) - self.windows.length + 1
        end = int(self.windows.ends[onset.last + count]) + 1
        period_us = self.window.sample_period_us
        at_us = grid["time"].dt.epoch("us").to_numpy()
        rows = last_row + (at_us - self.times_us[onset.last]) // period_us
        after = (rows > last_row) & (rows < end)
        untouched = self.windows.cells[first:end, place]
        found = grid.select(names).cast(pl.Float32).fill_null(np.nan).to_numpy()
        cells = np.repeat(untouched[np.newaxis], len(names), axis=0)
        cells[:, rows[after] - first] = found[after].T
        return dict(zip(names, cells, strict=True))


def spread_over(possible: NDArray[np.int64], count: int, *, seed: int) -> list[int]:
    """At most so many of the numbers, each drawn at random from its own part of them."""
    generator = np.random.default_rng(seed)
    parts = [part for part in np.array_split(possible, count) if len(part)]
    return [int(generator.choice(part)) for part in parts]
