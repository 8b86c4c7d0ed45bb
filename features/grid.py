"""Irregular samples to a uniform grid: the only place where time is regularised."""

from typing import Self

import polars as pl
from pydantic import BaseModel, Field, model_validator

from features.channels import SECTION, Channel, channel_names
from features.schema import check_samples

USUAL_LENGTH = 16
"""Cells in a window, unless said otherwise."""
MOST_CELLS_HELD = 1_000_000
"""Cells that a gap or the lateness may span: bounds the memory of the device."""


class WindowConfig(BaseModel):
    """``[window]``: the grid and the windows cut from it.

    Example:
        >>> WindowConfig(sample_period_s=60.0).span_s
        960.0
    """

    model_config = SECTION

    sample_period_s: float = Field(ge=1e-6, le=1e6)
    """Length of a grid cell in seconds."""
    length: int = Field(default=USUAL_LENGTH, ge=2)
    """Cells in a window."""
    hop: int = Field(default=1, ge=1)
    """Cells between the ends of consecutive windows."""
    max_gap_s: float = Field(default=0.0, ge=0.0)
    """Longest silence of all channels, in seconds, that does not cut the sequence."""
    min_channels: int = Field(default=1, ge=1)
    """Channels that need a value in the window for it to be scored."""
    allowed_lateness_s: float = Field(default=0.0, ge=0.0)
    """Seconds that the device waits for late samples before it closes a cell."""

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.hop > self.length:
            msg = (
                f"[window] hop = {self.hop} is greater than length = {self.length}; "
                "cells would be skipped"
            )
            raise ValueError(msg)
        for name in ("max_gap_s", "allowed_lateness_s"):
            if getattr(self, name) > MOST_CELLS_HELD * self.sample_period_s:
                msg = (
                    f"[window] {name} = {getattr(self, name):g} is more than {MOST_CELLS_HELD} "
                    f"cells of sample_period_s = {self.sample_period_s:g}; shorten it"
                )
                raise ValueError(msg)
        return self

    @property
    def span_s(self) -> float:
        """Seconds covered by a window."""
        return self.length * self.sample_period_s

    @property
    def hop_s(self) -> float:
        """Seconds from the end of a window to that of the next: the time that each stands for."""
        return self.hop * self.sample_period_s

    @property
    def sample_period_us(self) -> int:
        """Length of a grid cell in microseconds."""
        return round(self.sample_period_s * 1e6)


def make_grid(
    samples: pl.DataFrame, channels: tuple[Channel, ...], window: WindowConfig
) -> pl.DataFrame:
    """Put a samples frame on the uniform grid.

    A cell ends at a multiple of ``sample_period_s`` since the epoch, covers the period before it
    and includes its end. Continuous channels become the mean of the cell, discrete ones the last
    value, counters the difference to the last value known before. ``on_change`` channels hold
    their last value within a sequence. A silence of all channels longer than ``max_gap_s`` cuts
    the sequence; a shorter one stays as cells without values.

    Args:
        samples: ``time`` and one Float64 column per channel, sorted; null = missing.
        channels: the channels, in the order of the columns wanted.
        window: grid period and longest gap.

    Returns:
        ``time`` (end of the cell), ``sequence`` (UInt32, counting from 0) and the channels.

    Raises:
        features.schema.SchemaError: the samples are not a samples frame.

    Example:
        >>> from datetime import datetime, timezone
        >>> at = [datetime(2026, 1, 1, 0, m, tzinfo=timezone.utc) for m in (1, 2, 3, 9)]
        >>> samples = pl.DataFrame(
        ...     {"time": at, "flow": [1.0, 3.0, 5.0, 7.0]},
        ...     schema_overrides={"time": pl.Datetime("us", "UTC")},
        ... )
        >>> grid = make_grid(samples, (Channel(name="flow"),), WindowConfig(sample_period_s=120.0))
        >>> grid["flow"].to_list(), grid["sequence"].to_list()
        ([2.0, 5.0, 7.0], [0, 0, 1])
    """
    names = channel_names(channels)
    check_samples(samples.select("time", *names), channels)
    period_us = window.sample_period_us
    cells = (
        samples.lazy()
        .filter(pl.any_horizontal(pl.col(names).is_not_null()))
        .with_columns(cell=cell_number(period_us))
        .group_by("cell", maintain_order=True)
        .agg(_reduced(channel) for channel in channels)
        .with_columns(sequence=_sequence_number(window))
        .collect()
    )
    whole = _with_silent_cells(cells).with_columns(_regularised(channel) for channel in channels)
    at_end = (pl.col("cell") * period_us).cast(pl.Datetime("us", "UTC"))
    return whole.select(at_end.alias("time"), "sequence", *names)


def cell_number(period_us: int) -> pl.Expr:
    """Number of the cell of each time: its end in periods since the epoch."""
    since_epoch = pl.col("time").dt.epoch("us")
    return -((-since_epoch) // period_us)


def _reduced(channel: Channel) -> pl.Expr:
    values = pl.col(channel.name)
    if channel.kind == "continuous":
        return values.mean().clip(values.min(), values.max())  # rounding could leave them
    return values.drop_nulls().last()


def _sequence_number(window: WindowConfig) -> pl.Expr:
    silent_cells = pl.col("cell").diff().fill_null(1) - 1
    longest = round(window.max_gap_s * 1e6) // window.sample_period_us
    return (silent_cells > longest).cum_sum().cast(pl.UInt32)


def _with_silent_cells(cells: pl.DataFrame) -> pl.DataFrame:
    spans = cells.group_by("sequence", maintain_order=True).agg(
        cell=pl.int_ranges(pl.col("cell").min(), pl.col("cell").max() + 1).first()
    )
    return spans.explode("cell").join(
        cells.drop("sequence"), on="cell", how="left", maintain_order="left"
    )


def _regularised(channel: Channel) -> pl.Expr:
    values = pl.col(channel.name)
    held = values.forward_fill().over("sequence")
    current = held if channel.reporting == "on_change" else values
    if channel.kind != "counter":
        return current
    step = (current - held.shift(1).over("sequence")).alias(channel.name)
    return pl.when(step >= 0).then(step)
