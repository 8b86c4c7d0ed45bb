"""One asset that is watched live, without a broker: what comes, and what is kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge.bundle import Bundle, Golden, Manifest, write_bundle
from faultwatch_edge.config import AssetSource
from faultwatch_edge.errors import BundleError, ConfigError
from faultwatch_edge.renewal import Renewal, newest_bundle
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.spool import Record
from faultwatch_edge.watched import Watched

SECOND = 1_000_000
SOURCE = AssetSource("pump.fwb", "plant/pump", time="at", time_format="s")
NOW_US = 1_790_000_000 * SECOND


def came(body: object, *, is_again: bool = False) -> Incoming:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Incoming("plant/pump", payload, is_again=is_again, number=1, qos=1)


def sample(second: float, flow: float = 10.0) -> dict[str, float]:
    return {"at": second, "flow": flow, "valve": 1, "total": 5 * second}


def bodies(records: list[Record], *kinds: str) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in records if one.kind in kinds]


@pytest.fixture
def watched(bundle: Bundle) -> Watched:
    return Watched(bundle, SOURCE, publish_scores=False)


def alarmed(watched: Watched) -> list[dict[str, Any]]:
    records = []
    for second in range(40):
        records += watched.take(came(sample(second, 10.0 if second < 20 else 18.0)), NOW_US)
    return bodies(records, "alarm")


@pytest.mark.parametrize(
    "body",
    [
        b'{"verb": "shelve", "by": "K", "reason": "x", "for_s": 1e303}',
        b'{"verb": "acknowledge", "by": "K", "\\ud800": 1}',
        b'{"\\ud800": 1, "\\ud800": 2}',
        b'{"verb": ' + b"[" * 950 + b"]" * 950 + b"}",
        b'{"verb": "acknowledge", "by": "\\ud800"}',
    ],
)
def test_an_order_that_is_none_is_answered_and_can_be_kept(watched: Watched, body: bytes) -> None:
    (record,) = watched.obey(body, NOW_US)
    assert record.kind == "rejected"
    record.body.encode("utf-8")


@pytest.mark.parametrize("at", [-1e12, -1e11, 1e11])
def test_a_sample_of_an_impossible_time_is_refused_and_not_remembered(
    watched: Watched, at: float
) -> None:
    (record,) = watched.take(came(sample(at)), NOW_US)
    assert record.kind == "rejected"
    assert watched.last_sample_us is None
    assert json.dumps(watched.view)


def test_a_sample_that_the_broker_sends_again_too_late_says_nothing(watched: Watched) -> None:
    for second in range(10):
        watched.take(came(sample(second)), NOW_US)
    assert watched.take(came(sample(2), is_again=True), NOW_US) == []
    assert len(bodies(watched.take(came(sample(2)), NOW_US), "rejected")) == 1


def test_a_device_that_believes_to_be_in_the_past_refuses_no_time(watched: Watched) -> None:
    ahead = NOW_US // SECOND + 3_600
    refused = watched.take(came(sample(ahead)), NOW_US)
    assert "is ahead of this device's clock" in bodies(refused, "rejected")[0]["reason"]
    assert watched.take(came(sample(ahead)), at_us=0) == []


def test_silence_is_told_once_and_not_while_nothing_can_come(watched: Watched) -> None:
    watched.take(came(sample(1)), NOW_US)
    told = []
    for second in range(60):
        if second < 20:
            watched.wait_anew()
        told += [(second, one) for one in watched.tick(NOW_US, passed_us=second * SECOND)]
    ((second, record),) = told
    assert second == 19 + 12  # ten sample periods, and what may come late
    assert "the source is silent" in record.body


def test_what_cannot_be_resumed_leaves_nothing_half_way_but_the_alarm(
    watched: Watched, bundle: Bundle
) -> None:
    alarmed(watched)
    kept = json.loads(watched.state)
    notes: list[str] = []
    spoilt = {
        "version": {**kept, "version": 77},
        "numbers": {**kept, "detector": "AAAA"},
        "place": {**kept, "window": {**kept["window"], "next_place": 99}},
        "key": {**kept, "more": 1},
    }
    for name, state in spoilt.items():
        notes.clear()
        again = Watched(bundle, SOURCE, publish_scores=False)
        again.resume(json.dumps(state), notes.append)
        assert "begins anew" in notes[0], name
        found, fresh = (
            json.loads(again.state),
            json.loads(Watched(bundle, SOURCE, publish_scores=False).state),
        )
        assert found["alarm"] == kept["alarm"], name
        assert {**found, "alarm": None} == {**fresh, "alarm": None}, name
    lost = Watched(bundle, SOURCE, publish_scores=False)
    notes.clear()
    lost.resume("{", notes.append)
    assert "without its alarm" in notes[0]


def test_the_alarm_outlives_a_change_of_the_bundle(watched: Watched, bundle: Bundle) -> None:
    (raised,) = alarmed(watched)
    other = Watched(replace(bundle, sha256="other"), SOURCE, publish_scores=False)
    notes: list[str] = []
    other.resume(watched.state, notes.append)
    assert "another bundle, version 3" in notes[0]
    (told,) = bodies(other.obey(b'{"verb": "acknowledge", "by": "Kim"}', NOW_US), "alarm")
    assert (told["alarm_id"], told["sequence"]) == (raised["alarm_id"], 2)


# --- renewal -------------------------------------------------------------------------------------

Release = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def release(
    folder: Path, manifest: Manifest, graph: bytes, golden: Golden, private_key: Ed25519PrivateKey
) -> Release:
    """Put a bundle into the folder."""

    def released(version: int, **changes: Any) -> Path:
        new = replace(manifest, version=version, **changes)
        path = folder / new.file_name
        write_bundle(path, manifest=new, onnx=graph, golden=golden, private_key=private_key)
        return path

    return released


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def renewal(folder: Path, private_key: Ed25519PrivateKey, notes: list[str]) -> Renewal:
    return Renewal(folder, [private_key.public_key()], notes.append)


def look(renewal: Renewal, watched: Watched) -> None:
    """As often as it takes until it looks again."""
    look.now_us += 60 * SECOND  # type: ignore[attr-defined]
    renewal.look(watched, look.now_us)  # type: ignore[attr-defined]


look.now_us = 0  # type: ignore[attr-defined]


def test_a_newer_bundle_is_put_to_work_and_the_alarm_and_the_cells_go_on(
    watched: Watched, renewal: Renewal, release: Release, notes: list[str]
) -> None:
    (raised,) = alarmed(watched)
    before = json.loads(watched.state)
    release(4)
    look(renewal, watched)
    after = json.loads(watched.state)
    assert notes == ["pump_07: version 3 makes way for version 4"]
    assert watched.bundle.manifest.version == 4
    for part in ("grid", "window", "alarm", "events"):
        assert after[part] == before[part]
    records = [r for second in range(40, 60) for r in watched.take(came(sample(second)), NOW_US)]
    returned = bodies(records, "alarm")[0]
    assert (returned["alarm_id"], returned["model_version"]) == (raised["alarm_id"], 4)


def test_an_older_bundle_a_damaged_one_and_one_of_another_asset_change_nothing(
    watched: Watched, renewal: Renewal, release: Release, notes: list[str]
) -> None:
    release(2)
    look(renewal, watched)
    assert not notes
    damaged = release(5)
    damaged.write_bytes(damaged.read_bytes()[:-20])
    for _ in range(3):
        look(renewal, watched)
    (sentence,) = notes
    assert sentence.startswith("pump_07-5.fwb: ")
    assert sentence.endswith("; pump_07-3.fwb goes on")
    damaged.unlink()
    release(4).rename(damaged.with_name("pump_07-6.fwb"))
    release(2).rename(damaged.with_name("pump_07-7.fwb"))
    look(renewal, watched)
    assert "the newest bundle is version 2 of 'pump_07', expected one after 3" in notes[1]
    assert watched.bundle.manifest.version == 3


def test_a_bundle_whose_channels_do_not_fit_the_source_is_refused(
    bundle: Bundle, renewal: Renewal, release: Release, manifest: Manifest, notes: list[str]
) -> None:
    source = replace(SOURCE, keys={"valve": "v"})
    watched = Watched(bundle, source, publish_scores=False)
    flow, valve, total = manifest.channels
    release(4, channels=(flow, replace(valve, name="gate"), total))
    look(renewal, watched)
    assert "names 'valve', which the bundle does not know" in notes[0]
    assert watched.bundle is bundle


def test_a_folder_holds_bundles_of_one_asset(folder: Path, release: Release) -> None:
    assert newest_bundle(folder) is None
    (folder / "notes.fwb").touch()
    release(9)
    tenth = release(10)
    assert newest_bundle(folder) == (tenth, 10)
    release(1, asset_id="fan")
    with pytest.raises(ConfigError, match="holds bundles of 'fan' and 'pump_07'"):
        newest_bundle(folder)


def test_a_bundle_that_fails_its_golden_vectors_never_runs(
    watched: Watched, bundle: Bundle
) -> None:
    wrong = replace(bundle.golden, score=bundle.golden.score + 1)
    with pytest.raises(BundleError, match="golden window 1"):
        watched.renew(replace(bundle, golden=wrong))
    assert watched.bundle is bundle
