import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.datasets.tep import load_samples
from features.slow_movement import LEAST_VALUES, PARTS, SLOW, SlowMovement


def share_of(values: np.ndarray) -> float:
    slow = SlowMovement()
    slow.add(values.astype(np.float64))
    return slow.share()


def by_hand(values: np.ndarray) -> float:
    """Variance between eighths over all variance."""
    between = sum(
        len(part) * (part.mean() - values.mean()) ** 2 for part in np.array_split(values, PARTS)
    )
    return float(between / ((values - values.mean()) ** 2).sum())


def wandering(memory: int, *, size: int = 8_000) -> np.ndarray:
    """Noise that forgets within so many values."""
    noise = np.random.default_rng(0).normal(size=size + memory)
    return np.convolve(noise, np.ones(memory), mode="valid")[:size]


@pytest.mark.parametrize("size", [256, 1_000, 8_000, 100_001])
def test_it_is_eta_squared_of_the_eighths(size: int) -> None:
    values = wandering(200, size=size) + np.linspace(0.0, 20.0, size)
    assert share_of(values) == pytest.approx(by_hand(values), abs=0.02)


@given(st.lists(st.integers(0, 3_000), max_size=6))
def test_it_is_the_same_however_the_values_are_cut(cuts: list[int]) -> None:
    values = wandering(50, size=3_000)
    slow = SlowMovement()
    for part in np.split(values, sorted(cuts)):
        slow.add(part)
    assert slow.share() == share_of(values)


@pytest.mark.parametrize(
    ("values", "is_slow"),
    [
        (wandering(1), False),
        (wandering(80), False),
        (np.sin(np.arange(8_000) * 2 * np.pi / 1_000), False),  # comes round eight times
        (wandering(4_000), True),
        (np.sin(np.arange(8_000) * 2 * np.pi / 4_000), True),  # comes round twice
        (wandering(1) + np.linspace(0.0, 4.0, 8_000), True),
        (wandering(1) + np.linspace(0.0, 1.0, 8_000), False),  # lost in its noise
        (np.repeat([1.0, 5.0], 4_000), True),
    ],
)
def test_slow_is_what_has_not_come_round_many_times(values: np.ndarray, is_slow: bool) -> None:  # noqa: FBT001
    assert (share_of(values) >= SLOW) == is_slow


@pytest.mark.parametrize("values", [np.empty(0), np.arange(LEAST_VALUES - 1), np.full(999, 47.446)])
def test_few_values_and_constant_ones_say_nothing(values: np.ndarray) -> None:
    assert share_of(values) == 0.0


def test_rounding_of_a_constant_says_nothing() -> None:
    assert share_of(np.repeat([47.446, np.nextafter(47.446, 48)], 500)) == 0.0


def test_no_channel_of_the_demo_plant_is_slow() -> None:
    samples = load_samples("train")
    shares = {name: share_of(samples[name].to_numpy()) for name in samples.columns[1:]}
    assert max(shares.values()) < SLOW / 10
