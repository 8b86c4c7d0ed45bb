"""Records to a web address and to a file: each until it is there, in order, whatever fails."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from faultwatch_edge import delivery
from faultwatch_edge.config import WebhookConfig
from faultwatch_edge.delivery import Delivery, Sink
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.sinks import webhook as webhook_module
from faultwatch_edge.sinks.line_file import LineFile
from faultwatch_edge.sinks.webhook import Webhook
from faultwatch_edge.spool import Record, Spool

PATIENCE_S = 20.0
SECOND = 1_000_000


def alarm(number: int) -> Record:
    body = {"alarm_id": "pump-1", "sequence": number, "is_historical": False}
    return Record("pump", "alarm", json.dumps(body, separators=(",", ":")))


class Consumer:
    """A web server that answers as it is told, and keeps what it took."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        self.headers: dict[str, str] = {}

    def answer(self, headers: dict[str, str], body: bytes) -> int:
        self.headers = headers
        self.asked += 1
        code = self.answers.pop(0) if self.answers else 204
        if code < 300:
            self.taken.append(json.loads(body))
        return code


@contextmanager
def served(consumer: Consumer, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            code = consumer.answer(dict(self.headers), self.rfile.read(length))
            self.send_response(code)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()

        def say_nothing(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        log_message = say_nothing

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool.db", sinks=("webhook", "file")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(webhook_module, "LONGEST_PAUSE_S", 0.05)


def deliver(spool: Spool, sink: Sink, is_done: Callable[[], object], *, at_us: int = 0) -> None:
    """Steps of a delivery, a minute of the device's apart, until something is so."""
    one, end = Delivery(spool, sink), time.monotonic() + PATIENCE_S
    passed_us = 0
    while not is_done():
        assert time.monotonic() < end, "waited too long"
        one.step(at_us, passed_us)
        passed_us += 60 * SECOND
        time.sleep(0.005)


@pytest.fixture
def notes() -> list[str]:
    return []


def test_alarms_are_posted_in_order_with_the_token_until_they_are_taken(
    spool: Spool, notes: list[str]
) -> None:
    consumer = Consumer()
    consumer.answers = [204, 503, 500, 429, 204]
    spool.commit({}, [alarm(number) for number in range(40)], at_us=0)
    with served(consumer) as server:
        config = WebhookConfig(f"http://127.0.0.1:{server.server_port}/alarms")
        with Webhook(config, token="secret", note=notes.append) as webhook:  # noqa: S106
            deliver(spool, webhook, lambda: not spool.waiting("webhook", 1))
    assert [one["sequence"] for one in consumer.taken] == list(range(40))
    assert consumer.headers["Authorization"] == "Bearer secret"
    assert [note.split("answers ")[1] for note in notes] == [
        "503 Service Unavailable; tried again",
        "500 Internal Server Error; tried again",
        "429 Too Many Requests; tried again",
    ]


def test_what_is_refused_lets_the_others_pass_and_is_sent_again(
    spool: Spool, notes: list[str]
) -> None:
    consumer = Consumer()
    consumer.answers = [400]
    spool.commit({}, [alarm(0), alarm(1), alarm(2)], at_us=0)
    with served(consumer) as server:
        config = WebhookConfig(f"http://127.0.0.1:{server.server_port}/alarms")
        with Webhook(config, token=None, note=notes.append) as webhook:
            deliver(spool, webhook, lambda: not spool.waiting("webhook", 1))
    assert [one["sequence"] for one in consumer.taken] == [1, 2, 0]
    assert "Authorization" not in consumer.headers
    assert "answers 400 Bad Request" in notes[0]


def test_what_an_asset_in_shadow_says_is_not_posted(spool: Spool, notes: list[str]) -> None:
    consumer = Consumer()
    shadow = Record("pump", "alarm", '{"sequence":7,"shadow":true}')
    spool.commit({}, [shadow, alarm(0), shadow], at_us=0)
    with served(consumer) as server:
        config = WebhookConfig(f"http://127.0.0.1:{server.server_port}/alarms")
        with Webhook(config, token=None, note=notes.append) as webhook:
            deliver(spool, webhook, lambda: not spool.waiting("webhook", 1))
    assert [one["sequence"] for one in consumer.taken] == [0]


def test_nobody_is_followed_to_another_address(spool: Spool, notes: list[str]) -> None:
    consumer = Consumer()
    consumer.answers = [307, 302, 204]
    spool.commit({}, [alarm(0)], at_us=0)
    with served(consumer) as server:
        config = WebhookConfig(f"http://127.0.0.1:{server.server_port}/alarms")
        with Webhook(config, token=None, note=notes.append) as webhook:
            deliver(spool, webhook, lambda: not spool.waiting("webhook", 1))
    assert consumer.asked == 3
    assert "answers 307" in notes[0]


def test_an_alarm_waits_for_a_server_that_is_away_and_comes_marked_as_late(
    spool: Spool, notes: list[str]
) -> None:
    consumer = Consumer()
    with served(consumer) as server:
        port = server.server_port
    spool.commit({}, [alarm(0), alarm(1)], at_us=0)
    config = WebhookConfig(f"http://127.0.0.1:{port}/alarms")
    with Webhook(config, token=None, note=notes.append) as webhook:
        deliver(spool, webhook, lambda: not webhook.is_ready)
        with served(consumer, port):
            late_us = delivery.LATE_US
            deliver(spool, webhook, lambda: not spool.waiting("webhook", 1), at_us=late_us)
        assert webhook.is_ready
    assert {one["sequence"] for one in consumer.taken} == {0, 1}
    assert "cannot be reached" in notes[0]
    assert len(notes) == 1


def test_a_webhook_that_waits_can_be_closed(spool: Spool, notes: list[str]) -> None:
    spool.commit({}, [alarm(0)], at_us=0)
    with Webhook(WebhookConfig("http://127.0.0.1:9/"), token=None, note=notes.append) as webhook:
        deliver(spool, webhook, lambda: notes)
    assert spool.count() == {"alarm": 1}


def test_a_token_or_an_authority_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    config = WebhookConfig("https://localhost/")
    with pytest.raises(ConfigError, match="other characters than printable ASCII"):
        Webhook(config, token="a\nb", note=print)  # noqa: S106
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"webhook\.ca cannot be used .* expected a PEM file"):
        Webhook(WebhookConfig("https://x/", ca=str(tmp_path / "ca.pem")), token=None, note=print)


def lines(file: Path) -> list[int]:
    return [json.loads(line)["sequence"] for line in file.read_text().splitlines()]


def test_records_are_lines_of_the_file_and_a_line_that_was_torn_stays_alone(
    spool: Spool, tmp_path: Path, notes: list[str]
) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text('{"sequence":')
    spool.commit({}, [alarm(number) for number in range(600)], at_us=0)
    deliver(spool, LineFile(file, notes.append), lambda: not spool.waiting("file", 1))
    torn, *whole = file.read_text().splitlines()
    assert torn == '{"sequence":'
    assert [json.loads(line)["sequence"] for line in whole] == list(range(600))


def test_a_large_file_is_put_aside_and_one_that_is_moved_away_begun_again(
    spool: Spool, tmp_path: Path, notes: list[str]
) -> None:
    file = tmp_path / "said.jsonl"
    sink = LineFile(file, notes.append, most_bytes=100)
    one = Delivery(spool, sink)
    for number in range(4):
        spool.commit({}, [alarm(number)], at_us=0)
        one.step(0, 0)
        one.step(0, 0)
    assert lines(file.with_name("said.jsonl.1")) == [0, 1]
    assert lines(file) == [2, 3]
    file.rename(tmp_path / "moved")
    spool.commit({}, [alarm(4)], at_us=0)
    deliver(spool, sink, lambda: not spool.waiting("file", 1))
    assert lines(file) == [4]


def test_a_file_that_cannot_be_written_is_said_once_and_nothing_is_lost(
    spool: Spool, tmp_path: Path, notes: list[str]
) -> None:
    file = tmp_path / "gone" / "said.jsonl"
    sink = LineFile(file, notes.append)
    spool.commit({}, [alarm(0)], at_us=0)
    one = Delivery(spool, sink)
    for _ in range(3):
        one.step(0, 0)
    assert not sink.is_ready
    assert notes == [f"{file} cannot be written (No such file or directory); tried again"]
    file.parent.mkdir()
    deliver(spool, sink, lambda: not spool.waiting("file", 1))
    assert lines(file) == [0]
    assert sink.is_ready
