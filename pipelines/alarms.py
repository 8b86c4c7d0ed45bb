"""The alarms of the journal, for people: what each of them is now."""

import json
from datetime import datetime

import polars as pl
from rich.table import Table as TextTable
from rich.text import Text

from features.labels import as_text
from pipelines.terminal import standard_output
from pipelines.told import Row

SHOWN = 20
"""Alarms that a person is shown; `--json` gives all."""


def list_alarms(transitions: pl.DataFrame) -> pl.DataFrame:
    """The last transition of each alarm, the newest alarm first, and who acknowledged it.

    Args:
        transitions: as the journal has them.

    Returns:
        The columns of the journal, ``acknowledged_by`` and ``acknowledged_at``; these are null
        unless it was acknowledged after it was raised last.
    """
    ordered = transitions.sort("alarm_id", "sequence")
    raised = (pl.col("state") == "unacknowledged").cum_sum().over("alarm_id")
    given = pl.col("by").is_not_null() & (
        (pl.col("state") == "acknowledged")
        | ((pl.col("previous_state") == "rtn_unacknowledged") & (pl.col("state") == "normal"))
    )
    acknowledged = (
        ordered.with_columns(_raised=raised)
        .filter(given, pl.col("_raised") == pl.col("_raised").max().over("alarm_id"))
        .group_by("alarm_id")
        .agg(
            pl.col("by").last().alias("acknowledged_by"),
            pl.col("time").last().alias("acknowledged_at"),
        )
    )
    last = ordered.unique("alarm_id", keep="last", maintain_order=True)
    found = last.join(acknowledged, on="alarm_id", how="left", maintain_order="left")
    return found.sort("onset_at", "alarm_id", descending=True)


def alarm_rows(alarms: pl.DataFrame) -> list[Row]:
    """Alarms for machines: times as text in UTC, contributors as objects."""
    return [
        {
            **{name: _plain(value) for name, value in row.items()},
            "contributors": json.loads(row["contributors"]),
        }
        for row in alarms.iter_rows(named=True)
    ]


def print_alarms(alarms: pl.DataFrame) -> None:
    """Show alarms to people, on standard output."""
    console = standard_output()
    if alarms.is_empty():
        console.print("No alarm has been collected.")
        return
    table = TextTable("since", "state", "priority", "acknowledged by", "message")
    for row in alarms.head(SHOWN).iter_rows(named=True):
        state = f"{row['state']} (shadow)" if row["shadow"] else row["state"]
        message = " - ".join(filter(None, [row["message"], row["reason"]]))
        cells = (_plain(row["onset_at"]), state, row["priority"], row["acknowledged_by"], message)
        table.add_row(*(Text(str(cell or "")) for cell in cells))
    console.print(table)
    if alarms.height > SHOWN:
        console.print(f"and {alarms.height - SHOWN} more; --json gives all")


def _plain(value: object) -> object:
    return as_text(value) if isinstance(value, datetime) else value
