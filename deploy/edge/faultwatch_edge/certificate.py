"""What a bundle was shown to find: for each channel and kind of sensor fault the smallest size.

The device does not act on it. It travels in the bundle so that whoever relies on the bundle can
read what was promised of it, signed with the rest.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from faultwatch_edge.errors import BundleError
from faultwatch_edge.strict_json import read_json

_WHERE = "certificate.json"


@dataclass(frozen=True, slots=True)
class DetectionLimit:
    """The smallest fault of one kind that is found in one channel."""

    channel: str
    unit: str
    """Engineering unit of ``size``, for people."""
    kind: Literal["bias", "drift", "stuck", "noise", "spike", "gain", "dropout"]
    is_found: bool
    """Whether enough onsets were found, at ``size`` or, without one, at the largest tried."""
    size: float | None
    """In ``unit``; None = not found, or a kind that has no size (stuck, dropout)."""
    deviations: float | None
    """The same in standard deviations of the channel in normal running."""
    found: int
    """Onsets that were found at that size; where it is not found, at the largest tried."""
    median_delay_s: float | None
    """From the onset to the alarm or the sensor event, of those found; None = none was."""

    @property
    def has_size(self) -> bool:
        """Whether the kind has a size: a sensor that is stuck or silent is so without one."""
        return self.kind not in {"stuck", "dropout"}


@dataclass(frozen=True, slots=True)
class Uncertified:
    """A channel of which nothing is said."""

    channel: str
    reason: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """Detection limits of every channel, and under which rule they were measured."""

    within_s: float
    """Time after the onset within which a fault must be found."""
    smallest: float
    """Smallest size tried, in standard deviations of normal running."""
    largest: float
    """Largest size tried."""
    onsets: int
    """Instants in held-out normal running at which each fault was begun."""
    needed: int
    """How many of them must be found for the fault to count as found."""
    promised_per_day: float
    """False alarms a day that the threshold promises."""
    alarms: int
    """Alarms that the same running raised without any fault put into it."""
    days: float
    """Scored days of that running."""
    limits: tuple[DetectionLimit, ...]
    """Of each channel in turn, kind after kind."""
    uncertified: tuple[Uncertified, ...]

    def __post_init__(self) -> None:
        if not self.days > 0:
            raise BundleError(f"days is {self.days}, expected more than 0")

    @property
    def realised_per_day(self) -> float:
        """False alarms a day of the untouched running."""
        return self.alarms / self.days

    def to_json(self) -> bytes:
        """The document ``certificate.json``; the same certificate gives the same bytes."""
        try:
            text = json.dumps(
                asdict(self), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
            )
            return f"{text}\n".encode()
        except (TypeError, ValueError) as error:
            raise BundleError(f"{_WHERE}: cannot be written as JSON ({error})") from error

    @classmethod
    def from_json(cls, text: bytes) -> "Certificate":
        """Read ``certificate.json`` strictly.

        Raises:
            BundleError: it is not a certificate.
        """
        return read_json(cls, text, where=_WHERE)

    def check_channels(self, names: Sequence[str]) -> None:
        """Compare its channels with those of the bundle.

        Raises:
            BundleError: it names a channel that the bundle does not have.
        """
        named = {one.channel for one in self.limits} | {one.channel for one in self.uncertified}
        strangers = sorted(named - set(names))
        if strangers:
            raise BundleError(
                f"{_WHERE}: names channel '{strangers[0]}', which the manifest does not have; "
                "release the model again"
            )
