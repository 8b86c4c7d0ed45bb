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
        assert (found["alarm"], found["first_out"]) == (kept["alarm"], kept["first_out"]), name
        machine = {"alarm": None, "first_out": None}
        assert {**found, **machine} == {**fresh, **machine}, name
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
    assert told["first_out"] == "flow"


def test_the_alarm_of_an_older_agent_goes_on(watched: Watched, bundle: Bundle) -> None:
    alarmed(watched)
    older = json.loads(watched.state)
    del older["first_out"], older["holds"], older["alarm"]["suppressed_until_us"]
    again = Watched(bundle, SOURCE, publish_scores=False)
    notes: list[str] = []
    again.resume(json.dumps(older), notes.append)
    assert notes == []
    (told,) = bodies(again.obey(b'{"verb": "acknowledge", "by": "Kim"}', NOW_US), "alarm")
    assert (told["state"], told["first_out"]) == ("acknowledged", None)


def held(watched: Watched, bundle: Bundle) -> tuple[Any, ...]:
    """State, until when, by whom and why; as it is seen after a restart with that bundle."""
    again = Watched(bundle, SOURCE, publish_scores=False)
    again.resume(watched.state, lambda _: None)
    view: Any = again.view
    return view["state"], view["silent_until"], view["alarm"]["by"], view["alarm"]["reason"]


@pytest.mark.parametrize("sha256", ["the same", "another"])
def test_after_a_restart_the_operator_still_sees_who_holds_the_alarm_and_why(
    watched: Watched, bundle: Bundle, sha256: str
) -> None:
    bundle = bundle if sha256 == "the same" else replace(bundle, sha256=sha256)
    alarmed(watched)
    assert held(watched, bundle) == ("unacknowledged", None, None, None)
    for reason in ("it flutters", "it flutters again"):
        shelve = {"verb": "shelve", "by": "Kim", "reason": reason, "for_s": 3600}
        watched.obey(json.dumps(shelve).encode(), NOW_US)
    shelved = ("shelved", "2026-09-21T15:13:20Z", "Kim", "it flutters again")
    assert held(watched, bundle) == shelved
    suppress = {"verb": "suppress", "by": "Lee", "reason": "new seal", "for_s": 60}
    watched.obey(json.dumps(suppress).encode(), NOW_US)
    suppressed = ("suppressed_by_design", "2026-09-21T14:14:20Z", "Lee", "new seal")
    assert held(watched, bundle) == suppressed
    watched.tick(NOW_US + 60 * SECOND, passed_us=0)
    assert held(watched, bundle) == shelved
    watched.obey(b'{"verb": "take_out_of_service", "by": "Lee", "reason": "sold"}', NOW_US)
    assert held(watched, bundle) == ("out_of_service", None, "Lee", "sold")
    watched.obey(b'{"verb": "return_to_service", "by": "Kim"}', NOW_US)
    assert held(watched, bundle) == ("unacknowledged", None, None, None)


def test_what_cannot_be_read_of_who_holds_the_alarm_leaves_the_alarm(
    watched: Watched, bundle: Bundle
) -> None:
    alarmed(watched)
    for hold in ({"verb": "sing"}, {"verb": "acknowledge", "by": "Kim"}):
        spoilt = json.loads(watched.state) | {"holds": [hold], "first_out": 3}
        again = Watched(bundle, SOURCE, publish_scores=False)
        again.resume(json.dumps(spoilt), lambda _: None)
        assert again.view["state"] == "unacknowledged"


def test_the_operator_sees_that_the_machine_is_not_scored_and_the_alarm_stays(
    watched: Watched,
) -> None:
    alarmed(watched)
    assert (watched.view["state"], watched.view["is_passed_over"]) == ("unacknowledged", False)
    for second in range(1_000, 1_008):  # the first window of a sequence is not scored
        watched.take(came(sample(second)), NOW_US)
        if watched.view["is_passed_over"]:
            break
    assert (watched.view["state"], watched.view["is_passed_over"]) == ("unacknowledged", True)


def test_a_bundle_that_fails_its_golden_vectors_never_runs(
    watched: Watched, bundle: Bundle
) -> None:
    wrong = replace(bundle.golden, score=bundle.golden.score + 1)
    with pytest.raises(BundleError, match="golden window 1"):
        watched.renew(replace(bundle, golden=wrong))
    assert watched.bundle is bundle
