"""How an asset's samples look at the broker: the ``[live]`` section of the asset file.

The same words as in the ``[[asset]]`` of a device's ``edge.toml``, read by the same code: whoever
trains and the device at the machine understand a payload alike.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from faultwatch_edge.config import AssetSource
from faultwatch_edge.errors import EdgeError
from faultwatch_edge.manifest import ChannelSpec
from faultwatch_edge.sources.json_payload import JsonPayloads
from features.channels import SECTION, Channel


class LiveConfig(BaseModel):
    """``[live]``: on which topic an asset's samples come, and how their JSON objects look."""

    model_config = SECTION

    topic: str = Field(min_length=1)
    """Of objects with all channels, or, with ``{channel}`` in it, of one channel each."""
    time: str = "time"
    """Key of the time in the object; keys within keys are parted by dots."""
    time_format: Literal["iso", "s", "ms", "us"] = "iso"
    """ISO-8601 with an offset, or seconds, milliseconds, microseconds since 1970 in UTC."""
    value: str = "value"
    """Key of the value where each channel has a topic of its own."""
    keys: dict[str, str] = {}
    """Channel to its key, or its word in the topic; else it is its name, or its tag."""


def make_payloads(live: LiveConfig, channels: Sequence[Channel], *, asset_id: str) -> JsonPayloads:
    """What reads the payloads, as the agent does.

    Raises:
        ValueError: the section does not fit the channels; the message says which option.

    Example:
        >>> live = LiveConfig(topic="plant/pump_07", time_format="s")
        >>> payloads = make_payloads(live, [Channel(name="flow")], asset_id="pump_07")
        >>> payloads.read("plant/pump_07", b'{"time": 1.5, "flow": 3}').values
        [3.0]
        >>> make_payloads(LiveConfig(topic="plant/#"), [Channel(name="flow")], asset_id="pump_07")
        Traceback (most recent call last):
            ...
        ValueError: [live] topic is 'plant/#', expected a topic without '+' and '#'
    """
    specs = [
        ChannelSpec(**one.model_dump(exclude={"description", "follows", "former_tags"}))
        for one in channels
    ]
    try:
        return JsonPayloads(AssetSource(model=asset_id, **live.model_dump()), specs)
    except EdgeError as error:
        msg = str(error).replace("asset.", "[live] ").replace("the bundle", "this asset")
        raise ValueError(msg) from error
