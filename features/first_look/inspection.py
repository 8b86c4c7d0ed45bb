"""A sample of a source, inspected: how it is laid out, its channels, and what is not sure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import polars as pl

from features.channels import Channel
from features.first_look.layout import Long, find_long, is_by_folder
from features.first_look.naming import name_channels, pair_names, split_unit
from features.first_look.number_text import frequent_words
from features.first_look.pieces import (
    InspectionError,
    Piece,
    Remark,
    all_columns,
    listed,
    name_fault,
)
from features.first_look.readings import Readings, read_long, read_wide
from features.first_look.set_points import pair_values
from features.first_look.signals import Signal, describe_signal
from features.first_look.spacing import doubled_times, recorded_seconds, suggest_window
from features.first_look.time_column import find_time_column
from features.first_look.time_forms import TimeForm, read_times
from features.grid import WindowConfig
from features.source import BAD_VALUES
from features.wording import as_shown


@dataclass(frozen=True)
class Inspection:
    """What the sample says."""

    source: dict[str, Any]
    """Options of ``[source]`` that the columns decide."""
    channels: tuple[Channel, ...]
    window: WindowConfig
    follows: dict[str, str]
    """Name of a channel: name of the set-point that it seems to follow."""
    constant: frozenset[str]
    """Names of channels with one value only."""
    left_out: dict[str, str]
    """Columns or tags that are no channels, and why."""
    remarks: tuple[Remark, ...]
    start_at: datetime
    """Earliest time in the sample."""
    end_at: datetime
    """Latest time in the sample."""
    recorded_s: float
    """Seconds covered by the sampled files, one by one."""


@dataclass(frozen=True)
class _Sample:
    """A sample that has been read."""

    time: str
    form: TimeForm
    long: Long | None
    by_folder: bool
    readings: Readings
    times: list[pl.Series]
    """Of each piece."""
    remarks: list[Remark]


def inspect(
    pieces: Sequence[Piece], *, time: str | None = None, decimal: Literal[".", ","] = "."
) -> Inspection:
    """Tell from a sample how a source is laid out and what its channels are.

    Args:
        pieces: consecutive rows from different places of the source, at least one of each file
            whose columns differ.
        time: name of the time column, where the user has said it.
        decimal: mark in numbers that are text.

    Raises:
        InspectionError: there are no times, or no column of numbers.

    Example:
        >>> times = [f"2026-01-01T00:{minute:02}:00Z" for minute in range(60)]
        >>> flows = [(20 + minute % 7) ** 1.5 for minute in range(60)]
        >>> rows = pl.DataFrame({"time": times, "Flow [m3/h]": flows})
        >>> found = inspect([Piece(rows, "pump.csv")])
        >>> [(channel.name, channel.unit, channel.range) for channel in found.channels]
        [('Flow', 'm3/h', (75.0, 145.0))]
        >>> found.window.sample_period_s
        60.0
    """
    sample = _read(pieces, time, decimal)
    readings = sample.readings
    if not readings.points:
        raise InspectionError(_no_channel(pieces, sample.time, readings))
    signals = {
        tag: describe_signal(points, may_hold=tag in readings.may_hold, unit=split_unit(tag)[1])
        for tag, points in readings.points.items()
    }
    names = name_channels(list(signals), taken=[sample.time, *readings.left_out])
    window, window_remarks = suggest_window(
        list(signals.values()), sample.times, source=pieces[0].name
    )
    pairs = {**pair_values(readings.points, signals), **pair_names(list(signals))}
    known = pl.concat(sample.times)
    return Inspection(
        source=_options(sample),
        channels=tuple(_channel(tag, names[tag], signal) for tag, signal in signals.items()),
        window=window,
        follows={names[tag]: names[leader] for tag, leader in pairs.items()},
        constant=frozenset(names[tag] for tag, signal in signals.items() if signal.constant),
        left_out=readings.left_out,
        remarks=(*sample.remarks, *window_remarks, *_signal_remarks(signals, names)),
        start_at=known.min(),  # type: ignore[arg-type]
        end_at=known.max(),  # type: ignore[arg-type]
        recorded_s=recorded_seconds(pieces, sample.times),
    )


def _read(pieces: Sequence[Piece], told: str | None, decimal: Literal[".", ","]) -> _Sample:
    time, form, remarks = find_time_column(pieces, named=told)
    times = [read_times(piece.rows[time], form).drop_nulls() for piece in pieces]
    if not sum(map(len, times)):
        raise InspectionError(f"{pieces[0].name} has no row with a time; expected a history")
    long = find_long(pieces, time)
    named = [time] if long is None else [time, long.tag, long.value, long.quality]
    _check_names(pieces, list(filter(None, named)))
    by_folder = long is None and is_by_folder(pieces, time, form)
    if long is None:
        readings = read_wide(pieces, time, form, decimal=decimal, by_folder=by_folder)
        remarks += doubled_times(times)
    else:
        readings = read_long(pieces, time, form, long, decimal=decimal)
        text = "channels are the tags of the sample; one that reports seldom may be missing"
        remarks += [*long.remarks, Remark("source.tag", text)]
    if words := frequent_words(readings.words):
        text = f"{listed(words)} stand where numbers are expected, and were taken as no value"
        remarks.append(Remark("source.bad_values", text))
    return _Sample(time, form, long, by_folder, readings, times, remarks)


def _check_names(pieces: Sequence[Piece], columns: Sequence[str]) -> None:
    for column in columns:
        if (fault := name_fault(column, all_columns(pieces))) is not None:
            raise InspectionError(
                f"column '{as_shown(column)}' of {pieces[0].name} is needed, but {fault}; "
                "give it a name of its own"
            )


def _no_channel(pieces: Sequence[Piece], time: str, readings: Readings) -> str:
    why = "; ".join(
        f"'{as_shown(name)}' {reason}" for name, reason in list(readings.left_out.items())[:5]
    )
    shown, others = as_shown(time), f"; {why}" if why else ""
    return f"{pieces[0].name} has no column of numbers beside the times in '{shown}'{others}"


def _options(sample: _Sample) -> dict[str, Any]:
    """Options of ``[source]``, with those that are as by default."""
    form, long, readings = sample.form, sample.long, sample.readings
    options: dict[str, Any] = {
        "layout": "wide" if long is None else "long",
        "time": sample.time,
        "time_format": form.time_format,
        "time_zone": None if form.zoned else "UTC",
    }
    if long is not None:
        options |= {"tag": long.tag, "value": long.value, "quality": long.quality}
        if long.quality is not None:
            options["good_quality"] = long.good
    if words := frequent_words(readings.words):
        options["bad_values"] = (*BAD_VALUES, *words)
    if sample.by_folder:
        options["columns"] = "by_folder"
    if readings.partial:
        options["partial"] = True
    return options


def _channel(tag: str, name: str, signal: Signal) -> Channel:
    return Channel(
        name=name,
        tag=None if tag == name else tag,
        unit=split_unit(tag)[1],
        kind=signal.kind,
        reporting=signal.reporting,
        range=signal.range,
    )


def _signal_remarks(signals: Mapping[str, Signal], names: Mapping[str, str]) -> list[Remark]:
    return [
        Remark(
            f"channel.{names[tag]}",
            f"{signal.outlier:g} is far outside the usual values, and outside the range",
        )
        for tag, signal in signals.items()
        if signal.outlier is not None
    ]
