"""The quality gate: whether new samples may teach, or something is wrong with how they came."""

from collections.abc import Iterator

from features.findings import ChannelQuality, QualityReport
from features.remarks import in_share, in_time, with_unit

MOST_MISSING = 0.5
"""Share of rows without a value from which a channel that had values counts as lost."""
MOST_OUTSIDE = 0.05
"""Share of a channel's values outside its range from which it is not the range that is wrong."""
MOST_SILENT = 0.5
"""Share of the time without any sample."""
USUAL = 0.25
"""The same from which silence is how the source is: a machine that is logged by the shift."""
DAY_S = 86_400.0


def why_unfit(new: QualityReport, before: QualityReport | None) -> tuple[str, ...]:
    """Reasons not to train on what came, a sentence each; () = it may teach.

    What has always been so is no reason: a training can deal with it, and says so.

    Args:
        new: of the samples that came since the last training.
        before: of those before; None = there are none.
    """
    if not new.rows:
        return ("there are no samples",)
    return tuple(_reasons(new, before))


def _reasons(new: QualityReport, before: QualityReport | None) -> Iterator[str]:
    silent_s = new.gaps.total_s
    if _silent_share(new) > MOST_SILENT and (before is None or _silent_share(before) <= USUAL):
        yield (
            f"for {in_time(silent_s)} of {in_time(new.days_spanned * DAY_S)} no sample came: "
            "look at the connection to the source, then ingest again"
        )
    known = {one.name: one for one in before.channels} if before is not None and before.rows else {}
    for channel in new.channels:
        yield from _channel_reasons(channel, known.get(channel.name))


def _silent_share(report: QualityReport) -> float:
    spanned_s = report.days_spanned * DAY_S
    return report.gaps.total_s / spanned_s if spanned_s else 0.0


def _channel_reasons(new: ChannelQuality, before: ChannelQuality | None) -> Iterator[str]:
    had_values = before is not None and before.missing_share <= MOST_MISSING
    if had_values and not new.sparse and new.missing_share > MOST_MISSING:
        yield (
            f"channel '{new.name}' has no value in {in_share(new.missing_share)} of the rows, "
            f"before it was {in_share(before.missing_share if before else 0.0)}: mend its source, "
            "or take the channel out of the asset file"
        )
    elif before is not None and new.longest_run and _stands_still(new, before):
        value = with_unit(new.longest_run.value, new.unit)
        yield (
            f"channel '{new.name}' stands still at {value}, before it moved: mend the sensor, or "
            "label the time as maintenance"
        )
    was_inside = before is None or before.outside_share <= MOST_OUTSIDE
    if was_inside and new.outside_share > MOST_OUTSIDE:
        yield (
            f"channel '{new.name}' is outside its range in {in_share(new.outside_share)} of its "
            "values: correct its unit at the source, or its range in the asset file"
        )


def _stands_still(new: ChannelQuality, before: ChannelQuality) -> bool:
    """Whether all values are equal, and more of them in a row than ever before."""
    if not new.constant or before.constant or not new.longest_run:
        return False
    return not before.longest_run or new.longest_run.samples > before.longest_run.samples
