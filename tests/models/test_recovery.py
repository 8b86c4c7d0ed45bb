import pytest
import torch

from models.head import residual_means
from models.memory import ResidualMemory
from models.recovery import FORGOTTEN, Recovery, fit_recovery
from models.smoothing import Smoothing

CHANNELS, LENGTH = 4, 16


def noise(rows: int, *, seed: int) -> torch.Tensor:
    return torch.randn(rows, CHANNELS, generator=torch.Generator().manual_seed(seed))


def means_of(rows: torch.Tensor) -> torch.Tensor:
    windows = rows.unfold(0, LENGTH, 1)
    return residual_means(windows, torch.ones_like(windows, dtype=torch.bool))


@pytest.fixture(scope="module")
def recovery() -> Recovery:
    return fit_recovery(means_of(noise(5_000, seed=0)))


def test_in_normal_running_all_of_the_memories_is_kept(recovery: Recovery) -> None:
    assert (recovery(means_of(noise(5_000, seed=1))) == 1.0).float().mean().item() > 0.999


def test_a_fault_that_begins_or_stays_is_not_over(recovery: Recovery) -> None:
    rows = noise(500, seed=2)
    rows[100:, 0] += 6.0
    assert recovery(means_of(rows)).min().item() == 1.0


@pytest.mark.parametrize("size", [6.0, -8.0, 1e4])
def test_after_a_fault_most_is_forgotten_before_it_has_left_the_window(
    recovery: Recovery, size: float
) -> None:
    rows = noise(500, seed=3)
    rows[100:200, 1] += size
    kept = recovery(means_of(rows))
    after = slice(200 - LENGTH, 200)
    assert kept[: 200 - LENGTH].min().item() == 1.0
    assert kept[after].prod().item() < 0.1
    assert kept[after].min().item() >= 1.0 - FORGOTTEN


def test_nothing_is_over_while_another_channel_is_wrong(recovery: Recovery) -> None:
    rows = noise(500, seed=4)
    rows[100:200, 1] += 8.0
    rows[150:, 3] += 8.0
    assert recovery(means_of(rows)).min().item() == 1.0


def test_a_lasting_deviation_too_small_for_a_window_stays_remembered(recovery: Recovery) -> None:
    rows = noise(1_000, seed=5)
    rows[300:, 2] += 0.7
    means, ones = means_of(rows), torch.ones(1_000 - LENGTH + 1)
    memory = ResidualMemory((0.05,), torch.full((CHANNELS,), 4.0))
    start = torch.zeros(memory.state_size)
    kept, _ = memory(means[:, 0], start, ones, recovery(means))
    whole, _ = memory(means[:, 0], start, ones, ones)
    torch.testing.assert_close(kept, whole)


def test_the_state_after_a_fault_is_that_of_a_run_without_it(recovery: Recovery) -> None:
    plain = noise(500, seed=6)
    faulty = plain.clone()
    faulty[100:200, 0] += 8.0
    ended, averages = 200 + 4, []
    for rows in (plain, faulty):
        means = means_of(rows)
        scored = torch.ones(len(means))
        average, _ = Smoothing(0.02)(means[:, 0], torch.zeros(CHANNELS), scored, recovery(means))
        averages.append(average[ended])
    torch.testing.assert_close(averages[1], averages[0], atol=0.2, rtol=0.0)


def test_a_channel_that_never_moves_does_not_make_rounding_a_step() -> None:
    rows = noise(2_000, seed=7)
    rows[:, 1] = 1e-6 * rows[:, 1]
    found = fit_recovery(means_of(rows))
    fresh = noise(200, seed=8)
    fresh[:, 1] = 0.0
    fresh[50:60, 1] = 1e-3
    assert found(means_of(fresh)).min().item() == 1.0
