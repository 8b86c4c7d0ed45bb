"""Sensors at fault as the report page lists them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SensorLine:
    """What was wrong with one sensor, and when."""

    channel: str
    """As the file calls it."""
    what: str
    """``failure, stuck``."""
    times: int
    """How often it was told."""
    began: float
    """The first time, in the unit of ``Page.x``."""
    ended: float | None
    """The last time; None = it was still active at the end of the data."""
