from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from features.channels import Channel
from features.windows import Windows
from models.sensors import (
    FAILURE,
    GOOD,
    MAINTENANCE_REQUIRED,
    OUT_OF_SPECIFICATION,
    SensorStatus,
    fit_sensor_status,
    trailing_run,
    turns_and_peaks,
)

Cells = NDArray[np.float32]

NAN = float("nan")
LENGTH = 16
NAMES = ("level", "flow", "speed", "power")
CHANNELS = (
    Channel(name="level", range=(-100.0, 100.0)),
    *(Channel(name=name) for name in NAMES[1:]),
)


def make_cells(seed: int, rows: int) -> Cells:
    """Four channels that wander between the cells and never repeat a value."""
    generator = np.random.default_rng(seed)
    wandering = np.cumsum(generator.normal(size=(rows, 4)), axis=0)
    return (5.0 * np.sin(wandering / 5.0) + 0.2 * generator.normal(size=(rows, 4))).astype(
        np.float32
    )


def cut(cells: Cells, length: int = LENGTH) -> Windows:
    times = np.datetime64("2026-01-01", "us") + np.arange(len(cells)) * np.timedelta64(60, "s")
    ends = np.arange(length - 1, len(cells))
    return Windows(cells, times, np.zeros(len(cells), np.int64), ends, length)


def learn(cells: Cells, channels: tuple[Channel, ...] = CHANNELS) -> SensorStatus:
    windows = cut(cells)
    return fit_sensor_status(channels, windows, np.arange(len(windows)))


def judge(
    status: SensorStatus, cells: Cells, *, running: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Codes of every window, (window, channel), and its values that are believed."""
    windows = torch.from_numpy(cut(cells).take(slice(None)))
    codes, believed = status(windows, torch.full((len(windows),), running))
    return codes.numpy(), believed.numpy()


@pytest.fixture(scope="module")
def normal() -> Cells:
    return make_cells(0, 1_500)


@pytest.fixture(scope="module")
def learned(normal: Cells) -> SensorStatus:
    return learn(normal)


@pytest.fixture
def fresh() -> Cells:
    return make_cells(1, 200)


# --- range and silence ---------------------------------------------------------------------------


def last_codes(status: SensorStatus, level: list[float]) -> list[float]:
    window = torch.from_numpy(make_cells(2, 6).T[None].copy())
    window[0, 0] = torch.tensor(level)
    codes: list[float] = status(window, torch.zeros(1))[0][0].tolist()
    return codes


def test_values_in_range_are_good(learned: SensorStatus) -> None:
    assert last_codes(learned, [0.0, 1.0, 2.0, 3.0, 4.0, 100.0]) == [GOOD] * 4


@pytest.mark.parametrize("value", [100.5, -100.5])
def test_the_last_value_beyond_the_range_is_out_of_specification(
    learned: SensorStatus, value: float
) -> None:
    assert last_codes(learned, [0.0] * 5 + [value]) == [OUT_OF_SPECIFICATION, GOOD, GOOD, GOOD]


def test_one_that_came_back_is_good(learned: SensorStatus) -> None:
    assert last_codes(learned, [200.0] * 5 + [50.0])[0] == GOOD


def test_only_a_window_without_any_value_is_a_failure(learned: SensorStatus) -> None:
    assert last_codes(learned, [NAN] * 6)[0] == FAILURE
    assert last_codes(learned, [NAN, 1.0] + [NAN] * 4)[0] == GOOD


def test_a_window_of_two_cells_is_judged() -> None:
    windows = cut(make_cells(0, 50), length=2)
    status = fit_sensor_status(CHANNELS, windows, np.arange(len(windows)))
    codes, believed = status(torch.from_numpy(windows.take(slice(None))), torch.ones(49))
    assert not codes.any()
    assert not believed.isnan().any()


# --- stuck ---------------------------------------------------------------------------------------


def test_normal_running_has_no_status_and_is_believed(
    learned: SensorStatus, normal: Cells, fresh: Cells
) -> None:
    for cells in (normal, fresh):
        codes, believed = judge(learned, cells)
        assert not codes.any()
        assert not np.isnan(believed).any()


def test_a_stuck_sensor_fails_after_half_a_window_and_is_not_believed(
    learned: SensorStatus, fresh: Cells
) -> None:
    fresh[100:] = make_cells(3, 100)
    fresh[100:, 1] = 1.0
    codes, believed = judge(learned, fresh)
    onset = 100 - (LENGTH - 1)  # of the windows: the first that ends with a stuck cell
    assert not codes[: onset + 7].any()
    assert (codes[onset + 7 :, 1] == FAILURE).all()
    assert not codes[:, [0, 2, 3]].any()
    assert np.isnan(believed[onset + 7 :, 1]).all()
    assert not np.isnan(believed[:, [0, 2, 3]]).any()


def test_held_cells_are_not_believed_before_and_after_the_failure(
    learned: SensorStatus, fresh: Cells
) -> None:
    fresh[100:140, 1] = 1.0
    codes, believed = judge(learned, fresh)
    starting, working_again = 103 - (LENGTH - 1), 142 - (LENGTH - 1)
    assert codes[starting, 1] == codes[working_again, 1] == GOOD
    assert np.isnan(believed[starting, 1]).tolist() == [False] * 12 + [True] * 4
    assert np.isnan(believed[working_again, 1]).tolist() == [True] * 13 + [False] * 3


def test_missing_cells_do_not_end_a_run(learned: SensorStatus, fresh: Cells) -> None:
    fresh[100:, 1] = 1.0
    fresh[101::3, 1] = NAN
    codes, _ = judge(learned, fresh)
    assert (codes[115:, 1] == FAILURE).all()


def test_a_sensor_that_held_its_values_in_normal_running_may_hold_them_twice_as_long(
    normal: Cells, fresh: Cells
) -> None:
    slow = normal.copy()
    slow[:, 2] = np.repeat(normal[::6, 2], 6)
    fresh[100:, 2] = 1.0
    codes, believed = judge(learn(slow), fresh)
    first = 100 - (LENGTH - 1)
    assert codes[:, 2].argmax() == first + 11
    assert not np.isnan(believed[: first + 6]).any()
    assert np.isnan(believed[first + 6, 2]).sum() == 7


def test_one_that_held_them_for_more_than_half_a_window_is_not_judged(
    normal: Cells, fresh: Cells
) -> None:
    slow = normal.copy()
    slow[:, 2] = np.repeat(normal[::10, 2], 10)
    fresh[100:, 2] = 1.0
    codes, believed = judge(learn(slow), fresh)
    assert not codes.any()
    assert not np.isnan(believed).any()


@pytest.mark.parametrize("channel", [{"kind": "discrete"}, {"reporting": "on_change"}])
def test_standing_still_is_no_fault_of_a_state_or_of_silence_that_means_unchanged(
    normal: Cells, fresh: Cells, channel: dict[str, str]
) -> None:
    channels = (*CHANNELS[:1], Channel(name="flow", **channel), *CHANNELS[2:])
    fresh[100:, 1] = 1.0
    codes, _ = judge(learn(normal, channels), fresh)
    assert not codes.any()


@pytest.mark.parametrize("side", [np.max, np.min])
def test_a_value_at_or_beyond_the_extremes_is_saturated_not_stuck(
    learned: SensorStatus, normal: Cells, fresh: Cells, side: Callable[..., np.float32]
) -> None:
    extreme = side(normal[:, 1])
    for value in (extreme, 3 * extreme):
        fresh[100:, 1] = value
        codes, believed = judge(learned, fresh)
        assert not codes.any()
        assert not np.isnan(believed).any()


def test_saturation_in_normal_running_does_not_hide_a_stuck_sensor(
    normal: Cells, fresh: Cells
) -> None:
    saturated = normal.copy()
    saturated[500:700, 1] = normal[:, 1].max()
    fresh[100:, 1] = 1.0
    codes, _ = judge(learn(saturated), fresh)
    assert (codes[115:, 1] == FAILURE).all()


def test_where_most_channels_stand_still_none_is_blamed(
    learned: SensorStatus, fresh: Cells
) -> None:
    fresh[100:, :3] = 1.0
    codes, believed = judge(learned, fresh)
    assert not codes[110:].any()
    assert not np.isnan(believed[110:]).any()


def test_silent_channels_do_not_vouch_for_a_machine_that_moves(
    learned: SensorStatus, fresh: Cells
) -> None:
    fresh[100:, 1] = 1.0
    fresh[100:, [0, 2, 3]] = NAN
    codes, _ = judge(learned, fresh)
    assert codes[-1].tolist() == [FAILURE, GOOD, FAILURE, FAILURE]


def test_two_of_four_may_be_stuck_at_once(learned: SensorStatus, fresh: Cells) -> None:
    fresh[100:, :2] = 1.0
    codes, _ = judge(learned, fresh)
    assert (codes[115:] == [FAILURE, FAILURE, GOOD, GOOD]).all()


def test_nothing_is_stuck_while_the_machine_does_not_run(
    learned: SensorStatus, fresh: Cells
) -> None:
    fresh[100:, 1] = 1.0
    fresh[150, 2] += 500.0
    codes, believed = judge(learned, fresh, running=0.0)
    assert not codes.any()
    assert not np.isnan(believed).any()


# --- noise and spikes ----------------------------------------------------------------------------


def test_one_noisy_channel_is_out_of_specification_and_still_believed(
    learned: SensorStatus, fresh: Cells
) -> None:
    fresh[100:, 2] += np.random.default_rng(4).normal(size=100).astype(np.float32) * 20.0
    codes, believed = judge(learned, fresh)
    assert not codes[:85].any()
    assert (codes[110:, 2] == OUT_OF_SPECIFICATION).mean() > 0.9
    assert not codes[:, [0, 1, 3]].any()
    assert not np.isnan(believed).any()


def test_several_noisy_channels_are_the_machine(learned: SensorStatus, fresh: Cells) -> None:
    noise = np.random.default_rng(4).normal(size=(100, 2)).astype(np.float32)
    fresh[100:, 2:] += 20.0 * noise
    assert not judge(learned, fresh)[0][110:].any()


def test_one_spike_requires_maintenance_until_it_has_left_the_window(
    learned: SensorStatus, fresh: Cells
) -> None:
    fresh[100, 3] += 50.0
    codes, believed = judge(learned, fresh)
    told = np.flatnonzero(codes[:, 3] == MAINTENANCE_REQUIRED) + LENGTH - 1
    assert told.tolist() == list(range(101, 115))  # it is known once the value has returned
    assert not codes[:, :3].any()
    assert not np.isnan(believed).any()


def test_spikes_that_come_again_require_maintenance_though_each_is_low(
    learned: SensorStatus, fresh: Cells
) -> None:
    height = 1.2 * float(learned.peak[3])
    for place in (100, 110, 120):
        fresh[place, 3] = max(fresh[place - 1, 3], fresh[place + 1, 3]) + height
    codes = judge(learned, fresh)[0]
    told = np.flatnonzero(codes[:, 3] == MAINTENANCE_REQUIRED) + LENGTH - 1
    assert told.tolist() == [*range(111, 115), *range(121, 125)]  # two are inside the window
    assert not codes[:, :3].any()


def test_spikes_of_a_channel_that_holds_its_values_are_told(normal: Cells, fresh: Cells) -> None:
    normal = normal.copy()
    for cells in (normal, fresh):
        cells[:, 3] = np.repeat(cells[::5, 3], 5)[: len(cells)]
    learned = learn(normal)
    assert not judge(learned, fresh)[0].any()
    height = 1.2 * float(np.abs(np.diff(normal[:, 3])).max())
    for place in (102, 112):
        fresh[place, 3] += height
    codes = judge(learned, fresh)[0]
    told = np.flatnonzero(codes[:, 3] == MAINTENANCE_REQUIRED) + LENGTH - 1
    assert told.tolist() == list(range(113, 117))


def test_a_jump_that_stays_is_no_spike(learned: SensorStatus, fresh: Cells) -> None:
    fresh[100:, 3] += 50.0
    assert not judge(learned, fresh)[0].any()


def test_a_spike_in_several_channels_is_the_machine(learned: SensorStatus, fresh: Cells) -> None:
    fresh[100, 2:] += 50.0
    assert not judge(learned, fresh)[0].any()


def test_turns_of_a_channel_that_only_rounding_moves_say_nothing(
    normal: Cells, fresh: Cells
) -> None:
    normal = normal.copy()
    for cells, size in ((normal, 1e-5), (fresh, 1e-3)):
        cells[:, 0] = 90.0 + size * (np.arange(len(cells)) % 2)
    assert not judge(learn(normal), fresh)[0][:, 0].any()


# --- its parts -----------------------------------------------------------------------------------


def test_a_channel_without_values_has_no_run_turn_or_peak() -> None:
    window = torch.full((1, 1, 8), NAN)
    _, run, places = trailing_run(window, ~window.isnan())
    assert run.item() == 0.0
    assert not places.any()
    assert not any(part.any() for part in turns_and_peaks(window))


def test_a_peak_beside_a_missing_cell_is_none() -> None:
    turns, peaks = turns_and_peaks(torch.tensor([[[0.0, 9.0, NAN, 0.0, 9.0, 0.0]]]))
    assert turns.flatten().tolist() == [0.0, 0.0, 0.0, 0.0, 18.0, 0.0]
    assert peaks.flatten().tolist() == [0.0, 0.0, 0.0, 0.0, 9.0, 0.0]


def test_runs_do_not_go_over_what_was_not_learned(normal: Cells) -> None:
    cells = normal.copy()
    cells[500:506, 1] = cells[506:512, 1] = 1.0
    windows = cut(cells)
    left_out = np.isin(windows.ends, np.arange(506, 506 + LENGTH))
    status = fit_sensor_status(CHANNELS, windows, np.flatnonzero(~left_out))
    assert status.stuck_run[1] == 12.0


def test_a_channel_that_never_had_a_value_is_silent(normal: Cells, fresh: Cells) -> None:
    normal, fresh = normal.copy(), fresh.copy()
    normal[:, 3] = fresh[:, 3] = NAN
    codes, _ = judge(learn(normal), fresh)
    assert (codes == [GOOD, GOOD, GOOD, FAILURE]).all()
