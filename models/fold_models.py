"""What expects a window: one model for each fold, and one for all normal running.

They are fitted one by one, or those of many assets together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from features.windows import Windows
from models.config import ModelConfig
from models.correction import CorrectedPca, bound_correction, fit_corrected_pca
from models.held_out import FoldModel
from models.normalizer import fit_normalizer
from models.operating_point import fit_operating_point
from models.together import Losses, fit_vaes, shape_of
from models.training import TrainingLogger, TrainingWindows
from models.window_pca import fit_row_pca, fit_window_pca

LINEAR_WINDOWS = 20_000
"""Windows that the principal components are taken from, at most; and correlations, about."""
HIDDEN_AT_ONCE = 2**20
"""Hidden values of a layer in a step of models that are trained together, at most, about."""


@dataclass(frozen=True)
class Lesson:
    """What one model learns from, and how."""

    source: TrainingWindows
    config: ModelConfig
    seed: int

    def spread(self) -> tuple[Float[Tensor, "batch channel time"], Bool[Tensor, "..."]]:
        """Windows from all over, in standard units, and where a value is present."""
        count = len(self.source.index)
        places = np.linspace(0, count - 1, min(count, LINEAR_WINDOWS))
        return self.source.batch(np.unique(places.astype(int)))


class Taught(NamedTuple):
    """A model, and the losses of its training, epoch by epoch; () = they were told already."""

    model: FoldModel
    losses: Sequence[Losses] = ()


def make_lesson(
    windows: Windows,
    index: NDArray[np.int64],
    config: ModelConfig,
    *,
    seed: int,
    used: Bool[Tensor, " channel"],
) -> Lesson:
    """What some windows teach, in standard units of their own.

    Args:
        windows: normal running.
        index: numbers of the windows that may be seen.
        config: which model, how large, how trained.
        seed: decides all that is random.
        used: channels that count.
    """
    normalizer = fit_normalizer(torch.from_numpy(windows.cells[windows.ends[index]]), used)
    return Lesson(TrainingWindows(windows, index, normalizer), config, seed)


def fit_model(lesson: Lesson, *, logger: TrainingLogger | None = None) -> Taught:
    """Fit a model alone.

    Args:
        lesson: what it learns from.
        logger: takes the losses of each epoch; None = nowhere.
    """
    values, present = lesson.spread()
    normalizer, point = lesson.source.normalizer, fit_operating_point(values, present)
    kind, seed = lesson.config.reconstructor, lesson.seed
    if kind == "vae":
        corrected = fit_corrected_pca(
            lesson.source, values, lesson.config, seed=seed, logger=logger
        )
        return Taught(FoldModel(normalizer, corrected, point))
    linear = fit_window_pca(values, seed=seed) if kind == "window_pca" else None
    return Taught(FoldModel(normalizer, linear or fit_row_pca(values[:, :, -1]), point))


def fit_models(lessons: Sequence[Lesson]) -> list[Taught]:
    """Fit the models of several detectors, autoencoders of one shape together.

    Each is the model that `fit_model` makes, but for rounding.
    """
    taught: dict[int, Taught] = {}
    for group in _groups(lessons):
        chosen = [lessons[place] for place in group]
        if chosen[0].config.reconstructor == "vae":
            taught |= zip(group, _fit_corrected(chosen), strict=True)
        else:
            taught |= zip(group, map(fit_model, chosen), strict=True)
    return [taught[place] for place in range(len(lessons))]


def _groups(lessons: Sequence[Lesson]) -> Iterator[list[int]]:
    """Numbers of the lessons that go together: of one shape, and not too many."""
    alike: dict[object, list[int]] = {}
    for place, lesson in enumerate(lessons):
        config = lesson.config.model_copy(update={"seed": 0, "folds": 2})  # do not matter here
        shape = shape_of(lesson.source, config)
        alike.setdefault((*shape, config.model_dump_json()), []).append(place)
    for places in alike.values():
        first = lessons[places[0]]
        _, length, batch = shape_of(first.source, first.config)
        most = max(1, HIDDEN_AT_ONCE // (batch * length * first.config.width))
        yield from (places[start : start + most] for start in range(0, len(places), most))


def _fit_corrected(lessons: Sequence[Lesson]) -> Iterator[Taught]:
    """Linear models, and autoencoders that were trained together on what they leave over."""
    linears = [fit_window_pca(lesson.spread()[0], seed=lesson.seed) for lesson in lessons]
    trained = fit_vaes(
        [lesson.source for lesson in lessons],
        lessons[0].config,
        seeds=[lesson.seed for lesson in lessons],
        linears=linears,
    )
    for lesson, linear, (vae, losses) in zip(lessons, linears, trained, strict=True):
        values, present = lesson.spread()
        corrected: CorrectedPca = bound_correction(linear, vae, values)
        point = fit_operating_point(values, present)
        yield Taught(FoldModel(lesson.source.normalizer, corrected, point), losses)
