from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.head import fit_energy_head
from models.held_out import carried
from models.memory import DEVIATIONS, RATES, ResidualMemory, residual_limit, supported_rates
from models.smoothing import Smoothing, SurpriseAverages

CHANNELS = 3
WIDE = torch.full((CHANNELS,), 1e6)


def noise(rows: int, *, seed: int) -> torch.Tensor:
    return torch.randn(rows, CHANNELS, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(st.data())
def test_any_batches_give_the_memories_of_one_by_one(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 40))
    residual = noise(rows, seed=data.draw(st.integers(0, 9)))
    scored = torch.tensor(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))).float()
    inner = data.draw(st.sets(st.integers(1, max(1, rows - 1)), max_size=4)) if rows > 1 else set()
    shares = st.lists(st.sampled_from([1.0, 0.75, 0.5]), min_size=rows, max_size=rows)
    kept = torch.tensor(data.draw(shares))
    memory, start = ResidualMemory(RATES, WIDE / 1e6), torch.zeros(len(RATES) * CHANNELS)
    whole, last_state = memory(residual, start, scored, kept)
    parts, state = [], start
    for first, last in pairwise([0, *sorted(inner), rows]):
        cut = slice(first, last)
        part, state = memory(residual[cut], state, scored[cut], kept[cut])
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, last_state)


def test_each_rate_is_the_plain_average_at_that_rate() -> None:
    residual, ones = noise(50, seed=0), torch.ones(50)
    memory = ResidualMemory(RATES, WIDE)
    found, _ = memory(residual, torch.zeros(memory.state_size), ones, ones)
    for place, rate in enumerate(RATES):
        expected, _ = Smoothing(rate)(residual, torch.zeros(CHANNELS), ones, ones)
        torch.testing.assert_close(found[:, place], expected)


def test_a_spike_of_any_size_is_remembered_as_one_at_the_limit_and_keeps_its_direction() -> None:
    memory = ResidualMemory((0.05,), torch.tensor([4.0, 4.0, 8.0]))
    spikes = torch.tensor([[400.0, -100.0, 200.0], [4.0, -1.0, 2.0]])
    one = torch.ones(1)
    found = [memory(spike[None], torch.zeros(3), one, one)[0] for spike in spikes]
    torch.testing.assert_close(found[0], found[1])


def test_without_a_rate_nothing_is_remembered() -> None:
    memory = ResidualMemory((), WIDE)
    averages, state = memory(noise(5, seed=0), torch.zeros(0), torch.ones(5), torch.ones(5))
    assert averages.shape == (5, 0, CHANNELS)
    assert (memory.state_size, len(state)) == (0, 0)


@pytest.mark.parametrize(("windows", "expected"), [(999, ()), (1_000, (0.05,)), (2_500, RATES)])
def test_a_memory_needs_fifty_times_its_length(windows: int, expected: tuple[float, ...]) -> None:
    assert supported_rates(RATES, windows) == expected


def test_the_limit_is_four_deviations_but_not_less_than_rounding() -> None:
    last = 3.0 * noise(20_000, seed=1)
    last[:, 1] = 0.0
    limit = residual_limit(last)
    assert limit[0].item() == pytest.approx(DEVIATIONS * 3.0, rel=0.05)
    assert limit[1].item() == pytest.approx(DEVIATIONS * 1e-3**0.5)


def test_a_small_lasting_deviation_stands_out_of_the_memory_and_not_of_single_windows() -> None:
    memory = ResidualMemory(RATES, WIDE)
    zeros, every = torch.zeros(memory.state_size), torch.ones(4_000)
    normal, fresh = noise(4_000, seed=2), noise(4_000, seed=3)
    fresh[2_000:, 0] += 0.7

    def judged(residual: torch.Tensor) -> torch.Tensor:
        means = residual[:, None].expand(-1, 3, -1)
        return torch.cat([means, memory(residual, zeros, every, every)[0]], dim=1)

    head = fit_energy_head(judged(normal), RATES)
    statistics, contribution = head(judged(fresh), torch.zeros(4_000, 1))
    limits = torch.quantile(statistics[500:2_000], 0.99, dim=0)
    found = (statistics[2_500:] > limits).float().mean(dim=0)
    assert found[0].item() < 0.1
    assert found[3:].min().item() > 0.8
    assert (contribution[2_500:].argmax(dim=1) == 0).float().mean().item() > 0.8


def test_the_fewer_independent_windows_the_more_the_covariance_is_shrunk() -> None:
    residual = noise(60, seed=4)
    residual[:, 1] = residual[:, 0] + 0.3 * residual[:, 1]
    judged = residual[:, None].expand(-1, 4, -1)
    precision = fit_energy_head(judged, (0.05,)).precision
    assert precision[3, 0, 1].abs().item() < 0.5 * precision[0, 0, 1].abs().item()


def test_each_stretch_begins_without_a_memory() -> None:
    averages = SurpriseAverages({0.5: (0,)})
    values = torch.tensor([[4.0], [4.0], [4.0], [4.0]])
    segment, scored = np.array([0, 0, 1, 1]), np.ones(4, dtype=bool)
    found = carried(averages, values, scored, torch.ones(4), segment)
    assert found.flatten().tolist() == [2.0, 3.0, 2.0, 3.0]


def test_long_stretches_are_carried_from_batch_to_batch() -> None:
    memory, residual, ones = ResidualMemory(RATES, WIDE), noise(700, seed=5), torch.ones(700)
    expected, _ = memory(residual, torch.zeros(memory.state_size), ones, ones)
    found = carried(memory, residual, np.ones(700, dtype=bool), ones, np.zeros(700, np.int64))
    torch.testing.assert_close(found, expected.flatten(1))
