"""One asset that is watched live, without a broker: what comes, and what is kept."""

import json
from dataclasses import replace
from typing import Any

import pytest

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.config import AssetSource
from faultwatch_edge.errors import BundleError
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
        "time": {**kept, "grid": {**kept["grid"], "closed_us": 10**18}},
        "channels": {**kept, "events": {**kept["events"], "codes": [0]}},
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
    no_time = {**kept, "alarm": {**kept["alarm"], "raised_us": 10**18}}
    for spoilt_alarm in ("{", json.dumps(no_time)):
        lost = Watched(bundle, SOURCE, publish_scores=False)
        notes.clear()
        lost.resume(spoilt_alarm, notes.append)
        assert "without its alarm" in notes[0]


def test_the_alarm_outlives_a_change_of_the_bundle(watched: Watched, bundle: Bundle) -> None:
    (raised,) = alarmed(watched)
    other = Watched(replace(bundle, sha256="other"), SOURCE, publish_scores=False)
    notes: list[str] = []
    other.resume(watched.state, notes.append)
    assert "another bundle, version 3" in notes[0]
    (told,) = bodies(other.obey(b'{"verb": "acknowledge", "by": "Kim"}', NOW_US), "alarm")
    assert (told["alarm_id"], told["sequence"]) == (raised["alarm_id"], 2)


def test_a_bundle_that_fails_its_golden_vectors_never_runs(
    watched: Watched, bundle: Bundle
) -> None:
    wrong = replace(bundle.golden, score=bundle.golden.score + 1)
    with pytest.raises(BundleError, match="golden window 1"):
        watched.renew(replace(bundle, golden=wrong))
    assert watched.bundle is bundle
