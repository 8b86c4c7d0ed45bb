import pytest
from pydantic import ValidationError

from features.channels import Channel, channel_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "time"}, "channel 'time' has the name of a column of ours"),
        ({"name": "flow", "range": (5.0, 5.0)}, r"range = \[5, 5\] is empty; write the lowest"),
        ({"name": "flow", "range": (5.0, 1.0)}, r"channel 'flow': range = \[5, 1\] is empty"),
        ({"name": "2nd flow"}, "String should match pattern"),
        ({"name": ""}, "at least 1 character"),
        ({"name": "flow", "kind": "vibration"}, "'continuous', 'discrete' or 'counter'"),
        ({"name": "flow", "range": (0.0, float("inf"))}, "finite number"),
        ({"name": "flow", "units": "m3/h"}, "Extra inputs are not permitted"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Channel.model_validate(options)


def test_a_channel_cannot_be_changed() -> None:
    channel = Channel(name="flow")
    with pytest.raises(ValidationError, match="frozen"):
        channel.name = "pressure"


def test_names_keep_their_order() -> None:
    channels = tuple(Channel(name=name, range=(0.0, 1.0)) for name in ("b", "a", "c"))
    assert channel_names(channels) == ["b", "a", "c"]
