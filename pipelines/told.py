"""What agents say by MQTT, strictly read: rows for the journal, or why it is none.

The words are those of ``faultwatch_edge/messages.schema.json``, version 1.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final, Literal, TypeVar

from faultwatch_edge.alarm import AlarmState
from faultwatch_edge.errors import BundleError
from faultwatch_edge.message import SCHEMA
from faultwatch_edge.sources.json_payload import LARGEST_PAYLOAD
from faultwatch_edge.strict_json import load_json, read_record
from faultwatch_edge.times import to_datetime
from features.labels import POSSIBLE_YEARS

Row = dict[str, object]
Record = TypeVar("Record")
Condition = Literal[
    "asset_anomaly", "data_quality", "model_health", "sensor_fault", "device_health"
]
Status = Literal[
    "good", "failure", "function_check", "out_of_specification", "maintenance_required"
]
_STATES: Final[Mapping[str, frozenset[str]]] = {
    "alarm": frozenset(AlarmState),
    "event": frozenset({"active", "normal"}),
}
_PRIORITIES: Final = ("low", "medium", "high", "critical")
_LARGEST_COUNT: Final = 2**63


class ToldError(Exception):
    """Why a message cannot be kept as what it claims to be; becomes a quarantined row."""


@dataclass(frozen=True, slots=True)
class Contributor:
    """One channel that differs."""

    channel: str
    unit: str
    observed: float | None
    expected: float | None
    share: float


@dataclass(frozen=True, slots=True)
class Told:
    """A transition of an alarm, or the beginning or end of an event."""

    schema: int
    kind: Literal["alarm", "event"]
    alarm_id: str
    asset: str
    condition: Condition
    sequence: int
    occurrence: int
    channel: str | None
    status: Status
    state: str
    previous_state: str
    onset_at: str
    raised_at: str | None
    transition_at: str
    score: float | None
    threshold: float
    contributors: tuple[Contributor, ...]
    priority: str | None
    message: str
    cause: str | None
    consequence: str | None
    action: str | None
    by: str | None
    reason: str | None
    is_historical: bool
    shadow: bool
    model_version: int
    bundle_sha256: str
    first_out: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """One window."""

    schema: int
    kind: Literal["score"]
    asset: str
    time: str
    score: float | None
    anomalous: bool | None
    gate: bool | None
    state: AlarmState
    model_version: int | None = None
    """None = said by an earlier agent; so is an empty ``bundle_sha256``."""
    bundle_sha256: str = ""


@dataclass(frozen=True, slots=True)
class AssetHealth:
    """What an agent counts of one asset."""

    asset: str
    model_version: int
    bundle_sha256: str
    last_sample_at: str | None
    samples: int
    late: int
    rejected: int
    bad_quality: int
    windows_scored: int
    windows_not_scored: int
    alarms_raised: int


@dataclass(frozen=True, slots=True)
class Health:
    """How an agent is; of one that has vanished, only that."""

    schema: int
    kind: Literal["health"]
    agent: str
    online: bool
    version: str | None = None
    at: str | None = None
    waiting: dict[str, int] | None = None
    assets: tuple[AssetHealth, ...] = ()


def read_told(payload: bytes, *, kind: Literal["alarm", "event"], asset: str) -> Row:
    """The row of a transition; who ordered it, and why, is part of it.

    Raises:
        ToldError: it is none of this asset.
    """
    told = _read(Told, payload)
    _check(told.kind == kind, f"kind is '{told.kind}', expected '{kind}' on this topic")
    _check_asset(told.asset, asset)
    for name in ("state", "previous_state"):
        _check_word(name, getattr(told, name), sorted(_STATES[kind]))
    if told.priority is not None:
        _check_word("priority", told.priority, _PRIORITIES)
    _check(told.sequence >= 1, f"sequence is {told.sequence}, expected 1 or more")
    row = _fields(told, "schema", "kind", "asset", "is_historical", "transition_at", "contributors")
    return row | {
        "time": _instant(told.transition_at, "transition_at"),
        "onset_at": _instant(told.onset_at, "onset_at"),
        "raised_at": None if told.raised_at is None else _instant(told.raised_at, "raised_at"),
        "contributors": json.dumps([_fields(one) for one in told.contributors], ensure_ascii=False),
    }


def read_score(payload: bytes, *, asset: str) -> Row:
    """The row of a window.

    Raises:
        ToldError: it is none of this asset.

    Example:
        >>> body = {"schema": 1, "kind": "score", "asset": "p", "time": "2026-01-01T00:00:00Z",
        ...         "score": 0.5, "anomalous": False, "gate": True, "state": "normal"}
        >>> read_score(json.dumps(body).encode(), asset="p")["score"]
        0.5
        >>> read_score(json.dumps(body | {"schema": 2}).encode(), asset="p")
        Traceback (most recent call last):
            ...
        pipelines.told.ToldError: schema is 2, expected 1; of another version of the agent
    """
    score = _read(Score, payload)
    _check_asset(score.asset, asset)
    row = _fields(score, "schema", "kind", "asset")
    return row | {"time": _instant(score.time, "time"), "state": score.state.value}


def read_health(payload: bytes) -> Health:
    """How an agent says it is.

    Raises:
        ToldError: it does not say that.
    """
    health = _read(Health, payload)
    if health.online:
        for name in ("version", "at", "waiting"):
            _check(getattr(health, name) is not None, f"{name} is missing, expected it")
        _instant(str(health.at), "at")
    return health


def health_rows(health: Health, heard_us: int) -> list[Row]:
    """A row for each asset of the agent; one without asset where it has none, or has vanished.

    Args:
        health: what it says.
        heard_us: when that came: nobody else knows when an agent vanished.
    """
    time = _instant(health.at, "at") if health.at and health.online else to_datetime(heard_us)
    waiting = sum((health.waiting or {}).values()) if health.online else None
    head: Row = {
        "time": time,
        "agent": health.agent,
        "online": health.online,
        "version": health.version,
        "waiting": waiting,
    }
    rows = [
        {
            **head,
            **_fields(one),
            "last_sample_at": None
            if one.last_sample_at is None
            else _instant(one.last_sample_at, "last_sample_at"),
        }
        for one in health.assets
    ]
    return rows if rows and health.online else [{**head, "asset": ""}]


def _read(kind: type[Record], payload: bytes) -> Record:
    if len(payload) > LARGEST_PAYLOAD:
        raise ToldError(f"has {len(payload)} bytes, expected at most {LARGEST_PAYLOAD}")
    try:
        document = load_json(payload)
        if isinstance(document, dict) and document.get("schema", SCHEMA) != SCHEMA:
            raise ToldError(
                f"schema is {document['schema']!r:.60}, expected {SCHEMA}; of another version of "
                "the agent"
            )
        return read_record(kind, document, where="message")
    except BundleError as error:
        raise ToldError(str(error).removeprefix("message: ")) from error


def _check(holds: bool, problem: str) -> None:  # noqa: FBT001 - the check itself
    if not holds:
        raise ToldError(problem)


def _check_asset(found: str, expected: str) -> None:
    _check(found == expected, f"asset is {found!r:.80}, expected '{expected}' on this topic")


def _check_word(name: str, found: str, known: Sequence[str]) -> None:
    _check(found in known, f"{name} is {found!r:.60}, expected one of {', '.join(known)}")


def _fields(record: Told | Score | AssetHealth | Contributor, *without: str) -> Row:
    row = {one.name: getattr(record, one.name) for one in fields(record)}
    for name, value in row.items():
        is_count = isinstance(value, int) and not -_LARGEST_COUNT <= value < _LARGEST_COUNT
        _check(not is_count, f"{name} is too large, expected a count")
    return {name: value for name, value in row.items() if name not in without}


def _instant(text: str, name: str) -> datetime:
    problem = f"{name} is {text!r:.60}, expected a time such as 2026-05-01T08:00:00Z"
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ToldError(problem) from None
    _check(instant.tzinfo is not None and instant.year in POSSIBLE_YEARS, problem)
    return instant.astimezone(UTC)
