import torch

from features.channels import Channel
from models.sensors import FAILURE, GOOD, OUT_OF_SPECIFICATION, SensorStatus

NAN = float("nan")
CHANNELS = (Channel(name="level", range=(0.0, 100.0)), Channel(name="flow"))


def status(level: list[float], flow: list[float]) -> list[float]:
    codes: list[float] = SensorStatus(CHANNELS)(torch.tensor([[level, flow]]))[0].tolist()
    return codes


def test_values_in_range_are_good() -> None:
    assert status([0.0, 100.0], [1e29, -1e29]) == [GOOD, GOOD]


def test_the_last_value_beyond_the_range_is_out_of_specification() -> None:
    assert status([50.0, 100.5], [0.0, 0.0]) == [OUT_OF_SPECIFICATION, GOOD]
    assert status([50.0, -0.5], [0.0, 0.0]) == [OUT_OF_SPECIFICATION, GOOD]


def test_one_that_came_back_is_good() -> None:
    assert status([200.0, 50.0], [0.0, 0.0]) == [GOOD, GOOD]


def test_only_a_window_without_any_value_is_a_failure() -> None:
    assert status([NAN, NAN], [1.0, NAN]) == [FAILURE, GOOD]
