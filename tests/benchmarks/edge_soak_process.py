"""A fresh process of the device with many machines: nothing of the training is imported.

edge_soak.py calls it as ``edge_soak_process.py BUNDLE KEY ROWS.npy ASSETS SECONDS FOLDER``; it
writes a line of JSON for each tenth.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from faultwatch_edge.bundle import Bundle, read_bundle
from faultwatch_edge.config import AssetSource
from faultwatch_edge.delivery import Delivery
from faultwatch_edge.keys import load_trusted_keys
from faultwatch_edge.service import Service
from faultwatch_edge.sinks.line_file import LineFile
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.spool import Record, Spool
from faultwatch_edge.watched import Watched

START_S = 1_767_225_600
TENTHS = 10


def note(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def resident_mb() -> float:
    """Resident memory of this process, as Linux counts it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


class Replayed:
    """A source: every asset's sample of one second after the other."""

    remembered: Mapping[str, str] = {}
    is_owing = is_connected = catches_up = True

    def __init__(self, assets: Sequence[Watched], rows: np.ndarray) -> None:
        self.assets, self.taken_us = assets, list[float]()
        self._payloads = [
            ", ".join(f'"{name}": {value:.5g}' for name, value in zip(names, row, strict=True))
            for names in [assets[0].bundle.manifest.channel_names]
            for row in rows
        ]
        self.second = 0

    def take(self, at_us: Callable[[], int], *, timeout_s: float) -> list[Record]:
        """The next second's samples."""
        del timeout_s
        self.second += 1
        body = self._payloads[self.second % len(self._payloads)]
        payload = f'{{"time": {START_S + self.second}, {body}}}'.encode()
        came = Incoming("plant", payload, is_again=False, number=1, qos=1)
        records: list[Record] = []
        for one in self.assets:
            began = time.perf_counter_ns()
            records += one.take(came, at_us())
            self.taken_us.append((time.perf_counter_ns() - began) / 1_000)
        return records

    def kept(self) -> None:
        """Nobody need know."""


def make_assets(bundle: Bundle, count: int) -> dict[str, Watched]:
    source = AssetSource("bundle.fwb", "plant", time_format="s")
    names = [f"{bundle.manifest.asset_id[:50]}_{number:03d}" for number in range(count)]
    bundles = (replace(bundle, manifest=replace(bundle.manifest, asset_id=n)) for n in names)
    made = (Watched(one, source, publish_scores=True) for one in bundles)
    return {one.asset: one for one in made}


def soak(bundle: Bundle, rows: np.ndarray, folder: Path, *, count: int, seconds: int) -> None:
    """Live through so many seconds; say the figures of each tenth."""
    assets = make_assets(bundle, count)
    source = Replayed(list(assets.values()), rows)
    with Spool(folder / "spool.db", sinks=("file",)) as spool:
        service = Service(
            "soak",
            assets,
            sources=[source],
            deliveries=[Delivery(spool, LineFile(folder / "said.jsonl", note))],
            beat=None,
            renewals={},
            spool=spool,
            clock_us=lambda: (START_S + source.second) * 1_000_000,
            passed_us=lambda: source.second * 1_000_000,
            note=note,
        )
        for found in tenths(service, source, seconds):
            sys.stdout.write(f"{json.dumps(found)}\n")
            sys.stdout.flush()


def tenths(service: Service, source: Replayed, seconds: int) -> Iterator[dict[str, float]]:
    for _ in range(TENTHS):
        began, busy = time.monotonic(), time.process_time()
        source.taken_us.clear()
        for _ in range(max(1, seconds // TENTHS)):
            service.step()
        passed = max(1, seconds // TENTHS)
        taken = np.array(source.taken_us)
        found = {
            "core_share": (time.process_time() - busy) / passed,
            "wall_share": (time.monotonic() - began) / passed,
            "sample_p50_us": float(np.median(taken)),
            "sample_p99_us": float(np.quantile(taken, 0.99)),
            "resident_mb": resident_mb(),
        }
        yield found


if __name__ == "__main__":
    path, key, file, count, seconds, folder = sys.argv[1:]
    soak(
        read_bundle(Path(path), trusted_keys=load_trusted_keys([Path(key)])),
        np.load(file),
        Path(folder),
        count=int(count),
        seconds=int(seconds),
    )
