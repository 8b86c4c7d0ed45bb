"""The report page: what its text holds, and what a real browser makes of it."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser
from playwright.sync_api import Page as Tab

from pipelines.page import AlarmLine, ChannelLine, DetectorLine, Page, Stretch, Trace, write_page

START, STEP, COUNT = 1_772_323_200.0, 180.0, 2000  # 2026-03-01 00:00 UTC
HOSTILE = "</script><script>window.ran=1</script><img src=x onerror='window.ran=1'>\"&\u2028{{7*7}}"
COUNT_COLORS = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""
Change = Callable[[Page], Page]


def at(bucket: int) -> float:
    return START + STEP * bucket


def x_of(first: int, last: int) -> NDArray[np.float64]:
    return np.array([at(bucket) for bucket in range(first, last)], np.float64)


def make_alarm(onset: int, ended: int | None, *, channel: str = "flow") -> AlarmLine:
    x = x_of(onset - 60, onset + 60)
    expected = 50.0 + np.sin(x / 5000)
    observed = np.where(x > at(onset), expected + 5.0, expected)
    observed[10] = np.nan
    return AlarmLine(
        onset=at(onset),
        raised=at(onset + 7),
        ended=None if ended is None else at(ended),
        peak=62.5,
        during="",
        traces=(
            Trace(channel, "m3/h", 0.6, x, observed, expected),
            Trace("valve", "", 0.25, x[:0], x[:0], x[:0]),
        ),
    )


def make_score(seed: int, alarms: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    score = np.random.default_rng(seed).exponential(1.0, COUNT)
    for start, end in alarms:
        score[start:end] += 40.0
    score[100:150] = np.nan
    return score


def make_page() -> Page:
    spans = ((500, 560), (1200, 1300), (1900, 2000))
    return Page(
        title="pump_07",
        verdict="3 alarms in 4 days.",
        facts=(("Rows", "2,000"),),
        promise="Budget 0.1 false alarms a day.",
        warnings=("The training data are short.",),
        channels=(
            ChannelLine("flow", "m3/h", "continuous", 1.0, 9.5, 5.0, 1.25, 0.02, constant=False),
            ChannelLine("valve", "", "discrete", 3.0, 3.0, 3.0, 0.0, 0.0, constant=True),
            ChannelLine("dead", "K", "continuous", None, None, None, None, 1.0, constant=False),
        ),
        quality=(("a.csv", ("'dead' has no value",)), ("b.csv", ())),
        has_times=True,
        x=x_of(0, COUNT),
        detectors=(
            DetectorLine("Faultwatch (vae)", 5.0, make_score(0, spans), 2, 0.01, 4.0, 1, 1260.0),
            DetectorLine("PCA T²+Q", 4.0, make_score(1, spans[1:]), 3, 0.02, 4.0, 1, None),
        ),
        alarms=(make_alarm(500, 560), make_alarm(1200, 1300), make_alarm(1900, None)),
        labels=(
            Stretch(at(490), at(565), "fault", "seal leaks"),
            Stretch(at(100), at(150), "maintenance", ""),
        ),
    )


def without_scores(page: Page) -> Page:
    nothing = np.full(COUNT, np.nan)
    line = replace(page.detectors[0], score=nothing, found=None, anomalous_share=np.nan, days=0.0)
    return replace(page, detectors=(line,), alarms=(), labels=())


def in_rows(page: Page) -> Page:
    detectors = tuple(replace(line, days=0.0, found=None) for line in page.detectors)
    rows = np.linspace(0.0, 4.0 * (COUNT - 1), COUNT)
    return replace(page, has_times=False, x=rows, detectors=detectors, alarms=(), labels=())


def hostile(page: Page) -> Page:
    """Every text that a user's file can hold, trying to leave its place."""
    channel = replace(page.channels[0], name=HOSTILE, unit=HOSTILE)
    alarm = replace(make_alarm(500, 560, channel=HOSTILE), during=HOSTILE)
    return replace(
        page,
        title=HOSTILE,
        verdict=HOSTILE,
        facts=((HOSTILE, HOSTILE),),
        warnings=(HOSTILE,),
        channels=(channel, *page.channels[1:]),
        quality=((HOSTILE, (HOSTILE,)),),
        detectors=tuple(replace(line, name=HOSTILE) for line in page.detectors),
        alarms=(alarm, *page.alarms[1:]),
        labels=(Stretch(at(490), at(565), "fault", HOSTILE),),
    )


def text_of(page: Page, folder: Path) -> str:
    write_page(folder / "report.html", page)
    return (folder / "report.html").read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, list[dict[str, object]]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, list[dict[str, object]]] = json.loads(found[1])
    return data


def plain(text: str) -> str:
    """What stands between the tags of the body, spaces joined."""
    body = text[text.index("<body>") : text.index('<script type="application/json"')]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_nothing_outside_is_named(tmp_path: Path) -> None:
    text = text_of(make_page(), tmp_path)
    assert re.findall(r"https?://|src=|@import|url\(|<iframe|<object|fetch\(|XMLHttp", text) == []
    assert set(re.findall(r'href="([^"#]+)', text)) == {"data:,"}
    assert "default-src 'none'" in text
    assert "Copyright (c) 2022 Leon Sorokin" in text
    assert len(text) < 1_000_000


def test_the_data_come_back(tmp_path: Path) -> None:
    page = make_page()
    data = data_of(text_of(page, tmp_path))
    scores = [detector["times"] for detector in data["detectors"]]
    for line, times in zip(page.detectors, scores, strict=True):
        expected = line.score / line.threshold
        np.testing.assert_allclose(np.array(times, dtype=np.float64), expected, rtol=1e-3)
    np.testing.assert_array_equal(np.array(data["x"], dtype=np.float64), page.x)
    assert [alarm["ended"] for alarm in data["alarms"]] == [at(560), at(1300), None]


def test_an_infinite_score_is_drawn_high(tmp_path: Path) -> None:
    page = make_page()
    page.detectors[0].score[7] = np.inf
    times = data_of(text_of(page, tmp_path))["detectors"][0]["times"]
    assert isinstance(times, list)
    assert times[7] == 10_000


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    text = text_of(hostile(make_page()), tmp_path)
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert "{{7*7}}" in text
    assert data_of(text)["detectors"][0]["name"] == HOSTILE


def test_figures_are_written_out(tmp_path: Path) -> None:
    words = plain(text_of(make_page(), tmp_path))
    for says in (
        "Alarms 3 2 outside labelled faults: 0.5 a day",
        "Labelled faults found 1 of 1 median delay 21 min",
        "1 2026-03-02 01:00 12 \N{MULTIPLICATION SIGN} threshold",
        "still active",
        "flow 60 %, valve 25 %",
        "outside every label",
        "flow m3/h continuous 1 to 9.5 5 ± 1.25 2 %",
        "valve constant discrete 3 3 ± 0 0 %",
        "dead K continuous no value \N{EN DASH} \N{EN DASH} 100 %",
        "b.csv Nothing to remark.",
        "Before you rely on this The training data are short.",
    ):
        assert says in words


def test_many_channels_are_folded(tmp_path: Path) -> None:
    page = make_page()
    assert "channels</summary>" not in text_of(page, tmp_path)
    many = replace(page, channels=page.channels * 20)
    assert "All 60 channels</summary>" in text_of(many, tmp_path)


@pytest.mark.parametrize(
    ("alarms", "found", "says"),
    [
        (3, 1, "did better than every rival."),
        (1, 1, "PCA T²+Q did better. PCA T²+Q: 1 fault found, 1 alarm outside them;"),
        (2, 1, "(vae) did not do better than PCA T²+Q. PCA T²+Q: 1 fault found, 2 alarms"),
        (5, 2, "did not do better than PCA T²+Q."),
    ],
)
def test_a_rival_that_is_no_worse_is_plain(
    tmp_path: Path, alarms: int, found: int, says: str
) -> None:
    first, other = make_page().detectors
    rival = replace(other, alarms=alarms, found=found)
    text = text_of(replace(make_page(), detectors=(first, rival)), tmp_path)
    assert says in plain(text)
    assert ('class="comparison worse"' in text) == ("every rival" not in says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda page: page, "Nobody could tell: there is no stretch of normal running"),
        (without_scores, "No row could be scored"),
        (without_scores, "No alarm could be raised"),
        (without_scores, "No rival was tried."),
        (without_scores, "Rows above the threshold \N{EN DASH} of those scored"),
        (in_rows, "No alarm was raised."),
        (in_rows, "row 0 to row 7,996"),
        (in_rows, "No fault is labelled, so nobody knows"),
        (lambda page: replace(without_scores(page), x=np.zeros(0)), "there are no rows"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, change: Change, says: str) -> None:
    assert says in plain(text_of(change(make_page()), tmp_path))


@dataclass
class Opened:
    """A page in a browser, with all that it asked for and complained of."""

    tab: Tab
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def picture(self) -> str:
        """What the timeline shows, as text that can be compared."""
        return str(self.tab.locator("#chart canvas").evaluate("canvas => canvas.toDataURL()"))

    def colors(self, place: str) -> list[int]:
        """How many colours each canvas shows."""
        return list(self.tab.locator(place).evaluate_all(f"all => all.map({COUNT_COLORS})"))

    def shown(self) -> str:
        return self.tab.locator("#shown").inner_text()


def open_page(browser: Browser, file: Path, page: Page, *, width: int = 1200) -> Opened:
    write_page(file, page)
    opened = Opened(browser.new_page(viewport={"width": width, "height": 900}))
    opened.tab.on("request", lambda request: opened.requests.append(request.url))
    opened.tab.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.tab.on("console", lambda message: opened.complaints.append(message.text))
    opened.tab.goto(file.as_uri())
    return opened


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """The page, which must stay silent and ask for nothing whatever a test does with it."""
    file = tmp_path / "report.html"
    found = open_page(browser, file, make_page())
    yield found
    assert found.requests == [file.as_uri()]
    assert found.complaints == []
    found.tab.close()


def test_timeline_and_first_alarm_are_drawn(opened: Opened) -> None:
    assert min(opened.colors("#chart canvas")) > 20
    assert opened.tab.locator("#alarm-list button").count() == 3
    assert opened.tab.locator("#alarm h3").inner_text() == "Alarm 1"
    assert min(opened.colors("#alarm canvas")) > 20
    assert opened.shown() == "2026-03-01 00:00 to 2026-03-05 03:57 UTC"


def test_a_click_on_an_alarm_zooms_and_shows_its_charts(opened: Opened) -> None:
    opened.tab.locator("#alarm-list button").nth(1).click()
    assert opened.tab.locator("#alarm h3").inner_text() == "Alarm 2"
    assert opened.tab.locator("#alarm h4").all_inner_texts() == [
        "flow, m3/h\n60 % of the deviation",
        "valve\n25 % of the deviation",
    ]
    assert len(opened.colors("#alarm canvas")) == 1  # of the second, only the share is kept
    assert opened.shown() == "2026-03-03 08:15 to 2026-03-03 20:45 UTC (zoomed)"
    opened.tab.locator("#alarm .u-over").hover()
    assert "expected 49.1" in opened.tab.locator("#alarm output").first.inner_text()


def test_alarms_are_reached_by_keyboard(opened: Opened) -> None:
    opened.tab.locator("#alarm-list button").first.focus()
    opened.tab.keyboard.press("Tab")
    opened.tab.keyboard.press("Enter")
    assert opened.tab.locator("#alarm h3").inner_text() == "Alarm 2"
    opened.tab.get_by_role("button", name="Next").press("Enter")
    assert opened.tab.locator("#alarm h3").inner_text() == "Alarm 3"
    assert "still active" in opened.tab.locator("#alarm p").first.inner_text()


def test_zoom_and_its_reset(opened: Opened) -> None:
    whole, picture = opened.shown(), opened.picture()
    reset = opened.tab.get_by_role("button", name="Reset zoom")
    assert reset.is_disabled()
    box = opened.tab.locator("#chart .u-over").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    opened.tab.mouse.move(box["x"] + 200, middle)
    opened.tab.mouse.down()
    opened.tab.mouse.move(box["x"] + 400, middle, steps=3)
    opened.tab.mouse.up()
    assert opened.shown().endswith("(zoomed)")
    assert opened.picture() != picture
    reset.click()
    assert opened.shown() == whole
    for name in ("Zoom in", "Move to later", "Zoom out"):
        before = opened.shown()
        opened.tab.get_by_role("button", name=name).click()
        assert opened.shown() != before
    opened.tab.locator("#chart .u-over").dblclick(position={"x": 5, "y": 100})
    assert opened.shown() == whole


def test_the_wheel_zooms_only_with_ctrl(opened: Opened) -> None:
    whole = opened.shown()
    opened.tab.locator("#chart .u-over").hover()
    opened.tab.keyboard.down("Control")
    opened.tab.mouse.wheel(0, -100)
    opened.tab.wait_for_function("document.getElementById('shown').textContent.includes('zoomed')")
    opened.tab.keyboard.up("Control")
    opened.tab.get_by_role("button", name="Reset zoom").click()
    opened.tab.locator("#chart .u-over").hover()
    opened.tab.mouse.wheel(0, 100)
    opened.tab.wait_for_function("window.scrollY > 0")
    assert opened.shown() == whole


def test_a_rival_is_drawn_on_demand(opened: Opened) -> None:
    alone = opened.picture()
    rival = opened.tab.get_by_label("PCA T²+Q")
    rival.check()
    opened.tab.locator("#chart .u-over").hover()
    assert "PCA T²+Q" in opened.tab.locator("#readout").inner_text()
    assert opened.picture() != alone
    rival.uncheck()
    opened.tab.mouse.move(0, 0)
    assert opened.picture() == alone


def test_a_click_on_a_band_opens_its_alarm(opened: Opened) -> None:
    box = opened.tab.locator("#chart .u-over").bounding_box()
    assert box is not None
    opened.tab.mouse.click(box["x"] + box["width"] * 1250 / COUNT, box["y"] + 4)
    assert opened.tab.locator("#alarm h3").inner_text() == "Alarm 2"


@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("change", [hostile, in_rows, without_scores])
def test_every_page_is_silent_and_fits(
    browser: Browser, tmp_path: Path, change: Change, width: int
) -> None:
    file = tmp_path / "report.html"
    opened = open_page(browser, file, change(make_page()), width=width)
    assert opened.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.tab.locator("#chart canvas").count() == (change is not without_scores)
    assert opened.requests == [file.as_uri()]
    assert opened.complaints == []
    opened.tab.close()


def test_hostile_names_are_shown_and_run_nothing(browser: Browser, tmp_path: Path) -> None:
    opened = open_page(browser, tmp_path / "report.html", hostile(make_page()))
    opened.tab.locator("#alarm-list button").first.click()
    opened.tab.locator("#chart .u-over").hover()
    for place in ("h1", "#learned th .name", "#alarm h4 .name", "#alarm-list .name", "#readout"):
        assert "</script><script>window.ran=1" in opened.tab.locator(place).first.inner_text()
    assert opened.tab.evaluate("window.ran") is None
    assert opened.tab.locator("img").count() == 0
    assert opened.complaints == []
    opened.tab.close()
