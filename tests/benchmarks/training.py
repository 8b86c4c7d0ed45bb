"""Speed of training, and a long history through the commands.

``python tests/benchmarks/training.py``: the autoencoder of the demo plant is trained as `train`
does it; floating-point operations a second of its steps beside those of a plain product of two
matrices, in turn, in one run on one core. Writes ``results/training.json``.

``python tests/benchmarks/training.py --days 30``: Parquet files of 50 channels at 1 Hz go through
`faultwatch init`, `ingest` and `train`; seconds and peak memory of each.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import torch
from torch.utils.flop_counter import FlopCounterMode

from features.datasets.tep import load_samples
from models.normalizer import fit_normalizer
from models.training import TrainingWindows, fit_vae, left_over
from models.window_pca import WindowPca, fit_window_pca
from pipelines.candidate import asset_windows
from pipelines.config import load_asset

RESULT = Path(__file__).parent / "results" / "training.json"
SIDE = 1_024
"""Rows and columns of the matrices."""
PRODUCTS, TURNS = 20, 3
CHANNELS = 50
SECONDS_A_DAY = 86_400
START = datetime(2026, 1, 1, tzinfo=UTC)
BYTES_A_ROW = 8 * CHANNELS


def matmul_flops() -> float:
    """Operations a second of the best of several products of two matrices."""
    left, right = torch.randn(2, SIDE, SIDE)
    best = float("inf")
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        torch.matmul(left, right)
        best = min(best, time.perf_counter() - began)
    return 2.0 * SIDE**3 / best


def step_flops(source: TrainingWindows, linear: WindowPca, batch: int) -> int:
    """Operations of the products and convolutions in one step of the training."""
    config = load_asset("tennessee_eastman").model
    vae = fit_vae(source, config.model_copy(update={"epochs": 1, "windows_per_epoch": 1}), seed=0)
    values, present = source.batch(np.arange(batch))
    with FlopCounterMode(display=False) as counter:
        wanted = left_over(linear, values, present)
        mean, _ = vae.train().encode(values, present)
        (vae.decode(mean) - wanted).square().mean().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def measure_speed() -> dict[str, float]:
    """Windows a second, and their share of the peak; medians of turns."""
    asset = load_asset("tennessee_eastman")
    windows = asset_windows(asset, load_samples("train"))
    index = np.arange(len(windows))
    normalizer = fit_normalizer(torch.from_numpy(windows.cells[windows.ends]))
    source, config = TrainingWindows(windows, index, normalizer), asset.model
    linear = fit_window_pca(source.batch(index[::4])[0], seed=0)
    seen = config.epochs * (config.windows_per_epoch // config.batch_size) * config.batch_size
    flops = step_flops(source, linear, config.batch_size) / config.batch_size * seen
    turns = []
    for _ in range(TURNS):
        peak, began = matmul_flops(), time.perf_counter()
        fit_vae(source, config, seed=0, linear=linear)
        seconds = time.perf_counter() - began
        turns.append((seen / seconds, flops / seconds / 1e9, peak / 1e9, flops / seconds / peak))
    names = ("windows_a_second", "gigaflops", "peak_gigaflops", "share_of_peak")
    return dict(zip(names, map(median, zip(*turns, strict=True)), strict=True))


def make_history(days: int, file: Path) -> None:
    """Normal running of channels behind five slow causes, a day at a time."""
    mixing = np.random.default_rng(0).normal(size=(5, CHANNELS))
    folder = file.with_suffix("")
    folder.mkdir()
    for day in range(days):
        draw = np.random.default_rng((1, day))
        seconds = day * SECONDS_A_DAY + np.arange(SECONDS_A_DAY)
        causes = np.sin(seconds[:, None] / (900.0 * np.arange(1, 6) ** 1.5))
        values = causes @ mixing + 0.3 * draw.normal(size=(SECONDS_A_DAY, CHANNELS))
        begin = START + timedelta(days=day)
        times = pl.datetime_range(
            begin, begin + timedelta(days=1), timedelta(seconds=1), closed="left", eager=True
        )
        frame = pl.DataFrame(values, [f"channel_{n:02}" for n in range(1, CHANNELS + 1)])
        frame.insert_column(0, times.alias("time")).write_parquet(folder / f"{day:03}.parquet")


def measure_history(days: int, folder: Path) -> None:
    """A history through the commands, with no option but its path."""
    from ingest import (  # type: ignore[import-not-found]  # noqa: PLC0415 - beside this script
        check_disk,
        run_command,
    )

    check_disk(folder, 4.0 * days * SECONDS_A_DAY * BYTES_A_ROW)
    make_history(days, folder / "history.parquet")
    asset = folder / "history.toml"
    run_command("keys", home=folder)
    run_command("init", str(folder / "history"), "--out", str(asset), home=folder)
    run_command("ingest", str(asset), home=folder)
    run_command("train", str(asset), home=folder)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, help="of 50 channels at 1 Hz, through the commands")
    parser.add_argument("--folder", type=Path, help="in which the scratch folder is made")
    chosen = parser.parse_args(arguments)
    if chosen.days:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
            measure_history(chosen.days, Path(scratch))
        return
    torch.set_num_threads(1)
    found = measure_speed()
    machine = {"processor": platform.machine(), "torch": version("torch")}
    RESULT.write_text(json.dumps({"machine": machine, **found}, indent=2) + "\n", encoding="utf-8")
    for name, value in found.items():
        sys.stdout.write(f"{name:18}{value:12.2f}\n")
    sys.stdout.write(f"\nWrote {RESULT}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
