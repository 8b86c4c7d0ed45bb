from collections.abc import Callable

import numpy as np
import pytest
import torch

from features.windows import Windows
from models.config import Augmentation, ModelConfig
from models.normalizer import fit_normalizer
from models.training import Augmenter, ShuffledBatches, TrainingWindows, VaeTraining, fit_vae
from models.vae import ConvVae

CHANNELS, LENGTH = 4, 6
TINY = ModelConfig(latent=2, width=4, epochs=2, windows_per_epoch=128, batch_size=32)


def training_windows(*, count: int = 200) -> TrainingWindows:
    generator = np.random.default_rng(0)
    rows = count + LENGTH - 1
    slow = np.cumsum(generator.normal(size=(rows, 1)), axis=0)
    cells = (slow + 0.3 * generator.normal(size=(rows, CHANNELS))).astype(np.float32)
    cells[20:40, 1] = np.nan
    cells[:, 3] = 50.0
    times = np.arange(rows).astype("datetime64[us]")
    ends = np.arange(LENGTH - 1, rows)
    windows = Windows(cells, times, np.zeros(rows, np.int64), ends, LENGTH)
    return TrainingWindows(windows, np.arange(count), fit_normalizer(torch.from_numpy(cells)))


@pytest.fixture(scope="module")
def trained() -> Callable[[int], ConvVae]:
    cache: dict[int, ConvVae] = {}

    def fitted(seed: int) -> ConvVae:
        if seed not in cache:
            cache[seed] = fit_vae(training_windows(), TINY, seed=seed)
        return cache[seed]

    return fitted


def test_one_seed_gives_one_model_and_another_seed_another(
    trained: Callable[[int], ConvVae],
) -> None:
    first = trained(0).state_dict()
    torch.manual_seed(99)  # what others draw must not matter
    again = fit_vae(training_windows(), TINY, seed=0).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = trained(1).state_dict()
    assert not torch.equal(first["read.weight"], other["read.weight"])


def test_training_reconstructs_better_than_the_mean() -> None:
    source = training_windows(count=600)
    values, present = source.batch(np.arange(600))
    config = TINY.model_copy(update={"epochs": 10, "windows_per_epoch": 600, "width": 8})
    reconstruction, _ = fit_vae(source, config, seed=0)(values, present)
    left = torch.where(present, values - reconstruction, 0.0).square().sum()
    assert left.item() < 0.3 * torch.where(present, values, 0.0).square().sum().item()


def test_residuals_are_centred_on_what_was_trained_on(trained: Callable[[int], ConvVae]) -> None:
    values, present = training_windows().batch(np.arange(200))
    reconstruction, _ = trained(0)(values, present)
    residual = torch.where(present, values - reconstruction, 0.0).sum(dim=0) / present.sum(dim=0)
    torch.testing.assert_close(residual, torch.zeros(CHANNELS, LENGTH), atol=1e-4, rtol=0.0)


def test_a_channel_that_never_moved_is_expected_to_stay(trained: Callable[[int], ConvVae]) -> None:
    latent = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    expected = trained(0).decode(latent)[:, 3]
    torch.testing.assert_close(expected, torch.zeros(8, LENGTH), atol=1e-5, rtol=0.0)


def test_no_window_comes_twice_in_an_epoch_and_epochs_differ() -> None:
    batches = ShuffledBatches(training_windows(), TINY, seed=0)
    first, second = ([values for values, _ in batches] for _ in range(2))
    assert len(first) == len(batches) == 4
    drawn = torch.cat(first).flatten(1)
    assert len(torch.unique(drawn, dim=0)) == len(drawn) == 128
    assert not torch.equal(drawn, torch.cat(second).flatten(1))


def test_few_windows_come_again_until_the_epoch_is_full() -> None:
    batches = ShuffledBatches(training_windows(count=70), TINY, seed=0)
    drawn = [values for values, _ in batches]
    assert [len(values) for values in drawn] == [32, 32, 32, 32]
    assert len(torch.unique(torch.cat(drawn[:2]).flatten(1), dim=0)) == 64
    assert len(torch.unique(torch.cat(drawn[2:]).flatten(1), dim=0)) == 64


def test_windows_fewer_than_a_batch_are_one() -> None:
    batches = ShuffledBatches(training_windows(count=10), TINY, seed=0)
    assert [len(values) for values, _ in batches] == [10, 10, 10, 10]


# --- augmentation --------------------------------------------------------------------------------


def augmented(config: Augmentation) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Windows before and after, and what the encoder may see of them."""
    rows = torch.randn(500, CHANNELS, generator=torch.Generator().manual_seed(0))
    rows[:, 0] *= 3.0
    values = torch.randn(300, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(1))
    everything = torch.ones_like(values, dtype=torch.bool)
    augmenter = Augmenter(rows, config)
    shifted, shown = augmenter(values, everything, torch.Generator().manual_seed(2))
    return values, shifted, shown


def test_shifts_are_constant_over_a_window_and_differ_between_windows() -> None:
    values, shifted, _ = augmented(Augmentation(pc_offset=1.0))
    shift = shifted - values
    torch.testing.assert_close(shift, shift[:, :, :1].expand_as(shift), atol=1e-5, rtol=0.0)
    assert len(torch.unique(shift[:, 0, 0])) == len(shift)


def test_shifts_are_as_large_as_the_rows_move() -> None:
    values, shifted, _ = augmented(Augmentation(pc_offset=1.0))
    spread = (shifted - values)[:, :, 0].std(dim=0)
    torch.testing.assert_close(spread, torch.tensor([3.0, 1.0, 1.0, 1.0]), rtol=0.2, atol=0.0)


def test_only_the_leading_directions_are_used() -> None:
    values, shifted, _ = augmented(Augmentation(pc_offset=1.0, pc_directions=1))
    assert torch.linalg.matrix_rank((shifted - values)[:, :, 0], atol=1e-3).item() == 1


def test_without_offset_nothing_moves() -> None:
    values, shifted, shown = augmented(Augmentation())
    assert torch.equal(values, shifted)
    assert shown.all()


def test_whole_channels_are_hidden_in_the_share_asked_for() -> None:
    _, _, shown = augmented(Augmentation(mask=0.3))
    assert torch.equal(shown.all(dim=2), shown.any(dim=2))
    assert 1.0 - shown.float().mean().item() == pytest.approx(0.3, abs=0.04)


def test_missing_values_stay_missing() -> None:
    values = torch.zeros(2, CHANNELS, LENGTH)
    present = torch.ones_like(values, dtype=torch.bool)
    present[:, 2, 3:] = False
    augmenter = Augmenter(torch.randn(50, CHANNELS), Augmentation(mask=0.5))
    shifted, shown = augmenter(values, present, torch.Generator().manual_seed(0))
    assert not shifted[~present].any()
    assert not shown[~present].any()


def test_hidden_channels_do_not_reach_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vae = ConvVae(channels=CHANNELS, length=LENGTH, width=4, latent=2)
    config = TINY.model_copy(update={"augmentation": Augmentation(mask=0.5, pc_offset=0.0)})
    augmenter = Augmenter(torch.randn(50, CHANNELS), config.augmentation)
    training = VaeTraining(vae, augmenter, config, linear=None, seed=0)
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []
    encode = vae.encode

    def watched(values: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append((values, present))
        return encode(values, present)

    monkeypatch.setattr(vae, "encode", watched)
    monkeypatch.setattr(VaeTraining, "global_step", 0)
    values = torch.full((64, CHANNELS, LENGTH), 1e3)
    training.training_step((values, torch.ones_like(values, dtype=torch.bool)), 0)
    seen, shown = asked[0]
    assert not shown.all()
    assert (seen[shown] == 1e3).all()
    assert not seen[~shown].any()
