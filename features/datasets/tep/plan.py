"""How many runs of the demo plant are simulated, and when each takes place."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from features.datasets.tep import Kind

FAULTS: Final = 20
"""Disturbances of Downs and Vogel."""


@dataclass(frozen=True)
class Size:
    """How much is simulated; without arguments what comes with the package."""

    train_runs: int = 20
    """Normal runs of 72 h to train on."""
    held_out_runs: int = 6
    """Normal runs kept apart."""
    held_out_hours: int = 24
    """Length of each of them."""
    fault_runs: int = 1
    """Runs of each fault."""


BUNDLED: Final = Size()
"""What comes with the package."""


@dataclass(frozen=True)
class Campaign:
    """Runs of one kind, one after another with silence between them."""

    kind: Kind
    prefix: str
    runs: int
    first_start: datetime
    duration: timedelta

    @property
    def spacing(self) -> timedelta:
        """From the start of one run to that of the next: at least a day of silence."""
        return self.duration + timedelta(days=1)

    @property
    def end(self) -> datetime:
        """When the first run after it may start."""
        return self.first_start + self.runs * self.spacing


def plan_campaigns(size: Size) -> tuple[Campaign, ...]:
    """The three campaigns, one after another on the calendar.

    Example:
        >>> train, held_out, faults = plan_campaigns(Size(held_out_runs=20, held_out_hours=72))
        >>> train.end < held_out.first_start, held_out.end == faults.first_start
        (True, True)
    """
    train = Campaign(
        "train", "train", size.train_runs, datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=72)
    )
    held_out = Campaign(
        "held_out",
        "held_out",
        size.held_out_runs,
        max(datetime(2026, 4, 1, tzinfo=UTC), train.end),
        timedelta(hours=size.held_out_hours),
    )
    faults = Campaign(
        "fault",
        "idv",
        FAULTS * size.fault_runs,
        max(datetime(2026, 5, 1, tzinfo=UTC), held_out.end),
        timedelta(hours=24),
    )
    return train, held_out, faults
