"""Each import contract is kept by a clean toy tree and broken by one wrong import."""

import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]
ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract["name"] for contract in SETTINGS["contracts"]}
LINT_IMPORTS = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
CLEAN = {
    "features/grid.py": "import polars",
    "features/windows.py": "from features.grid import cells",
    "models/detector.py": "import torch\nfrom features.windows import views",
    "models/export.py": "import onnx\nfrom faultwatch_edge.bundle import write",
    "models/training.py": "import pytorch_lightning",
    "pipelines/backtest.py": "import faultwatch_edge.agent\nfrom models.export import bundle",
    "pipelines/device_access.py": "import mlflow.server.auth",
    "pipelines/engine.py": "import prefect\nimport prefect_ray\nimport ray",
    "pipelines/registry.py": "import mlflow",
    "pipelines/report.py": "import matplotlib.pyplot",
    "pipelines/review_pictures.py": "import matplotlib.figure",
    "pipelines/tables.py": "import deltalake",
    "pipelines/tracking.py": "import mlflow\nfrom pytorch_lightning.loggers import MLFlowLogger",
    "faultwatch_edge/agent.py": "import faultwatch_edge.bundle",
    "faultwatch_edge/bundle.py": "import numpy\nimport onnxruntime",
    "faultwatch_edge/mqtt.py": "import paho.mqtt.client",
    "faultwatch_edge/sources/opcua.py": "import asyncua",
    "faultwatch_edge/sources/opcua_subscription.py": "import asyncua",
}
OFFENCES = [
    ("layers", "features/grid.py", "import models.detector"),
    ("layers", "models/export.py", "import pipelines.backtest"),
    ("layers", "features/grid.py", "import faultwatch_edge.bundle"),
    ("layers", "faultwatch_edge/agent.py", "from features.grid import cells"),
    ("edge-protected", "models/detector.py", "import faultwatch_edge.bundle"),
    ("features-light", "features/windows.py", "import torch"),
    ("edge-light", "faultwatch_edge/bundle.py", "from pydantic import BaseModel"),
    ("edge-light", "faultwatch_edge/bundle.py", "import polars"),
    ("mlflow-protected", "pipelines/backtest.py", "import mlflow.onnx"),
    ("lightning-protected", "pipelines/registry.py", "import pytorch_lightning"),
    ("mlflow-protected", "pipelines/tables.py", "from mlflow.server import auth"),
    ("mlflow-protected", "models/training.py", "def fit():\n    import mlflow"),
    ("prefect-protected", "models/training.py", "from prefect import task"),
    ("lightning-protected", "models/detector.py", "import pytorch_lightning"),
    ("deltalake-protected", "pipelines/backtest.py", "from deltalake import DeltaTable"),
    ("paho-protected", "faultwatch_edge/agent.py", "import paho.mqtt.client"),
    ("asyncua-protected", "faultwatch_edge/agent.py", "from asyncua import Client"),
    ("ray-in-engine", "pipelines/backtest.py", "import ray"),
    ("ray-in-engine", "models/training.py", "from ray.train import report"),
    ("drawing-in-report", "pipelines/backtest.py", "import matplotlib"),
    ("acyclic", "features/grid.py", "import features.windows"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The four packages as toys, under the contracts of the real ones."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in CLEAN.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True, parents=True)
        (file.parent / "__init__.py").touch()
        file.write_text(text + "\n")
    return tmp_path


def broken_contracts(report: str) -> set[str]:
    text = " ".join(report.split())  # long names are wrapped
    return {identifier for identifier, name in CONTRACTS.items() if f"{name} BROKEN" in text}


def test_a_clean_tree_keeps_every_contract(tree: Path, run: Run) -> None:
    result = run(LINT_IMPORTS, cwd=tree)
    assert result.returncode == 0, result.stdout
    assert f"{len(CONTRACTS)} kept, 0 broken" in result.stdout


def test_every_contract_is_tried() -> None:
    assert {identifier for identifier, _, _ in OFFENCES} == set(CONTRACTS)


@pytest.mark.parametrize(("contract", "file", "offence"), OFFENCES)
def test_a_wrong_import_breaks_it(
    tree: Path, contract: str, file: str, offence: str, run: Run
) -> None:
    with (tree / file).open("a") as module:
        module.write(offence + "\n")
    result = run(LINT_IMPORTS, cwd=tree)
    assert result.returncode == 1, result.stdout + result.stderr
    assert contract in broken_contracts(result.stdout), result.stdout
