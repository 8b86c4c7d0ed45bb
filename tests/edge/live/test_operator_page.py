"""The operator's page in a real browser: what is active, since when, and orders from it."""

import http.client
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.slow

START_S: Final = 1_767_225_600
PATIENCE_MS: Final = 15_000


@pytest.fixture
def port(agent: Any, peer: Any, wait_for: Any) -> int:
    """Of the page of an agent that has just raised an alarm."""
    agent.start()
    with peer("collector", "faultwatch/#") as collector, peer("gateway") as gateway:
        for second in range(40):
            flow = 10.0 if second < 20 else 18.0
            body = {"at": START_S + second, "flow": flow, "state": {"valve": 1}}
            gateway.say("plant/pump_07", body | {"FQ-101": 5 * second})
        wait_for(lambda: collector.told("alarm"), "the alarm")
    found = re.search(r"page is at http://localhost:(\d+)", agent.said)
    assert found is not None
    return int(found[1])


@pytest.fixture
def tab(browser: Browser, port: int) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1000, "height": 700}, locale="en-GB")
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
    opened.on(
        "request",
        lambda one: (
            None
            if one.url.startswith((f"http://localhost:{port}/", "data:"))
            else problems.append(one.url)
        ),
    )
    opened.set_default_timeout(PATIENCE_MS)
    opened.goto(f"http://localhost:{port}/")
    yield opened
    context.close()
    assert not problems


def test_the_operator_sees_what_is_wrong_acknowledges_and_shelves_it(tab: Tab) -> None:
    card = tab.locator("article[data-asset=pump_07]")
    tab.locator("article.unacknowledged").wait_for()
    text = card.inner_text()
    assert "Feed pump 07, Plant A" in text
    assert "Differs from normal running (flow alone), since 2026-01-01T00:00:2" in text
    assert "18 m3/h" in text
    assert "10 m3/h" in text
    assert "Switch to pump 08" in text
    assert tab.locator("svg polyline").count() == 1
    card.get_by_role("button", name="Acknowledge").click()
    tab.get_by_role("button", name="Send").click()
    assert tab.locator("#order").is_visible()  # a name is needed
    tab.get_by_label("Name").fill("Kim <b>")
    tab.get_by_role("button", name="Send").click()
    tab.locator("article.acknowledged").wait_for()
    card.get_by_role("button", name="Take out of service").click()
    assert not tab.locator("#for").is_visible()
    tab.get_by_role("button", name="Cancel").click()
    card.get_by_role("button", name="Shelve").click()
    tab.get_by_label("Reason").fill("impeller ordered")
    tab.get_by_role("button", name="Send").click()
    tab.locator("article.shelved").wait_for()
    assert "Shelved, until" in card.inner_text()
    assert "Why: impeller ordered (Kim <b>)" in card.inner_text()
    assert "First to differ: flow" in card.inner_text()


def test_the_operator_suppresses_the_alarm_while_somebody_is_at_work(tab: Tab) -> None:
    card = tab.locator("article[data-asset=pump_07]")
    tab.locator("article.unacknowledged").wait_for()
    card.get_by_role("button", name="Suppress for maintenance").click()
    tab.get_by_label("Name").fill("Kim")
    tab.get_by_label("Reason").fill("changing the impeller")
    tab.locator("#for").select_option("30 days")
    tab.get_by_role("button", name="Send").click()
    tab.locator("article.suppressed_by_design").wait_for()
    assert "Suppressed, at work on it, until" in card.inner_text()
    assert "Why: changing the impeller (Kim)" in card.inner_text()
    card.get_by_role("button", name="Maintenance is done").click()
    tab.get_by_role("button", name="Send").click()
    tab.locator("article.unacknowledged").wait_for()
    assert "Why:" not in card.inner_text()
    card.get_by_role("button", name="Shelve").click()
    lasting = tab.locator("#for")
    assert lasting.locator("option:enabled").last.inner_text() == "a week"
    assert lasting.input_value() == "3600"


def ask(port: int, method: str, path: str, **options: Any) -> tuple[int, str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, **options)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers
    connection.close()
    return found


def test_prometheus_reads_the_same(port: int, wait_for: Any) -> None:
    raised = 'faultwatch_alarms_raised_total{asset="pump_07"} 1\n'
    wait_for(lambda: raised in ask(port, "GET", "/metrics")[1], "the alarm to be counted")
    status, text, headers = ask(port, "GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert found['faultwatch_connected{sink="mqtt"}'] == "1"
    assert int(found['faultwatch_samples_total{asset="pump_07"}']) > 20
    assert int(found["faultwatch_resident_peak_bytes"]) > 10_000_000
    assert float(found['faultwatch_last_sample_age_seconds{asset="pump_07"}']) > 1_000


def test_what_another_web_site_makes_a_browser_send_is_refused(port: int, agent: Any) -> None:
    json_type = {"Content-Type": "application/json"}
    order = b'{"verb": "acknowledge", "by": "Mallory"}'
    assert ask(port, "GET", "/state.json", headers={"Host": "evil.example"})[0] == 403
    host = {"Host": f"evil.example:{port}"}
    assert ask(port, "POST", "/orders/pump_07", body=order, headers=json_type | host)[0] == 403
    plain = {"Content-Type": "text/plain"}
    assert ask(port, "POST", "/orders/pump_07", body=order, headers=plain)[0] == 415
    assert ask(port, "POST", "/orders/pump_8", body=order, headers=json_type)[0] == 404
    huge = b" " * 5_000
    assert ask(port, "POST", "/orders/pump_07", body=huge, headers=json_type)[0] == 413
    status, sentence, _ = ask(port, "POST", "/orders/pump_07", body=b"{}", headers=json_type)
    assert (status, sentence) == (400, "order: verb is missing, expected it beside the others")
    assert ask(port, "GET", "/../agent.py")[0] == 404
    status, _, headers = ask(port, "GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Traceback" not in agent.said
