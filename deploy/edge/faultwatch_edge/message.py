"""What the agent says: one JSON object for each transition, event and refused line.

Every object has ``schema`` and ``kind`` (``alarm`` | ``event`` | ``rejected``). ``alarm_id`` and
``sequence`` together name a transition once and for all, also when it is replayed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge.alarm import HELD, AlarmState, Transition, alarm_id
from faultwatch_edge.manifest import Manifest
from faultwatch_edge.orders import Order
from faultwatch_edge.times import to_iso

Message = dict[str, object]
Condition = Literal["asset_anomaly", "data_quality", "model_health", "sensor_fault"]

SCHEMA: Final = 1
LONGEST_TEXT: Final = 120
LONGEST_RAW: Final = 2000
MOST_CONTRIBUTORS: Final = 5
GOOD: Final = 0
FAILURE: Final = 1
FUNCTION_CHECK: Final = 2
OUT_OF_SPECIFICATION: Final = 3
MAINTENANCE_REQUIRED: Final = 4
NE107: Final[Mapping[int, str]] = {
    GOOD: "good",
    FAILURE: "failure",
    FUNCTION_CHECK: "function_check",
    OUT_OF_SPECIFICATION: "out_of_specification",
    MAINTENANCE_REQUIRED: "maintenance_required",
}
_DIGITS: Final = 6
_LEAST_PLACE: Final = 30
_MOST_CAUSES: Final = 44
_MOST_NAMED: Final = 3
ALONE: Final = 0.95
"""Share from which a channel is called the only one that differs."""
_WHAT: Final[Mapping[AlarmState, str]] = {
    AlarmState.NORMAL: "Back to normal",
    AlarmState.UNACKNOWLEDGED: "Differs from normal running",
    AlarmState.ACKNOWLEDGED: "Acknowledged",
    AlarmState.RTN_UNACKNOWLEDGED: "Back to normal, not acknowledged",
    AlarmState.SHELVED: "Shelved",
    AlarmState.SUPPRESSED_BY_DESIGN: "Suppressed, at work on it",
    AlarmState.OUT_OF_SERVICE: "Out of service",
}


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was known of the asset at the window that a message is about."""

    score: float
    contribution: NDArray[np.float32]
    """(channel,)"""
    observed: NDArray[np.float32]
    """(channel,); the window's last cell, engineering units."""
    expected: NDArray[np.float32]
    """(channel,); its reconstruction."""
    operating_point: NDArray[np.float32]
    """(channel,); shares in the distance from where the machine ran in training."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """The beginning or the end of an event, which nobody needs to acknowledge."""

    condition: Condition
    what: str
    active: bool
    onset_us: int
    at_us: int
    status: str
    channel: str | None


class MessageWriter:
    """Puts transitions, events and refused lines into words.

    Args:
        manifest: whose texts and names are used.
        bundle_sha256: which bundle decided.
        is_historical: whether recorded samples are replayed.
    """

    def __init__(self, manifest: Manifest, bundle_sha256: str, *, is_historical: bool) -> None:
        self._manifest = manifest
        self._sha256 = bundle_sha256
        self._is_historical = is_historical

    def alarm(
        self,
        transition: Transition,
        evidence: Evidence | None,
        order: Order | None = None,
        *,
        first_out: str | None = None,
    ) -> Message:
        """The message of one transition of the alarm.

        Args:
            transition: what changed.
            evidence: of the last window.
            order: which it followed.
            first_out: channel that differed first.
        """
        manifest, spec = self._manifest, self._manifest.alarm
        abnormal = transition.state in (AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED)
        contributors = self._contributors(evidence)
        what = _WHAT[transition.state]
        if abnormal:
            what += _named(contributors, first_out)
        if order is not None:
            what += f" by {order.by}"
        return {
            **self._head(
                "alarm", "asset_anomaly", alarm_id(manifest.asset_id, transition.first_onset_us)
            ),
            "sequence": transition.sequence,
            "occurrence": transition.occurrence,
            "channel": None,
            "status": NE107[_status(transition.state)],
            "state": transition.state.value,
            "previous_state": transition.previous_state.value,
            "onset_at": to_iso(transition.onset_us),
            "raised_at": to_iso(transition.raised_us),
            "transition_at": to_iso(transition.at_us),
            **self._numbers(evidence),
            "contributors": contributors,
            "first_out": first_out,
            "priority": spec.priority,
            "message": self._text(
                what, f"{'since' if abnormal else 'began'} {to_iso(transition.onset_us)}"
            ),
            "cause": spec.cause,
            "consequence": spec.consequence,
            "action": spec.action,
            "by": None if order is None else order.by,
            "reason": None if order is None else order.reason,
            **self._tail(),
        }

    def first_named(self, evidence: Evidence) -> str | None:
        """The channel that differs most; None where none does."""
        contributors = self._contributors(evidence)
        return str(contributors[0]["channel"]) if contributors else None

    def event(self, occurrence: Occurrence, evidence: Evidence | None) -> Message:
        """The message of the beginning or the end of an event."""
        subject = [occurrence.condition, *filter(None, [occurrence.channel])]
        since = "since" if occurrence.active else "began"
        state, previous = ("active", "normal") if occurrence.active else ("normal", "active")
        name = alarm_id("-".join([self._manifest.asset_id, *subject]), occurrence.onset_us)
        return {
            **self._head("event", occurrence.condition, name),
            "sequence": 1 if occurrence.active else 2,
            "occurrence": 1,
            "channel": occurrence.channel,
            "status": occurrence.status,
            "state": state,
            "previous_state": previous,
            "onset_at": to_iso(occurrence.onset_us),
            "raised_at": None,
            "transition_at": to_iso(occurrence.at_us),
            **self._numbers(evidence),
            "contributors": self._contributors(evidence),
            "priority": None,
            "message": self._text(occurrence.what, f"{since} {to_iso(occurrence.onset_us)}"),
            "cause": None,
            "consequence": None,
            "action": None,
            "by": None,
            "reason": None,
            **self._tail(),
        }

    def operating_point(self, changed: Transition, evidence: Evidence) -> Message:
        """The message of the beginning or the end of a new operating point."""
        active = changed.state is AlarmState.UNACKNOWLEDGED
        outlying = replace(evidence, contribution=evidence.operating_point)
        what = "Known operating point again"
        if active:
            what = f"New operating point{_named(self._contributors(outlying))}"
        occurrence = Occurrence(
            condition="model_health",
            what=what,
            active=active,
            onset_us=changed.onset_us,
            at_us=changed.at_us,
            status=NE107[OUT_OF_SPECIFICATION if active else GOOD],
            channel=None,
        )
        return self.event(occurrence, outlying)

    def rejected(self, reason: str, *, line: int | None, raw: str) -> Message:
        """The message about an input line that was not used."""
        return {
            "schema": SCHEMA,
            "kind": "rejected",
            "asset": self._manifest.asset_id,
            "line": line,
            "reason": reason,
            "raw": raw[:LONGEST_RAW],
        }

    def _head(self, kind: str, condition: Condition, name: str) -> Message:
        return {
            "schema": SCHEMA,
            "kind": kind,
            "alarm_id": name,
            "asset": self._manifest.asset_id,
            "condition": condition,
        }

    def _tail(self) -> Message:
        return {
            "is_historical": self._is_historical,
            "shadow": not self._manifest.alarm.enabled,
            "model_version": self._manifest.version,
            "bundle_sha256": self._sha256,
        }

    def _numbers(self, evidence: Evidence | None) -> Message:
        score = None if evidence is None else to_number(evidence.score)
        return {"score": score, "threshold": self._manifest.threshold.score}

    def _contributors(self, evidence: Evidence | None) -> list[Message]:
        """The channels that differ most, largest share first."""
        if evidence is None:
            return []
        weights = np.clip(
            np.nan_to_num(evidence.contribution.astype(np.float64), posinf=0.0), 0.0, None
        )
        total = float(weights.sum())
        largest = np.argsort(-weights, kind="stable")[:MOST_CONTRIBUTORS]
        return [
            {
                "channel": self._manifest.channels[index].name,
                "unit": self._manifest.channels[index].unit,
                "observed": to_number(float(evidence.observed[index])),
                "expected": to_number(float(evidence.expected[index])),
                "share": to_number(weights[index] / total),
            }
            for index in largest.tolist()
            if weights[index] > 0
        ]

    def _text(self, what: str, when: str) -> str:
        """What, where, since when, in at most 120 characters; the place gives way first."""
        names = [self._manifest.asset_name or self._manifest.asset_id, self._manifest.site]
        place = ", ".join(filter(None, names))
        room = LONGEST_TEXT - len(f": , {when}")
        what = _shortened(what, room - min(len(place), _LEAST_PLACE))
        return f"{_shortened(place, room - len(what))}: {what}, {when}"


def to_number(value: float) -> float | None:
    """A number as JSON takes it: six digits, which all machines agree on; None if not finite.

    Example:
        >>> to_number(1 / 3), to_number(float("nan"))
        (0.333333, None)
    """
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _status(state: AlarmState) -> int:
    """NE 107 code of the machine: nobody can tell by an alarm that announces nothing."""
    if state in HELD:
        return FUNCTION_CHECK
    abnormal = state in (AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED)
    return OUT_OF_SPECIFICATION if abnormal else GOOD


def _named(contributors: Sequence[Message], first_out: str | None = None) -> str:
    """The first channels in brackets, or the only one; nothing where there is none.

    Then the channel that differed first, where it is another than is named first and there is room.

    Example:
        >>> flow, speed = {"channel": "flow", "share": 0.8}, {"channel": "speed", "share": 0.2}
        >>> _named([flow, speed]), _named([flow | {"share": 1.0}]), _named([])
        (' (flow, speed)', ' (flow alone)', '')
        >>> _named([flow, speed], "level"), _named([flow | {"share": 1.0}], "level")
        (' (flow, speed; first level)', ' (flow alone; first level)')
    """
    if not contributors:
        return ""
    names = [str(cause["channel"]) for cause in contributors[:_MOST_NAMED]]
    if float(str(contributors[0]["share"])) >= ALONE:
        causes = f"{_fitting(names[:1])} alone"
    else:
        causes = _fitting(names)
    first = f"; first {first_out}"
    has_room = first_out not in (None, names[0]) and len(causes) + len(first) <= _MOST_CAUSES
    return f" ({causes}{first if has_room else ''})"


def _fitting(names: list[str]) -> str:
    """As many whole names as leave room for the rest of the sentence, one at least.

    Example:
        >>> _fitting(["reactor_cooling_water_valve", "reactor_temperature"])
        'reactor_cooling_water_valve'
    """
    while len(names) > 1 and len(", ".join(names)) > _MOST_CAUSES:
        names = names[:-1]
    return _shortened(names[0], _MOST_CAUSES) if len(names) == 1 else ", ".join(names)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
