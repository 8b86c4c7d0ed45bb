"""A small pump that runs on: three channels that follow one load, a row every five minutes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from faultwatch_edge.keys import make_key_pair
from pipelines.config import AssetConfig, load_asset
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset
from pipelines.labelling import Verdict, label_interval
from pipelines.registry import Registry
from pipelines.retrain import Retrained, retrain_asset
from pipelines.settings import Settings

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ASSET = """
[asset]
id = "small_pump"
[source]
files = "pump_*.csv"
[window]
sample_period_s = 300.0
length = 8
[model]
reconstructor = "pca"
folds = 2
[alarm]
false_alarms_per_day = 1.0
[retrain]
holdout_days = 4
[[channel]]
name = "flow"
unit = "m3/h"
[[channel]]
name = "pressure"
unit = "bar"
[[channel]]
name = "temperature"
unit = "degC"
"""


@dataclass
class Pump:
    """The asset, its files and where everything about it is kept."""

    folder: Path
    settings: Settings = field(init=False)
    rows: int = 0

    def __post_init__(self) -> None:
        self.settings = Settings(home=self.folder / "home", releases=self.folder / "releases")
        make_key_pair(self.settings.signing_key_file.parent)
        self.path = self.folder / "small_pump.toml"
        self.path.write_text(ASSET)

    @property
    def asset(self) -> AssetConfig:
        return load_asset(self.path)

    def set(self, old: str, new: str) -> None:
        """Edit the asset file."""
        text = self.path.read_text()
        assert old in text
        self.path.write_text(text.replace(old, new))

    def time(self, row: int) -> datetime:
        """When a row was measured."""
        return BEGIN + timedelta(minutes=5 * row)

    def run(self, rows: int, *, shift: float = 0.0, fault: Sequence[int] = ()) -> None:
        """Let it run on: a new file, read into the historian; as `write`."""
        self.write(rows, shift=shift, fault=fault)
        asset = self.asset
        historian = Historian(self.settings.historian_address, asset.asset.id, asset.channel)
        ingest_asset(asset, historian)

    def write(self, rows: int, *, shift: float = 0.0, fault: Sequence[int] = ()) -> None:
        """Let it run on: a new file.

        Args:
            rows: how long.
            shift: by how much the flow is another one all the time.
            fault: first row of a shut valve, and the first after it.
        """
        noise = np.random.default_rng(self.rows).normal(size=(3, rows))
        load = np.sin(np.arange(self.rows, self.rows + rows) / 40)
        flow, pressure, temperature = (
            level + gain * load + spread * part
            for (level, gain, spread), part in zip(
                [(10.0, 1.0, 0.1), (3.0, 0.5, 0.05), (60.0, 2.0, 0.2)], noise, strict=True
            )
        )
        flow += shift
        if fault:
            shut = slice(fault[0] - self.rows, fault[1] - self.rows)
            flow[shut], pressure[shut] = flow[shut] - 3.0, pressure[shut] + 3.0
        times = [self.time(self.rows + one).isoformat() for one in range(rows)]
        columns = {"time": times, "flow": flow, "pressure": pressure, "temperature": temperature}
        pl.DataFrame(columns).write_csv(self.folder / f"pump_{self.rows:06d}.csv")
        self.rows += rows

    def label(self, first: int, end: int, verdict: Verdict) -> None:
        """Say what some rows were."""
        label_interval(
            self.asset,
            self.settings,
            self.time(first),
            self.time(end),
            verdict,
            by="anna",
            note=verdict,
            at=datetime.now(UTC),
        )

    def retrain(self) -> Retrained:
        return retrain_asset(
            self.asset,
            self.settings,
            clock=lambda: datetime.now(UTC),
            reason="test",
            say=lambda _: None,
        )

    @property
    def registry(self) -> Registry:
        return Registry(self.settings, "small_pump")

    @property
    def champion(self) -> int | None:
        """Version that devices run."""
        return self.registry.champion_version()


@pytest.fixture
def pump(tmp_path: Path) -> Pump:
    return Pump(tmp_path)


@pytest.fixture(scope="module")
def lasting_pump(tmp_path_factory: pytest.TempPathFactory) -> Pump:
    """One for all tests of a file."""
    return Pump(tmp_path_factory.mktemp("pump"))
