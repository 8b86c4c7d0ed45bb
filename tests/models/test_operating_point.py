"""Where the machine runs, as seen from where it ran in training."""

import pytest
import torch
from torch import Tensor

from models.operating_point import BEYOND, EDGE, OperatingPoint, fit_operating_point

CHANNELS, CELLS = 6, 8


def running(windows: int, *, seed: int) -> Tensor:
    """Windows of a machine with one load, which all channels but the last follow."""
    generator = torch.Generator().manual_seed(seed)
    load = torch.randn(windows, 1, 1, generator=generator)
    follows = torch.ones(CHANNELS, 1)
    follows[-1] = 0.0
    return load * follows + 0.1 * torch.randn(windows, CHANNELS, CELLS, generator=generator)


@pytest.fixture(scope="module")
def point() -> OperatingPoint:
    values = running(4_000, seed=0)
    return fit_operating_point(values, torch.ones_like(values, dtype=torch.bool))


def distance(point: OperatingPoint, values: Tensor, present: Tensor | None = None) -> Tensor:
    everything = torch.ones_like(values, dtype=torch.bool)
    shares, unlike = point(values, everything if present is None else present)
    away: Tensor = shares.sum(dim=1)
    assert (unlike >= away - 1e-3 * away.abs() - 1e-4).all()
    return away


def test_the_edge_of_fresh_running_is_where_that_of_training_is(point: OperatingPoint) -> None:
    within = (distance(point, running(4_000, seed=1)) < 1.0 / BEYOND).float().mean().item()
    assert within == pytest.approx(EDGE, abs=0.01)


def test_a_load_that_training_never_had_is_new_and_the_channels_that_follow_it_say_so(
    point: OperatingPoint,
) -> None:
    values = torch.zeros(1, CHANNELS, CELLS)
    values[:, :-1] = 6.0  # six standard deviations of the load
    shares = point(values, torch.ones_like(values, dtype=torch.bool))[0][0]
    assert shares.sum().item() > 1.0
    assert shares[:-1].min().item() > 10 * abs(shares[-1].item())


def test_a_channel_that_leaves_the_others_is_no_new_operating_point(point: OperatingPoint) -> None:
    values = running(50, seed=2)
    values[:, 0] += 5.0  # standard deviations
    assert distance(point, values).median().item() < 0.3


def test_a_machine_that_moves_faster_than_in_training_is_unlike_it_though_it_is_nowhere_new(
    point: OperatingPoint,
) -> None:
    ramp = torch.linspace(-1.0, 1.0, CELLS).expand(1, CHANNELS, CELLS).clone()
    ramp[:, -1] = 0.0
    everything = torch.ones_like(ramp, dtype=torch.bool)
    assert distance(point, ramp).item() < 0.1
    assert point(ramp, everything)[1].item() > 1.0
    still = ramp.mean(dim=2, keepdim=True).expand_as(ramp)
    assert point(still, everything)[1].item() < 0.1


def test_fresh_running_moves_as_fast_as_that_of_training(point: OperatingPoint) -> None:
    values = running(4_000, seed=3)
    unlike = point(values, torch.ones_like(values, dtype=torch.bool))[1]
    assert (unlike < 1.0 / BEYOND).float().mean().item() == pytest.approx(EDGE, abs=0.02)


def test_what_is_not_known_does_not_lie_outside(point: OperatingPoint) -> None:
    values = torch.full((1, CHANNELS, CELLS), 6.0)
    present = torch.zeros_like(values, dtype=torch.bool)
    assert distance(point, torch.zeros_like(values), present).item() == 0.0
    half = torch.ones_like(present)
    half[:, :, ::2] = False  # the mean is that of the values present
    torch.testing.assert_close(
        distance(point, torch.where(half, values, 0.0), half), distance(point, values)
    )


def test_channels_that_never_moved_make_a_distance_that_is_a_number() -> None:
    values = torch.zeros(200, CHANNELS, CELLS)
    point = fit_operating_point(values, torch.ones_like(values, dtype=torch.bool))
    assert distance(point, values).abs().max().item() == 0.0
    assert torch.isfinite(distance(point, torch.full((1, CHANNELS, CELLS), 1e6))).all()
