import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.normalizer import LIMIT, Normalizer, fit_normalizer

NAN = float("nan")


def test_normal_running_has_mean_zero_and_spread_one() -> None:
    cells = torch.randn(5_000, 3, generator=torch.Generator().manual_seed(0))
    cells = cells * torch.tensor([0.01, 1.0, 300.0]) + torch.tensor([5.0, 0.0, -70.0])
    values, _ = fit_normalizer(cells)(cells[:, :, None])
    torch.testing.assert_close(values.mean(dim=(0, 2)), torch.zeros(3), atol=1e-3, rtol=0.0)
    torch.testing.assert_close(values.std(dim=(0, 2)), torch.ones(3), atol=1e-3, rtol=0.0)


def test_missing_values_do_not_count() -> None:
    cells = torch.tensor([[1.0], [3.0], [NAN], [NAN]])
    normalizer = fit_normalizer(cells)
    assert (normalizer.mean.item(), normalizer.scale.item()) == (2.0, 1.0)


def test_a_large_offset_does_not_blind() -> None:
    cells = 1e5 + torch.randn(1_000, 1, generator=torch.Generator().manual_seed(0))
    assert fit_normalizer(cells).scale.item() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(("value", "scale"), [(50.0, 0.05), (0.0, 1e-3), (-4.0, 4e-3), (NAN, 1.0)])
def test_a_channel_without_spread_gets_a_scale(value: float, scale: float) -> None:
    normalizer = fit_normalizer(torch.full((100, 1), value))
    assert normalizer.scale.item() == pytest.approx(scale)
    assert torch.isfinite(normalizer.mean).all()


@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_no_value_leaves_the_limits(value: float) -> None:
    values, present = Normalizer(torch.tensor([2.0]), torch.tensor([1e-3]))(
        torch.tensor([[[value, NAN]]])
    )
    assert values.abs().max().item() <= LIMIT
    assert values[0, 0, 1].item() == 0.0
    assert present.tolist() == [[[True, False]]]


def test_restoring_undoes_it() -> None:
    normalizer = Normalizer(torch.tensor([10.0, -3.0]), torch.tensor([2.0, 0.5]))
    window = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalizer.restore(normalizer(window)[0]), window)
