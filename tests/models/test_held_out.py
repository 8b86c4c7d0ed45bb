"""What the models of the folds say of windows that they never saw."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from features.windows import Windows
from models import held_out as module
from models.head import SCALES, EnergyHead, fit_energy_head
from models.held_out import MOST_HEADS, FoldModel, HeldOut
from models.normalizer import Normalizer
from models.operating_point import OperatingPoint

LENGTH = 8


class Expectless(nn.Module):
    """Expects the mean, always: the residual is the value."""

    @override
    def forward(self, values: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        del present
        return torch.zeros_like(values), values[:, :1, -1]


def held_out(*runs: NDArray[np.float32]) -> HeldOut:
    """Of runs of cells, in two folds of as many windows."""
    cells, lengths = np.concatenate(runs), [len(run) for run in runs]
    sequences = np.repeat(np.arange(len(runs)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    times = np.datetime64("2026-01-01", "us") + np.arange(len(cells)) * np.timedelta64(60, "s")
    ends = np.flatnonzero(position >= LENGTH - 1)
    windows = Windows(cells, times, sequences, ends, LENGTH)
    channels = cells.shape[1]
    normalizer = Normalizer(torch.zeros(channels), torch.ones(channels))
    point = OperatingPoint(torch.eye(channels), pace=1.0)
    model = FoldModel(normalizer, Expectless(), point)
    fold = (np.arange(len(windows)) * 2 // len(windows)).astype(np.int64)
    return HeldOut(windows, [model, model], fold, np.ones(len(windows), np.bool_))


def noise(rows: int, *, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


def test_no_head_has_seen_the_run_that_it_judges() -> None:
    runs = [noise(400, seed=seed) for seed in range(4)]  # two a fold
    before = held_out(*runs).statistics()[0]
    runs[0] = runs[0] * np.float32(1.25)
    after = held_out(*runs).statistics()[0]
    own, next_to_it = (slice(first, first + 393) for first in (0, 393))
    scales = slice(len(SCALES))
    np.testing.assert_allclose(after[own, scales], 1.25**2 * before[own, scales], rtol=1e-4)
    assert (np.median(after[next_to_it], axis=0) < np.median(before[next_to_it], axis=0)).all()


def test_many_runs_share_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []

    def counted(*args: Any, **options: Any) -> EnergyHead:
        fitted.append(len(args[0]))
        return fit_energy_head(*args, **options)

    monkeypatch.setattr(module, "fit_energy_head", counted)
    found = held_out(*(noise(60, seed=seed) for seed in range(20)))
    assert np.isfinite(found.statistics()[0]).all()
    assert len(fitted) == 2 * MOST_HEADS


def test_a_silent_channel_makes_normal_windows_no_more_anomalous_than_whole_ones() -> None:
    generator = np.random.default_rng(0)
    cause = np.convolve(generator.normal(size=2_040), np.ones(40), "valid")[:, None] / 6.0
    cells = (cause + 0.1 * generator.normal(size=(len(cause), 4))).astype(np.float32)
    cells[600:640, 2] = cells[1_600:1_640, 2] = np.nan
    found = held_out(cells)
    silent = ~found.seen.all(dim=(1, 2)).numpy()
    statistics = found.statistics()[0][:, : len(SCALES)]
    assert 0 < silent.sum() < 100
    assert (np.median(statistics[silent], axis=0) < np.median(statistics, axis=0) * 1.5).all()
