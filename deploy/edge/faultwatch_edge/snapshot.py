"""What an agent remembers between two samples, as a line of JSON: read back strictly."""

import json
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final

import numpy as np

from faultwatch_edge.alarm import Alarm
from faultwatch_edge.errors import BundleError
from faultwatch_edge.events import EventState
from faultwatch_edge.grid import GridState
from faultwatch_edge.message import Evidence
from faultwatch_edge.orders import Order
from faultwatch_edge.packed import pack, unpack
from faultwatch_edge.strict_json import load_json, read_json, read_record
from faultwatch_edge.times import EARLIEST_US, LATEST_US
from faultwatch_edge.window import WindowState

VERSION: Final = 1
_NORMAL: Final = Alarm()
_ARRAYS: Final = ("contribution", "observed", "expected", "operating_point")


@dataclass(slots=True)
class Counts:
    """What an agent has seen and done so far."""

    samples: int = 0
    cells: int = 0
    windows_scored: int = 0
    windows_not_scored: int = 0
    late: int = 0
    rejected: int = 0
    duplicates: int = 0
    alarms_raised: int = 0


@dataclass(frozen=True, slots=True)
class FirstOut:
    """Channels that differed first: names; None = none."""

    pending: str | None = None
    """Since the on-delay that ran last."""
    raised: str | None = None
    """In the last occurrence of the alarm."""


@dataclass(frozen=True, slots=True)
class AlarmMemory:
    """What is the machine's, and goes on whatever bundle watches it."""

    alarm: Alarm = _NORMAL
    first_out: FirstOut = FirstOut()
    holds: tuple[Order, ...] = ()
    """By which people keep it from being told, as long as they last."""


@dataclass(frozen=True, slots=True)
class EvidenceState:
    """What was known at the last window; arrays are packed."""

    score: str
    arrays: str
    """(4, channel): contribution, observed, expected, operating point."""


@dataclass(frozen=True, slots=True)
class AgentState:
    """What decides what an agent says next, beside its bundle and the samples to come."""

    version: int
    bundle_sha256: str
    """Of the bundle that it was running; another bundle has another memory."""
    grid: GridState
    window: WindowState
    detector: str
    """The graph's state, packed."""
    alarm: Alarm
    point: Alarm
    events: EventState
    evidence: EvidenceState | None
    counts: Counts
    first_out: FirstOut = FirstOut()
    holds: tuple[Order, ...] = ()

    @property
    def memory(self) -> AlarmMemory:
        """What goes on whatever bundle watches the machine."""
        return AlarmMemory(self.alarm, self.first_out, self.holds)


def to_state(evidence: Evidence) -> EvidenceState:
    """What is kept of the evidence."""
    arrays = np.stack([getattr(evidence, name) for name in _ARRAYS])
    return EvidenceState(pack(np.array([evidence.score])), pack(arrays))


def from_state(state: EvidenceState, channels: int) -> Evidence:
    """What ``to_state`` kept, of so many channels."""
    (score,) = unpack(state.score, np.float64, (1,)).tolist()
    arrays = unpack(state.arrays, np.float32, (len(_ARRAYS), channels))
    return Evidence(score=score, **dict(zip(_ARRAYS, arrays, strict=True)))


def write_state(state: AgentState) -> str:
    """One line of JSON; every number comes back as it was."""
    return json.dumps(state, default=_fields, allow_nan=False, separators=(",", ":"))


def _fields(part: Any) -> dict[str, object]:  # noqa: ANN401 - a dataclass of the state
    return {field.name: getattr(part, field.name) for field in fields(part)}


def read_state(text: str, *, where: str) -> AgentState:
    """What ``write_state`` wrote.

    Raises:
        BundleError: it is not that.
    """
    state = read_json(AgentState, text.encode(), where=where)
    if state.version != VERSION:
        raise BundleError(f"{where}: version is {state.version}, expected {VERSION}")
    _check_times(state, where)
    return state


def read_alarm(text: str) -> AlarmMemory | None:
    """What is the machine's, of a state that another agent may have written; None = no alarm in it.

    What differed first, and who holds the alarm, are told without where they cannot be read.

    Example:
        >>> memory = read_alarm('{"alarm": {"state": "shelved", "is_active": true}, "holds": 3}')
        >>> memory.alarm.state.value, memory.holds
        ('shelved', ())
    """
    with suppress(BundleError):
        document = load_json(text.encode())
        kept = document if isinstance(document, dict) else {}
        alarm = read_record(Alarm, kept.get("alarm"), where="alarm")
        _check_times(alarm, "alarm")
        memory = AlarmMemory(alarm)
        for name in ("first_out", "holds"):
            with suppress(BundleError):
                read = read_record(AlarmMemory, {name: kept.get(name)}, where="kept")
                memory = replace(memory, **{name: getattr(read, name)})
        return memory
    return None


def _check_times(part: Any, where: str) -> None:  # noqa: ANN401 - a dataclass of the state
    """Each time is one that can be told."""
    for field in fields(part):
        found = getattr(part, field.name)
        for one in found if isinstance(found, tuple) else (found,):
            if is_dataclass(one):
                _check_times(one, f"{where}.{field.name}")
            elif field.name.endswith("_us") and one is not None:
                _check_time(one, f"{where}.{field.name}")


def _check_time(at_us: int, where: str) -> None:
    if not EARLIEST_US <= at_us <= LATEST_US:
        raise BundleError(f"{where} is {at_us}, expected microseconds since 1970")
