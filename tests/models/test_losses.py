import math

import pytest
import torch

from models.losses import annealed_beta, kl_divergence, reconstruction_nll
from models.vae import reparameterise

DRAWS = 200_000


def log_density(x: torch.Tensor, mean: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Of a Gaussian, by its definition."""
    return -((x - mean) ** 2) / (2 * spread**2) - torch.log(spread * math.sqrt(2 * math.pi))


def test_kl_divergence_is_what_sampling_says() -> None:
    mean, log_variance = torch.tensor([[0.8, -0.3, 2.0]]), torch.tensor([[0.5, -1.0, 0.0]])
    spread = torch.exp(0.5 * log_variance)
    z = mean + spread * torch.randn(DRAWS, 3, generator=torch.Generator().manual_seed(0))
    prior = log_density(z, torch.zeros(3), torch.ones(3))
    sampled = (log_density(z, mean, spread) - prior).sum(dim=1).mean()
    assert kl_divergence(mean, log_variance).item() == pytest.approx(sampled.item(), rel=0.02)


def test_kl_divergence_of_the_prior_from_itself_is_zero() -> None:
    assert kl_divergence(torch.zeros(2, 4), torch.zeros(2, 4)).tolist() == [0.0, 0.0]


def test_reconstruction_nll_is_the_gaussian_density_of_the_values_present() -> None:
    torch.manual_seed(0)
    x, expected = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    log_variance = torch.tensor([0.2, -1.0, 1.5])
    present = torch.rand(2, 3, 4) > 0.3
    density = log_density(x, expected, torch.exp(0.5 * log_variance)[:, None].expand(3, 4))
    constant = 0.5 * math.log(2 * math.pi)
    by_hand = torch.where(present, -density - constant, 0.0).sum(dim=(1, 2))
    torch.testing.assert_close(reconstruction_nll(x, expected, present, log_variance), by_hand)


def test_missing_values_neither_cost_nor_teach() -> None:
    observed = torch.tensor([[[1.0, 1e9]]])
    expected = torch.zeros(1, 1, 2, requires_grad=True)
    seen = torch.tensor([[[True, False]]])
    loss = reconstruction_nll(observed, expected, seen, torch.zeros(1)).sum()
    (slope,) = torch.autograd.grad(loss, expected)
    assert slope.tolist() == [[[-1.0, 0.0]]]


def test_drawn_latents_have_the_mean_and_variance_asked_for() -> None:
    mean, log_variance = torch.tensor([[1.5, -2.0]]), torch.tensor([[0.0, 1.0]])
    noise = torch.randn(DRAWS, 2, generator=torch.Generator().manual_seed(0))
    z = reparameterise(mean.expand(DRAWS, 2), log_variance.expand(DRAWS, 2), noise)
    torch.testing.assert_close(z.mean(dim=0), mean[0], atol=0.02, rtol=0.0)
    torch.testing.assert_close(z.var(dim=0), log_variance[0].exp(), atol=0.0, rtol=0.02)


def test_gradients_reach_mean_and_variance_through_the_draw() -> None:
    mean = torch.tensor([[0.3, 0.4]], requires_grad=True)
    log_variance = torch.tensor([[0.5, -0.5]], requires_grad=True)
    noise = torch.tensor([[2.0, -1.0]])
    total = reparameterise(mean, log_variance, noise).sum()
    to_mean, to_log_variance = torch.autograd.grad(total, (mean, log_variance))
    torch.testing.assert_close(to_mean, torch.ones(1, 2))
    by_hand = 0.5 * torch.exp(0.5 * log_variance.detach()) * noise
    torch.testing.assert_close(to_log_variance, by_hand)


def test_beta_without_annealing_is_whole_from_the_first_step() -> None:
    assert annealed_beta(step=0, steps=10, beta=0.5, anneal=0.0) == 0.5


def test_beta_never_falls() -> None:
    betas = [annealed_beta(step=s, steps=50, beta=0.3, anneal=0.7) for s in range(60)]
    assert betas == sorted(betas)
    assert betas[-1] == 0.3
