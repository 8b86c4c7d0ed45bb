"""Many machines in one agent, as fast as it goes: share of a core, time a sample, memory.

``python tests/benchmarks/edge_soak.py [BUNDLE KEY.pub] [--assets 50] [--hours 72]``: each second of
data every asset gets a sample; agents, spool on disk and delivery to a file are those of
``faultwatch-edge serve``, only the broker is left out. Without a bundle one of three channels is
trained for a few seconds. Writes ``results/edge_soak.json``.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from numpy.typing import NDArray

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.keys import load_private_key, load_trusted_keys, make_key_pair
from features.channels import Channel
from pipelines.candidate import Origin, asset_windows, make_candidate
from pipelines.config import load_asset

RESULT = Path(__file__).parent / "results" / "edge_soak.json"
PROCESS = Path(__file__).with_name("edge_soak_process.py")
START = datetime(2026, 1, 1, tzinfo=UTC)
CHANNELS = ("flow", "pressure", "power")
ROWS = 20_000
LEARNED = 16_000


def small_rows(seed: int) -> NDArray[np.float64]:
    """(second, channel): three channels that have something to do with each other."""
    draw = np.random.default_rng(seed)
    noise = np.convolve(draw.normal(size=ROWS + 300), np.ones(301) / 301, mode="valid")
    slow = 20.0 * noise
    rows: NDArray[np.float64] = np.stack([10 + slow, 5 - slow, 2 * slow], axis=1)
    return rows + draw.normal(size=rows.shape) * 0.3


def make_bundle(folder: Path) -> tuple[Path, Path]:
    """A bundle of three channels at 1 Hz."""
    make_key_pair(folder)
    plant = load_asset("tennessee_eastman")
    window = {"sample_period_s": 1.0, "max_gap_s": 10.0, "min_channels": 1}
    quick = {"epochs": 1, "windows_per_epoch": 1_024, "folds": 2}
    asset = plant.model_copy(
        update={
            "channel": tuple(Channel(name=name) for name in CHANNELS),
            "window": plant.window.model_copy(update=window),
            "regime": plant.regime.model_copy(update={"running": (), "startup_ignore_s": 0.0}),
            "model": plant.model.model_copy(update=quick),
        }
    )
    rows = small_rows(0)
    times = [START + timedelta(seconds=second) for second in range(ROWS)]
    samples = pl.DataFrame(
        {"time": times, **{name: rows[:, place] for place, name in enumerate(CHANNELS)}},
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )
    candidate = make_candidate(
        asset,
        "vae",
        normal=asset_windows(asset, samples[:LEARNED]),
        recent=asset_windows(asset, samples[LEARNED:]),
        origin=Origin(1, START, "", 0),
        folder=folder,
        private_key=load_private_key(folder / "faultwatch.key"),
    )
    return candidate.path, folder / "faultwatch.pub"


def tenths(command: list[str]) -> Iterator[dict[str, float]]:
    """What the process says of each tenth, shown as it comes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own script
        assert process.stdout is not None
        for line in process.stdout:
            found: dict[str, float] = json.loads(line)
            shown = (f"{name} {value:.4g}" for name, value in found.items())
            sys.stdout.write(f"{', '.join(shown)}\n")
            sys.stdout.flush()
            yield found
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def summarise(found: list[dict[str, float]]) -> dict[str, object]:
    second, last = found[1]["resident_mb"], found[-1]["resident_mb"]
    names = ("core_share", "sample_p50_us", "sample_p99_us")
    return {
        **{name: median(one[name] for one in found) for name in names},
        "resident_second_tenth_mb": second,
        "resident_last_tenth_mb": last,
        "resident_growth": last / second - 1.0,
        "tenths": found,
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="*", metavar="BUNDLE KEY", type=Path)
    parser.add_argument("--assets", type=int, default=50)
    parser.add_argument("--hours", type=float, default=72.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path, key = options.bundle or make_bundle(folder)
        bundle = read_bundle(path, trusted_keys=load_trusted_keys([key]))
        golden = bundle.golden.cells.astype(np.float64)
        np.save(folder / "rows.npy", golden if options.bundle else small_rows(1))
        words = [path, key, folder / "rows.npy", options.assets, math.ceil(options.hours * 3600)]
        found = list(tenths([sys.executable, str(PROCESS), *map(str, words), str(folder)]))
    about = {
        "assets": options.assets,
        "channels": len(bundle.manifest.channels),
        "hours": options.hours,
        "python": platform.python_version(),
        **summarise(found),
    }
    results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    results[f"{about['assets']} assets of {about['channels']} channels"] = about
    RESULT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"{options.assets} assets, {options.hours:g} h at 1 Hz: {about['core_share']:.1%} of a "
        f"core; memory {about['resident_second_tenth_mb']:.1f} MB in the second tenth, "
        f"{about['resident_last_tenth_mb']:.1f} MB in the last ({about['resident_growth']:+.2%})\n"
        f"Wrote {RESULT}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
