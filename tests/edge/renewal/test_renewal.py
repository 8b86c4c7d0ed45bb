"""Newer bundles are put to work, judged for a day, and taken back if they break their promise."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faultwatch_edge.bundle import Bundle, Manifest
from faultwatch_edge.config import AssetSource
from faultwatch_edge.errors import BundleError, ConfigError
from faultwatch_edge.renewal import newest_bundle
from faultwatch_edge.slots import Slots, read_slots
from faultwatch_edge.trial import Tally
from faultwatch_edge.watched import Watched

SECOND = 1_000_000
SOURCE = AssetSource("pump", "plant/pump", time="at", time_format="s")
NOW_US = 1_790_000_000 * SECOND
DAY_WINDOWS = 43_200  # of the tiny bundle: one every two seconds
Release = Callable[..., Path]
ROLL_BACK = b'{"verb": "roll_back", "by": "Kim", "reason": "cries wolf"}'


def test_a_newer_bundle_is_put_to_work_and_the_alarm_and_the_cells_go_on(
    device: Any, release: Release
) -> None:
    device.run(20)
    (raised,) = [one for one in device.run(20, 18.0) if one["kind"] == "alarm"]
    before = json.loads(device.watched.state)
    release(4)
    device.look()
    after = json.loads(device.watched.state)
    assert device.notes == ["pump_07: version 3 makes way for version 4"]
    assert device.version == 4
    for part in ("grid", "window", "alarm", "events"):
        assert after[part] == before[part]
    (returned,) = [one for one in device.run(20) if one["kind"] == "alarm"]
    assert (returned["alarm_id"], returned["model_version"]) == (raised["alarm_id"], 4)


def test_an_older_bundle_a_damaged_one_and_one_under_another_name_change_nothing(
    device: Any, release: Release
) -> None:
    release(2)
    device.look()
    assert not device.notes
    damaged = release(5)
    damaged.write_bytes(damaged.read_bytes()[:-20])
    for _ in range(3):
        device.look()
    (sentence,) = device.notes
    assert sentence.startswith("pump_07-5.fwb: ")
    assert sentence.endswith("; pump_07-3.fwb goes on")
    damaged.unlink()
    release(2).rename(damaged.with_name("pump_07-7.fwb"))
    device.look()
    assert "is version 2 of 'pump_07', expected the name pump_07-2.fwb" in device.notes[1]
    assert device.version == 3
    assert [file.name for file in device.kept.iterdir()] == ["pump_07-3.fwb"]


def test_a_bundle_of_another_asset_is_refused_and_no_copy_of_it_kept(
    device: Any, release: Release
) -> None:
    for file in device.folder.iterdir():
        file.unlink()
    release(9, asset_id="fan")
    device.look()
    assert "holds a bundle of 'fan', expected those of 'pump_07'" in device.notes[0]
    assert [file.name for file in device.kept.iterdir()] == ["pump_07-3.fwb"]


def test_a_folder_holds_bundles_of_one_asset(folder: Path, release: Release) -> None:
    assert newest_bundle(folder) is None
    (folder / "notes.fwb").touch()
    release(9)
    tenth = release(10)
    assert newest_bundle(folder) == (tenth, 10)
    release(1, asset_id="fan")
    with pytest.raises(ConfigError, match="holds bundles of 'fan' and 'pump_07'"):
        newest_bundle(folder)


def test_an_agent_goes_on_by_its_own_copy_whatever_becomes_of_the_folder(
    device: Any, release: Release
) -> None:
    release(4)
    device.look()
    device.keep()
    for file in device.folder.iterdir():
        file.unlink()
    release(2)
    device.start()
    device.look()
    assert device.version == 4


def test_a_copy_that_was_damaged_makes_way_for_the_newest_of_the_folder(
    device: Any, release: Release
) -> None:
    release(4)
    device.look()
    device.keep()
    (device.kept / "pump_07-4.fwb").write_bytes(b"x")
    device.start()
    assert device.version == 4
    assert "the newest of" in device.notes[-1]
    (device.kept / "pump_07-4.fwb").write_bytes(b"x")
    for file in device.folder.iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match="holds no bundle, expected ASSET-VERSION"):
        device.start()


def test_a_bundle_that_cries_wolf_makes_way_for_the_one_before_it_and_stays_away(
    device: Any, release: Release
) -> None:
    device.run(20)
    release(4)
    assert device.look() == []
    for alarms in range(3):
        assert device.watched.tally.raised == alarms
        assert device.look() == []
        device.run(30)
        device.run(20, 18.0)
    (event,) = device.look()
    assert device.version == 3
    assert (event["condition"], event["state"], event["model_version"]) == (
        "model_health",
        "active",
        3,
    )
    assert "Runs version 3 again: 3 alarms in 0.0 h, at most 2" in event["message"]
    device.look()
    device.keep()
    device.start()
    device.look()
    assert device.version == 3
    release(5)
    (event,) = device.look()
    assert (device.version, event["state"]) == (5, "normal")


def test_a_bundle_that_keeps_its_promise_for_a_day_is_judged_no_more(
    device: Any, release: Release
) -> None:
    release(4)
    device.look()
    device.watched.tally = Tally(scored=DAY_WINDOWS - 1)
    device.keep()
    device.start()
    device.run(20)
    device.look()
    assert device.notes[-1] == "pump_07-4.fwb has kept what it promises for a day"
    device.watched.tally = Tally(raised=99)
    device.look()
    assert device.version == 4


def test_the_first_bundle_of_a_device_has_no_trial(device: Any) -> None:
    device.watched.tally = Tally(raised=99)
    device.look()
    assert device.version == 3


def test_a_person_rolls_back_and_forth(device: Any, release: Release) -> None:
    (refused,) = device.watched.obey(ROLL_BACK, NOW_US)
    assert "no other version has run on this device" in refused.body
    release(4)
    device.look()
    (event,) = device.watched.obey(ROLL_BACK, NOW_US)
    assert json.loads(event.body)["message"].endswith(
        "Runs version 3 again by Kim, since 2026-09-21T14:13:20Z"
    )
    assert "roll-back by Kim: cries wolf" in device.notes[-2]
    device.look()
    assert device.version == 3
    device.watched.obey(ROLL_BACK, NOW_US)
    assert device.version == 4


def test_a_bundle_that_is_a_file_cannot_be_rolled_back(bundle: Bundle) -> None:
    watched = Watched(bundle, SOURCE, publish_scores=False)
    (refused,) = watched.obey(ROLL_BACK, NOW_US)
    assert "its bundle is a file, expected a folder or a registry" in refused.body


def test_a_copy_that_cannot_be_read_any_more_is_not_gone_back_to(
    device: Any, release: Release
) -> None:
    release(4)
    device.look()
    (device.kept / "pump_07-3.fwb").unlink()
    device.watched.tally = Tally(raised=9)
    device.look()
    assert "cannot be taken back" in device.notes[-1]
    assert device.version == 4
    (refused,) = device.watched.obey(ROLL_BACK, NOW_US)
    assert json.loads(refused.body)["kind"] == "rejected"


def test_an_alias_that_goes_back_is_followed_to_what_ran_before_and_no_further(
    folder: Path, release: Release, start_device: Callable[..., Any]
) -> None:
    def alias(version: int) -> None:
        for file in folder.iterdir():
            file.unlink()
        release(version)

    alias(3)
    device = start_device(follows=True)
    versions = []
    for version in (4, 3, 4, 5, 4, 3, 3):
        alias(version)
        device.look()
        device.keep()
        device.start()
        versions.append(device.version)
    assert versions == [4, 3, 4, 5, 4, 4, 4]
    assert "pump_07-3.fwb: is older than what has run on this device" in device.notes[-1]


def test_an_alias_that_stays_at_what_was_rolled_back_from_is_not_followed(
    folder: Path, release: Release, start_device: Callable[..., Any]
) -> None:
    release(3)
    device = start_device(follows=True)
    (folder / "pump_07-3.fwb").unlink()
    release(4)
    device.look()
    device.watched.obey(ROLL_BACK, NOW_US)
    device.look()
    device.keep()
    device.start()
    device.look()
    assert device.version == 3
    (folder / "pump_07-4.fwb").unlink()
    release(3)  # the alias is moved back, too, and then forth again by a person
    device.look()
    (folder / "pump_07-3.fwb").unlink()
    release(4)
    device.look()
    assert device.version == 4


def test_slots_that_cannot_be_read_are_empty() -> None:
    kept = Slots("pump_07-3.fwb", "pump_07-2.fwb", highest=3, left=None, trial=Tally(scored=4))
    assert read_slots(kept.to_json()) == kept
    assert read_slots("{") == read_slots('{"running": 3}') == Slots()


def test_a_bundle_that_fails_its_golden_vectors_leaves_the_one_before_at_work(
    device: Any, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(4)

    def fail(*_: object) -> None:
        raise BundleError("golden window 1 differs")

    monkeypatch.setattr("faultwatch_edge.watched.check_golden", fail)
    device.look()
    assert device.notes == ["golden window 1 differs; pump_07-3.fwb goes on"]
    assert [file.name for file in device.kept.iterdir()] == ["pump_07-3.fwb"]


def test_a_channel_without_a_node_is_refused_where_samples_come_by_nodes(
    start_device: Callable[..., Any], release: Release, manifest: Manifest
) -> None:
    fewer = replace(manifest.window, min_channels=1)
    nodes = {"flow": "ns=2;s=F", "valve": "ns=2;s=V", "total": "ns=2;s=T"}
    release(3, window=fewer)
    device = start_device(source=AssetSource("pump", nodes=nodes))
    flow, valve, total = manifest.channels
    release(4, window=fewer, channels=(flow, valve, replace(total, name="oil", tag=None)))
    device.look()
    assert "pump_07-4.fwb has channel 'oil', for which asset.nodes has no node" in device.notes[0]
    assert device.version == 3
