"""The quarantine: rows that could not be used, and values that lost, with the reason."""

import polars as pl
from rich.table import Table as TextTable
from rich.text import Text

from features.schema import QUARANTINE_SCHEMA
from pipelines.tables import Table, append, retried, rows_of
from pipelines.terminal import standard_output

NAMES = list(QUARANTINE_SCHEMA)
SHOWN = 20
"""Rows that a person is shown; `--json` gives all."""


class Quarantine:
    """Rows of one asset that could not be used.

    Args:
        address: of the Delta table.
        asset_id: whose, for messages.
    """

    def __init__(self, address: str, asset_id: str) -> None:
        self.table = Table(address, QUARANTINE_SCHEMA, indexed="line")
        self._asset_id = asset_id

    def add(self, rows: pl.DataFrame) -> None:
        """Keep rows; one that is there already is not added again.

        Args:
            rows: source, line, reason, raw.

        Raises:
            pipelines.tables.TableError: others never stop writing.
        """
        if not rows.is_empty():
            self.table.create()
            distinct = rows.select(NAMES).unique(maintain_order=True)
            retried(lambda: self._append_unknown(distinct), self._asset_id)

    def read(self) -> pl.DataFrame:
        """All rows, sorted by source and line."""
        return self.table.scan().select(NAMES).sort(NAMES).collect()

    def _append_unknown(self, rows: pl.DataFrame) -> None:
        snapshot = self.table.open()
        there = (
            rows_of(snapshot)
            .filter(
                pl.col("source").is_in(rows["source"].unique().implode()),
                pl.col("line").is_between(rows["line"].min(), rows["line"].max()),
            )
            .join(rows.lazy(), on=NAMES, how="semi")
            .select(NAMES)
            .collect(engine="streaming")
        )
        new = rows.join(there, on=NAMES, how="anti")
        if not new.is_empty():
            append(snapshot, new)


def print_quarantine(rows: pl.DataFrame) -> None:
    """How many rows of which source there are, and the first of them."""
    console = standard_output()
    if rows.is_empty():
        console.print("The quarantine is empty.")
        return
    for source, count in rows.group_by("source").len().sort("source").iter_rows():
        console.print(Text(f"{source}: {count} rows"))
    table = TextTable()
    for name in NAMES:
        table.add_column(name, overflow="fold", justify="right" if name == "line" else "left")
    for row in rows.head(SHOWN).iter_rows():
        table.add_row(*(Text(str(value)) for value in row))
    console.print(table)
    if rows.height > SHOWN:
        console.print(f"and {rows.height - SHOWN} more; --json gives all")
