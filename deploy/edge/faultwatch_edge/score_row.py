"""What is known of each window, for whoever wants to compare."""

from dataclasses import dataclass

from faultwatch_edge.alarm import AlarmState
from faultwatch_edge.message import Message, to_number
from faultwatch_edge.times import to_iso


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One window, for whoever wants to compare; None where it was not scored."""

    end_us: int
    score: float | None
    anomalous: bool | None
    gate: bool | None
    """None = too few channels to ask the detector."""
    state: AlarmState
    """Of the alarm, after this window."""


def score_record(row: ScoreRow) -> Message:
    """One window as JSON takes it."""
    return {
        "time": to_iso(row.end_us),
        "score": None if row.score is None else to_number(row.score),
        "anomalous": row.anomalous,
        "gate": row.gate,
        "state": row.state.value,
    }
