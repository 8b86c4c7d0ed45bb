"""Many pairs of files tried one after the other; one that fails does not stop the others."""

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.table import Table
from rich.text import Text

from features.remarks import in_time
from pipelines.backtest import run_backtest
from pipelines.progress import Told
from pipelines.terminal import standard_output
from pipelines.trial_files import BacktestError
from pipelines.two_files import TrialOptions

LOG = logging.getLogger(__name__)

COLUMNS = ("series", "train", "test", "train_rows")
SUMMARY = "summary.csv"
SCHEMA = {
    "series": pl.String(),
    "failed": pl.String(),
    "rows": pl.Int64(),
    "scored": pl.Int64(),
    "threshold": pl.Float64(),
    "extrapolated": pl.Boolean(),
    "alarms": pl.Int64(),
    "anomalous_share": pl.Float64(),
    "seconds_to_fit": pl.Float64(),
    "seconds_to_score": pl.Float64(),
    "warnings": pl.Int64(),
}


@dataclass(frozen=True)
class Series:
    """One line of a file of pairs."""

    name: str
    """Name of its folder."""
    train: Path
    test: Path
    train_rows: int | None


def read_pairs(path: Path) -> list[Series]:
    """Read a CSV with the columns series, train, test, train_rows (empty = all rows).

    Paths are seen from the folder of the file, or else from the current one.

    Raises:
        BacktestError: a column is missing, or a line cannot be used.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or [])]
            if missing:
                raise BacktestError(
                    f"{path.name} has no column '{missing[0]}'; expected {', '.join(COLUMNS)}"
                )
            found = [_series(row, f"{path.name} line {rows.line_num}", path.parent) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BacktestError(f"--pairs {path}: cannot be read as CSV: {error}") from error
    names = [one.name for one in found]
    if not found or len(set(names)) < len(names):
        doubled = next((name for name in names if names.count(name) > 1), None)
        what = "has no line below its header" if doubled is None else f"names '{doubled}' twice"
        raise BacktestError(f"{path.name} {what}; expected a line and a name for each series")
    return found


def _series(row: Mapping[str, str | None], where: str, folder: Path) -> Series:
    name, train, test, rows = ((row[column] or "").strip() for column in COLUMNS)
    for column, text in (("train", train), ("test", test)):
        if not text:
            raise BacktestError(f"{where}: {column} is missing, expected a file")
    if not name or Path(name).name != name or name.startswith("."):
        raise BacktestError(f"{where}: series is '{name}', expected the name of a folder")
    if rows and not (rows.isdecimal() and int(rows)):
        raise BacktestError(f"{where}: train_rows is '{rows}', expected a whole number or nothing")
    return Series(name, _seen(train, folder), _seen(test, folder), int(rows) if rows else None)


def _seen(name: str, folder: Path) -> Path:
    """A path as seen from the file of pairs, or else from here."""
    beside = folder / name
    return beside if beside.exists() or not Path(name).exists() else Path(name)


def run_pairs(
    series: Sequence[Series],
    out: Path,
    options: TrialOptions,
    *,
    labels: Path | None,
    at: datetime,
    told: Told,
) -> pl.DataFrame:
    """Try many pairs, each in a folder of its own, and write ``summary.csv`` beside them.

    Args:
        series: the pairs.
        out: folder of their folders.
        options: the same for all, but for the rows that teach.
        labels: intervals to judge by, the same for all; None = there are none.
        at: when this happens.
        told: is told how far it is.

    Returns:
        The table: one row a series, with the reason where it failed.
    """
    rows: list[dict[str, object]] = []
    for number, one in enumerate(series, start=1):
        told.say(f"{number} of {len(series)}: {one.name}")
        own = replace(options, train_rows=one.train_rows or options.train_rows)
        try:
            summary = run_backtest(
                one.train, one.test, out / one.name, own, labels=labels, at=at, told=told
            )
        except Exception as error:
            if not str(error):  # no sentence of ours
                LOG.exception("%s failed", one.name)
            rows.append({"series": one.name, "failed": str(error) or type(error).__name__})
        else:
            rows.append(_in_brief(one.name, summary))
        out.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, schema=SCHEMA).write_csv(out / SUMMARY)
    return pl.DataFrame(rows, schema=SCHEMA)


def _in_brief(name: str, summary: Mapping[str, Any]) -> dict[str, object]:
    detectors, rows = summary["detectors"], summary["rows"]
    own = detectors[summary["reconstructor"]]
    return {
        "series": name,
        "rows": rows["test"],
        "scored": rows["scored"],
        "threshold": summary["threshold"],
        "alarms": own["alarms"],
        "anomalous_share": own["anomalous_share"],
        "extrapolated": summary["extrapolated"],
        "seconds_to_fit": summary["seconds_to_fit"],
        "seconds_to_score": summary["seconds_to_score"],
        "warnings": len(summary["warnings"]),
    }


def print_pairs(table: pl.DataFrame) -> None:
    """Show the table to people, on standard output."""
    console = standard_output(plain_width=140)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("series", "rows", "scored", "alarms", "anomalous", "learned in", "scored in"):
        shown.add_column(head, justify="left" if head == "series" else "right", overflow="fold")
    for row in table.iter_rows(named=True):
        if row["failed"]:
            continue
        shown.add_row(
            Text(row["series"]),
            f"{row['rows']:,}",
            f"{row['scored']:,}",
            str(row["alarms"]),
            "" if row["anomalous_share"] is None else f"{row['anomalous_share']:.2%}",
            in_time(row["seconds_to_fit"]),
            in_time(row["seconds_to_score"]),
        )
    console.print(shown)
    for name, reason in table.filter(pl.col("failed").is_not_null())["series", "failed"].rows():
        console.print(Text(f"{name} failed: {reason}"), soft_wrap=True)
