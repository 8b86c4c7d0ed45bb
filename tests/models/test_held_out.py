"""What the models of the folds say of windows that they never saw."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from features.windows import Windows
from models.head import SCALES
from models.held_out import FoldModel, HeldOut
from models.normalizer import Normalizer
from models.operating_point import OperatingPoint

LENGTH = 8


class Expectless(nn.Module):
    """Expects the mean, always: the residual is the value."""

    @override
    def forward(self, values: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        del present
        return torch.zeros_like(values), values[:, :1, -1]


def held_out(cells: NDArray[np.float32]) -> HeldOut:
    """Of a row of cells, cut into two folds."""
    rows = len(cells)
    times = np.datetime64("2026-01-01", "us") + np.arange(rows) * np.timedelta64(60, "s")
    windows = Windows(cells, times, np.zeros(rows, np.int64), np.arange(LENGTH - 1, rows), LENGTH)
    channels = cells.shape[1]
    normalizer = Normalizer(torch.zeros(channels), torch.ones(channels))
    model = FoldModel(normalizer, Expectless(), OperatingPoint(torch.eye(channels)))
    fold = (np.arange(len(windows)) * 2 // len(windows)).astype(np.int64)
    return HeldOut(windows, [model, model], fold, np.ones(len(windows), np.bool_))


def test_a_silent_channel_makes_normal_windows_no_more_anomalous_than_whole_ones() -> None:
    generator = np.random.default_rng(0)
    cause = np.convolve(generator.normal(size=2_040), np.ones(40), "valid")[:, None] / 6.0
    cells = (cause + 0.1 * generator.normal(size=(len(cause), 4))).astype(np.float32)
    cells[600:640, 2] = cells[1_600:1_640, 2] = np.nan
    found = held_out(cells)
    silent = ~found.seen.all(dim=(1, 2)).numpy()
    statistics = found.statistics()[:, : len(SCALES)]
    assert 0 < silent.sum() < 100
    assert (np.median(statistics[silent], axis=0) < np.median(statistics, axis=0) * 1.5).all()
