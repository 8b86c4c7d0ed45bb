"""Payloads become samples or one sentence, whatever comes."""

import json
import math
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.config import AssetSource
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.manifest import ChannelSpec
from faultwatch_edge.sources.json_payload import JsonPayloads, Measured, PayloadError

FLOW = ChannelSpec("flow", "FT-101", "m3/h", "continuous", "periodic", None)
VALVE = ChannelSpec("valve", None, "", "discrete", "on_change", None)
WIDE = AssetSource("b.fwb", "plant/pump")
NOON = "2026-01-01T12:00:00Z"
NOON_US = 1_767_268_800_000_000
NAN = math.nan

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


def read(payload: object, source: AssetSource = WIDE, topic: str = "plant/pump") -> Measured:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return JsonPayloads(source, [FLOW, VALVE]).read(topic, body)


def shown(measured: Measured) -> tuple[int, list[float | None]]:
    return measured.time_us, [None if math.isnan(one) else one for one in measured.values]


def test_channels_are_found_by_name_then_by_tag_then_where_the_configuration_says() -> None:
    assert shown(read({"time": NOON, "flow": 1.5, "valve": True})) == (NOON_US, [1.5, 1.0])
    assert shown(read({"time": NOON, "FT-101": 2})) == (NOON_US, [2.0, None])
    nested = replace(WIDE, keys={"flow": "now.in"}, time="now.at")
    assert shown(read({"now": {"at": NOON, "in": 3}}, nested)) == (NOON_US, [3.0, None])
    dotted = replace(WIDE, keys={"flow": "a.b"})
    assert shown(read({"time": NOON, "a.b": 4}, dotted)) == (NOON_US, [4.0, None])


def test_null_and_nan_are_missing() -> None:
    payload = b'{"time": "2026-01-01T12:00:00Z", "flow": NaN, "valve": 1, "FT-101": null}'
    assert shown(read(payload)) == (NOON_US, [None, 1.0])


@pytest.mark.parametrize(
    ("unit", "number"), [("s", 1_767_268_800), ("ms", 1_767_268_800_000), ("us", NOON_US)]
)
def test_times_may_be_numbers(unit: Literal["s", "ms", "us"], number: int) -> None:
    source = replace(WIDE, time_format=unit)
    assert read({"time": number, "flow": 1}, source).time_us == NOON_US


def test_an_offset_is_understood() -> None:
    assert read({"time": "2026-01-01T13:00:00+01:00", "flow": 1}).time_us == NOON_US


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xfe", "is not JSON, expected an object"),
        (b"[" * 100_000, "is not JSON"),
        ([1], r"is \[1\], expected an object"),
        ({"flow": 1}, "time is None, expected ISO-8601 text"),
        ({"time": "noon", "flow": 1}, "time is 'noon', expected ISO-8601"),
        ({"time": "2026-01-01T12:00:00", "flow": 1}, "expected an offset or Z behind it"),
        ({"time": NOON}, "has no channel, expected some of flow, valve"),
        ({"time": NOON, "flow": "high"}, "'flow' is 'high', expected a number"),
        ({"time": NOON, "flow": [1]}, r"'flow' is \[1\], expected a number"),
        (b" " * 2_000_000, "has 2000000 bytes, expected at most 262144"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(payload: object, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        read(payload)


@pytest.mark.parametrize("found", ["1", True, None, 1e300, -1e30, math.inf, NAN])
def test_a_time_that_is_no_number_of_seconds_is_refused(found: object) -> None:
    with pytest.raises(PayloadError, match=r"time is .*, expected"):
        read({"time": found, "flow": 1}, replace(WIDE, time_format="s"))


def test_each_channel_may_have_a_topic_of_its_own() -> None:
    source = replace(WIDE, topic="plant/{channel}/now")
    payloads = JsonPayloads(source, [FLOW, VALVE])
    assert payloads.filters == ("plant/+/now",)
    assert [payloads.is_of(one) for one in ("plant/flow/now", "plant/a/b/now", "plant/now")] == [
        True,
        False,
        False,
    ]
    body = {"time": NOON, "value": 7}
    assert shown(read(body, source, "plant/FT-101/now")) == (NOON_US, [7.0, None])
    with pytest.raises(PayloadError, match="topic names 'x', expected one of flow, FT-101, valve"):
        read(body, source, "plant/x/now")


def test_keys_of_channels_that_are_not_there_or_twice_are_refused() -> None:
    with pytest.raises(ConfigError, match="names 'flaw', which the bundle does not know"):
        JsonPayloads(replace(WIDE, keys={"flaw": "x"}), [FLOW, VALVE])
    with pytest.raises(ConfigError, match="two channels have the same key"):
        JsonPayloads(replace(WIDE, keys={"flow": "valve"}), [FLOW, VALVE])


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_sample_or_a_sentence(payload: bytes) -> None:
    with suppress(PayloadError):
        assert len(read(payload).values) == 2


@given(st.fixed_dictionaries({"time": st.just(NOON) | json_values, "flow": json_values}))
def test_any_object_is_a_sample_or_a_sentence(payload: dict[str, object]) -> None:
    test_any_bytes_are_a_sample_or_a_sentence.hypothesis.inner_test(json.dumps(payload).encode())  # type: ignore[attr-defined]
