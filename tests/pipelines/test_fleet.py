"""All assets of a small site are trained: one that fails stops no other, a kill costs one chunk."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from prefect.client.orchestration import get_client

from faultwatch_edge.keys import make_key_pair
from models.fold_models import Lesson, Taught
from models.training import LOSSES
from pipelines import fleet
from pipelines.cli import main
from pipelines.config import ConfigError, load_asset
from pipelines.fleet import (
    Chunk,
    Outcome,
    find_asset_files,
    told_at_the_end,
    train_chunk,
    train_fleet,
)
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset
from pipelines.registry import Registry
from pipelines.schedules import TAG, scheduled_files
from pipelines.services import StartError
from pipelines.settings import Settings
from pipelines.train import TrainingError, train_asset

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
AT = datetime(2026, 2, 1, tzinfo=UTC)
ASSET = """
[asset]
id = "{name}"
[source]
files = "{name}.csv"
[window]
sample_period_s = 300.0
length = 8
[model]
reconstructor = "{kind}"
width = 4
latent = 2
epochs = 2
windows_per_epoch = 256
batch_size = 64
folds = 2
[alarm]
false_alarms_per_day = 1.0
[[channel]]
name = "flow"
[[channel]]
name = "pressure"
"""
PROGRAM = """
import sys
from datetime import UTC, datetime
from pipelines.fleet import train_fleet
from pipelines.settings import Settings
train_fleet(
    sys.argv[1:],
    Settings(),
    at=datetime.now(UTC),
    hear=lambda outcome: print(outcome, flush=True),
)
"""


@dataclass
class Site:
    """Asset files, their samples and where everything about them is kept."""

    folder: Path
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings(home=self.folder / "home")
        (self.folder / "plant").mkdir()
        make_key_pair(self.settings.signing_key_file.parent)

    def add(self, name: str, *, rows: int = 1_500, kind: str = "vae") -> str:
        """A machine whose two channels follow one load."""
        draw = np.random.default_rng(len(name))
        load = np.sin(np.arange(rows) / 40)
        values = [10 + load, 3 - 0.5 * load]
        flow, pressure = (part + 0.1 * draw.normal(size=rows) for part in values)
        times = [(BEGIN + timedelta(minutes=5 * row)).isoformat() for row in range(rows)]
        columns = {"time": times, "flow": flow, "pressure": pressure}
        pl.DataFrame(columns).write_csv(self.folder / "plant" / f"{name}.csv")
        path = self.folder / "plant" / f"{name}.toml"
        path.write_text(ASSET.format(name=name, kind=kind))
        asset = load_asset(path)
        ingest_asset(asset, Historian(self.settings.historian_address, name, asset.channel))
        return str(path)

    def train(self, files: Sequence[str]) -> list[Outcome]:
        return train_fleet(files, self.settings, at=AT)

    def registry(self, name: str) -> Registry:
        return Registry(self.settings, name)

    def versions(self, name: str) -> list[int]:
        return [int(one.version) for one in self.registry(name).versions()]

    def statuses(self, name: str) -> set[str]:
        """Of an asset's runs."""
        registry = self.registry(name)
        experiment = registry.runs.client.get_experiment_by_name(name)
        assert experiment is not None
        runs = registry.runs.client.search_runs([experiment.experiment_id])
        return {run.info.status for run in runs}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_harness")
def test_a_site_with_a_bad_asset_is_trained_and_goes_on_where_a_kill_left_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [site.add("fan"), site.add("pump"), site.add("valve", kind="pca")]
    site.add("young", rows=120)
    (site.folder / "plant" / "broken.toml").write_text("[asset")
    environment = os.environ | {
        "FAULTWATCH_HOME": str(site.settings.home),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, "-c", PROGRAM, *good],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline().partition(":")[0]
        process.send_signal(signal.SIGKILL)
    assert site.versions(first) == [1]

    monkeypatch.setenv("FAULTWATCH_HOME", str(site.settings.home))
    assert main(["fleet", str(site.folder / "plant")]) == 2
    said = capsys.readouterr().err
    summary = said[said.rindex("faultwatch: ") :].splitlines()
    assert summary[0].startswith("faultwatch: 5 assets: ")
    assert summary[0].endswith(" with nothing new, 2 failed")
    assert " 0 with nothing new" not in summary[0]
    assert "broken.toml: not a TOML file" in summary[1]
    assert "young: normal running since 2026-01-01" in summary[2]
    assert len(summary) == 3
    assert [site.versions(name) for name in ("fan", "pump", "valve")] == [[1], [1], [1]]
    assert site.versions("young") == []
    for name in ("fan", "pump", "valve"):
        assert "RUNNING" not in site.statuses(name)

    assert {one.state for one in site.train(good)} == {"nothing new"}


@pytest.mark.slow
def test_an_asset_has_the_model_that_train_would_give_it(site: Site) -> None:
    file = site.add("pump")
    assert [one.state for one in site.train([file])] == ["trained"]
    train_asset(load_asset(file), site.settings, at=AT)
    registry = site.registry("pump")
    alone, together = registry.versions()
    first, second = (registry.runs.client.get_run(str(one.run_id)) for one in (together, alone))
    losses, wanted = (registry.runs.losses(run, LOSSES) for run in (first, second))
    assert [len(values) for values in losses.values()] == [2, 2, 2]
    for name in LOSSES:
        assert losses[name] == pytest.approx(wanted[name], rel=1e-3)
    threshold = second.data.metrics["threshold"]
    assert first.data.metrics["threshold"] == pytest.approx(threshold, rel=1e-2)


def test_two_files_of_one_asset_are_not_both_trained(site: Site) -> None:
    file = site.add("young", rows=120)
    copy = site.folder / "plant" / "copy.toml"
    copy.write_text(Path(file).read_text())
    short, doubled = site.train([file, str(copy)])
    assert (short.state, doubled.state) == ("failed", "failed")
    assert short.reason.startswith("young: normal running since")
    assert doubled.reason == f"{copy} has the id of {file}; give each asset an id of its own"


def test_without_a_signing_key_nothing_begins(site: Site) -> None:
    settings = Settings(home=site.settings.home, signing_key=site.folder / "none.key")
    with pytest.raises(TrainingError, match="no signing key"):
        train_fleet([site.add("pump", rows=20)], settings, at=AT)


def test_models_that_cannot_be_trained_together_are_left_to_each_asset(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(lessons: Sequence[Lesson]) -> list[Taught]:
        raise ValueError(f"no {len(lessons)}")

    monkeypatch.setattr(fleet, "fit_models", fail)
    files = (site.add("pump"), site.add("fan"))
    settings = Settings(home=site.settings.home, signing_key=site.folder / "none.key")
    came = list(train_chunk(Chunk(files, settings, AT)))  # what comes after it is asked, of each
    assert [one.reason.partition(" at ")[0] for one in came] == ["no signing key"] * 2


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_harness")
def test_a_flow_without_names_takes_the_assets_that_are_scheduled() -> None:
    with pytest.raises(StartError, match="no asset is scheduled; name assets, or start"):
        scheduled_files()
    with get_client(sync_client=True) as client:
        for flow in ("retrain", "ingest"):
            for name in ("fan", "pump"):
                client.create_deployment(
                    client.create_flow_from_name(flow),
                    name=name,
                    tags=[TAG, flow],
                    parameters={"asset_file": f"/plant/{name}.toml"},
                )
    assert scheduled_files() == ["/plant/fan.toml", "/plant/pump.toml"]


def test_folders_files_and_ids_name_assets_each_once(site: Site) -> None:
    pump, fan = site.add("pump", rows=20), site.add("fan", rows=20)
    plant = str(site.folder / "plant")
    (site.folder / "plant" / "edge.toml").write_text("[agent]\n[[asset]]\n")
    assert find_asset_files([plant]) == [fan, pump]
    assert find_asset_files([pump, "tennessee_eastman", plant]) == [pump, "tennessee_eastman", fan]
    with pytest.raises(ConfigError, match="has no asset file; expected files like"):
        find_asset_files([str(site.settings.home)])
    with pytest.raises(ConfigError, match="no asset file 'pmup'"):
        find_asset_files(["pmup"])


def test_the_end_says_how_many_and_why_not() -> None:
    came = [
        Outcome("a.toml", "a", "trained", "version 1 is the challenger"),
        Outcome("b.toml", "b", "nothing new", "version 2 has learned all that is there"),
        Outcome("c.toml", "c", "failed", "c: the historian is empty"),
    ]
    assert told_at_the_end(came) == (
        "3 assets: 1 trained, 1 with nothing new, 1 failed\n  c: the historian is empty"
    )
