"""Data drift, channel by channel: what a champion learned from, beside what came since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from features.channels import channel_names
from features.drift import Shift, measure_shifts
from features.labels import Interval, outside
from features.schema import samples_schema
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.history import History

BLOCK = timedelta(days=1)
"""What the days of normal running are compared by."""
MOST_NAMED = 3
"""Channels that a sentence names."""
MOVED = {True: "yes", False: "no", None: "too few days to tell"}


@dataclass(frozen=True)
class ChannelDrift:
    """How far each channel is from what the champion learned."""

    learned: tuple[Shift, ...]
    """Of what the challenger learned from."""
    held_out: tuple[Shift, ...]
    """Of the held-out days since the champion learned, the furthest first."""

    def table(self) -> pl.DataFrame:
        """One row a channel, the furthest in the held-out days first."""
        learned = {shift.channel: shift for shift in self.learned}
        held_out = {shift.channel: shift for shift in self.held_out}
        rows = [
            {
                "channel": name,
                "unit": one.unit,
                "champion learned": one.before,
                **_told(learned.get(name), "this one learned"),
                **_told(held_out.get(name), "held out"),
                "moved": MOVED[held_out[name].has_moved] if name in held_out else None,
            }
            for name, one in {**held_out, **learned}.items()
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def sentence(self) -> str:
        """The channels that moved most, for people."""
        moved = [shift for shift in self.held_out if shift.has_moved]
        if moved:
            more = f"; and {len(moved) - MOST_NAMED} more" if len(moved) > MOST_NAMED else ""
            named = "; ".join(map(str, moved[:MOST_NAMED]))
            return f"Data drift since the champion learned, by the held-out days: {named}{more}."
        if not self.held_out:
            return "No held-out day is later than what the champion learned: no data drift to see."
        furthest = f"furthest away: {self.held_out[0]}"
        if all(shift.has_moved is None for shift in self.held_out):
            return f"Too few days to tell whether a channel has moved; {furthest}."
        return (
            "No channel has moved by more than chance explains and half a standard deviation since "
            f"the champion learned; {furthest}."
        )


def _told(shift: Shift | None, what: str) -> dict[str, float | None]:
    return {
        what: shift.now if shift else None,
        f"{what}, standard deviations away": shift.deviations if shift else None,
    }


def measure_drift(
    asset: AssetConfig, historian: Historian, history: History, *, taught: tuple[datetime, datetime]
) -> ChannelDrift:
    """Hold what a challenger learned from, and its held-out days, against what taught a champion.

    Args:
        asset: its channels.
        historian: what taught the champion is read from it, in slices.
        history: of the challenger.
        taught: first and last time of what taught the champion.
    """
    first, last = taught
    intervals, channels = history.intervals, asset.channel
    before = hourly_means(asset, historian, intervals, first, last + timedelta(microseconds=1))
    since = outside(history.held_out.filter(pl.col("time") > last), intervals)
    return ChannelDrift(
        *(
            measure_shifts(before, _by_hour(rows, channel_names(channels)), channels, block=BLOCK)
            for rows in (history.normal, since)
        )
    )


def hourly_means(
    asset: AssetConfig,
    historian: Historian,
    intervals: Sequence[Interval],
    start: datetime,
    end: datetime | None,
) -> pl.DataFrame:
    """Mean of each hour of normal running, ``start <= time < end``; read in slices."""
    names = channel_names(asset.channel)
    slices = historian.slices(start, end)
    hours = [_by_hour(outside(one, intervals), names) for one in slices]
    if not hours:
        return pl.DataFrame(schema=samples_schema(asset.channel))
    return _by_hour(pl.concat(hours), names)


def _by_hour(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    hours = rows.group_by(time=pl.col("time").dt.truncate("1h"), maintain_order=True)
    return hours.agg(pl.col(names).mean())
