"""What a bundle says about itself: channels, windows, threshold, alarm, and where it came from."""

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

from faultwatch_edge.errors import BundleError
from faultwatch_edge.strict_json import load_json, read_json
from faultwatch_edge.times import microseconds

CONTRACT_VERSION = 1
MOST_CELLS_HELD = 1_000_000
"""Cells that a gap or the lateness may span: what keeps the agent's memory bounded."""
SHORTEST_PERIOD_S = 1e-6
LONGEST_PERIOD_S = 1e6

_WHERE = "manifest.json"
ASSET_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")


def _check(holds: bool, problem: str) -> None:  # noqa: FBT001 - the check itself
    if not holds:
        raise BundleError(problem)


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """One measured signal, in the place that the graph's channel axis gives it."""

    name: str
    """Name in messages, unique in the bundle."""
    tag: str | None
    """Name at the source, where it differs."""
    unit: str
    """Engineering unit, for people."""
    kind: Literal["continuous", "discrete", "counter"]
    """How samples become one value a cell: mean, last value, difference."""
    reporting: Literal["periodic", "on_change"]
    """Whether silence means *missing* or *unchanged*."""
    range: tuple[float, float] | None
    """Lowest and highest possible value, in ``unit``."""

    def __post_init__(self) -> None:
        _check(bool(self.name), "a channel has no name, expected one for each")
        if self.range is not None:
            low, high = self.range
            _check(
                low < high,
                f"channel '{self.name}' has range {low:g} to {high:g}, expected the lowest first",
            )


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How samples become cells, and cells windows."""

    sample_period_s: float
    """Length of a cell."""
    length: int
    """Cells in a window."""
    hop: int
    """Cells between the ends of consecutive windows."""
    max_gap_s: float
    """Longest silence of all channels that does not cut the sequence."""
    min_channels: int
    """Channels that need a value in the window for it to be scored."""
    allowed_lateness_s: float
    """How long a cell waits for samples that arrive late."""

    def __post_init__(self) -> None:
        period_s = self.sample_period_s
        _check(
            SHORTEST_PERIOD_S <= period_s <= LONGEST_PERIOD_S,
            f"window.sample_period_s is {period_s}, expected {SHORTEST_PERIOD_S} to "
            f"{LONGEST_PERIOD_S}",
        )
        for name in ("length", "hop", "min_channels"):
            _check(
                getattr(self, name) >= 1, f"window.{name} is {getattr(self, name)}, expected >= 1"
            )
        for name in ("max_gap_s", "allowed_lateness_s"):
            value: float = getattr(self, name)
            _check(value >= 0, f"window.{name} is {value}, expected >= 0")
            _check(
                value <= MOST_CELLS_HELD * period_s,
                f"window.{name} is {value}, expected at most {MOST_CELLS_HELD} cells of "
                f"{period_s} s",
            )

    @property
    def sample_period_us(self) -> int:
        """Length of a cell in microseconds."""
        return microseconds(self.sample_period_s)


@dataclass(frozen=True, slots=True)
class ThresholdSpec:
    """The threshold, and the false-alarm budget that it was found for."""

    score: float
    """A window whose score is this or higher is anomalous."""
    false_alarms_per_day: float
    """The budget that the user set."""
    expected_per_day: float
    """False alarms a day that the replay of normal running counted at ``score``."""
    interval_per_day: tuple[float, float]
    """90 % interval of ``expected_per_day``."""
    scored_days: float
    """Days of scored normal running behind these numbers."""
    extrapolated: bool
    """Whether the budget lies beyond what those days can support."""

    def __post_init__(self) -> None:
        for name in ("false_alarms_per_day", "expected_per_day", "scored_days"):
            _check(
                getattr(self, name) >= 0,
                f"threshold.{name} is {getattr(self, name)}, expected >= 0",
            )
        low, high = self.interval_per_day
        _check(
            0 <= low <= high,
            f"threshold.interval_per_day is {low:g} to {high:g}, expected the lower limit first",
        )


@dataclass(frozen=True, slots=True)
class AlarmSpec:
    """When an anomaly becomes an alarm, and what the operator reads."""

    on_delay_s: float
    """How long windows stay anomalous before the alarm is raised."""
    off_delay_s: float
    """How long windows stay normal before the alarm returns."""
    priority: Literal["low", "medium", "high", "critical"]
    """ISA-18.2 priority."""
    cause: str
    """Likely cause, for the operator."""
    consequence: str
    """What happens if nobody acts."""
    action: str
    """What the operator does."""
    enabled: bool
    """False: a shadow; scored and journalled, not announced."""
    hysteresis: float = 0.0
    """How far below the threshold, in units of the score, windows must be for it to return."""
    latch: bool = False
    """Whether a return needs an acknowledgement of its own."""

    def __post_init__(self) -> None:
        for name in ("on_delay_s", "off_delay_s", "hysteresis"):
            _check(
                getattr(self, name) >= 0, f"alarm.{name} is {getattr(self, name)}, expected >= 0"
            )


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything in a bundle that is not a weight."""

    contract: int
    asset_id: str
    """Short name: letters, digits, ``_``, ``.`` and ``-``; part of file names and alarm ids."""
    asset_name: str
    site: str
    version: int
    """Version of the registered model."""
    created_at: str
    """ISO-8601, UTC."""
    channels: tuple[ChannelSpec, ...]
    """In the order of the graph's channel axis."""
    window: WindowSpec
    threshold: ThresholdSpec
    alarm: AlarmSpec
    state_size: int
    """Length of the graph's ``state``."""
    reconstructor: str
    mlflow_run: str
    historian_version: int
    git_revision: str
    key_id: str
    """Which key signed the bundle, see ``keys.key_id``."""

    def __post_init__(self) -> None:
        _check_contract(self.contract)
        _check(
            ASSET_ID.fullmatch(self.asset_id) is not None,
            f"asset_id is {self.asset_id!r}, expected 1 to 64 letters, digits, '_', '.' or '-'",
        )
        _check(self.version >= 1, f"version is {self.version}, expected >= 1")
        _check(self.state_size >= 0, f"state_size is {self.state_size}, expected >= 0")
        _check(
            _KEY_ID.fullmatch(self.key_id) is not None,
            f"key_id is {self.key_id!r}, expected 16 hexadecimal digits",
        )
        _check_utc(self.created_at)
        self._check_channels()
        _check(
            self.alarm.hysteresis < self.threshold.score or not self.alarm.hysteresis,
            f"alarm.hysteresis is {self.alarm.hysteresis:g}, expected less than the threshold, "
            f"{self.threshold.score:g}: no alarm would ever return",
        )

    def _check_channels(self) -> None:
        count = len(self.channels)
        _check(count > 0, "channels is empty, expected at least one")
        tags = [channel.tag for channel in self.channels if channel.tag is not None]
        for what, words in (("name", self.channel_names), ("tag", tuple(tags))):
            doubled = sorted({word for word in words if words.count(word) > 1})
            _check(not doubled, f"channel {what} '{''.join(doubled[:1])}' is there twice")
        _check(
            self.window.min_channels <= count,
            f"window.min_channels is {self.window.min_channels}, expected at most {count}",
        )

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names in the order of the graph's channel axis."""
        return tuple(channel.name for channel in self.channels)

    @property
    def file_name(self) -> str:
        """Name of the bundle's file: ``ASSET-VERSION.fwb``."""
        return f"{self.asset_id}-{self.version}.fwb"

    def to_json(self) -> bytes:
        """The document ``manifest.json``; the same manifest gives the same bytes.

        What was added to the contract is left out where it is not used, for older agents.
        """
        document = asdict(self)
        for name in ("hysteresis", "latch"):
            if not document["alarm"][name]:
                del document["alarm"][name]
        try:
            text = json.dumps(
                document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
            )
            return f"{text}\n".encode()
        except (TypeError, ValueError) as error:
            raise BundleError(f"{_WHERE}: cannot be written as JSON ({error})") from error

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        """Read ``manifest.json`` strictly; the contract version is judged before anything else.

        Raises:
            BundleError: another contract version, or a document that is not a manifest.
        """
        try:
            document = load_json(text)
            if isinstance(document, dict) and type(document.get("contract")) is int:
                _check_contract(document["contract"])
        except BundleError as error:
            raise BundleError(f"{_WHERE}: {error}") from error
        return read_json(cls, text, where=_WHERE)


def _check_contract(contract: int) -> None:
    remedy = "update faultwatch-edge" if contract > CONTRACT_VERSION else "release the model again"
    _check(
        contract == CONTRACT_VERSION,
        f"contract is {contract}, expected {CONTRACT_VERSION}; {remedy}",
    )


def _check_utc(created_at: str) -> None:
    try:
        offset = datetime.fromisoformat(created_at).utcoffset()
    except ValueError:
        offset = None
    _check(
        offset == timedelta(0),
        f"created_at is {created_at!r}, expected an ISO-8601 time in UTC such as "
        "2026-01-31T12:00:00Z",
    )
