"""Window scores to row scores: each row has the score of the last window that ended by then."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.scoring import ScoredWindows, joined

NEVER = -(2**62)
"""Microseconds: before every time that there is."""
OVER = 2**62
"""After every time that there is."""
ROW_SCHEMA = {"row": pl.Int64(), "time": pl.Datetime("us", "UTC"), "at_us": pl.Int64()}
"""Columns of rows that wait for their score; ``at_us`` null = no time is known."""


class RowScores:
    """Writes the scores of rows, part by part, as the windows that decide them end.

    Args:
        folder: where the parts are written.
        columns: names of the channels, as the contributions are called.
        hop_us: time from the end of a window to that of the next.
    """

    def __init__(self, folder: Path, columns: Sequence[str], *, hop_us: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._columns = columns
        self._hop_us = hop_us
        self._waiting = pl.DataFrame(schema=ROW_SCHEMA)
        self._last = _before_all(len(columns))
        self._parts = 0

    def add(self, rows: pl.DataFrame, scored: ScoredWindows, *, closed_us: int) -> None:
        """Take the next rows, and the windows that ended since.

        Args:
            rows: as `ROW_SCHEMA`, later than those before.
            scored: windows, later than those before.
            closed_us: no window will end by then any more.
        """
        waiting = pl.concat([self._waiting, rows])
        known = joined([self._last, scored])
        is_decided = pl.col("at_us").fill_null(NEVER) <= closed_us
        self._write(waiting.filter(is_decided), known)
        self._waiting = waiting.filter(~is_decided)
        self._last = _last(known)

    def _write(self, rows: pl.DataFrame, windows: ScoredWindows) -> None:
        if rows.is_empty():
            return
        at_us = rows["at_us"].fill_null(NEVER).to_numpy()
        place = np.searchsorted(windows.end_us, at_us, side="right") - 1
        is_recent = at_us - windows.end_us[place] < self._hop_us
        score = np.where(is_recent, windows.score[place], np.float32(np.nan))
        is_scored = ~np.isnan(score)
        contribution = windows.contribution[place]
        contribution[~is_scored] = np.nan
        frame = rows.select("row", "time").with_columns(
            score=score,
            anomalous=windows.anomalous[place] & is_scored,
            alarm=windows.alarm[place],
            **{
                f"contribution.{name}": contribution[:, number]
                for number, name in enumerate(self._columns)
            },
        )
        floats = pl.col("score", *(f"contribution.{name}" for name in self._columns))
        path = self._folder / f"{self._parts:06}.parquet"
        frame.with_columns(floats.fill_nan(None)).write_parquet(path, compression="lz4")
        self._parts += 1


def _last(windows: ScoredWindows) -> ScoredWindows:
    names = ScoredWindows.__dataclass_fields__
    return ScoredWindows(**{name: getattr(windows, name)[-1:].copy() for name in names})


def _before_all(channels: int) -> ScoredWindows:
    """A window before all others, which was not scored."""
    return ScoredWindows(
        np.array([NEVER]),
        np.array([np.nan], np.float32),
        np.zeros(1, np.bool_),
        np.zeros(1, np.bool_),
        *(np.full((1, channels), np.nan, np.float32) for _ in range(3)),
    )
