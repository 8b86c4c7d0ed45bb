"""What the models of the folds say of the windows that they never saw."""

from collections.abc import Sequence
from itertools import pairwise
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
from models.recovery import Recovery, fit_recovery
from models.smoothing import SurpriseAverages
from models.window_pca import RowPca

BATCH = 256
JUDGED = 8_192
"""Windows that a head judges at once."""
MOST_HEADS = 4
"""Heads for a fold, at most: each is fitted without some of its runs."""


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
    """How unlike training the window is: where the machine runs, or how fast it moves."""


class FittedHead(NamedTuple):
    """A head, the memories that it judges beside the window, and what ends them."""

    recovery: Recovery
    memory: ResidualMemory
    head: EnergyHead | PcaHead


class _Judged(NamedTuple):
    """What a head is fitted on, and what it judges, of every window."""

    recovery: Recovery
    memory: ResidualMemory
    means: Float[Tensor, "window scale channel"]
    """0 where a channel has no value: what is filled in has less variance than what is measured."""
    filled: Float[Tensor, "window scale channel"]
    kept: Float[Tensor, " window"]
    """Share of the memories that each leaves."""
    lasting: Float[Tensor, "window rate channel"]

    def for_head(self, places: NDArray[np.int64]) -> Float[Tensor, "window scale channel"]:
        """What the head judges of some windows."""
        return torch.cat([self.filled[places], self.lasting[places]], dim=1)


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

    def statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Statistics of each window by a model and memories that never saw its fold.

        Nor has the head seen the window's run; other runs of the fold it has, as the head that
        goes out will have seen them all.

        Returns:
            The statistics, (window, statistic), and the share of all memories that each window
            leaves, (window,).
        """
        columns: list[NDArray[np.float64]] = []
        kept = np.ones(len(self.fold), np.float32)
        for number, model in enumerate(self.models):
            judged = self._judge(model, self.fitted & (self.fold != number))
            places, latent = self.places[number], self.parts[number].latent
            kept[places] = judged.kept[places].numpy()
            columns.append(
                np.concatenate(
                    [
                        self._statistics(model, judged, places[part], latent[part])
                        for part in self._runs(places)
                    ]
                )
            )
        statistics = np.zeros((len(self.fold), columns[0].shape[1]))
        for places, column in zip(self.places, columns, strict=True):
            statistics[places] = column
        return statistics, kept

    def distance(self) -> NDArray[np.float64]:
        """How unlike the running of the other folds each window is."""
        distance = np.zeros(len(self.fold))
        for places, part in zip(self.places, self.parts, strict=True):
            distance[places] = part.distance.double().numpy()
        return distance

    def head(self, model: FoldModel) -> FittedHead:
        """Memories and head for a model trained on everything, from residuals that it never saw."""
        judged = self._judge(model, self.fitted)
        head = _fit_head(model, judged, self.fitted)
        return FittedHead(judged.recovery, judged.memory, head)

    def _runs(self, places: NDArray[np.int64]) -> list[slice]:
        """Stretches of a fold that are uninterrupted; neighbours together where there are many."""
        begins = np.flatnonzero(np.diff(self.segment[places], prepend=-1))
        groups = np.array_split(begins, min(len(begins), MOST_HEADS))
        edges = [*(int(group[0]) for group in groups), len(places)]
        return [slice(begin, end) for begin, end in pairwise(edges)]

    def _statistics(
        self,
        model: FoldModel,
        judged: _Judged,
        run: NDArray[np.int64],
        latent: Float[Tensor, "window latent"],
    ) -> NDArray[np.float64]:
        """Statistics of a run, by a head fitted on all the others."""
        others = self.fitted.copy()
        others[run] = False
        head = _fit_head(model, judged, others)
        parts = (slice(start, start + JUDGED) for start in range(0, len(run), JUDGED))
        values = [head(judged.for_head(run[part]), latent[part])[0] for part in parts]
        statistics: NDArray[np.float64] = torch.cat(values).double().numpy()
        return statistics

    def _judge(self, model: FoldModel, chosen: NDArray[np.bool_]) -> _Judged:
        """What a head judges, of every window, by memories fitted on the chosen ones."""
        means, places = self._means(model.normalizer), torch.from_numpy(chosen)
        limit, recovery = residual_limit(means[places, 0]), fit_recovery(means[places])
        if isinstance(model.reconstructor, RowPca):
            memory = ResidualMemory((), limit)
            return _Judged(recovery, memory, means, means, recovery(means), means[:, :0])
        filled = means
        holed = ~self.seen.flatten(1).all(dim=1)
        if holed.any():
            filled = means.clone()
            whole = fit_energy_head(means[places])
            filled[holed] = whole.fill(means[holed], self.seen[holed])
        memory = ResidualMemory(supported_rates(RATES, int(self.fitted.sum())), limit)
        kept = recovery(filled)
        lasting = self._remembered(memory, filled[:, 0], kept)
        return _Judged(recovery, memory, means, filled, kept, lasting)

    def _means(self, wanted: Normalizer) -> Float[Tensor, "window scale channel"]:
        """Residuals in the standard units of one model: a channel may move more in another's."""
        means = torch.zeros(self.seen.shape)
        for model, places, part in zip(self.models, self.places, self.parts, strict=True):
            means[places] = part.means * (model.normalizer.scale / wanted.scale)
        return means

    def _remembered(
        self,
        memory: ResidualMemory,
        last: Float[Tensor, "window channel"],
        kept: Float[Tensor, " window"],
    ) -> Float[Tensor, "window rate channel"]:
        flat = carried(memory, last, self.scored, kept, self.segment)
        return flat.reshape(len(last), len(memory.rates), last.shape[1])


def _fit_head(model: FoldModel, judged: _Judged, chosen: NDArray[np.bool_]) -> EnergyHead | PcaHead:
    """The head that the chosen windows make."""
    places = torch.from_numpy(chosen)
    if isinstance(model.reconstructor, RowPca):
        return fit_pca_head(model.reconstructor, judged.means[places])
    means = torch.cat([judged.means[places], judged.lasting[places]], dim=1)
    return fit_energy_head(means, judged.memory.rates)


def carried(
    module: ResidualMemory | SurpriseAverages,
    values: Float[Tensor, "window value"],
    scored: NDArray[np.bool_],
    kept: Float[Tensor, " window"],
    segment: NDArray[np.int64],
) -> Float[Tensor, "window average"]:
    """What a module with a state gives for each window, with the state of the window before it.

    Args:
        module: takes values, state, which windows count and what they leave; knows its state size.
        values: in order of time.
        scored: whether a window counts, (window,).
        kept: share of the memory that a window leaves.
        segment: number of its uninterrupted stretch, rising; each begins with a state of zeros.
    """
    weights = torch.from_numpy(scored).float()
    parts: list[Tensor] = []
    for places in np.split(np.arange(len(segment)), np.flatnonzero(np.diff(segment)) + 1):
        state = torch.zeros(module.state_size)
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH]
            given, state = module(values[part], state, weights[part], kept[part])
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
            filled = torch.where(present, values, reconstruction)
            _, distance = model.operating_point(filled, torch.ones_like(present))
            parts.append(_Said(means, seen_means(present), latent, distance))
    return _Said(*(torch.cat(part) for part in zip(*parts, strict=True)))
