"""What was heard is in the tables once, in whatever order, company and repetition it came."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faultwatch_edge.config import MqttConfig
from features.channels import Channel
from pipelines.buffer import Heard
from pipelines.collect import make_records
from pipelines.config import AssetConfig
from pipelines.historian import Historian
from pipelines.journal import AGENTS, Journal, health_table
from pipelines.quarantine import Quarantine
from pipelines.records import AgentsRecord, Record

START: Final = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
HEARD_US: Final = 1_800_000_000_000_000
CHANNELS: Final = ("flow", "pressure")
SHA: Final = "ab" * 32
ALARMS, EVENTS, SCORES = (f"faultwatch/pump_07/{kind}" for kind in ("alarm", "event", "score"))
Body = dict[str, Any]


def asset_config() -> AssetConfig:
    return AssetConfig.model_validate(
        {
            "asset": {"id": "pump_07"},
            "source": {"files": "*.csv"},
            "window": {"sample_period_s": 1.0},
            "channel": [{"name": name} for name in CHANNELS],
            "live": {"topic": "plant/pump_07/{channel}", "time_format": "s"},
        }
    )


def iso(second: int) -> str:
    return (START + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")


def told(kind: str, number: int, sequence: int) -> Body:
    states = {"alarm": ("unacknowledged", "acknowledged"), "event": ("active", "normal")}[kind]
    return {
        "schema": 1,
        "kind": kind,
        "alarm_id": f"pump_07-{kind}-{number}",
        "asset": "pump_07",
        "condition": "asset_anomaly",
        "sequence": sequence,
        "occurrence": 1,
        "status": "out_of_specification",
        "state": states[(sequence + 1) % 2],
        "previous_state": "normal",
        "onset_at": iso(number),
        "raised_at": iso(number + 1) if kind == "alarm" else None,
        "transition_at": iso(number + sequence),
        "score": 1.0 / (1 + number),
        "threshold": 3.0,
        "contributors": [
            {"channel": "flow", "unit": "m3/h", "observed": 1.5, "expected": None, "share": 1.0}
        ],
        "first_out": "flow",
        "priority": "high",
        "message": "Pump: differs",
        "action": "look",
        "by": "Kim" if sequence == 2 else None,
        "reason": "seen" if sequence == 2 else None,
        **dict.fromkeys(("channel", "cause", "consequence")),
        **dict.fromkeys(("is_historical", "shadow"), False),
        "model_version": 3,
        "bundle_sha256": SHA,
    }


RAISED: Final = told("alarm", 0, 1)


def score(second: int, sha: str = SHA) -> Body:
    return {
        "schema": 1,
        "kind": "score",
        "asset": "pump_07",
        "time": iso(second),
        "score": second / 7,
        "anomalous": second > 20,
        "gate": True,
        "state": "normal",
        "model_version": 3,
        "bundle_sha256": sha,
    }


def health(minute: int, agent: str = "edge") -> Body:
    counts = ("samples", "late", "rejected", "bad_quality", "windows_scored", "windows_not_scored")
    one = {
        "asset": "pump_07",
        "model_version": 3,
        "bundle_sha256": SHA,
        "last_sample_at": None,
        "alarms_raised": 0,
        **dict.fromkeys(counts, minute),
    }
    return {
        "schema": 1,
        "kind": "health",
        "agent": agent,
        "version": "0.1.0",
        "online": True,
        "at": iso(60 * minute),
        "waiting": {"alarm": 1, "scores_dropped": 2},
        "assets": [one, one | {"asset": "fan_02"}],
    }


def gone(agent: str = "edge") -> Body:
    return {"schema": 1, "kind": "health", "agent": agent, "online": False}


def heard(topic: str, body: object, heard_us: int = HEARD_US) -> Heard:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Heard(topic, payload, heard_us)


def sample(channel: str, second: int, value: float | None = None) -> Heard:
    at = START.timestamp() + second
    value = second / 3 if value is None else value
    return heard(f"plant/pump_07/{channel}", {"time": at, "value": value})


class Tables:
    """A historian's folder, and what is written to it."""

    def __init__(self, folder: str | Path, buffer_us: int = 1) -> None:
        self.address = str(folder)
        self.said: list[str] = []
        self.records: list[Record] = make_records(
            [asset_config()], MqttConfig(), self.address, buffer_us=buffer_us, say=self.said.append
        )
        self.agents = AgentsRecord(MqttConfig(), (), address=self.address, say=self.said.append)
        self.number = 0

    def numbered(self, messages: Sequence[Heard]) -> list[Heard]:
        """As the buffer gives them back: each with the next number."""
        self.number += len(messages)
        first = self.number - len(messages) + 1
        return [
            Heard(one.topic, one.payload, one.heard_us, number)
            for number, one in enumerate(messages, start=first)
        ]

    def write(self, messages: Sequence[Heard]) -> None:
        for record in (*self.records, self.agents):
            if ours := [one for one in messages if record.is_of(one.topic)]:
                record.write(ours)

    def hear(self, *messages: Heard) -> None:
        self.write(self.numbered(messages))

    @property
    def historian(self) -> Historian:
        channels = tuple(Channel(name=name) for name in CHANNELS)
        return Historian(self.address, "pump_07", channels)

    def read(self) -> dict[str, pl.DataFrame]:
        journal = Journal(self.address, "pump_07")
        return {
            "samples": self.historian.read(),
            "quarantine": self.historian.read_quarantine(),
            "alarms": journal.alarms.read(),
            "events": journal.events.read(),
            "scores": journal.scores.read(),
            "health": health_table(self.address).read(),
            "agents": Quarantine(f"{self.address}/{AGENTS}/quarantine", AGENTS).read(),
        }


def check_same(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    assert {name: frame.rows() for name, frame in found.items()} == {
        name: frame.rows() for name, frame in expected.items()
    }


SECONDS: Final = st.integers(0, 40)
MESSAGES: Final = st.lists(
    st.one_of(
        st.builds(sample, st.sampled_from(CHANNELS), SECONDS),
        st.builds(
            lambda kind, number, sequence: heard(
                f"faultwatch/pump_07/{kind}", told(kind, number, sequence)
            ),
            st.sampled_from(["alarm", "event"]),
            st.integers(0, 2),
            st.integers(1, 3),
        ),
        st.builds(
            lambda second, sha: heard("faultwatch/pump_07/score", score(second, sha)),
            SECONDS,
            st.sampled_from([SHA, "cd" * 32]),
        ),
        st.builds(lambda minute: heard("faultwatch/edge/health", health(minute)), SECONDS),
        st.builds(
            heard,
            st.sampled_from(
                [
                    "plant/pump_07/flow",
                    "plant/pump_07/mood",
                    "faultwatch/pump_07/alarm",
                    "faultwatch/pump_07/score",
                    "faultwatch/edge/health",
                ]
            ),
            st.sampled_from([b"{", b"[1]", b"{}", b'{"schema": 2}', b'{"time": 1e99, "value": 1}']),
        ),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(messages=MESSAGES, data=st.data())
def test_order_repetition_and_batches_change_nothing(messages: list[Heard], data: Any) -> None:
    again = data.draw(st.lists(st.sampled_from(messages), max_size=10))
    order = data.draw(st.permutations([*messages, *again]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3)))
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        expected, disturbed = Tables(one), Tables(other)
        expected.hear(*messages)
        for first, last in zip([0, *cuts], [*cuts, len(order)], strict=True):
            batch = disturbed.numbered(order[first:last])
            disturbed.write(batch)
            if data.draw(st.booleans()):  # killed before the buffer forgot them
                disturbed.write(batch)
        check_same(disturbed.read(), expected.read())


def test_a_message_of_every_kind_is_kept_as_it_was_said(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.hear(
        sample("flow", 0, 1.5),
        sample("pressure", 0, 2.5),
        heard("faultwatch/pump_07/alarm", told("alarm", 0, 2)),
        heard("faultwatch/pump_07/event", told("event", 0, 1)),
        heard("faultwatch/pump_07/score", score(21)),
        heard("faultwatch/edge/health", health(1)),
    )
    found = tables.read()
    assert found["samples"].rows() == [(START, 1.5, 2.5)]
    (alarm,) = found["alarms"].to_dicts()
    known = told("alarm", 0, 2)
    assert alarm["time"] == START + timedelta(seconds=2)
    assert (alarm["onset_at"], alarm["raised_at"]) == (START, START + timedelta(seconds=1))
    assert json.loads(alarm["contributors"]) == known["contributors"]
    same = ("alarm_id", "sequence", "state", "score", "by", "reason", "message", "shadow")
    assert {name: alarm[name] for name in same} == {name: known[name] for name in same}
    assert found["events"]["state"].to_list() == ["active"]
    assert found["scores"].row(0) == (
        START + timedelta(seconds=21), 3.0, True, True, "normal", 3, SHA,
    )  # fmt: skip
    assert found["health"].select("asset", "online", "samples", "waiting").rows() == [
        ("fan_02", True, 1, 3),
        ("pump_07", True, 1, 3),
    ]
    assert found["quarantine"].is_empty()
    assert tables.said == []


def test_the_first_word_under_a_name_stands_and_another_is_put_in_quarantine(
    tmp_path: Path,
) -> None:
    tables, first = Tables(tmp_path), told("alarm", 0, 1)
    topic = "faultwatch/pump_07/alarm"
    tables.hear(heard(topic, first))
    tables.hear(heard(topic, first | {"is_historical": True}), heard(topic, first | {"score": 9.0}))
    found = tables.read()
    assert found["alarms"]["score"].to_list() == [1.0]
    (row,) = found["quarantine"].to_dicts()
    assert (row["source"], json.loads(row["raw"])["score"]) == (topic, 9.0)
    assert "says otherwise what was said before under the same name" in row["reason"]


def test_a_later_sample_wins_and_the_earlier_value_is_put_in_quarantine(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    batch = tables.numbered([sample("flow", 0, 1.0), sample("flow", 0, 2.0)])
    tables.write(batch)
    tables.write(batch)  # killed before the buffer forgot them
    assert tables.read()["samples"]["flow"].to_list() == [2.0]
    (reason,) = tables.read()["quarantine"]["reason"]
    assert "was 1.0 and is now 2.0" in reason


def test_the_numbers_of_a_new_buffer_hide_nothing(tmp_path: Path) -> None:
    Tables(tmp_path, buffer_us=1).hear(sample("flow", 0), sample("flow", 1))
    anew = Tables(tmp_path, buffer_us=2)
    anew.hear(sample("flow", 2))
    assert anew.read()["samples"].height == 3


def test_two_collectors_that_hear_the_same_write_it_once(tmp_path: Path) -> None:
    both = [Tables(tmp_path / "both", buffer_us=number) for number in (1, 2)]
    batches = [
        [
            *(sample(channel, second) for channel in CHANNELS for second in range(5 * batch, 20)),
            *(heard(SCORES, score(second)) for second in range(5 * batch, 20)),
            heard(ALARMS, told("alarm", batch, 1)),
        ]
        for batch in range(4)
    ]

    def write_all(tables: Tables) -> None:
        for batch in batches:
            tables.hear(*batch)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write_all, both))
    alone = Tables(tmp_path / "alone")
    write_all(alone)
    check_same(both[0].read(), alone.read())


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (heard("plant/pump_07/flow", b"{"), "payload is not JSON, expected an object"),
        (heard("plant/pump_07/mood", {"time": 1, "value": 2}), "topic names 'mood', expected one"),
        (heard("plant/pump_07/flow", b'{"time": 1, "value": 1e999}'), "has 'flow' = inf"),
        (heard("plant/pump_07/flow", {"time": 3e9, "value": 1}), "time ahead of the collector's"),
        (heard("plant/pump_07/flow", {"time": -9e11, "value": 1}), "time out of range"),
        (heard("plant/pump_07/flow", b" " * 300_000), "has 300000 bytes, expected at most 262144"),
        (heard("faultwatch/pump_07/alarm", b"\xff"), "is not a JSON document"),
        (heard("faultwatch/pump_07/alarm", b" " * 300_000), "has 300000 bytes"),
        (heard(SCORES, score(0) | {"schema": 2}), "schema is 2, expected 1; of"),
        (heard(SCORES, score(0) | {"asset": "fan"}), "asset is 'fan', expected"),
        (heard(SCORES, score(0) | {"more": 1}), "more is not known, expected"),
        (heard(SCORES, score(0) | {"time": "soon"}), "time is 'soon', expected"),
        (heard(SCORES, score(0) | {"model_version": 2**63}), "is too large"),
        (heard(EVENTS, RAISED), "kind is 'alarm', expected 'event'"),
        (heard(ALARMS, RAISED | {"state": "hushed"}), "state is 'hushed', expected one of ack"),
        (heard(ALARMS, RAISED | {"priority": "utmost"}), "priority is 'utmost', expected one of"),
        (heard(ALARMS, RAISED | {"sequence": 0}), "sequence is 0, expected 1 or more"),
        (heard(ALARMS, RAISED | {"onset_at": "2026-01-01"}), "onset_at is '2026-01-01', expected"),
    ],
)  # fmt: skip
def test_a_bad_message_is_put_in_quarantine_with_its_reason_and_stops_nothing(
    tmp_path: Path, message: Heard, reason: str
) -> None:
    tables = Tables(tmp_path)
    tables.hear(message, sample("flow", 0), message, heard("faultwatch/pump_07/score", score(1)))
    found = tables.read()
    (row,) = found["quarantine"].to_dicts()
    assert reason in row["reason"]
    assert row["source"] == message.topic
    assert reason in tables.said[0]
    assert (found["samples"].height, found["scores"].height) == (1, 1)


def test_of_many_bad_messages_only_some_are_said(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.hear(*(heard("plant/pump_07/flow", f"[{number}]".encode()) for number in range(8)))
    assert tables.read()["quarantine"].height == 8
    assert len(tables.said) == 6
    assert tables.said[-1] == "pump_07: 3 more messages are put in quarantine"


def test_an_agent_that_vanished_is_told_once_until_it_is_back(tmp_path: Path) -> None:
    tables, topic = Tables(tmp_path), "faultwatch/edge/health"
    minutes = [HEARD_US + minute * 60_000_000 for minute in range(4)]
    tables.hear(heard(topic, health(0)), heard(topic, gone(), minutes[1]))
    tables.hear(heard(topic, gone(), minutes[2]))  # the broker was not told that it was kept
    assert tables.agents.gone == {"edge"}
    tables.hear(heard(topic, health(3)), heard(topic, gone(), minutes[3]))
    found = tables.read()["health"].filter(pl.col("asset").is_in(["", "pump_07"]))
    assert found["online"].to_list() == [True, True, False, False]


def test_health_that_lacks_what_it_is_about_is_put_in_quarantine(tmp_path: Path) -> None:
    tables, topic = Tables(tmp_path), "faultwatch/edge/health"
    tables.hear(heard(topic, {**gone(), "online": True}))
    assert "version is missing" in tables.read()["agents"]["reason"][0]


def test_what_belongs_to_no_asset_is_put_in_the_quarantine_of_all(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.agents.write([heard("faultwatch/fan_02/alarm", {})])
    (row,) = tables.read()["agents"].to_dicts()
    assert row["source"] == "faultwatch/fan_02/alarm"
    assert "belongs to no asset that is collected" in row["reason"]
