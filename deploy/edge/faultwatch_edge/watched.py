"""One asset that an agent process watches live: payloads in, records out."""

import json
import math
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from faultwatch_edge.agent import Agent
from faultwatch_edge.alarm import AlarmState
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.config import AssetSource
from faultwatch_edge.detector import check_golden
from faultwatch_edge.errors import BundleError, ConfigError, EdgeError
from faultwatch_edge.events import Active
from faultwatch_edge.message import SCHEMA, Message, to_number
from faultwatch_edge.orders import Order, read_order
from faultwatch_edge.score_row import ScoreRow, score_record
from faultwatch_edge.snapshot import read_alarm, read_state, write_state
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.sources.json_payload import JsonPayloads, Measured, PayloadError
from faultwatch_edge.sources.opcua_values import OpcUaRejection, OpcUaSample, nodes_of
from faultwatch_edge.spool import SCORE, Record
from faultwatch_edge.times import microseconds, to_iso, to_microseconds
from faultwatch_edge.trial import Tally

MOST_AHEAD_US: Final = 60_000_000
"""A time further ahead of the device's clock than this is a wrong clock: the source's, unless the
device believes to be in the time before its bundle was made."""
ANOMALY: Final = "asset_anomaly"
"""What the alarm is about: told by that."""
_RAW: Final = 4096
_POINTS, _POINT_US = 240, 360_000_000
"""Of the last day's score."""
_SILENT_PERIODS: Final = 10
"""Sample periods without a sample, at least, until the source is silent."""


class Watched:
    """An agent, how its samples look, and since when there are none.

    Args:
        bundle: what watches.
        source: how its samples look.
        publish_scores: whether every score is a record.

    Raises:
        BundleError: the bundle's golden vectors differ on this device.
        ConfigError: the source does not fit the bundle.
    """

    def __init__(self, bundle: Bundle, source: AssetSource, *, publish_scores: bool) -> None:
        self._source = source
        self.asset = bundle.manifest.asset_id
        self._scored: list[ScoreRow] = []
        self._publishes = publish_scores
        self._day: deque[tuple[int, float]] = deque(maxlen=_POINTS)
        self.tally = Tally()
        """What was counted since the bundle was put to work."""
        self.on_roll_back: Callable[[Order, int], list[Record]] | None = None
        """Puts the bundle before this one to work; None = there is no such thing."""
        self._run(bundle)
        self._heard_us: int | None = None
        self._is_silent = False
        self._is_open: bool | None = None
        self.last_sample_us: int | None = None
        self.bad_quality = 0
        """Values that the source itself called bad, since the process began."""
        self.is_changed = False
        """Whether its state has changed since it was kept; whoever keeps it says so."""

    def _run(self, bundle: Bundle) -> None:
        """Check a bundle on this device, then run it; nothing has changed if it fails."""
        manifest, window = bundle.manifest, bundle.manifest.window
        payloads = JsonPayloads(self._source, manifest.channels)
        nodes = nodes_of(self._source, manifest)
        agent = Agent(bundle, on_score=self._scored.append)
        check_golden(agent.detector, bundle)
        self.bundle, self.payloads, self.agent = bundle, payloads, agent
        self.nodes = nodes
        quiet_s = max(window.max_gap_s, _SILENT_PERIODS * window.sample_period_s)
        self._silence_us = microseconds(quiet_s + window.allowed_lateness_s)
        self._made_us = to_microseconds(datetime.fromisoformat(manifest.created_at))

    def renew(self, bundle: Bundle) -> None:
        """Go on with another bundle: with the same alarm and, if it can be, the same cells.

        Raises:
            EdgeError: the bundle is no good on this device, or does not fit the source; then the
                one before goes on.
        """
        before = self.agent
        self._run(bundle)
        self.agent.inherit(before)
        self.tally = Tally()
        self.is_changed = True

    def tell_model(self, what: str, at_us: int, *, is_poor: bool) -> list[Record]:
        """Say which bundle runs; ``is_poor`` where it is an older one than there was."""
        self.is_changed = True
        return self._records(self.agent.tell_model(what, at_us, is_poor=is_poor))

    def resume(self, text: str, note: Callable[[str], None]) -> None:
        """Go on from what was kept; by another bundle, or if it cannot be read, begin anew.

        The alarm goes on in any case where it can be read: it is the machine's, not the bundle's.
        """
        try:
            state = read_state(text, where=self.asset)
            if state.bundle_sha256 == self.bundle.sha256:
                self.agent.resume(state)
                return
            reason = f"another bundle, version {self.bundle.manifest.version}"
        except BundleError as error:
            reason = f"what was kept cannot be used ({error})"
            self._run(self.bundle)  # nothing half-way
        memory = read_alarm(text)
        note(f"{self.asset}: {reason}; begins anew{'' if memory else ', without its alarm'}")
        if memory is not None:
            self.agent.take_over(memory)

    @property
    def state(self) -> str:
        """What is kept."""
        return write_state(self.agent.state)

    def take(self, message: Incoming, at_us: int) -> list[Record]:
        """One message of the source.

        Args:
            message: with one sample.
            at_us: now, by the device's clock, which may be wrong.
        """
        self._hear()
        raw = message.payload[:_RAW].decode("utf-8", errors="replace")
        try:
            measured = self.payloads.read(message.topic, message.payload)
        except PayloadError as error:
            return self._records(self.agent.reject(f"payload {error}", raw=raw))
        return self._process(measured, at_us, raw=raw, is_again=message.is_again)

    def take_sample(self, sample: OpcUaSample, at_us: int) -> list[Record]:
        """One sample of an OPC UA server; ``at_us`` as in ``take``."""
        self._hear()
        values = [sample.values.get(name, math.nan) for name in self.bundle.manifest.channel_names]
        measured = Measured(sample.time_us, values)
        return self._process(measured, at_us, raw=sample.raw, is_again=sample.is_again)

    def refuse_value(self, rejection: OpcUaRejection) -> list[Record]:
        """Say that a value is no measurement, where that was not said before; count it."""
        self.is_changed = True
        if rejection.is_again:
            self.agent.counts.rejected += 1
            return []
        return self._records(self.agent.reject(rejection.reason, raw=rejection.raw[:_RAW]))

    def _hear(self) -> None:
        self._heard_us, self._is_silent, self.is_changed = None, False, True

    def _process(self, measured: Measured, at_us: int, *, raw: str, is_again: bool) -> list[Record]:
        if measured.time_us > at_us + MOST_AHEAD_US and at_us > self._made_us:
            reason = (
                f"time is ahead of this device's clock by more than "
                f"{MOST_AHEAD_US // 1_000_000} s, which is {to_iso(at_us)}; set one of the clocks"
            )
            return self._records(self.agent.reject(reason, raw=raw))
        if is_again and self.agent.is_late(measured.time_us):
            return []  # it was taken before, and the source was not told
        taken = self.agent.counts.samples
        messages = self.agent.process(measured.time_us, measured.values, raw=raw)
        if self.agent.counts.samples > taken:
            self.last_sample_us = measured.time_us
        return self._records(messages)

    def refuse(self, reason: str, message: Incoming) -> list[Record]:
        """Say that a message could not be used."""
        raw = message.payload[:_RAW].decode("utf-8", errors="replace")
        self.is_changed = True
        return self._records(self.agent.reject(reason, raw=raw))

    def wait_anew(self) -> None:
        """Nothing can come just now, so that nothing comes says nothing of the source."""
        self._heard_us = None

    def obey(self, body: bytes, at_us: int) -> list[Record]:
        """One order of an operator."""
        try:
            order = read_order(body)
            if order.verb == "roll_back":
                return self._roll_back(order, at_us)
        except EdgeError as error:
            raw = body[:_RAW].decode("utf-8", errors="replace")
            return self._records(self.agent.reject(str(error), raw=raw))
        self.is_changed = True
        return self._records(self.agent.obey(order, at_us))

    def _roll_back(self, order: Order, at_us: int) -> list[Record]:
        if self.on_roll_back is None:
            raise ConfigError(
                f"{self.asset}: its bundle is a file, expected a folder or a registry to roll "
                "back; name the other file in edge.toml"
            )
        return self.on_roll_back(order, at_us)

    def tick(self, at_us: int, *, passed_us: int) -> list[Record]:
        """Tell that time goes by.

        Args:
            at_us: now, by the device's clock.
            passed_us: by a clock that nobody sets: what tells whether the source is silent.
        """
        messages = self.agent.tick(at_us)
        self._heard_us = passed_us if self._heard_us is None else self._heard_us
        if not self._is_silent and passed_us - self._heard_us >= self._silence_us:
            self._is_silent = self.is_changed = True
            messages += self.agent.fall_silent(at_us)
        self.is_changed |= bool(messages)
        return self._records(messages)

    def _records(self, messages: list[Message]) -> list[Record]:
        rows, self._scored[:] = list(self._scored), []
        head = {
            "schema": SCHEMA,
            "kind": SCORE,
            "asset": self.asset,
            "model_version": self.bundle.manifest.version,
            "bundle_sha256": self.bundle.sha256,
        }
        for row in rows:
            self._remember(row)
            self.tally = self.tally.with_window(anomalous=row.anomalous, is_open=row.gate)
        self.tally = self.tally.with_alarms(sum(map(_is_raised, messages)))
        published = rows if self._publishes else []
        scores = [(SCORE, {**head, **score_record(row)}) for row in published]
        said = [(str(message["kind"]), message) for message in messages]
        return [Record(self.asset, kind, _line(body)) for kind, body in (*scores, *said)]

    def _remember(self, row: ScoreRow) -> None:
        """The highest score of every few minutes of the last day, and how the machine runs now."""
        self._is_open = row.gate
        if row.score is None:
            return
        begin_us = row.end_us // _POINT_US * _POINT_US
        if self._day and self._day[-1][0] == begin_us:
            self._day[-1] = begin_us, max(self._day[-1][1], row.score)
        else:
            self._day.append((begin_us, row.score))

    @property
    def view(self) -> Message:
        """What an operator sees of it."""
        manifest, state = self.bundle.manifest, self.agent.state
        until_us = state.alarm.suppressed_until_us or state.alarm.shelved_until_us
        return {
            "asset": self.asset,
            "name": ", ".join(filter(None, [manifest.asset_name, manifest.site])),
            "state": state.alarm.state.value,
            "priority": manifest.alarm.priority,
            "silent_until": None if until_us is None else to_iso(until_us),
            "shadow": not manifest.alarm.enabled,
            "is_passed_over": self._is_open is False,
            "alarm": self.agent.alarm_now,
            "events": [_told(one) for one in state.events.active if one.condition != ANOMALY],
            "threshold": manifest.threshold.score,
            "scores": [
                {"time": to_iso(at_us), "score": to_number(score)} for at_us, score in self._day
            ],
            "last_sample_at": None if self.last_sample_us is None else to_iso(self.last_sample_us),
        }


def _is_raised(message: Message) -> bool:
    """Whether a message says that the machine has begun to differ from itself."""
    is_alarm = message["kind"] == "alarm" and message["state"] == AlarmState.UNACKNOWLEDGED
    return is_alarm and message["transition_at"] == message["raised_at"]


def _told(one: Active) -> str:
    what = one.condition.replace("_", " ").capitalize()
    where = f": {one.channel}" if one.channel else ""
    return f"{what}{where}, since {to_iso(one.onset_us)}"


def _line(body: object) -> str:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode("utf-8")  # halves of characters are none
