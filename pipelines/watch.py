"""Bundles that live through rows which come in slices: what each says, row by row."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.detector import Detector
from features.channels import channel_names
from features.slices import GridSlices, WindowSlices
from features.windows import Windows
from pipelines.config import AssetConfig
from pipelines.scored_rows import NEVER, OVER, ROW_SCHEMA, RowScores
from pipelines.scoring import BundleScorer
from pipelines.two_files import in_order

RUNTIME_BATCH, RUNTIME_SECONDS = 256, 1.0
"""Windows a call, unless told otherwise, and about how long, when the runtime alone is timed."""
Advance = Callable[[int, int], None]
"""Takes the rows and the windows that were scored since."""


@dataclass(frozen=True)
class Watched:
    """One bundle's life through the rows."""

    scorer: BundleScorer
    """Its alarms, and the windows that it scored."""
    parts: Path
    """Folder of Parquet files: ``row``, ``time``, ``score``, ``anomalous``, ``alarm``, and
    ``contribution.<column>`` of each channel."""
    seconds: float
    """From the file to the scores, on disk; without the time of the other bundles."""


class Watch:
    """Some bundles that live through the same rows, which come in slices.

    Args:
        bundles: of one asset, by name.
        columns: column of each channel in the file.
        folder: where the scores are written.
    """

    def __init__(
        self,
        bundles: Mapping[str, Bundle],
        asset: AssetConfig,
        columns: Mapping[str, str],
        *,
        folder: Path,
    ) -> None:
        window = asset.window
        self._names = channel_names(asset.channel)
        self._grid = GridSlices(asset.channel, window)
        self._windows = WindowSlices(asset.channel, window)
        self._scorers = {name: BundleScorer(bundle) for name, bundle in bundles.items()}
        self._folders = {name: folder / name for name in bundles}
        self._rows = {
            name: RowScores(
                folder / name,
                [columns[channel] for channel in self._names],
                hop_us=window.hop * window.sample_period_us,
            )
            for name in bundles
        }
        self._seconds = dict.fromkeys(bundles, 0.0)

    def add(self, frame: pl.DataFrame) -> int:
        """Take the next rows, in order of time; return how many windows ended.

        Args:
            frame: ``row``, ``time``, ``at_us`` and the channels.
        """
        samples = frame.select("time", *self._names).filter(pl.col("time").is_not_null())
        windows = self._windows.add(self._grid.add(in_order(samples)))
        closed_us = NEVER if self._grid.closed_us is None else self._grid.closed_us
        self._score(windows, frame.select(list(ROW_SCHEMA)), closed_us)
        return len(windows)

    def finish(self) -> int:
        """Close the last cell; return how many windows ended."""
        windows = self._windows.add(self._grid.finish())
        self._score(windows, pl.DataFrame(schema=ROW_SCHEMA), OVER)
        return len(windows)

    def _score(self, windows: Windows, rows: pl.DataFrame, closed_us: int) -> None:
        for name, scorer in self._scorers.items():
            began = time.perf_counter()
            self._rows[name].add(rows, scorer.score(windows), closed_us=closed_us)
            self._seconds[name] += time.perf_counter() - began

    def watched(self, seconds: float) -> dict[str, Watched]:
        """What each bundle made of the rows.

        Args:
            seconds: that all of it took, reading included.
        """
        shared = seconds - sum(self._seconds.values())
        return {
            name: Watched(scorer, self._folders[name], shared + self._seconds[name])
            for name, scorer in self._scorers.items()
        }


def watch(
    bundles: Mapping[str, Bundle],
    asset: AssetConfig,
    slices: Iterable[pl.DataFrame],
    columns: Mapping[str, str],
    *,
    folder: Path,
    advance: Advance = lambda *_: None,
) -> dict[str, Watched]:
    """Let bundles live through rows that come in slices, in order of time.

    Args:
        bundles: of one asset, by name.
        asset: its channels and windows.
        slices: frames of ``row``, ``time``, ``at_us`` and the channels.
        columns: column of each channel in the file.
        folder: where the scores are written.
        advance: is told how many rows and windows are done.
    """
    watching = Watch(bundles, asset, columns, folder=folder)
    began = time.perf_counter()
    for frame in slices:
        advance(frame.height, watching.add(frame))
    advance(0, watching.finish())
    return watching.watched(time.perf_counter() - began)


def with_row_numbers(samples: pl.DataFrame) -> pl.DataFrame:
    """Samples as rows of a file: with ``row``, and ``at_us``, by when each is scored."""
    numbers = pl.int_range(0, samples.height, dtype=pl.Int64, eager=True).alias("row")
    at_us = pl.col("time").dt.epoch("us").alias("at_us")
    return samples.select(numbers, at_us, pl.all())


def runtime_rate(bundle: Bundle, windows: Windows, *, batch: int = RUNTIME_BATCH) -> float:
    """Windows a second of ONNX Runtime alone, so many a call, on windows that lie ready.

    0 where there are no windows.
    """
    if not len(windows):
        return 0.0
    runtime = Detector.from_bundle(bundle)
    index = np.arange(min(len(windows), 4 * RUNTIME_BATCH))
    batches = [windows.take(index[at : at + batch]) for at in range(0, len(index), batch)]
    runtime.score(batches[0])
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < RUNTIME_SECONDS:
        for ready in batches:
            done += len(runtime.score(ready).score)
    return done / spent if spent else 0.0
