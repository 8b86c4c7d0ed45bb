"""Quality flow: what a person should know of an asset's samples before trusting them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import AwareDatetime
from rich import box
from rich.table import Table
from rich.text import Text

from features.findings import ChannelQuality, QualityReport
from features.labels import Interval
from features.quality import assess_quality
from features.remarks import in_share, in_time, with_unit
from pipelines.config import AssetConfig, load_asset
from pipelines.historian import Historian
from pipelines.history import HistoryError
from pipelines.labelling import counted_intervals, read_labels
from pipelines.settings import Settings
from pipelines.terminal import standard_output

SHOWN_REMARKS = 20
"""Remarks that a terminal or an artifact shows; the report has all."""
HEADS = (
    "channel",
    "missing\n(rows)",
    "longest\nmissing",
    "stuck\n(values)",
    "longest\nequal run",
    "outside\nrange",
    "worst\nvalue",
)


def check_quality(
    asset: AssetConfig,
    historian: Historian,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    upset: Sequence[Interval] = (),
) -> QualityReport:
    """Judge what the historian holds of ``start <= time < end``.

    Whether there is enough history for the alarm budget is only said of the whole of it.

    Args:
        asset: its channels, grid and alarm budget.
        historian: of the asset.
        start: tz-aware; None = from the beginning.
        end: tz-aware; None = to the end.
        upset: labelled faults and maintenance.

    Raises:
        HistoryError: there are no samples.
        HistorianError: the table has other channels.
    """
    whole = start is None and end is None
    report = assess_quality(
        historian.slices(start, end),
        asset.channel,
        window=asset.window,
        false_alarms_per_day=asset.alarm.false_alarms_per_day if whole else None,
        upset=upset,
    )
    if not report.rows:
        where = "the historian is empty" if historian.version() < 0 else "there are no samples"
        raise HistoryError(
            f"{asset.asset.id}: {where}{_within(start, end)}; run `faultwatch ingest` first"
            + ("" if whole else ", or ask for another span")
        )
    return report


def _within(start: datetime | None, end: datetime | None) -> str:
    after = f" from {start.isoformat()}" if start else ""
    return f"{after} to {end.isoformat()}" if end else after


def quality_artifacts(asset_id: str, report: QualityReport) -> None:
    """Store a report for Prefect's pages: a table with a row a channel, and the remarks."""
    key = f"quality-{asset_id}".replace("_", "-")
    heads = [head.replace("\n", " ") for head in HEADS]
    table = [dict(zip(heads, _cells(quality), strict=True)) for quality in report.channels]
    create_table_artifact(table, key=key, description=in_words(report))
    lines = [f"- {remark}" for remark in _shown_remarks(report)]
    remarks = "\n".join([f"# Quality of {asset_id}", "", f"{in_words(report)}.", "", *lines, ""])
    create_markdown_artifact(remarks, key=f"{key}-remarks")


def in_words(report: QualityReport) -> str:
    """Rows, days and sample period of a report as a phrase."""
    period = f"every {in_time(report.usual_period_s)}" if report.usual_period_s else "only once"
    return (
        f"{report.rows:,} rows from {report.first_at:%Y-%m-%d %H:%M} to "
        f"{report.last_at:%Y-%m-%d %H:%M} UTC, {report.days_covered:.1f} of "
        f"{report.days_spanned:.1f} days without gaps, a sample {period}"
    )


def quality_table(report: QualityReport) -> Table:
    """A row a channel, for a terminal of 100 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in HEADS:
        is_name = head == "channel"
        table.add_column(
            head,
            justify="left" if is_name else "right",
            overflow="fold",
            no_wrap=not is_name,
        )
    for quality in report.channels:
        table.add_row(*(Text(cell) for cell in _cells(quality)))
    return table


def print_quality(asset_id: str, report: QualityReport) -> None:
    """Show a report to people, on standard output."""
    console = standard_output(plain_width=100)
    console.print(Text(f"{asset_id}: {in_words(report)}"))
    console.print(quality_table(report))
    for remark in _shown_remarks(report) or ["nothing stands out"]:
        console.print(Text(f"- {remark}"))


def _shown_remarks(report: QualityReport) -> list[str]:
    shown, more = list(report.remarks[:SHOWN_REMARKS]), len(report.remarks) - SHOWN_REMARKS
    return (
        [*shown, f"and {more} more: `faultwatch quality --json` has them all"]
        if more > 0
        else shown
    )


def _cells(quality: ChannelQuality) -> tuple[str, ...]:
    """What the table says of a channel, in the order of its heads."""
    run, hole = quality.longest_run, quality.missing.longest
    return (
        quality.name,
        in_share(quality.missing_share),
        in_time(hole.seconds) if hole else "",
        "constant" if quality.constant else in_share(quality.stuck_share) if run else "",
        in_time(run.stretch.seconds) if run else "",
        in_share(quality.outside_share) if quality.range else "",
        "" if quality.worst is None else with_unit(quality.worst, quality.unit),
    )


@flow(name="quality", description="Report on the quality of an asset's samples.")
def quality(
    asset_file: str, start: AwareDatetime | None = None, end: AwareDatetime | None = None
) -> dict[str, Any]:
    """Report on the quality of an asset's samples.

    Args:
        asset_file: asset file, or id of a shipped asset.
        start: first instant that is judged; None = from the beginning.
        end: first instant that is not; None = to the end.
    """
    asset, settings = load_asset(asset_file), Settings()
    historian = Historian(settings.historian_address, asset.asset.id, asset.channel)
    upset = counted_intervals(read_labels(asset, settings))
    report = check_quality(asset, historian, start, end, upset=upset)
    quality_artifacts(asset.asset.id, report)
    return report.to_dict()
