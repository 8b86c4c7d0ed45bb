"""One fresh process of the device, measured from inside: nothing of the training is imported.

edge_latency.py calls it as ``edge_process.py start|latency BUNDLE KEY IDENTITY STARTED_NS``; it
writes one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle, read_bundle
from faultwatch_edge.detector import Detector, check_golden
from faultwatch_edge.interface import OUTPUTS
from faultwatch_edge.keys import load_trusted_keys
from faultwatch_edge.score_row import ScoreRow
from faultwatch_edge.window import sequence_windows

WINDOWS = 1_000
WARM_UP = 300
CALLS = 4_000
MICROSECOND = 1_000


def resident_mb() -> float:
    """Resident memory of this process, as Linux counts it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def feeder(bundle: Bundle, agent: Agent) -> Callable[[], None]:
    """Gives the agent one more sample of the golden cells, over and over, a cell apart."""
    cells = bundle.golden.cells.astype(np.float64)
    period_us = bundle.manifest.window.sample_period_us
    place = 0

    def feed() -> None:
        nonlocal place
        place += 1
        agent.process(place * period_us, cells[place % len(cells)])

    return feed


def measure_start(bundle: Bundle, started_ns: int) -> dict[str, float]:
    """Seconds and memory until the first score, and memory after a thousand windows."""
    scored: list[int] = []

    def count(row: ScoreRow) -> None:
        if row.score is not None:
            scored.append(row.end_us)

    agent = Agent(bundle, on_score=count)
    check_golden(agent.detector, bundle)  # as the device does whenever it starts
    feed = feeder(bundle, agent)
    while not scored:
        feed()
    found = {
        "first_score_s": (time.monotonic_ns() - started_ns) / 1e9,
        "resident_start_mb": resident_mb(),
    }
    while len(scored) < WINDOWS:
        feed()
    return {**found, "resident_1000_windows_mb": resident_mb()}


def measure_latency(bundle: Bundle, identity: bytes) -> dict[str, dict[str, float]]:
    """Microseconds of each call, taken in turn, so that all meet the same neighbours."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    empty = ort.InferenceSession(identity, options, providers=["CPUExecutionProvider"])
    bare = ort.InferenceSession(bundle.onnx, options, providers=["CPUExecutionProvider"])
    window = bundle.manifest.window
    windows = sequence_windows(bundle.golden.cells, length=window.length, hop=window.hop)
    feeds = {
        "window": np.ascontiguousarray(windows[:1], dtype=np.float32),
        "state": np.zeros(bundle.manifest.state_size, np.float32),
    }
    holed = {**feeds, "window": feeds["window"].copy()}
    holed["window"][:, 0] = np.nan
    nothing = {"x": np.zeros(1, np.float32)}
    detector = Detector.from_bundle(bundle)
    calls: dict[str, Callable[[], object]] = {
        "empty_call": lambda: empty.run(["y"], nothing),
        "bare_run": lambda: bare.run(OUTPUTS, feeds),
        "holed_run": lambda: bare.run(OUTPUTS, holed),
        "detector": lambda: detector.score(feeds["window"]),
        "agent_step": feeder(bundle, Agent(bundle)),
    }
    taken = {name: np.zeros(WARM_UP + CALLS) for name in calls}
    for turn in range(WARM_UP + CALLS):
        for name, call in calls.items():
            before = time.perf_counter_ns()
            call()
            taken[name][turn] = (time.perf_counter_ns() - before) / MICROSECOND
    return {
        name: {
            "p50_us": float(np.percentile(each[WARM_UP:], 50)),
            "p99_us": float(np.percentile(each[WARM_UP:], 99)),
        }
        for name, each in taken.items()
    }


def main() -> None:
    what, bundle_path, key_path, identity_path, started_ns = sys.argv[1:]
    bundle = read_bundle(Path(bundle_path), trusted_keys=load_trusted_keys([Path(key_path)]))
    found: object
    if what == "start":
        found = measure_start(bundle, int(started_ns))
    else:
        found = measure_latency(bundle, Path(identity_path).read_bytes())
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
