"""What the run of a retraining shows beside the champion, of a small pump that runs on."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines import recent_alarms
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.history import read_history
from pipelines.judging import fetch_bundle
from pipelines.recent_alarms import CHALLENGER, CHAMPION, find_recent_alarms
from pipelines.replay import moment, raised_alarms, replay


def run_of(pump: Any, version: int) -> Any:
    registry = pump.registry
    return registry.client.get_run(registry.version_of(str(version)).run_id)


def table_of(pump: Any, version: int, name: str) -> pl.DataFrame:
    run, folder = run_of(pump, version), pump.folder / "tables"
    folder.mkdir(exist_ok=True)
    path = pump.registry.client.download_artifacts(
        run.info.run_id, f"tables/{name}.csv", str(folder)
    )
    return pl.read_csv(path)
