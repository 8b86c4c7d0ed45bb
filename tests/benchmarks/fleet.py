"""What training many small assets costs: one by one, in processes, together, and by Ray.

``python tests/benchmarks/fleet.py [--sizes 10 50 200] [--ways one threads together ray]``: so many
assets of 8 channels and 10,000 rows are made in a scratch folder and trained in each way, in a
process of its own. ``one`` is `train` after `train` in one process; ``threads`` the chunks of
`fleet`, each model trained alone; ``together`` what `fleet` does: the models of a chunk in one
call; ``ray`` the same by Ray. The autoencoders alone are trained both ways, too. Writes
``results/fleet.json``.

Seconds of processors are those of the process and all that it began and waited for (not of Ray's
daemons, which wait for nobody): the better figure on a machine that others use.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import torch

from faultwatch_edge.keys import make_key_pair
from features.windows import Windows
from models.config import ModelConfig
from models.normalizer import fit_normalizer
from models.together import fit_vaes
from models.training import TrainingWindows, fit_vae
from models.window_pca import fit_window_pca
from pipelines.config import load_asset
from pipelines.engine import cores, work_through
from pipelines.fleet import Chunk, Outcome, train_fleet
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset
from pipelines.settings import Settings
from pipelines.train import train_asset

RESULT = Path(__file__).parent / "results" / "fleet.json"
WAYS = ("one", "threads", "together", "ray")
CHANNELS, ROWS, LENGTH = 8, 10_000, 16
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = {
    "default": (ModelConfig(epochs=4), 8),
    "small": (ModelConfig(width=8, latent=4, batch_size=32, windows_per_epoch=640), 64),
}
"""Autoencoders that are trained both ways, and how many of them together."""
ALONE = 4
"""So many of them alone."""
Found = dict[str, float]


def make_asset(folder: Path, number: int, settings: Settings, model: str) -> None:
    """A machine of three causes behind eight channels, read into the historian."""
    name, draw = f"pump_{number:03}", np.random.default_rng(number)
    turns = np.arange(ROWS)[:, None] / (30.0 * np.arange(1, 4) ** 1.3)
    causes = np.sin(turns + draw.uniform(0, 6, size=3)) + 0.3 * draw.normal(size=(ROWS, 3))
    noise = 0.2 * draw.normal(size=(ROWS, CHANNELS))
    values = 10 + causes @ draw.normal(size=(3, CHANNELS)) + noise
    frame = pl.DataFrame(values, [f"channel_{place}" for place in range(CHANNELS)])
    times = pl.Series("time", [BEGIN + timedelta(minutes=row) for row in range(ROWS)])
    frame.insert_column(0, times).write_parquet(folder / f"{name}.parquet")
    sections = [
        f'[asset]\nid = "{name}"\n[source]\nfiles = "{name}.parquet"',
        f"[window]\nsample_period_s = 60.0\nlength = {LENGTH}\n[model]\n{model}",
        *(f'[[channel]]\nname = "{channel}"' for channel in frame.columns[1:]),
    ]
    path = folder / f"{name}.toml"
    path.write_text("\n".join(sections), encoding="utf-8")
    asset = load_asset(path)
    ingest_asset(asset, Historian(settings.historian_address, asset.asset.id, asset.channel))


def train_alone(chunk: Chunk) -> Iterator[Outcome]:
    """A chunk of `fleet`, each model trained for itself."""
    for file in chunk.files:
        asset = load_asset(file)
        train_asset(asset, chunk.settings, at=chunk.at)
        yield Outcome(file, asset.asset.id, "trained", "")


def train_all(way: str, files: list[str], settings: Settings) -> None:
    """Train the assets in one of the ways; fails unless all are trained."""
    at = datetime.now(UTC)
    if way == "one":
        came = list(train_alone(Chunk(tuple(files), settings, at)))
    elif way == "threads":
        size = min(8, -(-len(files) // cores()))
        parts = [tuple(files[first : first + size]) for first in range(0, len(files), size)]
        chunks = [Chunk(part, settings, at) for part in parts]
        came = list(work_through(train_alone, lambda _: chunks, settings))
    else:
        came = train_fleet(files, settings, at=at)
    if [one.state for one in came] != ["trained"] * len(files):
        raise SystemExit("\n".join(map(str, came)))


def measure(way: str, size: int, folder: Path, model: str) -> Found:
    """What a fresh process takes for so many assets of a registry of their own."""
    home = folder / f"{way}_{size}"
    engine = "ray" if way == "ray" else "threads"
    settings = Settings(home=home, historian=str(folder / "historian"), engine=engine)
    make_key_pair(settings.signing_key_file.parent)
    for number in range(size):
        make_asset(folder, number, settings, model)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--home", str(home)]
    peak = 0.0
    with subprocess.Popen([*command, "--sizes", str(size)]) as process:  # noqa: S603 - this script
        while process.poll() is None:
            peak = max(peak, sum(map(megabytes, family(process.pid))))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{way} did not train {size} assets")
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "assets_a_minute": 60 * size / seconds,
        "seconds_an_asset": seconds / size,
        "processor_seconds_an_asset": spent / size,
        "peak_mb": peak,
    }


def family(pid: int) -> set[int]:
    """A process and all that it began, and so on."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        parents[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def megabytes(pid: int) -> float:
    """Memory of a process, what it shares with others in part."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in text.splitlines() if "Pss:" in line), 0.0)


def training_windows(seed: int) -> TrainingWindows:
    """Windows of one machine."""
    draw = np.random.default_rng(seed)
    slow = 0.1 * np.cumsum(draw.normal(size=(ROWS // 2, 1)), axis=0)
    cells = (slow + 0.3 * draw.normal(size=(ROWS // 2, CHANNELS))).astype(np.float32)
    ends = np.arange(LENGTH - 1, len(cells))
    times = np.arange(len(cells)).astype("datetime64[us]")
    windows = Windows(cells, times, np.zeros(len(cells), np.int64), ends, LENGTH)
    normalizer = fit_normalizer(torch.from_numpy(cells))
    return TrainingWindows(windows, np.arange(len(ends)), normalizer)


def measure_models(config: ModelConfig, count: int) -> Found:
    """Processor seconds of a training alone and of one among many."""
    sources = [training_windows(seed) for seed in range(count)]
    linears = [fit_window_pca(one.batch(one.index[::3])[0], seed=0) for one in sources]
    began = time.process_time()
    for seed in range(ALONE):
        fit_vae(sources[seed], config, seed=seed, linear=linears[seed])
    alone = (time.process_time() - began) / ALONE
    began = time.process_time()
    fit_vaes(sources, config, seeds=range(count), linears=linears)
    together = (time.process_time() - began) / count
    return {"alone_s": alone, "together_s": together, "ratio": alone / together}


def show(words: str, found: Found) -> None:
    figures = "".join(f"  {name} {value:.2f}" for name, value in found.items())
    sys.stdout.write(f"{words:16}{figures}\n")
    sys.stdout.flush()


def keep(found: dict[str, dict[str, Found]]) -> None:
    """Write what was found until now."""
    machine = {"processor": platform.machine(), "cores": cores(), "torch": version("torch")}
    load = round(os.getloadavg()[0], 1)
    text = json.dumps({"machine": machine, "load_at_the_end": load, **found}, indent=2)
    RESULT.write_text(text + "\n", encoding="utf-8")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10], help="how many assets")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--model", default="", help="of each asset: lines of its [model]")
    parser.add_argument("--folder", type=Path, help="in which the scratch folder is made")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.way:  # the process that is measured
        engine = "ray" if chosen.way == "ray" else "threads"
        historian = str(chosen.folder / "historian")
        files = [str(chosen.folder / f"pump_{number:03}.toml") for number in range(chosen.sizes[0])]
        train_all(chosen.way, files, Settings(home=chosen.home, historian=historian, engine=engine))
        return
    found: dict[str, dict[str, Found]] = {"models": {}}
    for name, (config, count) in MODELS.items():
        found["models"][name] = measure_models(config, count)
        show(f"{count} {name}", found["models"][name])
    for size in chosen.sizes:
        found[f"{size} assets"] = {}
        for way in chosen.ways:
            with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
                own = measure(way, size, Path(scratch), chosen.model)
            found[f"{size} assets"][way] = own
            show(f"{size} {way}", own)
            keep(found)
    sys.stdout.write(f"\nWrote {RESULT}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
