import numpy as np
import pytest
import torch

from features.windows import Windows
from models.config import ModelConfig
from models.correction import CorrectedPca, find_gain, fit_corrected_pca
from models.normalizer import fit_normalizer
from models.training import TrainingWindows, left_over

CHANNELS, LENGTH = 3, 8
CONFIG = ModelConfig(latent=4, width=16, epochs=10, windows_per_epoch=2_048, batch_size=64)


def curved(*, seed: int, reach: float = 1.0) -> TrainingWindows:
    """One slow load; the third channel is its square, which no linear model foretells."""
    generator = np.random.default_rng(seed)
    steps = generator.normal(size=(1_500, 1))
    load = reach * np.sin(np.cumsum(0.2 * steps, axis=0))
    noise = 0.05 * generator.normal(size=(1_500, CHANNELS))
    cells = (np.hstack([load, -load, 2 * load**2 - 1]) + noise).astype(np.float32)
    times = np.arange(len(cells)).astype("datetime64[us]")
    ends = np.arange(LENGTH - 1, len(cells))
    windows = Windows(cells, times, np.zeros(len(cells), np.int64), ends, LENGTH)
    reference = np.random.default_rng(0).normal(size=(1_500, CHANNELS)).astype(np.float32)
    return TrainingWindows(
        windows, np.arange(len(ends)), fit_normalizer(torch.from_numpy(reference))
    )


def batch_of(source: TrainingWindows) -> tuple[torch.Tensor, torch.Tensor]:
    return source.batch(np.arange(0, len(source.index), 3))


def fitted(source: TrainingWindows) -> CorrectedPca:
    return fit_corrected_pca(source, batch_of(source)[0], CONFIG, seed=0)


@pytest.fixture(scope="module")
def corrected() -> CorrectedPca:
    return fitted(curved(seed=1))


def test_it_explains_what_the_linear_model_leaves_over(corrected: CorrectedPca) -> None:
    values, present = batch_of(curved(seed=2))
    with torch.no_grad():
        left = left_over(corrected.pca, values, present).square().mean().item()
        expected, latent = corrected(values, present)
    assert (values - expected).square().mean().item() < left
    assert latent.shape == (len(values), CONFIG.latent)


def test_the_gain_is_what_unseen_running_supports(corrected: CorrectedPca) -> None:
    unseen = batch_of(curved(seed=3))
    assert find_gain([(corrected, *unseen)]) > 0.5
    values, present = unseen
    against = values - 2 * (values - corrected.pca(values, present)[0])  # its rest turned round
    assert find_gain([(corrected, against.detach(), present)]) == 0.0
    assert find_gain([]) == 0.0


def test_without_gain_it_is_the_linear_model(corrected: CorrectedPca) -> None:
    values, present = batch_of(curved(seed=4))
    alone = CorrectedPca(corrected.pca, corrected.vae, corrected.limit)
    alone.gain.fill_(0.0)
    torch.testing.assert_close(alone(values, present)[0], corrected.pca(values, present)[0])


def test_the_correction_is_bounded_where_it_was_never_trained(corrected: CorrectedPca) -> None:
    values, present = batch_of(curved(seed=5, reach=50.0))
    with torch.no_grad():
        linear, correction, _ = corrected.correct(values, present)
    assert (correction.abs() <= corrected.limit[:, None]).all()
    assert (corrected.limit < 10).all()
    assert torch.isfinite(linear).all()


def test_a_missing_value_counts_as_what_the_others_foretell(corrected: CorrectedPca) -> None:
    values, present = batch_of(curved(seed=6))
    gone = present.clone()
    gone[:, 1] = False
    with torch.no_grad():
        expected, _ = corrected(torch.where(gone, values, 0.0), gone)
        mean_square = values[:, 1].square().mean().item()
    assert (expected[:, 1] - values[:, 1]).square().mean().item() < 0.5 * mean_square


def test_one_seed_gives_one_model() -> None:
    source = curved(seed=1)
    first, again = fitted(source).state_dict(), fitted(source).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
