"""What an agent remembers between two samples, as a line of JSON: read back strictly."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge.alarm import Alarm
from faultwatch_edge.events import EventState
from faultwatch_edge.grid import GridState, from_optional, to_optional
from faultwatch_edge.message import Evidence
from faultwatch_edge.strict_json import read_json
from faultwatch_edge.window import WindowState

VERSION: Final = 1
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
class EvidenceState:
    """What was known at the last window; None = no number."""

    score: float | None
    contribution: tuple[float | None, ...]
    observed: tuple[float | None, ...]
    expected: tuple[float | None, ...]
    operating_point: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class AgentState:
    """What decides what an agent says next, beside its bundle and the samples to come."""

    version: int
    bundle_sha256: str
    """Of the bundle that it was running; another bundle has another memory."""
    grid: GridState
    window: WindowState
    detector: tuple[float, ...]
    alarm: Alarm
    point: Alarm
    events: EventState
    evidence: EvidenceState | None
    counts: Counts


def to_state(evidence: Evidence) -> EvidenceState:
    """What is kept of the evidence: numbers, all else is missing."""
    (score,) = _finite(np.array([evidence.score]))
    arrays = (getattr(evidence, name) for name in _ARRAYS)
    return EvidenceState(score, *map(_finite, arrays))


def from_state(state: EvidenceState) -> Evidence:
    """What ``to_state`` kept."""
    arrays = {name: from_optional(getattr(state, name)).astype(np.float32) for name in _ARRAYS}
    return Evidence(score=math.nan if state.score is None else state.score, **arrays)


def _finite(values: NDArray[np.floating]) -> tuple[float | None, ...]:
    return to_optional(np.where(np.isfinite(values), values, np.nan))


def write_state(state: AgentState) -> str:
    """One line of JSON; every number comes back as it was."""
    return json.dumps(asdict(state), allow_nan=False, separators=(",", ":"))


def read_state(text: str, *, where: str) -> AgentState:
    """What ``write_state`` wrote.

    Raises:
        BundleError: it is not that.
    """
    return read_json(AgentState, text.encode(), where=where)
