"""What people say a stretch of time was, kept beside the samples; nothing said is ever removed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal, cast

import polars as pl
from rich.table import Table as TextTable
from rich.text import Text

from features.labels import (
    Interval,
    LabelError,
    LabelKind,
    as_text,
    check_order,
    read_intervals,
)
from pipelines.config import AssetConfig
from pipelines.settings import Settings
from pipelines.tables import Table, append, retried, rows_of
from pipelines.terminal import standard_output

Verdict = Literal["true_fault", "nuisance", "maintenance"]
BASELINE: Final = "baseline"
"""Said of an instant: what was before it no longer teaches, since the machine was changed."""
TIME = pl.Datetime("us", "UTC")
SCHEMA = {
    "start": TIME,
    "end": TIME,
    "verdict": pl.String(),
    "by": pl.String(),
    "note": pl.String(),
    "at": TIME,
}
ORDER = ("at", "by", "verdict", "note")
"""Labels of one instant have an order, too."""


@dataclass(frozen=True)
class Label:
    """What somebody said of ``start <= t < end``."""

    start: datetime
    end: datetime
    verdict: LabelKind | Literal["baseline"]
    by: str
    """Who said it: a name, or that of the interval file."""
    note: str
    at: datetime | None
    """When it was said; None = it stands in the interval file."""

    @property
    def interval(self) -> Interval:
        """What it means for the samples; a baseline is none."""
        return Interval(self.start, self.end, cast("LabelKind", self.verdict), self.note)


def label_interval(
    asset: AssetConfig,
    settings: Settings,
    start: datetime,
    end: datetime,
    verdict: Verdict,
    *,
    by: str,
    note: str,
    at: datetime,
) -> bool:
    """Keep what a person says a stretch of time was.

    Saying the same thing again adds nothing, unless somebody has said otherwise since.

    Args:
        asset: whose time it is.
        settings: where the historian is.
        start: first instant, tz-aware.
        end: first instant after it, tz-aware.
        verdict: ``nuisance`` says that an alarm there was false: it stays normal running.
        by: who says so.
        note: what people should read.
        at: now.

    Returns:
        Whether it was new.

    Raises:
        LabelError: the stretch ends before it starts.
        TableError: other writers never stop.
    """
    check_order(start, end, asset.asset.id)
    label = Label(start.astimezone(UTC), end.astimezone(UTC), verdict, by, note, at)
    return _say(label, asset, settings, is_known=_is_repeated)


def begin_anew(
    asset: AssetConfig, settings: Settings, since: datetime, *, by: str, at: datetime
) -> bool:
    """Keep that nothing before an instant teaches any more: after a repair, say.

    Every later training heeds it, the scheduled ones too, until another instant is said.

    Args:
        asset: whose history.
        settings: where the historian is.
        since: first instant that teaches, tz-aware.
        by: who says so.
        at: now.

    Returns:
        Whether it was new.

    Raises:
        LabelError: the instant is yet to come.
        TableError: other writers never stop.
    """
    if since > at:
        raise LabelError(
            f"{asset.asset.id}: --since {as_text(since)} is yet to come; name the time from which "
            "on the machine ran as it does now"
        )
    label = Label(since.astimezone(UTC), since.astimezone(UTC), BASELINE, by, "", at)

    def is_known(label: Label, said: Sequence[Label]) -> bool:
        before = find_baseline(said)
        return before is not None and before.start == label.start

    return _say(label, asset, settings, is_known=is_known)


def find_baseline(labels: Sequence[Label]) -> Label | None:
    """Since when history teaches, and who said so: the last such label; None = there is none."""
    return next((label for label in reversed(labels) if label.verdict == BASELINE), None)


def _say(
    label: Label,
    asset: AssetConfig,
    settings: Settings,
    *,
    is_known: Callable[[Label, Sequence[Label]], bool],
) -> bool:
    table = _table(asset, settings)

    def add() -> bool:
        table.create()
        snapshot = table.open()
        if is_known(label, _labels_of(rows_of(snapshot))):
            return False
        append(snapshot, pl.DataFrame([asdict(label)], schema=SCHEMA))
        return True

    return retried(add, asset.asset.id)


def read_labels(asset: AssetConfig, settings: Settings) -> list[Label]:
    """All labels of an asset: those of its interval file, then those said, the oldest first.

    Raises:
        LabelError: the interval file cannot be used.
    """
    listed = asset.source.labels
    intervals = read_intervals(Path(listed), asset.source.time_zone) if listed else ()
    filed = [
        Label(one.start, one.end, one.kind, Path(str(listed)).name, one.note, at=None)
        for one in intervals
    ]
    return filed + _labels_of(_table(asset, settings).scan())


def counted_intervals(labels: Sequence[Label]) -> tuple[Interval, ...]:
    """What labels mean together: of those said of exactly the same stretch, the last one counts.

    It also overrules what the interval file has of that stretch. Labels that only overlap all
    count; an instant is normal running if none of them but a ``nuisance`` covers it.

    Args:
        labels: in the order of `read_labels`.

    Example:
        >>> from datetime import UTC
        >>> nine, ten = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (9, 10))
        >>> filed = Label(nine, ten, "fault", "labels.csv", "", None)
        >>> said = Label(nine, ten, "nuisance", "anna", "sensor was being washed", ten)
        >>> [interval.kind for interval in counted_intervals([filed, said])]
        ['nuisance']
    """
    labels = [label for label in labels if label.verdict != BASELINE]
    last = {(label.start, label.end): label for label in labels if label.at}
    filed = [one for one in labels if not one.at and (one.start, one.end) not in last]
    return tuple(label.interval for label in (*filed, *last.values()))


def label_rows(labels: Iterable[Label]) -> list[dict[str, str | None]]:
    """Labels for machines: every field as text, times in UTC; ``at`` null for the interval file."""
    return [
        {
            "start": as_text(label.start),
            "end": as_text(label.end),
            "verdict": label.verdict,
            "by": label.by,
            "note": label.note,
            "at": as_text(label.at) if label.at else None,
        }
        for label in labels
    ]


def print_labels(labels: Sequence[Label]) -> None:
    """Show labels to people, on standard output."""
    console = standard_output()
    table = TextTable("from", "to", "verdict", "by", "said", "note")
    for row in label_rows(labels):
        cells = (row["start"], row["end"], row["verdict"], row["by"], row["at"], row["note"])
        table.add_row(*(Text(cell or "") for cell in cells))
    console.print(table if labels else "Nobody has labelled anything yet.")


def _table(asset: AssetConfig, settings: Settings) -> Table:
    folder = settings.historian_address.rstrip("/")
    return Table(f"{folder}/{asset.asset.id}/labels", SCHEMA, indexed="start,end")


def _labels_of(rows: pl.LazyFrame) -> list[Label]:
    return [Label(**row) for row in rows.sort(ORDER).collect().iter_rows(named=True)]


def _is_repeated(label: Label, said: Sequence[Label]) -> bool:
    """Whether it was said before, and since then nobody said otherwise of the same stretch."""
    same = [one for one in said if (one.start, one.end) == (label.start, label.end)]
    since = takewhile(lambda one: one.verdict == label.verdict, reversed(same))
    return any((one.by, one.note) == (label.by, label.note) for one in since)
