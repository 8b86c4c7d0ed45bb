"""What is made of one message, by the real parts; only nobody listens."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.config import AssetSource, MqttConfig
from faultwatch_edge.mqtt import Connection
from faultwatch_edge.mqtt_messages import MqttMessages
from faultwatch_edge.sources.incoming import Incoming
from faultwatch_edge.spool import Record, Spool
from faultwatch_edge.topics import last_will, order_topic
from faultwatch_edge.watched import Watched

SHELVE = b'{"verb": "shelve", "by": "Kim", "reason": "new seal", "for_s": 60}'
CONFIG = MqttConfig(publish="out/{asset}/{kind}/{more}")
NOW_US = 1_790_000_000_000_000


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool.db") as opened:
        yield opened


def make_messages(bundle: Bundle, spool: Spool, notes: list[str]) -> MqttMessages:
    watched = Watched(bundle, AssetSource("pump.fwb", "plant/pump"), publish_scores=False)
    kept = spool.state(watched.asset)
    if kept is not None:
        watched.resume(kept, notes.append)
    connection = Connection(
        CONFIG, password=None, filters=[], will=last_will(CONFIG), note=notes.append
    )
    return MqttMessages(connection, CONFIG, [watched], spool=spool, note=notes.append)


def feed(
    messages: MqttMessages, spool: Spool, topic: str, payload: bytes, *, is_again: bool
) -> list[Record]:
    """One message, and the commit of what it led to."""
    message = Incoming(topic, payload, is_again=is_again, number=1, qos=1)
    told = messages.feed(message, NOW_US)
    (watched,) = messages.assets
    spool.commit({watched.asset: watched.state, **messages.remembered}, told, at_us=NOW_US)
    return told


def test_an_order_sent_again_is_obeyed_once_also_by_the_next_process(
    bundle: Bundle, spool: Spool
) -> None:
    topic = order_topic(CONFIG, bundle.manifest.asset_id)
    first = make_messages(bundle, spool, [])
    (record,) = feed(first, spool, topic, SHELVE, is_again=False)
    assert json.loads(record.body)["state"] == "shelved"
    assert feed(first, spool, topic, SHELVE, is_again=True) == []
    assert feed(make_messages(bundle, spool, []), spool, topic, SHELVE, is_again=True) == []
    assert len(feed(first, spool, topic, SHELVE, is_again=False)) == 1  # said once more by a person


def test_a_message_that_nobody_thought_of_is_answered_and_the_next_one_is_taken(
    bundle: Bundle, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    messages = make_messages(bundle, spool, notes)
    with monkeypatch.context() as patched:
        patched.setattr(Watched, "take", lambda *_, **__: 1 // 0)
        (record,) = feed(messages, spool, "plant/pump", b"{}", is_again=False)
    assert json.loads(record.body)["reason"] == "led to ZeroDivisionError in the agent"
    assert "ZeroDivisionError" in notes[0]
    (record,) = feed(messages, spool, "plant/pump", b"{}", is_again=False)
    assert json.loads(record.body)["reason"].startswith("payload time is None")
