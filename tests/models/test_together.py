from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from features.windows import Windows
from models.config import Augmentation, ModelConfig
from models.normalizer import fit_normalizer
from models.together import fit_vaes
from models.training import LOSSES, TrainingWindows, fit_vae
from models.vae import ConvVae
from models.window_pca import WindowPca, fit_window_pca

CHANNELS, LENGTH = 4, 6
TINY = ModelConfig(
    latent=2,
    width=4,
    epochs=3,
    windows_per_epoch=128,
    batch_size=32,
    learning_rate=0.02,
    augmentation=Augmentation(mask=0.3, pc_offset=1.0, pc_directions=2),
)


def training_windows(seed: int, *, count: int = 200) -> TrainingWindows:
    generator = np.random.default_rng(seed)
    rows = count + LENGTH - 1
    slow = np.cumsum(generator.normal(size=(rows, 1)), axis=0)
    cells = (slow + (1 + seed) * generator.normal(size=(rows, CHANNELS))).astype(np.float32)
    cells[20:40, 1] = np.nan
    cells[:, 3] = 50.0
    times = np.arange(rows).astype("datetime64[us]")
    windows = Windows(cells, times, np.zeros(rows, np.int64), np.arange(LENGTH - 1, rows), LENGTH)
    return TrainingWindows(windows, np.arange(count), fit_normalizer(torch.from_numpy(cells)))


def difference(one: ConvVae, other: ConvVae) -> float:
    """Of the weights, at most."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((left - right).abs().max()) for left, right in pairs)


@pytest.fixture(scope="module")
def sources() -> list[TrainingWindows]:
    """Of several lengths, which still make batches of one size."""
    return [training_windows(seed, count=190 + 10 * seed) for seed in range(4)]


@pytest.fixture(scope="module")
def linears(sources: Sequence[TrainingWindows]) -> list[WindowPca | None]:
    """A linear model for each but the last."""
    first = [source.batch(np.arange(90))[0] for source in sources[:3]]
    return [*(fit_window_pca(values, seed=0) for values in first), None]


def test_models_trained_together_are_those_trained_one_by_one(
    sources: list[TrainingWindows], linears: list[WindowPca | None]
) -> None:
    seeds = [7, 7, 8, 9]
    together = fit_vaes(sources, TINY, seeds=seeds, linears=linears)
    for source, linear, seed, (vae, _) in zip(sources, linears, seeds, together, strict=True):
        alone = fit_vae(source, TINY, seed=seed, linear=linear)
        assert difference(vae, alone) < 1e-5
        begun = fit_vae(source, TINY.model_copy(update={"learning_rate": 1e-9}), seed=seed)
        assert difference(vae, begun) > 1e-2  # it did learn
        assert not vae.training


def test_nobody_beside_it_changes_a_model(
    sources: list[TrainingWindows], linears: list[WindowPca | None]
) -> None:
    wild = training_windows(5)
    wild.windows.cells[:, 0] *= np.float32(1e4)
    (pair, _), (_, _) = fit_vaes([sources[0], wild], TINY, seeds=[1, 2], linears=[linears[0], None])
    ((alone, _),) = fit_vaes(sources[:1], TINY, seeds=[1], linears=linears[:1])
    assert difference(pair, alone) < 1e-5


def test_the_losses_of_each_epoch_are_those_of_a_model_that_is_trained_alone(
    sources: list[TrainingWindows], linears: list[WindowPca | None], tmp_path: Path
) -> None:
    logger = CSVLogger(tmp_path)
    fit_vae(sources[1], TINY, seed=1, linear=linears[1], logger=logger)
    alone = pl.read_csv(f"{logger.log_dir}/metrics.csv").select(LOSSES).to_dicts()
    _, (_, together), *_ = fit_vaes(sources, TINY, seeds=[0, 1, 2, 3], linears=linears)
    assert len(together) == TINY.epochs
    assert together == [pytest.approx(told, rel=1e-4) for told in alone]


def test_what_is_drawn_elsewhere_meanwhile_does_not_matter(
    sources: list[TrainingWindows], linears: list[WindowPca | None]
) -> None:
    first = fit_vaes(sources, TINY, seeds=[0] * 4, linears=linears)
    torch.manual_seed(99)
    again = fit_vaes(sources, TINY, seeds=[0] * 4, linears=linears)
    assert all(
        difference(one, other) == 0.0 for (one, _), (other, _) in zip(first, again, strict=True)
    )


def test_batches_of_several_sizes_are_refused(sources: list[TrainingWindows]) -> None:
    few = training_windows(0, count=20)
    with pytest.raises(
        ValueError, match=r"models of one shape, found \(4, 6, 32\) and \(4, 6, 20\)"
    ):
        fit_vaes([sources[0], few], TINY, seeds=[0, 1], linears=[None, None])
