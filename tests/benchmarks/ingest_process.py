"""One fresh process: it makes a synthetic file, or copies it with polars, or ingests it.

ingest.py calls it as ``ingest_process.py make|polars|ingest LAYOUT ROWS FILE FOLDER``; it writes
one line of JSON: seconds of the work itself, without imports, seconds of processor time, and the
peak of resident memory. ``make`` goes on with a file that is there already.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset

SEED = 7
CHANNELS = 20
PIECE = 100_000
START = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD = timedelta(seconds=1)
NAMES = [f"channel_{number:02}" for number in range(1, CHANNELS + 1)]


def peak_mb() -> float:
    """The most resident memory that this process ever had, as Linux counts it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def wide_piece(first: int, rows: int) -> pl.DataFrame:
    """Rows of all channels: a slow wave each, with noise, as a plant's transmitters write it."""
    noise = np.random.default_rng((SEED, first)).normal(0.0, 1.0, (CHANNELS, rows))
    place = np.arange(first, first + rows)
    waves = {
        name: 50.0 + 30.0 * np.sin(place / (600.0 * (1 + number))) + noise[number]
        for number, name in enumerate(NAMES)
    }
    begin, last = START + first * PERIOD, START + (first + rows - 1) * PERIOD
    times = pl.datetime_range(begin, last, PERIOD, eager=True)
    stamps = times.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("time")
    return pl.DataFrame(waves).insert_column(0, stamps)


def long_piece(first: int, rows: int) -> pl.DataFrame:
    """As many rows of one value each, all tags of a time one after the other."""
    wide = wide_piece(first // CHANNELS, rows // CHANNELS).with_row_index("place")
    cells = wide.unpivot(index=["place", "time"], variable_name="tag", value_name="value")
    return cells.sort("place", maintain_order=True).select(
        "time", "tag", "value", pl.lit("Good").alias("quality")
    )


def rows_of(path: Path) -> int:
    """Lines after the header."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(partial(file.read, 1 << 20), b"")) - 1


def make(layout: str, rows: int, path: Path) -> None:
    """Write a file of so many rows, or what it lacks of them, piece by piece."""
    piece = long_piece if layout == "long" else wide_piece
    there = rows_of(path)
    with path.open("ab") as out:
        for first in range(there, rows, PIECE):
            frame = piece(first, min(PIECE, rows - first))
            frame.write_csv(out, include_header=first == 0, float_precision=4)


def asset_of(layout: str, path: Path) -> AssetConfig:
    """The asset file that a person would write for such a file."""
    quality = {"quality": "quality"} if layout == "long" else {}
    return AssetConfig.model_validate(
        {
            "asset": {"id": "synthetic"},
            "source": {"files": str(path), "layout": layout, **quality},
            "channel": [{"name": name} for name in NAMES],
            "window": {"sample_period_s": PERIOD.total_seconds()},
        }
    )


def run_polars(path: Path, folder: Path) -> None:
    """What the same machine can do at all: the file as Parquet, nothing looked at."""
    pl.scan_csv(path).sink_parquet(folder / "plain.parquet")


def run_ingest(layout: str, rows: int, path: Path, folder: Path) -> None:
    """The file into a fresh historian, with every row accounted for."""
    asset = asset_of(layout, path)
    historian = Historian(folder / "historian", asset.asset.id, asset.channel)
    done = ingest_asset(asset, historian)
    times = rows // CHANNELS if layout == "long" else rows
    expected = {"kept": times, "filled": rows - times}
    found = {fate: count for fate, count in vars(done.counts).items() if count}
    if done.failures or found != {fate: count for fate, count in expected.items() if count}:
        sys.exit(f"expected {expected}, found {found} {done.failures}")


def main() -> None:
    what, layout, rows, path, folder = sys.argv[1:]
    file, place, count = Path(path), Path(folder), int(rows)
    work: dict[str, Callable[[], None]] = {
        "make": partial(make, layout, count, file),
        "polars": partial(run_polars, file, place),
        "ingest": partial(run_ingest, layout, count, file, place),
    }
    began, busy = time.perf_counter(), time.process_time()
    work[what]()
    found = {
        "seconds": time.perf_counter() - began,
        "processor_s": time.process_time() - busy,
        "peak_mb": peak_mb(),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
