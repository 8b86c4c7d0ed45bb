import pytest
import torch

from models.head import fit_energy_head, fit_pca_head, residual_means, seen_means
from models.window_pca import fit_row_pca


def correlated(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 1.0, 0.6, 0.0], [0.0, 0.0, 0.4, 1.0]])
    shared = torch.randn(count, 3, generator=generator) @ mixing
    return shared + 0.3 * torch.randn(count, 4, generator=generator)


def at_every_scale(rows: torch.Tensor) -> torch.Tensor:
    return rows[:, None, :].expand(-1, 3, -1).contiguous()


def test_means_count_only_what_is_present() -> None:
    residual = torch.tensor([[[1.0, 2.0, 3.0, 100.0], [1.0, 1.0, 1.0, 1.0]]])
    present = torch.tensor([[[True, True, True, False], [False, False, False, False]]])
    assert residual_means(residual, present)[0].tolist() == [[0.0, 0.0], [0.0, 0.0], [2.0, 0.0]]


@pytest.mark.parametrize("length", [2, 3, 4, 16])
def test_every_window_length_has_three_scales(length: int) -> None:
    means = residual_means(torch.ones(2, 3, length), torch.ones(2, 3, length, dtype=torch.bool))
    torch.testing.assert_close(means, torch.ones(2, 3, 3))


def test_energy_of_normal_running_is_about_the_number_of_channels() -> None:
    head = fit_energy_head(at_every_scale(correlated(4_000, 0)))
    statistics, _ = head(at_every_scale(correlated(4_000, 1)), torch.zeros(4_000, 1))
    torch.testing.assert_close(statistics.mean(dim=0), torch.full((3,), 4.0), atol=0.3, rtol=0.0)


@pytest.mark.parametrize("channel", range(4))
@pytest.mark.parametrize("kind", ["energy", "pca"])
def test_the_channel_that_is_wrong_contributes_most(kind: str, channel: int) -> None:
    normal, fresh = correlated(4_000, 0), correlated(500, 1)
    fresh[:, channel] += 8.0
    if kind == "energy":
        _, contribution = fit_energy_head(at_every_scale(normal))(
            at_every_scale(fresh), torch.zeros(len(fresh), 1)
        )
    else:
        pca = fit_row_pca(normal)
        everything = torch.ones(len(fresh), 4, 1, dtype=torch.bool)
        reconstruction, latent = pca(fresh[:, :, None], everything)
        means = residual_means(fresh[:, :, None] - reconstruction, everything)
        normal_means = at_every_scale(normal - (normal @ pca.components.T) @ pca.components)
        _, contribution = fit_pca_head(pca, normal_means)(means, latent)
    assert (contribution.argmax(dim=1) == channel).float().mean().item() > 0.95
    assert contribution.min().item() >= 0.0


def test_energy_falls_by_the_contribution_when_the_channel_is_put_right() -> None:
    head = fit_energy_head(at_every_scale(correlated(2_000, 0)))
    means = torch.zeros(1, 3, 4)
    means[0, 0] = torch.tensor([1.0, -2.0, 0.5, 3.0])
    before, contribution = head(means, torch.zeros(1, 1))
    precision = head.precision[0].double()
    residual = means[0, 0].double()
    for channel in range(4):
        shift = (precision @ residual)[channel] / precision[channel, channel]
        right = means.clone()
        right[0, 0, channel] -= shift.float()
        after, _ = head(right, torch.zeros(1, 1))
        assert (before - after)[0, 0].item() == pytest.approx(contribution[0, channel].item(), 1e-3)


def test_a_channel_without_residual_does_not_blow_up_the_others() -> None:
    normal = correlated(2_000, 0)
    normal[:, 2] = 0.0
    head = fit_energy_head(at_every_scale(normal))
    fresh = correlated(2_000, 1)
    fresh[:, 2] = 0.0
    statistics, contribution = head(at_every_scale(fresh), torch.zeros(2_000, 1))
    torch.testing.assert_close(statistics.mean(dim=0), torch.full((3,), 3.0), atol=0.3, rtol=0.0)
    assert torch.isfinite(contribution).all()


def test_a_channel_without_values_is_what_the_others_foretell() -> None:
    normal, fresh = correlated(4_000, 0), at_every_scale(correlated(500, 1))
    head = fit_energy_head(at_every_scale(normal))
    seen = torch.ones(500, 3, 4, dtype=torch.bool)
    seen[:, :, 1] = False
    filled = head.fill(torch.where(seen, fresh, 0.0), seen)
    precision = head.precision[0].double()
    others = [0, 2, 3]
    expected = -(fresh[:, 0, others].double() @ precision[others, 1]) / precision[1, 1]
    torch.testing.assert_close(filled[:, 0, 1].double(), expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(filled[:, :, others], fresh[:, :, others])


def test_channels_without_values_do_not_raise_the_energy_of_normal_running() -> None:
    head = fit_energy_head(at_every_scale(correlated(4_000, 0)))
    fresh = at_every_scale(correlated(2_000, 1))
    seen = torch.ones(2_000, 3, 4, dtype=torch.bool)
    seen[:, :, [1, 2]] = False
    holed = torch.where(seen, fresh, 0.0)
    latent = torch.zeros(2_000, 1)
    with_zeros, _ = head(holed, latent)
    filled, _ = head(head.fill(holed, seen), latent)
    assert (filled <= with_zeros + 1e-3).all()
    assert filled.mean().item() < 2.3  # two channels are left; zeros give more
    assert with_zeros.mean().item() > 2.6


def test_where_every_channel_has_values_nothing_is_filled() -> None:
    head = fit_energy_head(at_every_scale(correlated(500, 0)))
    fresh = at_every_scale(correlated(50, 1))
    assert torch.equal(head.fill(fresh, torch.ones_like(fresh, dtype=torch.bool)), fresh)


def test_means_are_seen_where_a_cell_of_them_has_a_value() -> None:
    present = torch.tensor([[[True, False, False, False], [False, False, False, True]]])
    assert seen_means(present)[0].tolist() == [[False, True], [False, True], [True, True]]
