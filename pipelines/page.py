"""The page of a report: one self-contained HTML file that needs nothing from outside."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import isfinite
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from features.remarks import in_share, in_time, with_unit
from pipelines.page_certificate import LimitTable
from pipelines.page_sensors import SensorLine
from pipelines.page_words import brief, count, duration, moment

Numbers = NDArray[np.float64]

TEMPLATES = Path(__file__).with_name("templates")
NONE = "\N{EN DASH}"
"""Where a table has no value."""
LONG_TABLE = 30
"""Channels from which on the table of them is folded."""
MOST_TIMES = 1e4
"""A score beyond so many times the threshold is drawn as this many."""
FAULTS = ("fault", "true_fault")
"""Kinds of labels that a detector should find."""
IN_SCRIPT = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"})
"""Marks that could end a script element or a line in it, as JSON writes them otherwise."""


@dataclass(frozen=True)
class ChannelLine:
    """What was learned of one channel."""

    name: str
    """As the file calls it."""
    unit: str
    kind: str
    """continuous, discrete or counter."""
    low: float | None
    """Least value in normal running; None = it has no value."""
    high: float | None
    mean: float | None
    deviation: float | None
    missing_share: float
    constant: bool


@dataclass(frozen=True)
class DetectorLine:
    """What one detector made of the rows; the first of a page is the one that is reported on."""

    name: str
    """For people: ``Faultwatch (vae)``, ``PCA T²+Q``."""
    threshold: float
    """Above 0."""
    score: Numbers
    """(bucket,); highest score of the rows in each bucket, NaN = none was scored."""
    alarms: int
    """Alarms raised; outside labelled faults where there are labels."""
    anomalous_share: float
    """Share of the scored rows at or above the threshold, outside labelled faults; NaN = none."""
    days: float
    """Scored days that both rest on; 0 = the rows have no times."""
    found: int | None
    """Labelled faults that raised an alarm; None = there are no labels."""
    median_delay_s: float | None
    """From the start of a fault to its alarm; rows where there are no times."""
    kept: str = ""
    """What came of its promise; '' = nothing is known."""


@dataclass(frozen=True)
class Trace:
    """One contributor of an alarm: what was observed and what was expected around it.

    Without cells only its share is shown.
    """

    channel: str
    unit: str
    share: float
    """Of the contributions when the alarm was raised, 0 to 1."""
    x: Numbers
    observed: Numbers
    """(cell,), engineering units, NaN = missing."""
    expected: Numbers
    """(cell,)"""


@dataclass(frozen=True)
class AlarmLine:
    """One alarm."""

    onset: float
    """First anomalous window, in the unit of ``Page.x``."""
    raised: float
    ended: float | None
    """None = still active at the end of the data."""
    peak: float
    """Highest score while it was active."""
    during: str
    """Note of the labelled interval in which it was raised; '' = none."""
    traces: tuple[Trace, ...]
    """The strongest contributors first; without cells where there are too many alarms to draw."""


@dataclass(frozen=True)
class Stretch:
    """A labelled interval."""

    start: float
    end: float
    kind: str
    note: str


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    title: str
    verdict: str
    """One or two sentences: what was found, and whether the linear rival did better."""
    facts: tuple[tuple[str, str], ...]
    """What was learned from what: name and value, for people."""
    promise: str
    """What the threshold promises and what that rests on."""
    warnings: tuple[str, ...]
    channels: tuple[ChannelLine, ...]
    quality: tuple[tuple[str, tuple[str, ...]], ...]
    """Remarks on the data, by file; no remark = nothing to remark."""
    has_times: bool
    """Whether x is seconds since 1970 (UTC), or else row numbers."""
    x: Numbers
    """(bucket,); first row of each bucket."""
    detectors: tuple[DetectorLine, ...]
    alarms: tuple[AlarmLine, ...]
    labels: tuple[Stretch, ...]
    sensors: tuple[SensorLine, ...] = ()
    certificate: LimitTable | None = None
    """Smallest faults that would be found; None = nobody could tell."""


def write_page(path: Path, page: Page) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        page: what it shows.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _filters(page.has_times)
    text = environment.get_template("report.html.jinja").render(_context(page))
    path.write_text(text, encoding="utf-8", newline="\n")


def _filters(has_times: bool) -> dict[str, Callable[..., str]]:  # noqa: FBT001 - a fact of the page
    return {
        "moment": partial(moment, has_times=has_times),
        "duration": partial(duration, has_times=has_times),
        "rate": _rate,
        "share": _share,
        "number": partial(with_unit, unit=""),
        "brief": brief,
    }


def _context(page: Page) -> dict[str, object]:
    """What the template names."""
    style, script = _read("uplot.min.css") + _read("report.css"), _script()
    return {
        "page": page,
        "first": page.detectors[0],
        "figures": _figures(page),
        "faults": _faults(page),
        "scored": any(np.isfinite(detector.score).any() for detector in page.detectors),
        "summary": _summary(page),
        "comparison": _comparison(page),
        "long_table": len(page.channels) > LONG_TABLE,
        "constant": [channel.name for channel in page.channels if channel.constant],
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "data": _as_json(_payload(page)),
    }


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _script() -> str:
    """Chart library and our script, with the licence in place of the line that names a web site."""
    library = _read("uplot.iife.min.js").partition("*/")[2]
    return f"/* uPlot\n{_read('uplot.LICENSE')}*/{library}\n{_read('report.js')}"


def _hash(text: str) -> str:
    """The name by which the page's content policy admits an inline element."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _as_json(payload: Mapping[str, object]) -> str:
    """JSON that may stand in a script element."""
    text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(IN_SCRIPT)


def _payload(page: Page) -> dict[str, object]:
    """What the charts are drawn from; x in order, as the chart library wants it."""
    order = np.argsort(page.x, kind="stable")
    return {
        "hasTimes": page.has_times,
        "x": _listed(page.x[order], 13),
        "detectors": [
            {"name": detector.name, "times": _listed(_times_threshold(detector)[order], 4)}
            for detector in page.detectors
        ],
        "alarms": [_drawn_alarm(page, place) for place in range(len(page.alarms))],
        "labels": [
            {
                "start": label.start,
                "end": label.end,
                "fault": label.kind in FAULTS,
                "says": f"{label.kind}: {label.note}" if label.note else label.kind,
            }
            for label in page.labels
        ],
    }


def _times_threshold(detector: DetectorLine) -> Numbers:
    """(bucket,); score as a multiple of the detector's own threshold, so that 1 is everyone's."""
    return np.minimum(detector.score / detector.threshold, MOST_TIMES)


def _listed(values: Numbers, digits: int) -> list[float | int | None]:
    """As JSON can say it, in few characters."""
    rounded = [float(f"{value:.{digits}g}") if isfinite(value) else None for value in values]
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]


def _drawn_alarm(page: Page, place: int) -> dict[str, object]:
    alarm = page.alarms[place]
    return {
        "onset": alarm.onset,
        "raised": alarm.raised,
        "ended": alarm.ended,
        "says": _told(alarm, page),
        "traces": [
            {
                "name": f"{trace.channel}, {trace.unit}" if trace.unit else trace.channel,
                "share": float(np.nan_to_num(trace.share)),
                "shareSays": _share(trace.share),
                "x": _listed(trace.x, 13),
                "observed": _listed(trace.observed, 6),
                "expected": _listed(trace.expected, 6),
            }
            for trace in alarm.traces
        ],
    }


def _told(alarm: AlarmLine, page: Page) -> str:
    """An alarm in sentences."""
    when = partial(moment, has_times=page.has_times)
    long = partial(duration, has_times=page.has_times)
    ended = "It was still active when the data ended."
    if alarm.ended is not None:
        ended = f"It ended at {when(alarm.ended)}, {long(alarm.ended - alarm.raised)} later."
    during = f" It was raised during: {alarm.during}." if alarm.during else ""
    return (
        f"The readings began to differ at {when(alarm.onset)}; the alarm was raised "
        f"{long(alarm.raised - alarm.onset)} later. {ended} The highest score was "
        f"{brief(alarm.peak / page.detectors[0].threshold)} times the threshold.{during}"
    )


def _faults(page: Page) -> int:
    """Labelled faults that there were to find."""
    return sum(label.kind in FAULTS for label in page.labels)


def _figures(page: Page) -> list[tuple[str, str, str]]:
    """Name, value and remark of the key figures."""
    first, faults = page.detectors[0], _faults(page)
    outside = " outside labelled faults" if page.labels else ""
    found = ("Labelled faults found", "none labelled", "so nobody can say which alarms are right")
    if faults and first.found is not None:
        found = ("Labelled faults found", f"{first.found} of {faults}", _delay_remark(page))
    span = page.x[-1] - page.x[0] if len(page.x) else 0.0
    length = in_time(86_400 * first.days) if first.days else duration(span, has_times=False)
    scored = bool(np.isfinite(first.score).any())
    return [
        ("Alarms", f"{max(len(page.alarms), first.alarms):,}", _rate_remark(page)),
        found,
        ("Rows above the threshold", _share(first.anomalous_share), f"of those scored{outside}"),
        ("Scored", length if scored else "nothing", _from_to(page)),
    ]


def _rate_remark(page: Page) -> str:
    first = page.detectors[0]
    rate = f"{_rate(first)} a day" if first.days else ""
    outside = f"{first.alarms:,} outside labelled faults" if page.labels else ""
    return ": ".join(filter(None, (outside, rate)))


def _rate(line: DetectorLine) -> str:
    """Alarms a day."""
    return brief(line.alarms / line.days) if line.days else NONE


def _share(share: float) -> str:
    return in_share(share) if isfinite(share) else NONE


def _delay_remark(page: Page) -> str:
    delay = page.detectors[0].median_delay_s
    if delay is None:
        return ""
    return f"median delay {duration(delay, has_times=page.has_times)}"


def _from_to(page: Page) -> str:
    if not len(page.x):
        return "there are no rows"
    ends = [moment(float(page.x[place]), has_times=page.has_times) for place in (0, -1)]
    return f"{ends[0]} to {ends[1]}{' UTC' if page.has_times else ''}"


def _summary(page: Page) -> str:
    """What the timeline shows, for who cannot see it."""
    first = page.detectors[0]
    times = _times_threshold(first)
    if not np.isfinite(times).any():
        return f"Score of {first.name}: nothing was scored."
    highest = brief(float(np.nanmax(times)))
    return (
        f"Score of {first.name} from {_from_to(page)}: highest {highest} times the threshold; "
        f"{count(len(page.alarms), 'alarm')}, {count(len(page.labels), 'labelled interval')}."
    )


def _comparison(page: Page) -> tuple[bool, str]:
    """Whether a rival did better, and how the first detector stands beside its rivals."""
    first, *rivals = page.detectors
    if not rivals:
        return False, "No rival was tried."
    if first.found is None:
        return False, (
            "No fault is labelled, so nobody knows which of these alarms are right: more alarms "
            "may be more faults found or more false alarms."
        )
    better = [rival for rival in rivals if is_better(rival, first)]
    if better:
        return True, " ".join(
            f"{rival.name} did better. {_beside(first, rival)}" for rival in better
        )
    if all(is_better(first, rival) for rival in rivals):
        return False, f"{first.name} did better than every rival."
    others = [rival for rival in rivals if not is_better(first, rival)]
    return True, (
        f"{first.name} did not do better than {' and '.join(rival.name for rival in others)}. "
        f"{' '.join(_beside(first, rival) for rival in others)}"
    )


def is_better(one: DetectorLine, other: DetectorLine) -> bool:
    """No worse by faults found and by alarms outside them, and better by one of them.

    Without labels nobody is.
    """
    if one.found is None:
        return False
    ours, theirs = (one.found, -one.alarms), (other.found or 0, -other.alarms)
    return ours != theirs and all(mine >= yours for mine, yours in zip(ours, theirs, strict=True))


def _beside(first: DetectorLine, rival: DetectorLine) -> str:
    return f"{rival.name}: {_achieved(rival)}; {first.name}: {_achieved(first)}."


def _achieved(line: DetectorLine) -> str:
    return f"{count(line.found or 0, 'fault')} found, {count(line.alarms, 'alarm')} outside them"
