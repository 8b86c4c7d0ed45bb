"""Time and memory of the edge runtime, beside what ONNX Runtime alone takes in the same run.

``python tests/benchmarks/edge_latency.py [BUNDLE [KEY.pub]]``; without a bundle, one of the demo
plant's size is trained for a few seconds. Writes ``results/edge_latency.json``.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import onnx

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.keys import load_private_key, load_trusted_keys, make_key_pair
from faultwatch_edge.manifest import Manifest
from features.datasets.tep import load_samples
from pipelines.candidate import Origin, asset_windows, make_candidate
from pipelines.config import load_asset
from pipelines.settings import Settings

RESULT = Path(__file__).parent / "results" / "edge_latency.json"
STARTS = 5
IDENTITY = """
<ir_version: 10, opset_import: ["" : 20]>
nothing (float[1] x) => (float[1] y) { y = Identity(x) }
"""
CALLS = {
    "empty_call": "ONNX Runtime, empty graph",
    "bare_run": "ONNX Runtime, this graph",
    "holed_run": "the same, a channel missing",
    "detector": "the agent's detector",
    "agent_step": "whole agent step",
}


def make_bundle(folder: Path) -> tuple[Path, Path]:
    """A bundle with the demo plant's channels and windows, hardly trained: speed is the same."""
    make_key_pair(folder)
    plant = load_asset("tennessee_eastman")
    quick = {"epochs": 1, "windows_per_epoch": 1_024, "folds": 2}
    asset = plant.model_copy(update={"model": plant.model.model_copy(update=quick)})
    candidate = make_candidate(
        asset,
        "vae",
        normal=asset_windows(asset, load_samples("train")[:6_000]),
        recent=asset_windows(asset, load_samples("held_out")),
        origin=Origin(1, datetime.now(UTC), "", 0),
        folder=folder,
        private_key=load_private_key(folder / "faultwatch.key"),
    )
    return candidate.path, folder / "faultwatch.pub"


def run_fresh(what: str, bundle: Path, key: Path, identity: Path) -> dict[str, object]:
    """What a fresh process of the device measures about itself."""
    script = Path(__file__).with_name("edge_process.py")
    command = [sys.executable, str(script), what, str(bundle), str(key), str(identity)]
    started_ns = str(time.monotonic_ns())
    done = subprocess.run([*command, started_ns], capture_output=True, text=True, check=True)  # noqa: S603 - our own script
    found: dict[str, object] = json.loads(done.stdout)
    return found


def measure(bundle: Path, key: Path, folder: Path) -> dict[str, object]:
    """Everything, of one bundle."""
    identity = folder / "identity.onnx"
    onnx.save(onnx.parser.parse_model(IDENTITY), identity)
    starts = [run_fresh("start", bundle, key, identity) for _ in range(STARTS)]
    manifest = read_bundle(bundle, trusted_keys=load_trusted_keys([key])).manifest
    return {
        "bundle": about(manifest),
        "machine": {
            "processor": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnxruntime")},
        },
        "start": {name: median(float(str(one[name])) for one in starts) for name in starts[0]},
        "latency": run_fresh("latency", bundle, key, identity),
    }


def about(manifest: Manifest) -> dict[str, object]:
    return {
        "asset": manifest.asset_id,
        "reconstructor": manifest.reconstructor,
        "channels": len(manifest.channels),
        "length": manifest.window.length,
    }


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    latency, start = found["latency"], found["start"]
    empty, bare = (latency[name]["p50_us"] for name in ("empty_call", "bare_run"))
    lines = [f"{'one window':28}{'p50 µs':>9}{'p99 µs':>9}{'x empty':>9}{'x bare':>9}"]
    for name, title in CALLS.items():
        p50, p99 = latency[name]["p50_us"], latency[name]["p99_us"]
        lines.append(f"{title:28}{p50:9.1f}{p99:9.1f}{p50 / empty:9.1f}{p50 / bare:9.2f}")
    lines += [
        "",
        f"process start to first score    {start['first_score_s']:6.2f} s",
        f"resident memory at the start    {start['resident_start_mb']:6.1f} MB",
        f"resident after 1,000 windows    {start['resident_1000_windows_mb']:6.1f} MB",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments:
            bundle = Path(arguments[0])
            key = Path(arguments[1]) if arguments[1:] else Settings().public_key_file
        else:
            bundle, key = make_bundle(folder)
        found = measure(bundle, key, folder)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{found['bundle']}\n\n{table(found)}\n\nWrote {RESULT}\n")  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])
