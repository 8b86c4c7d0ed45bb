"""A channel that drifts by itself through normal running does not decide about the machine."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channels import Channel
from features.grid import WindowConfig
from features.windows import Windows
from models.config import ModelConfig, RegimeConfig
from models.crossfit import FittedDetector, Recipe, fit_detector
from models.detector import Detection, score_run
from models.drifting import find_drifting

LENGTH, ROWS = 8, 1_200
NAMES = ("flow", "pressure", "current", "winding")
CHANNELS = tuple(Channel(name=name) for name in NAMES)
FOLD = np.arange(ROWS) * 3 // ROWS
WINDING = NAMES.index("winding")


def running(seed: int, *, rows: int = ROWS) -> np.ndarray:
    """Three channels that follow one load, and a winding that only rests; (row, channel)."""
    generator = np.random.default_rng(seed)
    load = np.convolve(generator.normal(size=rows + 19), np.ones(20) / 5, mode="valid")
    noise = generator.normal(size=(4, rows))
    return np.stack(
        [
            50 + 2 * load + 0.3 * noise[0],
            5 - 0.3 * load + 0.05 * noise[1],
            20 + load + 0.2 * noise[2],
            60 + 0.5 * noise[3],
        ],
        axis=1,
    ).astype(np.float32)


def warming(cells: np.ndarray, *, begin: float = 0.0, rise: float = 10.0) -> np.ndarray:
    """The same while the winding becomes warmer."""
    warmer = cells.copy()
    warmer[:, WINDING] += np.linspace(begin, begin + rise, len(cells), dtype=np.float32)
    return warmer


def windows_of(cells: np.ndarray) -> Windows:
    rows = np.arange(len(cells))
    times = np.datetime64("2026-01-01", "us") + rows * np.timedelta64(60, "s")
    return Windows(cells, times, np.zeros(len(cells), np.int64), rows[LENGTH - 1 :], LENGTH)


@pytest.fixture(scope="module")
def fitted() -> FittedDetector:
    recipe = Recipe(
        CHANNELS,
        WindowConfig(sample_period_s=60.0, length=LENGTH),
        RegimeConfig(),
        ModelConfig(reconstructor="window_pca"),
    )
    return fit_detector(windows_of(warming(running(0))), recipe)


def scored(fitted: FittedDetector, cells: np.ndarray) -> Detection:
    return score_run(fitted.detector, [torch.from_numpy(windows_of(cells).take(slice(None)))])


def test_what_drifts_by_itself_is_left_out_and_named(fitted: FittedDetector) -> None:
    assert list(fitted.drifting) == ["winding"]
    assert fitted.drifting["winding"] > 0.9


def test_a_drift_that_goes_on_is_no_fault(fitted: FittedDetector) -> None:
    later = running(1, rows=400)
    goes_on = scored(fitted, warming(later, begin=10.0, rise=5.0))
    assert torch.equal(goes_on.score, scored(fitted, warming(later, rise=0.0)).score)
    assert not goes_on.contribution[:, WINDING].any()


def test_the_other_channels_still_show_their_faults(fitted: FittedDetector) -> None:
    broken = warming(running(1, rows=400), begin=10.0, rise=5.0)
    broken[300:, 1] += 1.0
    found = scored(fitted, broken)
    last = found.score.max(dim=0).indices
    assert found.score[-50:].min() > fitted.normal.score.max()
    assert NAMES[int(found.contribution[last].argmax())] == "pressure"


def test_the_sensor_of_what_is_left_out_is_still_watched(fitted: FittedDetector) -> None:
    stuck = warming(running(1, rows=400))
    stuck[200:, WINDING] = stuck[200, WINDING]
    assert scored(fitted, stuck).sensor_status[-1, WINDING] > 0


def test_what_the_others_foretell_does_not_drift_by_itself() -> None:
    cells = running(0)
    cells[:, :3] += np.linspace(0, 3, ROWS, dtype=np.float32)[:, None] * [2.0, -0.3, 1.0]
    assert find_drifting(cells, FOLD, CHANNELS) == {}


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("it goes up and down", lambda x: x + 5 * np.sin(np.linspace(0, 40, ROWS))),
        ("it is constant", lambda x: 0 * x + 60),
        ("it has no values", lambda x: x * np.nan),
        ("it has too few values", lambda x: np.where(np.arange(ROWS) % 10, np.nan, warm(x))),
    ],
)
def test_a_channel_is_kept_where(why: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    cells = running(0)
    cells[:, WINDING] = change(cells[:, WINDING])
    assert find_drifting(cells, FOLD, CHANNELS) == {}, why


def warm(values: np.ndarray) -> np.ndarray:
    return values + np.linspace(0, 10, len(values))


def test_a_count_that_rises_is_no_drift() -> None:
    channels = (*CHANNELS[:3], Channel(name="winding", kind="discrete"))
    assert find_drifting(warming(running(0)), FOLD, channels) == {}


def test_where_all_channels_drift_none_is_left_out() -> None:
    cells = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    cells[:, :3] += np.linspace(0, 9, ROWS)[:, None] ** [[0.5, 1.0, 2.0]]
    assert find_drifting(cells, FOLD, CHANNELS) == {}


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(4)), st.floats(0.01, 100.0), st.floats(-1e3, 1e3))
def test_neither_order_nor_units_of_the_channels_matter(
    order: list[int], factor: float, offset: float
) -> None:
    cells = (warming(running(0))[:, order] * factor + offset).astype(np.float32)
    channels = tuple(CHANNELS[place] for place in order)
    assert list(find_drifting(cells, FOLD, channels)) == ["winding"]


def test_values_that_are_missing_hide_no_drift() -> None:
    cells = warming(running(0))
    cells[np.random.default_rng(0).random(cells.shape) < 0.3] = np.nan
    assert list(find_drifting(cells, FOLD, CHANNELS)) == ["winding"]
