"""Alarms of the last days of recorded running: which ones challenger and champion raise.

For people who review, and for them alone: the challenger has learned from most of these days, so
the promotion gate, which goes by unseen running, takes nothing from here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from faultwatch_edge.bundle import Bundle
from features.channels import channel_names
from features.grid import WindowConfig
from features.labels import Interval
from features.slices import GridSlices, WindowSlices
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.history import INSTANT, History
from pipelines.scoring import AlarmRecord, BundleScorer

REACH = timedelta(days=90)
"""How far back alarms are looked for, at most."""
MOST_WINDOWS = 2_592_000
"""Windows that a bundle is shown, at most: thirty days at one a second, a few minutes."""
SAME = 0.1
"""Share of the longer of two alarms that both have in common, where they count as the same."""
MOST_CHANNELS = 3
"""Channels that a row names."""
CHALLENGER, CHAMPION = "this one", "the champion"
LABELLED = {
    "fault": "true fault",
    "true_fault": "true fault",
    "nuisance": "false alarm",
    "maintenance": "maintenance",
}


@dataclass(frozen=True)
class RaisedAlarm:
    """One alarm of one bundle."""

    who: str
    """`CHALLENGER` or `CHAMPION`."""
    onset_at: datetime
    raised_at: datetime
    ended_at: datetime | None
    """None = it stands."""
    channels: tuple[str, ...] = ()
    """The strongest first."""


@dataclass(frozen=True)
class AlarmGroup:
    """Alarms that are the same, in order of time; most often one of each bundle, or of one."""

    alarms: tuple[RaisedAlarm, ...]
    labelled: str = ""
    """What people said of the times at which it was raised; '' = nothing."""
    taught: bool = False
    """Whether the challenger learned from samples of that time."""

    @property
    def start(self) -> datetime:
        """Onset of the first."""
        return self.alarms[0].onset_at

    @property
    def end(self) -> datetime | None:
        """End of the last; None = one of them stands."""
        ends = [alarm.ended_at for alarm in self.alarms if alarm.ended_at is not None]
        return max(ends) if len(ends) == len(self.alarms) else None

    @property
    def raised_by(self) -> str:
        """`CHALLENGER`, `CHAMPION` or ``both``."""
        who = {alarm.who for alarm in self.alarms}
        return "both" if len(who) > 1 else who.pop()

    def row(self, bundles: Iterable[str]) -> dict[str, object]:
        """As the table has it."""
        first = {alarm.who: alarm.raised_at for alarm in reversed(self.alarms)}
        return {
            "start": self.start,
            "end": self.end,
            "raised by": self.raised_by,
            **{f"raised by {who} at": first.get(who) for who in bundles},
            "first channels": ", ".join(self.alarms[0].channels),
            "labelled": self.labelled or "not labelled",
            "taught this one": "yes: not unseen" if self.taught else "no",
        }


@dataclass(frozen=True)
class RecentAlarms:
    """What was raised in the last days."""

    since: datetime
    """First sample that was replayed."""
    until: datetime
    """The newest."""
    bundles: tuple[str, ...]
    """Who lived through them."""
    groups: tuple[AlarmGroup, ...]
    """In order of time."""

    def table(self) -> pl.DataFrame:
        """One row for alarms that group."""
        rows = [group.row(self.bundles) for group in self.groups]
        return pl.DataFrame(rows, infer_schema_length=None)

    def sentence(self) -> str:
        """How many alarms each raised, for people."""
        by = [group.raised_by for group in self.groups]
        ours, theirs, both = (by.count(who) for who in (CHALLENGER, CHAMPION, "both"))
        last = f"In the last {(self.until - self.since) / timedelta(days=1):.2g} days"
        if CHAMPION not in self.bundles:
            return f"{last} this one would have raised {_alarms(ours)}.{self._seen()}"
        return (
            f"{last} the champion raised {_alarms(theirs + both)}, this one {ours + both}: {both} "
            f"the same, {ours} new, {theirs} no longer.{self._seen()}"
        )

    def _seen(self) -> str:
        """What of it proves nothing."""
        seen = sum(group.taught for group in self.groups)
        if not seen:
            return ""
        lie, are = ("lies", "is") if seen == 1 else ("lie", "are")
        return (
            f" {seen} of these {len(self.groups)} {lie} in days that taught this one and {are} "
            "not unseen: the gate goes by later days alone."
        )


def find_recent_alarms(
    asset: AssetConfig, historian: Historian, history: History, bundles: Mapping[str, Bundle]
) -> RecentAlarms:
    """Let bundles live through the last days; what is held in memory does not grow with them.

    Args:
        asset: its channels.
        historian: what is replayed is read from it, in slices.
        history: of the challenger: its newest sample is the last one, its labels count.
        bundles: the challenger's by `CHALLENGER`, that of a champion of the same channels by
            `CHAMPION`.
    """
    until: datetime = history.held_out["time"][-1]
    since = until - min(REACH, MOST_WINDOWS * timedelta(seconds=asset.window.hop_s))
    lives = {who: _Life(asset, bundle) for who, bundle in bundles.items()}
    first = until
    for part in historian.slices(since, until + INSTANT):
        first = min(first, part["time"][0])
        for life in lives.values():
            life.add(part)
    names = channel_names(asset.channel)
    raised = [_raised(who, one, names) for who, life in lives.items() for one in life.finish()]
    groups = (
        AlarmGroup(
            group.alarms,
            labelled=_labelled(group, history.intervals),
            taught=_has_taught(group, history.normal["time"]),
        )
        for group in group_alarms(raised, until=until)
    )
    return RecentAlarms(first, until, tuple(bundles), tuple(groups))


class _Life:
    """A bundle that lives through samples which come in slices."""

    def __init__(self, asset: AssetConfig, bundle: Bundle) -> None:
        window = WindowConfig.model_validate(asdict(bundle.manifest.window))
        self._grid = GridSlices(asset.channel, window)
        self._windows = WindowSlices(asset.channel, window)
        self._scorer = BundleScorer(bundle)

    def add(self, samples: pl.DataFrame) -> None:
        self._scorer.score(self._windows.add(self._grid.add(samples)))

    def finish(self) -> list[AlarmRecord]:
        self._scorer.score(self._windows.add(self._grid.finish()))
        return self._scorer.alarms


def group_alarms(raised: Iterable[RaisedAlarm], *, until: datetime) -> list[AlarmGroup]:
    """Put together what is the same alarm: two that share `SAME` of the longer one, or more.

    A detector that stands in alarm for days does not thereby find what another one finds in them.

    Args:
        raised: each from its onset to its end.
        until: end of those that stand.

    Returns:
        All of them, in order of time.

    Example:
        >>> nine, ten, noon = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (9, 10, 12))
        >>> theirs = RaisedAlarm("the champion", nine, nine, noon)
        >>> ours = RaisedAlarm("this one", ten, ten, noon)
        >>> [group.raised_by for group in group_alarms([ours, theirs], until=noon)]
        ['both']
    """
    groups: list[list[RaisedAlarm]] = []
    running: list[list[RaisedAlarm]] = []
    for alarm in sorted(raised, key=lambda one: (one.onset_at, one.who)):
        running = [
            group
            for group in running
            if any(one.ended_at is None or one.ended_at >= alarm.onset_at for one in group)
        ]
        same = (group for group in running if any(_is_same(one, alarm, until) for one in group))
        group = next(same, None)
        if group is None:
            group = []
            groups.append(group)
            running.append(group)
        group.append(alarm)
    return [AlarmGroup(tuple(group)) for group in groups]


def _is_same(one: RaisedAlarm, other: RaisedAlarm, until: datetime) -> bool:
    ends = [alarm.ended_at or until for alarm in (one, other)]
    shared = min(ends) - max(one.onset_at, other.onset_at)
    longer = max(ends[0] - one.onset_at, ends[1] - other.onset_at)
    return shared >= max(SAME * longer, timedelta())


def _raised(who: str, record: AlarmRecord, names: Sequence[str]) -> RaisedAlarm:
    return RaisedAlarm(
        who,
        _instant(record.onset_us),
        _instant(record.raised_us),
        None if record.ended_us is None else _instant(record.ended_us),
        tuple(names[place] for place in record.strongest[:MOST_CHANNELS]),
    )


def _instant(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def _labelled(group: AlarmGroup, intervals: Sequence[Interval]) -> str:
    """What people said of the times at which it was raised; '' = nothing."""
    times = [alarm.raised_at for alarm in group.alarms]
    said = [
        LABELLED[one.kind] for one in intervals if any(one.start <= at < one.end for at in times)
    ]
    return ", ".join(dict.fromkeys(said))


def _has_taught(group: AlarmGroup, taught: pl.Series) -> bool:
    """Whether any sample that taught lies within; their times are sorted."""
    end = taught[-1] if group.end is None else group.end
    first = taught.search_sorted(group.start, side="left")
    return first < taught.search_sorted(end, side="right")


def _alarms(number: int) -> str:
    return "1 alarm" if number == 1 else f"{number} alarms"
