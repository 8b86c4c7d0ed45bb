import pytest
import torch

from models.window_pca import LEFT_OVER, WINDOW_COMPONENTS, fit_row_pca, fit_window_pca

COMPONENTS = 24 // LEFT_OVER


def low_rank(*, rank: int, noise: float = 0.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(rank, 4 * 6, generator=torch.Generator().manual_seed(9))
    flat = torch.randn(400, rank, generator=generator) @ patterns
    return (flat + noise * torch.randn(flat.shape, generator=generator)).reshape(-1, 4, 6)


def seen(windows: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(windows, dtype=torch.bool)


def test_windows_of_low_rank_are_reconstructed_whole() -> None:
    model, fresh = fit_window_pca(low_rank(rank=5), seed=0), low_rank(rank=5, seed=1)
    reconstruction, latent = model(fresh, seen(fresh))
    torch.testing.assert_close(reconstruction, fresh, atol=1e-3, rtol=0.0)
    assert latent.shape == (400, COMPONENTS)


def test_window_pca_is_the_best_projection_of_its_rank() -> None:
    windows = low_rank(rank=24, noise=0.1)
    reconstruction, _ = fit_window_pca(windows, seed=0)(windows, seen(windows))
    singular = torch.linalg.svdvals(windows.flatten(1).double())
    best = singular[COMPONENTS:].square().sum().item()
    assert (windows - reconstruction).square().sum().item() == pytest.approx(best, rel=1e-2)


def test_components_never_explain_all_of_a_window() -> None:
    one_channel = torch.randn(400, 1, 16, generator=torch.Generator().manual_seed(0))
    assert len(fit_window_pca(one_channel, seed=0).components) == 4
    many = torch.randn(400, 20, 16, generator=torch.Generator().manual_seed(0))
    assert len(fit_window_pca(many, seed=0).components) == WINDOW_COMPONENTS


def test_window_pca_projects_once_for_all() -> None:
    windows = low_rank(rank=24)
    model = fit_window_pca(windows, seed=0)
    once, _ = model(windows, seen(windows))
    torch.testing.assert_close(model(once, seen(windows))[0], once, atol=1e-4, rtol=1e-4)


def test_one_seed_gives_one_decomposition_and_leaves_the_generator_alone() -> None:
    windows, state = low_rank(rank=24), torch.get_rng_state()
    first, again = fit_window_pca(windows, seed=3), fit_window_pca(windows, seed=3)
    assert torch.equal(first.components, again.components)
    assert torch.equal(torch.get_rng_state(), state)


def test_row_pca_keeps_nine_tenths_of_the_variance() -> None:
    rows = low_rank(rank=2, noise=0.2)[:, :, 0]
    model = fit_row_pca(rows)
    window = rows[:, :, None]
    reconstruction, latent = model(window, seen(window))
    unexplained = (window - reconstruction).square().sum() / window.square().sum()
    assert unexplained.item() <= 0.1
    assert len(model.components) == 2
    torch.testing.assert_close(
        latent.square().mean(dim=0), torch.ones(latent.shape[1]), atol=1e-3, rtol=0.0
    )


def test_channels_that_never_move_give_no_nan() -> None:
    window = torch.zeros(50, 4, 6)
    for model in (fit_row_pca(window[:, :, 0]), fit_window_pca(window, seed=0)):
        reconstruction, latent = model(window, seen(window))
        assert torch.isfinite(latent).all()
        assert not reconstruction.any()
