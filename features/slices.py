"""Samples that come in slices, to grid cells and windows as if they had come at once.

What is kept between two slices does not grow with their number: the samples of the cell that is
still open, one sample with the last values known before it, and the cells of one window.
"""

import polars as pl

from features.channels import Channel, channel_names
from features.grid import WindowConfig, cell_number, make_grid
from features.windows import Windows, make_windows


class GridSlices:
    """The grid of samples that come in slices, each later than the one before.

    Example:
        >>> from datetime import datetime, timezone
        >>> at = [datetime(2026, 1, 1, 0, m, tzinfo=timezone.utc) for m in (1, 2, 3, 9)]
        >>> samples = pl.DataFrame(
        ...     {"time": at, "flow": [1.0, 3.0, 5.0, 7.0]},
        ...     schema_overrides={"time": pl.Datetime("us", "UTC")},
        ... )
        >>> grid = GridSlices((Channel(name="flow"),), WindowConfig(sample_period_s=120.0))
        >>> grid.add(samples[:1])["flow"].to_list(), grid.add(samples[1:])["flow"].to_list()
        ([], [2.0, 5.0])
        >>> grid.finish()["flow"].to_list()
        [7.0]
    """

    def __init__(self, channels: tuple[Channel, ...], window: WindowConfig) -> None:
        self._channels = channels
        self._window = window
        self._names = channel_names(channels)
        self._held: pl.DataFrame | None = None
        self._first_sequence = 0
        self.closed_us: int | None = None
        """End of the last cell that was given, microseconds since the epoch."""

    def add(self, samples: pl.DataFrame) -> pl.DataFrame:
        """Take the next samples; return the cells that they close.

        Args:
            samples: a samples frame, all of it later than the one before.

        Raises:
            features.schema.SchemaError: the samples are not a samples frame.
        """
        measured = samples.select("time", *self._names).filter(
            pl.any_horizontal(pl.col(self._names).is_not_null())
        )
        rows = measured if self._held is None else pl.concat([self._held, measured])
        if measured.is_empty():
            return self._none()
        numbers = rows.select(cell_number(self._window.sample_period_us)).to_series()
        grid = self._grid(rows)
        is_closed = pl.col("time").dt.epoch("us") < numbers[-1] * self._window.sample_period_us
        closed = grid.filter(is_closed)
        self._hold(rows, numbers, closed)
        return self._new(closed)

    def finish(self) -> pl.DataFrame:
        """Close the cell that is open; nothing comes after it."""
        if self._held is None:
            return self._none()
        return self._new(self._grid(self._held))

    def _grid(self, rows: pl.DataFrame) -> pl.DataFrame:
        grid = make_grid(rows, self._channels, self._window)
        return grid.with_columns(pl.col("sequence") + self._first_sequence)

    def _hold(self, rows: pl.DataFrame, numbers: pl.Series, closed: pl.DataFrame) -> None:
        """Keep the samples of the open cell, and one with what was known before it."""
        is_open = numbers == numbers[-1]
        if is_open.all():
            self._held = rows
            return
        self._first_sequence = closed["sequence"][-1]
        start = closed.filter(pl.col("sequence") == self._first_sequence)["time"][0]
        period = pl.duration(microseconds=self._window.sample_period_us)
        same = rows.filter(~is_open).filter(pl.col("time") > start - period)
        known = same.select("time", pl.col(self._names).forward_fill()).tail(1)
        self._held = pl.concat([known, rows.filter(is_open)])

    def _new(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Those that were not given before."""
        if self.closed_us is not None:
            cells = cells.filter(pl.col("time").dt.epoch("us") > self.closed_us)
        if not cells.is_empty():
            self.closed_us = int(cells["time"].dt.epoch("us")[-1])
        return cells

    def _none(self) -> pl.DataFrame:
        columns = {"time": pl.Datetime("us", "UTC"), "sequence": pl.UInt32()}
        return pl.DataFrame(schema=columns | dict.fromkeys(self._names, pl.Float64()))


class WindowSlices:
    """The windows of a grid that comes in slices."""

    def __init__(self, channels: tuple[Channel, ...], window: WindowConfig) -> None:
        self._channels = channels
        self._window = window
        self._tail: pl.DataFrame | None = None
        self._cells_before = 0

    def add(self, grid: pl.DataFrame) -> Windows:
        """Take the next cells; return the windows that end at them."""
        cells = grid if self._tail is None else pl.concat([self._tail, grid])
        done = 0 if self._tail is None else self._tail.height
        windows = make_windows(
            cells, self._channels, self._window, cells_before=self._cells_before, done=done
        )
        self._keep(cells)
        return windows

    def _keep(self, cells: pl.DataFrame) -> None:
        if cells.is_empty():
            return
        sequence = cells["sequence"].to_numpy()
        last = cells.filter(pl.col("sequence") == sequence[-1])
        if last.height < cells.height:
            self._cells_before = 0
        self._tail = last.tail(self._window.length - 1)
        self._cells_before += last.height - self._tail.height
