"""Channels as the samples table has them, and where the asset file says otherwise."""

from features.channels import Channel, channel_names
from features.merging import SOURCE, SOURCES
from pipelines.tables import Snapshot, add_column, set_unit, units_of

OWN_COLUMNS = ("time", SOURCE, SOURCES, "month")
"""Columns of the samples table that are no channels."""
RETIRED = "(retired)"
"""In the place of the unit of a column whose channel is gone for good."""


def stored_channels(snapshot: Snapshot) -> tuple[str, ...]:
    """Channels of the table, in its order."""
    names = (field.name for field in snapshot.schema().fields)
    return tuple(name for name in names if name not in OWN_COLUMNS)


def schema_changes(snapshot: Snapshot, channels: tuple[Channel, ...]) -> list[str]:
    """Sentences on what the asset file and the table say differently, each with a choice."""
    stored, units = stored_channels(snapshot), units_of(snapshot)
    changes = [_change(channel, stored, units.get(channel.name, "")) for channel in channels]
    named = set(channel_names(channels))
    changes += [
        f"channel '{name}' is in the historian, but not in the asset file; restore it, or, if it "
        f"is gone for good, run {_accept(name)}: its history stays"
        for name in stored
        if name not in named and units.get(name) != RETIRED
    ]
    return [change for change in changes if change]


def _change(channel: Channel, stored: tuple[str, ...], unit: str) -> str:
    """What changed of a channel; empty where nothing did."""
    name = channel.name
    if name not in stored:
        return (
            f"channel '{name}' is new, the historian has no such column; if another channel was "
            "renamed, restore its name (a new name at the source is a new tag); to begin it, run "
            f"{_accept(name)}"
        )
    if unit in (channel.unit, RETIRED):
        return ""
    return (
        f"channel '{name}' has unit '{channel.unit}' in the asset file, but its values are in "
        f"'{unit}'; restore the unit; if the values did change, give the channel a new name; if "
        f"only the spelling did, run {_accept(name)}"
    )


def _accept(name: str) -> str:
    return f"`faultwatch ingest ASSET --accept {name}`"


def accept_channel(snapshot: Snapshot, name: str, channels: tuple[Channel, ...]) -> bool:
    """Take over what the asset file says of a channel; False = nobody knows that name."""
    here = {channel.name: channel.unit for channel in channels}
    stored = name in stored_channels(snapshot)
    if name in here and not stored:
        add_column(snapshot, name, here[name])
    elif stored:
        set_unit(snapshot, name, here.get(name, RETIRED))
    return stored or name in here
