"""An asset's history, divided by what it may be used for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from features.labels import Interval, outside
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.labelling import counted_intervals, read_labels
from pipelines.settings import Settings

HELD_OUT_SHARE = 0.2
"""Share of the history that is kept apart where the asset file does not say."""


class HistoryError(Exception):
    """A history that nothing can be learned from; the message says what is missing."""


@dataclass(frozen=True)
class History:
    """What an asset's historian holds, divided by what it may be used for."""

    version: int
    """Version of the historian's table."""
    normal: pl.DataFrame
    """Normal running to learn from."""
    held_out: pl.DataFrame
    """The newest samples, faults included: nothing is learned from them."""
    intervals: tuple[Interval, ...]
    """What people labelled, in the asset's interval file and by `faultwatch label`."""


def read_history(asset: AssetConfig, settings: Settings) -> History:
    """Read the historian and divide it: labelled faults and maintenance never count as normal.

    Raises:
        HistoryError: the historian is empty, or nothing of it is normal.
        LabelError: the interval file cannot be used.
    """
    historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
    version = historian.version()
    samples = historian.read(version=version if version >= 0 else None)
    if samples.is_empty():
        raise HistoryError(
            f"{asset.asset.id}: the historian is empty; run `faultwatch ingest` first"
        )
    intervals = counted_intervals(read_labels(asset, settings))
    newest: datetime = samples["time"][-1]
    oldest = max(samples["time"][0], newest - timedelta(days=asset.retrain.lookback_days))
    days = asset.retrain.holdout_days
    kept_apart = (newest - oldest) * HELD_OUT_SHARE if days is None else timedelta(days=days)
    border = newest - kept_apart
    past = samples.filter((pl.col("time") >= oldest) & (pl.col("time") <= border))
    normal = outside(past, intervals)
    if normal.is_empty():
        raise HistoryError(
            f"{asset.asset.id}: no normal running before {border:%Y-%m-%d %H:%M} UTC; the days "
            "after it are kept apart to judge by; ingest more history, set [retrain] holdout_days, "
            "or correct the labels"
        )
    return History(
        version=version,
        normal=normal,
        held_out=samples.filter(pl.col("time") > border),
        intervals=intervals,
    )
