"""The agent: samples in, messages out. Grid, window, detector, event, alarm, in that order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from faultwatch_edge.alarming import Alarming
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.decisions import decide
from faultwatch_edge.detector import GATE_OPEN, Detector
from faultwatch_edge.events import EventLog
from faultwatch_edge.grid import Cell, Grid, Row
from faultwatch_edge.message import Evidence, Message, MessageWriter
from faultwatch_edge.operating_point import OperatingPoint, is_new_point
from faultwatch_edge.orders import Order
from faultwatch_edge.packed import pack, unpack
from faultwatch_edge.score_row import ScoreRow
from faultwatch_edge.snapshot import (
    VERSION,
    AgentState,
    AlarmMemory,
    Counts,
    from_state,
    to_state,
)
from faultwatch_edge.times import EARLIEST_US, LATEST_US, microseconds
from faultwatch_edge.window import Window, WindowBuffer

LARGEST_VALUE = 1e30
"""Values beyond this are no measurement, and their squares do not fit the graph's float32."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ended:
    """A window that ended, and whether it has enough channels to be scored."""

    end_us: int
    window: Window
    is_usable: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    """What the detector says about one window."""

    anomalous: bool | None
    moves: bool | None
    """The same for the alarm: None also within the hysteresis."""
    is_open: bool
    is_new_point: bool
    sensor_status: Sequence[int]
    window: Window
    evidence: Evidence


class Agent:
    """Watches one asset with one bundle.

    Feed it samples in about the order in which they were measured; each call returns the messages
    that it caused, in order.

    Args:
        bundle: a bundle from ``read_bundle``; ``check_golden(agent.detector, bundle)`` proves it.
        batch: windows of a sequence scored together. 1 scores each as it comes; more is quicker for
            a replay, and says the same, only later.
        is_historical: marks the messages as those of a replay.
        on_score: called with every window, in order.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        batch: int = 1,
        is_historical: bool = False,
        on_score: Callable[[ScoreRow], None] | None = None,
    ) -> None:
        manifest = bundle.manifest
        window = manifest.window
        self.detector = Detector.from_bundle(bundle)
        self.counts = Counts()
        self._manifest = manifest
        self._batch = batch
        self._on_score = on_score
        self._bundle_sha256 = bundle.sha256
        self._writer = MessageWriter(manifest, bundle.sha256, is_historical=is_historical)
        self._grid = Grid(manifest.channels, window)
        self._buffer = WindowBuffer(
            length=window.length, hop=window.hop, channel_count=len(manifest.channels)
        )
        on_delay_us = microseconds(manifest.alarm.on_delay_s)
        off_delay_us = microseconds(manifest.alarm.off_delay_s)
        self._waiting: list[_Ended] = []
        self._alarming = Alarming(manifest.alarm, self._writer)
        self._point = OperatingPoint(on_delay_us=on_delay_us, off_delay_us=off_delay_us)
        self._events = EventLog(self._writer, manifest.channels, off_delay_us=off_delay_us)

    @property
    def state(self) -> AgentState:
        """What it remembers, for ``resume``; nothing may wait to be scored (``batch`` is 1)."""
        evidence, memory = self._alarming.evidence, self._alarming.memory
        return AgentState(
            version=VERSION,
            bundle_sha256=self._bundle_sha256,
            grid=self._grid.state,
            window=self._buffer.state,
            detector=pack(self.detector.state),
            alarm=memory.alarm,
            point=self._point.state,
            events=self._events.state,
            evidence=None if evidence is None else to_state(evidence),
            first_out=memory.first_out,
            holds=memory.holds,
            counts=replace(self.counts),
        )

    def resume(self, state: AgentState) -> None:
        """Go on from where ``state`` was taken, by the same bundle.

        Raises:
            BundleError: it does not fit the bundle.
        """
        evidence, channels = state.evidence, len(self._manifest.channels)
        self._grid.resume(state.grid)
        self._buffer.resume(state.window)
        self.detector.resume(unpack(state.detector, np.float32, (self._manifest.state_size,)))
        self._alarming.memory = state.memory
        self._point.resume(state.point)
        self._events.resume(state.events)
        self._alarming.evidence = None if evidence is None else from_state(evidence, channels)
        self.counts = replace(state.counts)

    @property
    def alarm_now(self) -> Message | None:
        """The alarm as its last message would tell it now; None where all is normal."""
        return self._alarming.now

    def take_over(self, memory: AlarmMemory) -> None:
        """Go on with the alarm of the agent before, which ran another bundle."""
        self._alarming.memory = memory

    def inherit(self, before: Self) -> None:
        """Go on with what an agent with another bundle of the same asset remembers.

        The alarm is the machine's, so it stays. Cells stay where they mean the same; what the
        other detector remembered means nothing to this one.
        """
        self.counts = before.counts
        self._alarming.memory = before._alarming.memory
        old, new = before._manifest, self._manifest
        if (old.channels, old.window) == (new.channels, new.window):
            state = before.state
            self._grid.resume(state.grid)
            self._buffer.resume(state.window)
            self._events.resume(state.events)

    def is_late(self, time_us: int) -> bool:
        """Whether a sample of that time would come too late to be used."""
        return self._grid.is_late(time_us)

    def process(
        self,
        time_us: int,
        values: Sequence[float] | Row,
        *,
        line: int | None = None,
        raw: str = "",
    ) -> list[Message]:
        """Take one sample.

        Args:
            time_us: when it was measured, microseconds since the epoch.
            values: one for each channel in the manifest's order, NaN = missing.
            line: where the sample stood in its source, for a message that refuses it.
            raw: how it stood there.
        """
        row = np.asarray(values, dtype=np.float64)
        reason = self._why_unusable(time_us, row)
        if reason is not None:
            return self.reject(reason, line=line, raw=raw)
        is_late = self._grid.is_late(time_us)
        cells = self._grid.add(time_us, row)
        self.counts.late, self.counts.duplicates = self._grid.late, self._grid.duplicates
        if is_late:
            lateness_s = self._manifest.window.allowed_lateness_s
            reason = f"late: its cell has closed (allowed_lateness_s is {lateness_s:g})"
            return [*self._score_waiting(), self._writer.rejected(reason, line=line, raw=raw)]
        self.counts.samples += 1
        messages = [message for cell in cells for message in self._take(cell)]
        return messages + self._score_waiting(at_least=self._batch)

    def reject(self, reason: str, *, line: int | None = None, raw: str = "") -> list[Message]:
        """Say that something in the source could not be used."""
        self.counts.rejected += 1
        return [*self._score_waiting(), self._writer.rejected(reason, line=line, raw=raw)]

    def acknowledge(self, at_us: int) -> list[Message]:
        """An operator has seen the alarm."""
        return self.obey(Order("acknowledge", by="operator"), at_us)

    def obey(self, order: Order, at_us: int) -> list[Message]:
        """Do what an operator says; without effect where there is nothing to do.

        Args:
            order: who, what and why.
            at_us: when it was said.
        """
        return self._counted([*self._score_waiting(), *self._alarming.obey(order, at_us)])

    def tick(self, at_us: int) -> list[Message]:
        """Tell that time goes by: a shelved alarm comes back."""
        return self._counted(self._alarming.tick(at_us))

    def fall_silent(self, at_us: int) -> list[Message]:
        """Nothing comes any more: close what is open, and say that there is nothing to score."""
        what = "No samples, the source is silent"
        return [*self.finish(), *self._events.data_quality(what, at_us, is_poor=True)]

    def tell_model(self, what: str, at_us: int, *, is_poor: bool) -> list[Message]:
        """Say which bundle runs; ``is_poor`` where it is an older one than there was."""
        return self._events.model(what, at_us, is_poor=is_poor)

    def finish(self) -> list[Message]:
        """Close the open cells and score what waits; nothing more will come."""
        messages = [message for cell in self._grid.flush() for message in self._take(cell)]
        return messages + self._score_waiting()

    def _why_unusable(self, time_us: int, row: Row) -> str | None:
        channels = self._manifest.channels
        if row.shape != (len(channels),):
            return f"has values of shape {row.shape}, expected one for each of {len(channels)}"
        if not EARLIEST_US <= time_us < LATEST_US:
            return "time is out of range, expected one in the years 1900 to 8999"
        beyond = np.flatnonzero(np.abs(row) > LARGEST_VALUE)
        if len(beyond):
            channel = channels[beyond[0]]
            return f"channel '{channel.name}' is {row[beyond[0]]:g}, expected a finite number"
        return None

    def _take(self, cell: Cell) -> list[Message]:
        self.counts.cells += 1
        messages = self._cut(cell.end_us) if cell.starts_sequence else []
        window = self._buffer.push(cell)
        if window is not None:
            present = int((~np.isnan(window)).any(axis=1).sum())
            is_usable = present >= self._manifest.window.min_channels
            self._waiting.append(_Ended(cell.end_us, window, is_usable))
        return messages

    def _cut(self, at_us: int) -> list[Message]:
        """Start a sequence: what waits belongs to the one before."""
        messages = self._score_waiting()
        self.detector.reset()
        self._point.advance(is_new=False, anomalous=None, at_us=at_us)
        return messages + self._advance(None, at_us)

    def _score_waiting(self, at_least: int = 1) -> list[Message]:
        if len(self._waiting) < at_least:
            return []
        waiting, self._waiting = self._waiting, []
        verdicts = iter(self._verdicts([ended.window for ended in waiting if ended.is_usable]))
        messages: list[Message] = []
        for ended in waiting:
            if ended.is_usable:
                messages += self._judge(ended.end_us, next(verdicts))
            else:
                messages += self._pass_over(ended.end_us)
        return messages

    def _verdicts(self, windows: Sequence[Window]) -> list[_Verdict]:
        if not windows:
            return []
        scores = self.detector.score(np.stack(windows))
        is_new = is_new_point(scores.operating_point)
        threshold, hysteresis = self._manifest.threshold.score, self._manifest.alarm.hysteresis
        decisions = decide(scores.score, threshold, scored=scores.scored)
        moves = decide(scores.score, threshold, scored=scores.scored, hysteresis=hysteresis)
        return [
            _Verdict(
                anomalous=anomalous,
                moves=moves[index],
                is_open=bool(scores.gate[index] >= GATE_OPEN),
                is_new_point=bool(is_new[index]),
                sensor_status=scores.sensor_status[index].tolist(),
                window=windows[index],
                evidence=Evidence(
                    score=float(scores.score[index]),
                    contribution=scores.contribution[index],
                    observed=windows[index][:, -1],
                    expected=scores.reconstruction[index, :, -1],
                    operating_point=scores.operating_point[index],
                ),
            )
            for index, anomalous in enumerate(decisions)
        ]

    def _pass_over(self, at_us: int) -> list[Message]:
        """A window with too few channels: no score."""
        self.counts.windows_not_scored += 1
        fewest = self._manifest.window.min_channels
        what = f"Not scored, fewer than {fewest} channels have values"
        messages = self._events.data_quality(what, at_us, is_poor=True)
        self._point.advance(is_new=False, anomalous=None, at_us=at_us)
        messages += self._advance(None, at_us)
        self._report(ScoreRow(at_us, None, None, None, self._alarming.state))
        return messages

    def _judge(self, at_us: int, verdict: _Verdict) -> list[Message]:
        """A window that the detector has seen."""
        self._alarming.evidence = verdict.evidence
        anomalous, is_open = verdict.anomalous, verdict.is_open
        is_blind = is_open and anomalous is None
        what = "Not scored, the detector gave no number" if is_blind else "Has data again"
        messages = self._events.data_quality(what, at_us, is_poor=is_blind)
        messages += self._events.sensors(verdict.sensor_status, verdict.window, at_us)
        if anomalous is None:
            self.counts.windows_not_scored += 1
            number = None
        else:
            self.counts.windows_scored += 1
            number = verdict.evidence.score
            messages += self._events.anomaly(verdict.evidence, at_us, anomalous=anomalous)
        messages += self._locate(verdict, at_us)
        messages += self._advance(verdict.moves, at_us)
        self._report(ScoreRow(at_us, number, anomalous, is_open, self._alarming.state))
        return messages

    def _locate(self, verdict: _Verdict, at_us: int) -> list[Message]:
        """Whether the machine runs where training never was."""
        changed = self._point.advance(
            is_new=verdict.is_new_point, anomalous=verdict.anomalous, at_us=at_us
        )
        return [self._writer.operating_point(changed, verdict.evidence)] if changed else []

    def _advance(self, moves: bool | None, at_us: int) -> list[Message]:  # noqa: FBT001
        return self._counted(self._alarming.take(moves, at_us))

    def _counted(self, messages: list[Message]) -> list[Message]:
        self.counts.alarms_raised += self._alarming.raised
        self._alarming.raised = 0
        return messages

    def _report(self, row: ScoreRow) -> None:
        if self._on_score is not None:
            self._on_score(row)
