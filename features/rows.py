"""Rows as a source has them: which can be used, and why the others cannot.

No row is lost here: it becomes samples, or goes to quarantine with the reason, or is of a tag that
belongs to no channel of this asset.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from features.channels import Channel
from features.schema import LINE, QUARANTINE_SCHEMA, SchemaError
from features.source import SourceConfig
from features.times import TIME, TimeColumnError, parse_times
from features.values import ValueColumnError, Values, is_good, parse_values
from features.wording import as_shown

LONGEST_RAW = 4096
"""Characters of a row that the quarantine keeps."""
CELLS_SCHEMA: dict[str, pl.DataType] = {
    "time": TIME,
    "channel": pl.String(),
    "value": pl.Float64(),
    LINE: pl.Int64(),
}
"""Columns of samples in the long layout: one row a value."""


@dataclass(frozen=True)
class Split:
    """What became of rows at the door."""

    samples: pl.DataFrame
    """Wide: ``time``, the channels and ``_line``; long: as `CELLS_SCHEMA`. In order of arrival."""
    quarantined: pl.DataFrame
    """source, line, reason, raw."""
    bad: dict[str, int] = field(default_factory=dict)
    """Values that are missing because their quality is not good, by channel."""
    unlisted: dict[str, int] = field(default_factory=dict)
    """Rows of tags that belong to no channel, by tag."""


def locate_columns(
    found: list[str], channels: tuple[Channel, ...], source: SourceConfig, *, name: str
) -> dict[str, str]:
    """Map ``time`` and each channel to its column in a wide source: by name, tag or former tag.

    Args:
        found: columns of the source.
        channels: the asset's channels.
        source: names the time column, and says whether channels may lack.
        name: of the file, for the message.

    Raises:
        features.schema.SchemaError: a column is missing, or is there twice.

    Example:
        >>> flow = Channel(name="flow", tag="FT-101")
        >>> source = SourceConfig(files="a.csv", time="t")
        >>> locate_columns(["t", "FT-101"], (flow,), source, name="a.csv")
        {'time': 't', 'flow': 'FT-101'}
    """
    places = {"time": _only(source.time, found, name, "[source] time")}
    for channel in channels:
        known = [word for word in known_as(channel) if word in found]
        if known:
            places[channel.name] = _only(known[0], found, name, f"channel '{channel.name}'")
    lost = [channel for channel in channels if channel.name not in places]
    if len(lost) == len(channels) and (source.partial or len(lost) > 1):
        raise SchemaError(
            f"{name} has no column of any channel; it has {_shown(found)}; {_remedy(found)}correct "
            "[source] files, or the tags of the channels"
        )
    if lost and not source.partial:
        raise SchemaError(_lost_sentence(lost[0], found, places, name))
    return places


def known_as(channel: Channel) -> list[str]:
    """Names of a channel's column or tag in a source: name, tag, former tags."""
    words = (channel.name, channel.tag, *channel.former_tags)
    return [word for word in words if word is not None]


def _only(column: str, found: list[str], name: str, what: str) -> str:
    count = found.count(column)
    if count == 1:
        return column
    if count > 1:
        raise SchemaError(f"{name} has {count} columns '{column}' for {what}; expected one")
    if len(found) == 1:
        raise SchemaError(
            f"{name} has no column '{column}', but one column '{as_shown(found[0], 200)}'; if that "
            f"is several, correct [source] separator, else correct {what}"
        )
    raise SchemaError(f"{name} has no column '{column}'; it has {_shown(found)}; correct {what}")


def _shown(columns: list[str]) -> str:
    return as_shown(", ".join(map(as_shown, columns[:20])), 400)


def _lost_sentence(lost: Channel, found: list[str], places: dict[str, str], name: str) -> str:
    tag = f" (tag '{lost.tag}')" if lost.tag else ""
    spare = [f"'{as_shown(column)}'" for column in found if column not in places.values()]
    renamed = (
        f"if it is now called {' or '.join(spare[:3])}, make that its tag and the old name one of "
        "its former_tags; "
        if spare
        else ""
    )
    return (
        f"{name} has no column for channel '{lost.name}'{tag}; {_remedy(found) or renamed}if files "
        "may lack channels, set [source] partial = true; if it is gone for good, remove the channel"
    )


def _remedy(found: list[str]) -> str:
    """What to do first where the names of the columns were not read as they were written."""
    if not any("\ufffd" in column for column in found):
        return ""
    return "its header is not UTF-8 text: set [source] encoding, such as 'cp1252'; "


def split_wide(
    raw: pl.DataFrame,
    lines: pl.Series,
    channels: tuple[Channel, ...],
    source: SourceConfig,
    *,
    name: str,
) -> Split:
    """Divide rows of one column a channel into those that can be used and those that cannot.

    A row cannot be used when its time is missing, unreadable or without a zone, or when a value is
    text or infinite. An empty cell, ``NaN`` or ``null`` is a missing value; a word such as ``Bad``
    is one, too, and counted.

    Args:
        raw: rows as read: text columns from CSV, typed ones from Parquet and databases.
        lines: place of each row in the source.
        channels: the asset's channels.
        source: how the source writes times and values.
        name: of the file, for the quarantine.

    Raises:
        features.schema.SchemaError: a column is missing altogether, or has a type that cannot be
            used.

    Example:
        >>> raw = pl.DataFrame({"time": ["2026-01-01T00:00:00Z", "soon"], "flow": ["1.5", "2"]})
        >>> source, flow = SourceConfig(files="a.csv"), Channel(name="flow")
        >>> split = split_wide(raw, pl.Series([2, 3]), (flow,), source, name="a.csv")
        >>> split.samples["flow"].to_list(), split.quarantined["reason"].to_list()
        ([1.5], ["time is 'soon', expected a time such as 2026-05-01T08:00:00Z"])
    """
    places = locate_columns(raw.columns, channels, source, name=name)
    times, reasons = _times(raw[places.pop("time")], source, name)
    values, all_reasons, bad = [], [reasons], {}
    for channel in channels:
        if channel.name not in places:
            values.append(_nothing(channel.name, raw.height))
            continue
        column = places[channel.name]
        where = f"{name}: column '{column}' of channel '{channel.name}'"
        found = _values(raw[column], source, where)
        values.append(found.numbers.alias(channel.name))
        if found.refused.any():
            all_reasons.append(found.reasons(pl.lit(channel.name)))
        if count := int(found.bad.sum()):
            bad[channel.name] = count
    samples = pl.DataFrame([times, *values, lines.cast(pl.Int64).alias(LINE)])
    return _divided(samples, _first(all_reasons), raw, name, bad=bad)


def check_long_columns(found: list[str], source: SourceConfig, *, name: str) -> None:
    """Raise unless a source of the long layout has its columns, once each.

    Raises:
        features.schema.SchemaError: it has not.
    """
    for option in ("time", "tag", "value", "quality"):
        if (column := getattr(source, option)) is not None:
            _only(column, found, name, f"[source] {option}")


def split_long(
    raw: pl.DataFrame,
    lines: pl.Series,
    channels: tuple[Channel, ...],
    source: SourceConfig,
    *,
    name: str,
) -> Split:
    """Divide rows of one value each (time, tag, value, quality) like `split_wide`.

    With a quality that is not good the value is missing, and counted. Rows of other tags are only
    counted.

    Example:
        >>> at = "2026-01-01T00:00:00Z"
        >>> raw = pl.DataFrame(
        ...     {"time": [at] * 3, "tag": ["FT", "FT", "PT"], "value": ["1.5", "2", "3"],
        ...      "quality": ["Good", "Bad", "Good"]}
        ... )
        >>> source = SourceConfig(files="a.csv", layout="long", quality="quality")
        >>> flow = Channel(name="flow", tag="FT")
        >>> split = split_long(raw, pl.Series([2, 3, 4]), (flow,), source, name="a.csv")
        >>> split.samples["value"].to_list(), split.bad, split.unlisted
        ([1.5, None], {'flow': 1}, {'PT': 1})
    """
    check_long_columns(raw.columns, source, name=name)
    named = {word: channel.name for channel in reversed(channels) for word in known_as(channel)}
    tags = raw[source.tag].cast(pl.String).str.strip_chars()
    no_tag = tags.is_null() | (tags == "")
    channel = tags.replace_strict(named, default=None, return_dtype=pl.String)
    ours = channel.is_not_null() | no_tag
    unlisted = dict(tags.filter(~ours).value_counts().iter_rows())
    if not ours.all():
        raw, lines, channel = raw.filter(ours), lines.filter(ours), channel.filter(ours)
    return _split_ours(raw, lines, channel.alias("channel"), source, name=name, unlisted=unlisted)


def _split_ours(
    raw: pl.DataFrame,
    lines: pl.Series,
    channel: pl.Series,
    source: SourceConfig,
    *,
    name: str,
    unlisted: dict[str, int],
) -> Split:
    times, time_reason = _times(raw[source.time], source, name)
    found = _values(raw[source.value], source, f"{name}: column '{source.value}'")
    if source.quality is not None:
        found = found.only_where(is_good(raw[source.quality], source))
    tag_reason = pl.select(
        pl.when(pl.lit(channel).is_null()).then(pl.lit("tag is missing"))
    ).to_series()
    values = found.numbers.alias("value")
    samples = pl.DataFrame([times, channel, values, lines.cast(pl.Int64).alias(LINE)])
    counts = channel.filter(found.bad & channel.is_not_null()).value_counts()
    named = [found.reasons(pl.lit(channel))] if found.refused.any() else []
    reasons = _first([tag_reason, time_reason, *named])
    return _divided(samples, reasons, raw, name, bad=dict(counts.iter_rows()), unlisted=unlisted)


def _divided(
    samples: pl.DataFrame,
    reasons: pl.Series,
    raw: pl.DataFrame,
    name: str,
    *,
    bad: dict[str, int],
    unlisted: dict[str, int] | None = None,
) -> Split:
    """Samples without a reason against them, and the rows behind the others."""
    usable = reasons.is_null()
    if usable.all():
        return Split(samples, _quarantine(name, [], [], []), bad, unlisted or {})
    texts = (json.dumps(row, default=str) for row in raw.filter(~usable).iter_rows(named=True))
    refused = samples.filter(~usable)[LINE]
    quarantined = _quarantine(name, refused, reasons.filter(~usable), texts)
    return Split(samples.filter(usable), quarantined, bad, unlisted or {})


def refuse_rows(name: str, refused: list[tuple[int, str, str]]) -> pl.DataFrame:
    """Rows that cannot even be taken apart (line, reason, raw), as rows for the quarantine."""
    lines, reasons, raw = zip(*refused, strict=True) if refused else ((), (), ())
    return _quarantine(name, lines, reasons, raw)


def _quarantine(
    name: str, lines: Iterable[int], reasons: Iterable[str], raw: Iterable[str]
) -> pl.DataFrame:
    columns = {
        "line": pl.Series(lines, dtype=pl.Int64),
        "reason": pl.Series(reasons, dtype=pl.String),
        "raw": pl.Series(raw, dtype=pl.String).str.slice(0, LONGEST_RAW),
    }
    return (
        pl.DataFrame(columns)
        .select(pl.lit(name).alias("source"), "line", "reason", "raw")
        .cast(pl.Schema(QUARANTINE_SCHEMA))
    )


def _times(found: pl.Series, source: SourceConfig, name: str) -> tuple[pl.Series, pl.Series]:
    try:
        return parse_times(found, source)
    except TimeColumnError as error:
        raise SchemaError(f"{name}: time column '{source.time}' {error}") from error


def _values(found: pl.Series, source: SourceConfig, where: str) -> Values:
    try:
        return parse_values(found, source)
    except ValueColumnError as error:
        raise SchemaError(f"{where} {error}") from error


def _nothing(name: str, height: int) -> pl.Series:
    return pl.Series(name, [None], dtype=pl.Float64).new_from_index(0, height)


def _first(reasons: list[pl.Series]) -> pl.Series:
    return pl.select(pl.coalesce([pl.lit(reason) for reason in reasons])).to_series()
