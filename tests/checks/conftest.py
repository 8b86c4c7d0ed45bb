"""A small plant, and each reconstructor fitted to it once: what every check runs on."""

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from faultwatch_edge.detector import Detector as EdgeDetector
from faultwatch_edge.keys import key_id
from faultwatch_edge.manifest import (
    AlarmSpec,
    ChannelSpec,
    Manifest,
    ThresholdSpec,
    WindowSpec,
)
from features.channels import Channel
from features.grid import WindowConfig
from features.windows import Windows
from models.config import ModelConfig, ReconstructorName, RegimeConfig
from models.crossfit import FittedDetector, Recipe, fit_detector
from models.graph import export_onnx

Cells = NDArray[np.float32]

NAMES = ("flow", "speed", "pressure", "level", "current", "temperature")
LENGTH = 16
SMALL = ModelConfig(
    latent=4, width=8, epochs=5, windows_per_epoch=1_024, batch_size=64, learning_rate=5e-3
)


def make_cells(seed: int, rows: int) -> Cells:
    """Two slow causes behind six channels, each in a unit of its own."""
    generator = np.random.default_rng(seed)
    causes = np.zeros((rows, 2))
    push = generator.normal(size=(rows, 2))
    for row in range(1, rows):
        causes[row] = 0.9 * causes[row - 1] + 0.436 * push[row]
    mixing = np.random.default_rng(7).normal(size=(2, len(NAMES)))
    mixing /= np.linalg.norm(mixing, axis=0)
    values = causes @ mixing + 0.5 * generator.normal(size=(rows, len(NAMES)))
    scale = np.array([1.0, 50.0, 0.01, 5.0, 2.0, 0.5])
    offset = np.array([10.0, 1500.0, 1.0, 40.0, 20.0, 300.0])
    cells: Cells = (values * scale + offset).astype(np.float32)
    return cells


def cut_windows(runs: Sequence[Cells]) -> Windows:
    """Windows of runs that lie a day apart."""
    lengths = [len(run) for run in runs]
    sequences = np.repeat(np.arange(len(runs)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    times = np.datetime64("2026-01-01", "us") + (
        position * np.timedelta64(60, "s") + sequences * np.timedelta64(1, "D")
    )
    ends = np.flatnonzero(position >= LENGTH - 1)
    return Windows(np.concatenate(runs), times, sequences, ends, LENGTH)


@pytest.fixture(scope="session")
def plant() -> Callable[[int, int], Cells]:
    """Cells of a run of normal running: seed, rows."""
    return make_cells


@pytest.fixture(scope="session")
def cut() -> Callable[[Sequence[Cells]], Windows]:
    return cut_windows


@pytest.fixture(scope="session", params=get_args(ReconstructorName))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return Recipe(
        channels=tuple(Channel(name=name) for name in NAMES),
        window=WindowConfig(sample_period_s=60.0, length=LENGTH),
        regime=RegimeConfig(startup_ignore_s=1_200.0),
        model=SMALL.model_copy(update={"reconstructor": request.param}),
    )


@pytest.fixture(scope="session")
def normal() -> Windows:
    return cut_windows([make_cells(seed, 500) for seed in range(9)])


@pytest.fixture(scope="session")
def fitted(normal: Windows, recipe: Recipe) -> FittedDetector:
    return fit_detector(normal, recipe)


@pytest.fixture(scope="session")
def graph(fitted: FittedDetector) -> bytes:
    return export_onnx(fitted.detector, length=LENGTH)


@pytest.fixture(scope="session")
def private_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def manifest(fitted: FittedDetector, recipe: Recipe, private_key: Ed25519PrivateKey) -> Manifest:
    return Manifest(
        contract=1,
        asset_id="pump_07",
        asset_name="Feed pump 07",
        site="Plant A",
        version=1,
        created_at="2026-01-31T12:00:00Z",
        channels=tuple(
            ChannelSpec(name, None, "", "continuous", "periodic", None) for name in NAMES
        ),
        window=WindowSpec(**recipe.window.model_dump()),
        threshold=ThresholdSpec(
            score=3.0,
            false_alarms_per_day=0.1,
            expected_per_day=0.1,
            interval_per_day=(0.0, 0.5),
            scored_days=3.0,
            extrapolated=True,
        ),
        alarm=AlarmSpec(
            on_delay_s=120.0,
            off_delay_s=120.0,
            priority="high",
            cause="",
            consequence="",
            action="",
            enabled=True,
        ),
        state_size=fitted.detector.state_size,
        reconstructor=recipe.model.reconstructor,
        mlflow_run="",
        historian_version=0,
        git_revision="unknown",
        key_id=key_id(private_key.public_key()),
    )


@pytest.fixture
def runtime(graph: bytes, manifest: Manifest) -> EdgeDetector:
    return EdgeDetector(graph, manifest)
