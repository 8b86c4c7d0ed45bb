"""A device without a broker: one asset, and what renews its bundle."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faultwatch_edge.config import AssetSource
from faultwatch_edge.keys import load_trusted_keys
from faultwatch_edge.renewal import Renewal
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.spool import Record
from faultwatch_edge.watched import Watched

SECOND = 1_000_000
NOW_US = 1_790_000_000 * SECOND
SOURCE = AssetSource("pump", "plant/pump", time="at", time_format="s")


class Device:
    """One asset and what renews its bundle, over as many starts as one likes."""

    def __init__(self, folder: Path, *, follows: bool, source: AssetSource) -> None:
        self.folder, self.kept, self.follows = folder, folder.parent / "bundles", follows
        self.trusted, self.source = folder.parent / "trusted", source
        self.notes: list[str] = []
        self.slots: str | None = None
        self.state: str | None = None
        self.now_us = self.second = 0
        self.start()

    def start(self) -> None:
        self.renewal = Renewal(
            self.folder,
            self.kept,
            self.slots,
            keys=lambda: load_trusted_keys([self.trusted]),
            note=self.notes.append,
            follows=self.follows,
        )
        self.watched = Watched(self.renewal.begin(), self.source, publish_scores=False)
        if self.state is not None:
            self.watched.resume(self.state, self.notes.append)
        self.renewal.attend(self.watched)

    def keep(self) -> None:
        self.state = self.watched.state
        ((name, self.slots),) = self.renewal.remembered(self.watched).items()
        assert name == Renewal.memory(self.folder)

    @property
    def version(self) -> int:
        return self.watched.bundle.manifest.version

    def run(self, count: int, flow: float = 10.0) -> list[dict[str, Any]]:
        """So many samples, a second apart."""
        records: list[Record] = []
        for _ in range(count):
            self.second += 1
            body = {"at": self.second, "flow": flow, "valve": 1, "total": 5 * self.second}
            came = Incoming("plant/pump", json.dumps(body).encode(), False, 1, 1)  # noqa: FBT003
            records += self.watched.take(came, NOW_US)
        return [json.loads(one.body) for one in records]

    def look(self) -> list[dict[str, Any]]:
        """So late that it looks again."""
        self.now_us += 60 * SECOND
        told = self.renewal.look(self.watched, NOW_US, self.now_us)
        return [json.loads(one.body) for one in told]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """From which bundles come."""
    made = tmp_path / "pump"
    made.mkdir()
    return made


@pytest.fixture
def start_device(folder: Path, key_folder: Path) -> Callable[..., Device]:
    """Start a device that takes its bundles from the folder."""
    (folder.parent / "trusted").mkdir()
    shutil.copy(key_folder / "faultwatch.pub", folder.parent / "trusted")

    def start(*, follows: bool = False, source: AssetSource = SOURCE) -> Device:
        return Device(folder, follows=follows, source=source)

    return start


@pytest.fixture
def release(folder: Path, write_version: Callable[..., Path]) -> Callable[..., Path]:
    """Put a bundle into the folder."""
    return partial(write_version, folder)


@pytest.fixture
def device(release: Callable[..., Path], start_device: Callable[..., Device]) -> Device:
    """It runs version 3 from the folder."""
    release(3)
    return start_device()
