"""What a quality report says, as frozen dataclasses that turn into JSON and back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Stretch:
    """A span of time."""

    start_at: datetime
    seconds: float


@dataclass(frozen=True)
class Silence:
    """Stretches of time without a value."""

    count: int
    total_s: float
    longest: Stretch | None
    """None where there is none."""


@dataclass(frozen=True)
class HeldValue:
    """Consecutive measured values that are exactly equal."""

    value: float
    samples: int
    stretch: Stretch
    """From the first of them to the last."""


@dataclass(frozen=True)
class RateChange:
    """The usual sample period changed, and stayed changed."""

    start_at: datetime
    """Beginning of the first UTC day with the new period."""
    before_s: float
    after_s: float


@dataclass(frozen=True)
class ChannelQuality:
    """What was found of one channel."""

    name: str
    unit: str
    range: tuple[float, float] | None
    """As configured."""
    samples: int
    """Rows with a value."""
    missing_share: float
    """Share of the rows without a value."""
    missing: Silence
    """Stretches in which other channels have values and this one has none. Those that are usual for
    the channel do not count (slow or ``on_change`` channels), but ``longest`` is of all."""
    sparse: bool
    """Whether most of its values are followed by rows without one: slower than other channels."""
    constant: bool
    """Whether all its values are equal."""
    longest_run: HeldValue | None
    """Longest run of equal values; None where it says nothing: not continuous and periodic."""
    stuck_runs: int
    """Runs of equal values that stand out from all others, as `features.tallies.RunLengths`."""
    stuck_share: float
    """Share of its values that are in such runs."""
    outside_share: float
    """Share of its values that are outside its range."""
    worst: float | None
    """The value farthest outside its range; None where none is."""
    outside_since: datetime | None
    """Time of the first value outside its range."""
    slow_share: float | None = None
    """Share of its variation that is slower than an eighth of normal running, as
    `features.slow_movement`, 0 if it is not continuous; None where nothing teaches."""


@dataclass(frozen=True)
class QualityReport:
    """What was found of an asset's samples."""

    rows: int
    first_at: datetime | None
    """Time of the first row; None without rows."""
    last_at: datetime | None
    days_spanned: float
    days_covered: float
    """Days spanned, less the gaps."""
    days_needed: float | None
    """Covered days that the alarm budget needs; None = not judged."""
    sample_period_s: float
    """As configured."""
    usual_period_s: float | None
    """Most frequent spacing of rows with a value, three digits; None with fewer than two rows."""
    regular_share: float
    """Share of the spacings that are like it."""
    gaps: Silence
    """Silences of all channels, longer than ``max_gap_s`` and than three usual periods."""
    rate_changes: tuple[RateChange, ...]
    channels: tuple[ChannelQuality, ...]
    remarks: tuple[str, ...]
    """What a person should read, the most important first."""

    @property
    def days_short(self) -> float:
        """Covered days that are missing for the alarm budget."""
        return max((self.days_needed or 0.0) - self.days_covered, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; times are ISO 8601."""
        return dict(_REPORT.dump_python(self, mode="json"), days_short=self.days_short)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "QualityReport":
        """The report of which this is the `to_dict`."""
        return _REPORT.validate_python(document)


_REPORT = TypeAdapter(QualityReport)
