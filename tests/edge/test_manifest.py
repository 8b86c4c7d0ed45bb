"""The manifest is read strictly, and every refusal names the key."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from faultwatch_edge.bundle import Manifest
from faultwatch_edge.errors import BundleError


@pytest.fixture
def refusal_of_edit(
    members: dict[str, bytes],
    resigned: Callable[[dict[str, bytes]], bytes],
    refusal: Callable[[bytes], str],
) -> Callable[[str, str], str]:
    """What ``read_bundle`` says when one piece of the manifest was replaced before signing."""

    def refused(old: str, new: str) -> str:
        text = members["manifest.json"].decode()
        assert old in text
        return refusal(resigned({"manifest.json": text.replace(old, new, 1).encode()}))

    return refused


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"contract": 1', '"contract": 2', "contract is 2, expected 1; update faultwatch-edge"),
        ('"contract": 1', '"contract": 0', "contract is 0, expected 1; release the model again"),
        ('"contract": 1', '"contract": "1"', "contract is '1', expected a whole number"),
        ('"score": 3.0', '"score": NaN', "holds the number NaN"),
        ('"score": 3.0', '"score": 1e999', "threshold.score is inf, expected a finite number"),
        ('"score": 3.0', f'"score": {"9" * 400}', "threshold.score is inf"),
        ('"score": 3.0', '"score": true', "threshold.score is True, expected a finite number"),
        ('"score": 3.0', '"score": "3"', "threshold.score is '3', expected a finite number"),
        ('"length": 4', '"length": 4.0', "window.length is 4.0, expected a whole number"),
        ('"length": 4', '"length": 0', "window.length is 0, expected >= 1"),
        ('"length": 4', '"long": 4', "window.long is not known"),
        ('"hop": 2,', "", "window.hop is missing"),
        ('"hop": 2,', '"hop": 2, "hop": 3,', "key 'hop' is there twice"),
        ('"min_channels": 2', '"min_channels": 4', "window.min_channels is 4, expected"),
        ('"max_gap_s": 3.0', '"max_gap_s": -1', "window.max_gap_s is -1.0, expected >= 0"),
        ('"max_gap_s": 3.0', '"max_gap_s": 1e9', "expected at most 1000000 cells"),
        ('"sample_period_s": 1.0', '"sample_period_s": 0', "window.sample_period_s is 0.0"),
        ('"name": "flow"', '"name": ""', "a channel has no name"),
        ('"name": "flow"', '"name": "valve"', "channel name 'valve' is there twice"),
        ('"name": "flow"', '"name": "\\ud800"', "text without halves of characters"),
        ('"tag": "FQ-101"', '"tag": "FT-101"', "channel tag 'FT-101' is there twice"),
        (
            '"kind": "discrete"',
            '"kind": "digital"',
            "channels[1].kind is 'digital', expected one of",
        ),
        ('"range": null', '"range": [1]', "range is [1], expected a list of 2"),
        ('"range": null', '"range": [2, 1]', "channel 'valve' has range 2 to 1"),
        (
            '"expected_per_day": 0.08',
            '"expected_per_day": -1',
            "threshold.expected_per_day is -1.0",
        ),
        ('"on_delay_s": 4.0', '"on_delay_s": -4', "alarm.on_delay_s is -4.0, expected >= 0"),
        ('"enabled": true', '"enabled": 1', "alarm.enabled is 1, expected true or false"),
        ('"state_size": 2', '"state_size": -1', "state_size is -1, expected >= 0"),
        ('"version": 3', '"version": 0', "version is 0, expected >= 1"),
        ('"asset_id": "pump_07"', '"asset_id": "../pump"', "asset_id is '../pump', expected"),
        ('"created_at": "2026', '"created_at": "x', "created_at is 'x-01-31T12:00:00Z'"),
        ("12:00:00Z", "12:00:00+01:00", "expected an ISO-8601 time in UTC"),
        ('"alarm": {', '"alarm": 5, "b": {', "b is not known"),
        ("{", "", "is not a JSON document"),
        ("{", "[" * 100_000 + "{", "is not a JSON document"),
    ],
)
def test_malformed_manifest_is_refused_and_the_key_named(
    old: str,
    new: str,
    reason: str,
    refusal_of_edit: Callable[[str, str], str],
) -> None:
    found = refusal_of_edit(old, new)
    assert reason in found
    assert found.startswith("pump_07-3.fwb: manifest.json: ")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"[]", "the document is [], expected an object"),
        (b"\xff", "is not a JSON document"),
        (b"{}", "contract is missing"),
    ],
)
def test_document_that_is_no_manifest_is_refused(
    document: bytes,
    reason: str,
    resigned: Callable[[dict[str, bytes]], bytes],
    refusal: Callable[[bytes], str],
) -> None:
    assert reason in refusal(resigned({"manifest.json": document}))


def test_long_values_are_shortened(refusal_of_edit: Callable[[str, str], str]) -> None:
    assert len(refusal_of_edit('"length": 4', f'"length": "{"x" * 900}"')) < 200


def test_list_is_expected_where_there_is_none(refusal_of_edit: Callable[[str, str], str]) -> None:
    low, high = "[\n      0.02,\n      0.2\n    ]", '{"low": 0.02}'
    assert "threshold.interval_per_day is {'low': 0.02}, expected a list" in refusal_of_edit(
        low, high
    )


def test_no_channels_are_refused(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match="channels is empty"):
        replace(manifest, channels=())


def test_interval_is_written_lower_limit_first(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match=r"interval_per_day is 2 to 1"):
        replace(manifest.threshold, interval_per_day=(2.0, 1.0))


def test_key_id_has_sixteen_hexadecimal_digits(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match="key_id is 'abc'"):
        replace(manifest, key_id="abc")


def test_file_is_named_after_asset_and_version(manifest: Manifest) -> None:
    assert manifest.file_name == "pump_07-3.fwb"
    assert manifest.window.sample_period_us == 1_000_000


def test_options_of_the_alarm_that_are_not_used_are_not_written(manifest: Manifest) -> None:
    assert b"hysteresis" not in manifest.to_json()
    assert b"latch" not in manifest.to_json()
    used = replace(manifest, alarm=replace(manifest.alarm, hysteresis=0.5, latch=True))
    assert Manifest.from_json(used.to_json()) == used


def test_a_hysteresis_from_which_no_alarm_returns_is_refused(manifest: Manifest) -> None:
    alarm = replace(manifest.alarm, hysteresis=3.0)
    with pytest.raises(BundleError, match="hysteresis is 3, expected less than the threshold, 3"):
        replace(manifest, alarm=alarm)
