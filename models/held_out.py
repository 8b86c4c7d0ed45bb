"""What the models of the folds say of the windows that they never saw."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from features.windows import Windows
from models.head import (
    EnergyHead,
    PcaHead,
    fit_energy_head,
    fit_pca_head,
    residual_means,
    seen_means,
)
from models.memory import RATES, ResidualMemory, residual_limit, supported_rates
from models.normalizer import Normalizer
from models.operating_point import OperatingPoint
from models.smoothing import SurpriseAverages
from models.window_pca import RowPca

BATCH = 256


class FoldModel(NamedTuple):
    """What expects a window, in units of its own."""

    normalizer: Normalizer
    reconstructor: nn.Module
    operating_point: OperatingPoint


class _Said(NamedTuple):
    """What a model says of windows."""

    means: Float[Tensor, "batch scale channel"]
    seen: Bool[Tensor, "batch scale channel"]
    latent: Float[Tensor, "batch latent"]
    distance: Float[Tensor, " batch"]
    """From where the machine ran in training; 1 = a new operating point."""


class FittedHead(NamedTuple):
    """A head, and the memories that it judges beside the window."""

    memory: ResidualMemory
    head: EnergyHead | PcaHead


class HeldOut:
    """Residuals of normal running, each by the model of the fold that holds it out."""

    def __init__(
        self,
        windows: Windows,
        models: Sequence[FoldModel],
        fold: NDArray[np.int64],
        scored: NDArray[np.bool_],
    ) -> None:
        """Apply every model to its fold.

        Args:
            windows: normal running.
            models: one for each fold, trained on the others.
            fold: that holds out each window, -1 = none, (window,).
            scored: whether the gate was open, (window,).
        """
        self.models = models
        self.fold = fold
        self.scored = scored
        self.fitted = (fold >= 0) & scored
        self.segment = _segments(windows, fold)
        self.places = [np.flatnonzero(fold == number) for number in range(len(models))]
        self.parts = [
            _apply(model, windows, places)
            for model, places in zip(models, self.places, strict=True)
        ]
        self.seen = torch.zeros(len(fold), *self.parts[0].means.shape[1:], dtype=torch.bool)
        for places, part in zip(self.places, self.parts, strict=True):
            self.seen[places] = part.seen

    def statistics(self) -> NDArray[np.float64]:
        """Statistics of each window by a model, a head and memories that never saw its fold."""
        columns: list[NDArray[np.float64]] = []
        for number, model in enumerate(self.models):
            _, head, judged = self._fit(model, self.fitted & (self.fold != number))
            places = self.places[number]
            values, _ = head(judged[places], self.parts[number].latent)
            columns.append(values.double().numpy())
        statistics = np.zeros((len(self.fold), columns[0].shape[1]))
        for places, column in zip(self.places, columns, strict=True):
            statistics[places] = column
        return statistics

    def distance(self) -> NDArray[np.float64]:
        """From where the other folds ran, of each window; 1 = a new operating point."""
        distance = np.zeros(len(self.fold))
        for places, part in zip(self.places, self.parts, strict=True):
            distance[places] = part.distance.double().numpy()
        return distance

    def head(self, model: FoldModel) -> FittedHead:
        """Memories and head for a model trained on everything, from residuals that it never saw."""
        memory, head, _ = self._fit(model, self.fitted)
        return FittedHead(memory, head)

    def _fit(
        self, model: FoldModel, chosen: NDArray[np.bool_]
    ) -> tuple[ResidualMemory, EnergyHead | PcaHead, Float[Tensor, "window scale channel"]]:
        """Memory and head from the chosen windows; and what the head judges, of every window."""
        means, places = self._means(model.normalizer), torch.from_numpy(chosen)
        if isinstance(model.reconstructor, RowPca):
            memory = ResidualMemory((), residual_limit(means[places, 0]))
            return memory, fit_pca_head(model.reconstructor, means[places]), means
        filled = means.clone()
        holed = ~self.seen.flatten(1).all(dim=1)
        if holed.any():
            whole = fit_energy_head(means[places])
            filled[holed] = whole.fill(means[holed], self.seen[holed])
        rates = supported_rates(RATES, int(self.fitted.sum()))
        memory = ResidualMemory(rates, residual_limit(means[places, 0]))
        lasting = self._remembered(memory, filled[:, 0])
        head = fit_energy_head(torch.cat([means[places], lasting[places]], dim=1), rates)
        return memory, head, torch.cat([filled, lasting], dim=1)

    def _means(self, wanted: Normalizer) -> Float[Tensor, "window scale channel"]:
        """Residuals in the standard units of one model: a channel may move more in another's."""
        means = torch.zeros(self.seen.shape)
        for model, places, part in zip(self.models, self.places, self.parts, strict=True):
            means[places] = part.means * (model.normalizer.scale / wanted.scale)
        return means

    def _remembered(
        self, memory: ResidualMemory, last: Float[Tensor, "window channel"]
    ) -> Float[Tensor, "window rate channel"]:
        flat = carried(memory, last, self.scored, self.segment)
        return flat.reshape(len(last), len(memory.rates), last.shape[1])


def carried(
    module: ResidualMemory | SurpriseAverages,
    values: Float[Tensor, "window value"],
    scored: NDArray[np.bool_],
    segment: NDArray[np.int64],
) -> Float[Tensor, "window average"]:
    """What a module with a state gives for each window, with the state of the window before it.

    Args:
        module: takes values, state and which windows count; knows the size of its state.
        values: in order of time.
        scored: whether a window counts, (window,).
        segment: number of its uninterrupted stretch, rising; each begins with a state of zeros.
    """
    weights = torch.from_numpy(scored).float()
    parts: list[Tensor] = []
    for places in np.split(np.arange(len(segment)), np.flatnonzero(np.diff(segment)) + 1):
        state = torch.zeros(module.state_size)
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH]
            given, state = module(values[part], state, weights[part])
            parts.append(given.flatten(1))
    return torch.cat(parts)


def _segments(windows: Windows, fold: NDArray[np.int64]) -> NDArray[np.int64]:
    owner = windows.sequences[windows.ends]
    breaks = (np.diff(owner) != 0) | (np.diff(fold) != 0)
    return np.concatenate(([0], np.cumsum(breaks)))


def _apply(model: FoldModel, windows: Windows, places: NDArray[np.int64]) -> _Said:
    parts: list[_Said] = []
    with torch.no_grad():
        for start in range(0, len(places), BATCH):
            window = torch.from_numpy(windows.take(places[start:][:BATCH]))
            values, present = model.normalizer(window)
            reconstruction, latent = model.reconstructor(values, present)
            means = residual_means(values - reconstruction, present)
            distance = model.operating_point(values, present).sum(dim=1)
            parts.append(_Said(means, seen_means(present), latent, distance))
    return _Said(*(torch.cat(part) for part in zip(*parts, strict=True)))
