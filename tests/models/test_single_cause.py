"""Three sensors of one cause and two that nothing foretells, beside a model that smears."""

import numpy as np
import pytest
import torch
from torch import nn
from typing_extensions import override

from models.head import SCALES, EnergyHead, fit_energy_head, residual_means
from models.sensors import FAILURE, GOOD, MAINTENANCE_REQUIRED
from models.single_cause import SURE, SingleCause, fit_single_cause

LENGTH, ROWS = 16, 4_000
ALIKE, APART = (0, 1, 2), (3, 4)


class MeanOfThree(nn.Module):
    """Expects each of three channels to be at their mean, and the others at 0."""

    @override
    def forward(
        self, values: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        expected = torch.zeros_like(values)
        expected[:, :3] = values[:, :3].mean(dim=1, keepdim=True)
        return expected, present.any(dim=2).to(values.dtype)


def rows(count: int, *, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    cause = torch.randn(count, 1, generator=draw)
    own = torch.randn(count, 5, generator=draw)
    return torch.cat([0.9 * cause + 0.4 * own[:, :3], own[:, 3:]], dim=1)


def means_of(values: torch.Tensor) -> torch.Tensor:
    windows = values.unfold(0, LENGTH, 1)
    present = torch.ones_like(windows, dtype=torch.bool)
    return residual_means(windows - MeanOfThree()(windows, present)[0], present)


@pytest.fixture(scope="module")
def head() -> EnergyHead:
    return fit_energy_head(means_of(rows(ROWS, seed=0)))


@pytest.fixture(scope="module")
def cause(head: EnergyHead) -> SingleCause:
    normal = rows(ROWS, seed=1)
    means = means_of(normal)
    statistics, _ = head(means, torch.zeros(len(means), 1))
    return fit_single_cause(
        MeanOfThree(), head, values=normal, statistics=statistics.double().numpy(), length=LENGTH
    )


def named(
    cause: SingleCause, head: EnergyHead, values: torch.Tensor, *, surprise: float = 6.0
) -> torch.Tensor:
    means = means_of(values)
    statistics, _ = head(means, torch.zeros(len(means), 1))
    seen = torch.ones(len(means), values.shape[1], dtype=torch.bool)
    found: torch.Tensor = cause(means, statistics, torch.full_like(statistics, surprise), seen)
    return found


@pytest.mark.parametrize("place", [*ALIKE, *APART])
def test_the_channel_that_is_off_is_the_only_cause(
    cause: SingleCause, head: EnergyHead, place: int
) -> None:
    values = rows(400, seed=2)
    values[:, place] += 6.0
    found = named(cause, head, values)
    assert (found[:, place] >= SURE).float().mean().item() > 0.9
    assert not np.delete(found.numpy(), place, axis=1).any()


def test_where_two_channels_are_off_none_is_the_only_cause(
    cause: SingleCause, head: EnergyHead
) -> None:
    values = rows(400, seed=3)
    values[:, [0, 3]] += 6.0
    assert not named(cause, head, values).any()


def test_what_is_not_clear_has_no_cause(cause: SingleCause, head: EnergyHead) -> None:
    values = rows(400, seed=4)
    values[:, 1] += 6.0
    assert not named(cause, head, values, surprise=3.0).any()


def test_a_channel_without_values_is_no_cause(cause: SingleCause, head: EnergyHead) -> None:
    values = rows(100, seed=5)
    values[:, 4] += 6.0
    means = means_of(values)
    statistics, _ = head(means, torch.zeros(len(means), 1))
    seen = torch.tensor([True, True, True, True, False]).expand(len(means), -1)
    assert not cause(means, statistics, torch.full_like(statistics, 6.0), seen).any()


def test_an_error_that_lasts_shows_in_the_memories_as_in_the_last_cell(head: EnergyHead) -> None:
    longer = EnergyHead(torch.cat([head.precision, head.precision[:1], head.precision[:1]]))
    found = fit_single_cause(
        MeanOfThree(),
        longer,
        values=rows(500, seed=6),
        statistics=np.ones((500, len(SCALES) + 2)),
        length=LENGTH,
    )
    assert torch.equal(found.slope[3], found.slope[0])
    assert torch.equal(found.power[4], found.power[0])


def test_only_a_sensor_that_others_foretell_is_contradicted_by_them(cause: SingleCause) -> None:
    status = torch.full((1, 5), GOOD)
    sure = torch.ones(1, 5)
    M = MAINTENANCE_REQUIRED  # noqa: N806 - as NE 107 has it
    assert cause.mark(status, sure).tolist() == [[M, M, M, GOOD, GOOD]]
    assert not cause.mark(status, 0.9 * SURE * sure).any()


def test_a_worse_status_stays(cause: SingleCause) -> None:
    status = torch.full((1, 5), FAILURE)
    assert torch.equal(cause.mark(status, torch.ones(1, 5)), status)


def test_a_channel_that_never_moves_is_foretold_by_nobody(head: EnergyHead) -> None:
    values = rows(500, seed=7)
    values[:, 1] = 0.0
    statistics = np.ones((500, len(SCALES)))
    found = fit_single_cause(MeanOfThree(), head, values=values, statistics=statistics, length=4)
    assert found.foretold.tolist() == [True, False, True, False, False]
