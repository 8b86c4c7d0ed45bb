"""Sentences of a quality report: what a person should read, the most important first."""

from features.findings import ChannelQuality, QualityReport, Silence, Stretch
from features.slow_movement import SLOW
from features.tallies import REGULAR_SHARE

SCATTERED_SHARE = 0.05
"""Share of rows without a value from which scattered holes are worth a sentence."""
DISAGREEMENT = 2.0
"""Ratio of the found to the configured sample period that is worth a sentence."""
UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))
MOST_DIGITS = 99.5

Remarks = list[tuple[float, str]]
"""Weight and sentence: the share of the data concerned, more where the whole is in question."""


def make_remarks(report: QualityReport) -> tuple[str, ...]:
    """What a person should read of a report, the most important first."""
    if not report.rows:
        return ("there are no samples",)
    remarks = [*_period_remarks(report), *_history_remarks(report)]
    for quality in report.channels:
        remarks += _channel_remarks(quality, report)
    return tuple(sentence for _, sentence in sorted(remarks, key=lambda remark: -remark[0]))


def in_time(seconds: float) -> str:
    """A duration for people.

    Example:
        >>> in_time(0.25), in_time(90), in_time(5400), in_time(200_000)
        ('0.25 s', '1.5 min', '1.5 h', '2.31 d')
    """
    for unit, name in UNITS:
        if seconds >= unit:
            return f"{_digits(seconds / unit)} {name}"
    return f"{_digits(seconds)} s"


def in_share(share: float) -> str:
    """A share in per cent for people; what is not zero does not look like zero, nor all but all.

    Example:
        >>> in_share(0.0), in_share(0.00314), in_share(0.00001), in_share(0.9999)
        ('0 %', '0.31 %', '< 0.01 %', '> 99 %')
    """
    percent = 100.0 * share
    if 0.0 < percent < 0.01:  # noqa: PLR2004 - two decimals
        return "< 0.01 %"
    if MOST_DIGITS <= percent < 100.0:  # noqa: PLR2004 - per cent
        return "> 99 %"
    return f"{_digits(percent, 2)} %"


def with_unit(value: float, unit: str) -> str:
    """A value for people.

    Example:
        >>> with_unit(12.3456, "m3/h"), with_unit(2.0, "")
        ('12.35 m3/h', '2')
    """
    return f"{value:.4g} {unit}".rstrip()


def _digits(number: float, digits: int = 3) -> str:
    return f"{number:.0f}" if number >= 10 ** (digits - 1) else f"{number:.{digits}g}"


def _period_remarks(report: QualityReport) -> Remarks:
    found, configured = report.usual_period_s, report.sample_period_s
    if found is None or report.regular_share < REGULAR_SHARE:
        return []
    says = f"samples come every {in_time(found)}, but [window] sample_period_s = {configured:g}: "
    if found > DISAGREEMENT * configured:
        return [(5.0, f"{says}most cells stay empty; set it to {found:g}")]
    if found * DISAGREEMENT < configured:
        many = f"a cell is the mean of about {configured / found:.0f} samples; "
        return [(0.0, f"{says}{many}shorten it if faults are faster")]
    return []


def _history_remarks(report: QualityReport) -> Remarks:
    remarks: Remarks = []
    if report.days_short > 0.0:
        words = (
            f"{report.days_covered:.1f} days of running are covered, the alarm budget needs "
            f"{report.days_needed:g}: {report.days_short:.1f} more days are missing"
        )
        remarks.append((4.0, words))
    if report.rate_changes:
        change, count = report.rate_changes[-1], len(report.rate_changes)
        more = f" (the last of {count} such changes)" if count > 1 else ""
        words = (
            f"since {change.start_at:%Y-%m-%d} samples come every {in_time(change.after_s)}, "
            f"before that every {in_time(change.before_s)}{more}"
        )
        remarks.append((0.9, words))
    if report.gaps.count:
        weight = 1.0 - report.days_covered / report.days_spanned
        remarks.append((weight, f"no channel has a value for {_silences(report.gaps, weight)}"))
    return remarks


def _channel_remarks(quality: ChannelQuality, report: QualityReport) -> Remarks:
    name = f"channel '{quality.name}'"
    if not quality.samples:
        return [(3.0, f"{name} has no value in any row; correct its tag or remove it")]
    found = [*_held_remarks(quality), *_outside_remarks(quality), *_unshown_remarks(quality)]
    found += _missing_remarks(quality, report.days_spanned * UNITS[0][0])
    return [(weight, f"{name} {words}") for weight, words in found]


def _held_remarks(quality: ChannelQuality) -> Remarks:
    run = quality.longest_run
    if run is None:
        return []
    value = with_unit(run.value, quality.unit)
    if quality.constant:
        words = "and can show nothing; correct its tag or remove it"
        return [(2.0, f"is constant: {value} in every row, {words}")]
    if not quality.stuck_runs:
        return []
    more = f", the longest of {quality.stuck_runs} such runs" if quality.stuck_runs > 1 else ""
    words = (
        f"holds exactly {value} for {_since(run.stretch)}{more} ({in_share(quality.stuck_share)} "
        "of its values): a stuck sensor, a limit, or a machine at rest"
    )
    return [(1.0 + quality.stuck_share, words)]


def _unshown_remarks(quality: ChannelQuality) -> Remarks:
    """What normal running did not show of a channel, though it teaches."""
    if quality.slow_share is None:
        return []
    if quality.constant and quality.longest_run is None:
        words = (
            "never changes, so that any other value will count as a fault; learn from running in "
            "which it changes, or remove it"
        )
        return [(2.0, words)]
    if quality.slow_share < SLOW or quality.stuck_runs:
        return []
    words = (
        f"moves slowly: {in_share(quality.slow_share)} of its variation is slower than an "
        "eighth of normal running, so that it has not shown its range, and false alarms may come "
        "of it; learn from longer running, add the channel that it follows (load, weather), or "
        "remove it if it says nothing of the machine"
    )
    return [(0.8 + quality.slow_share / 10, words)]


def unshown_remarks(report: QualityReport) -> tuple[str, ...]:
    """Of a report, only what normal running did not show of its channels."""
    return tuple(
        f"channel '{quality.name}' {words}"
        for quality in report.channels
        for _, words in _unshown_remarks(quality)
    )


def _outside_remarks(quality: ChannelQuality) -> Remarks:
    limits, worst, since = quality.range, quality.worst, quality.outside_since
    if limits is None or worst is None or since is None:
        return []
    words = (
        f"has {in_share(quality.outside_share)} of its values outside range = "
        f"[{limits[0]:g}, {limits[1]:g}], the first at {since:%Y-%m-%d %H:%M} UTC, the worst "
        f"{with_unit(worst, quality.unit)}; correct the range, or see to the sensor"
    )
    return [(0.5 + quality.outside_share, words)]


def _missing_remarks(quality: ChannelQuality, span_s: float) -> Remarks:
    share = quality.missing.total_s / span_s if span_s else 0.0
    if quality.missing.count:
        return [(share, f"has no value for {_silences(quality.missing, share)}")]
    if quality.missing_share >= SCATTERED_SHARE and not quality.sparse:
        words = f"has no value in {in_share(quality.missing_share)} of the rows, here and there"
        return [(quality.missing_share, words)]
    return []


def _silences(silence: Silence, share: float) -> str:
    longest = f"{_since(silence.longest)}" if silence.longest else ""
    if silence.count == 1:
        return f"{longest} ({in_share(share)} of the time)"
    return (
        f"{in_time(silence.total_s)} in {silence.count} stretches ({in_share(share)} of the time); "
        f"the longest is {longest}"
    )


def _since(stretch: Stretch) -> str:
    return f"{in_time(stretch.seconds)} from {stretch.start_at:%Y-%m-%d %H:%M} UTC"
