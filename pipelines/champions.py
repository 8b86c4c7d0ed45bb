"""The history of champions, for a terminal and for machines."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from features.labels import as_text
from pipelines.tracking import Promotion

PLAIN_WIDTH = 160
"""Columns of the table where nobody sees a terminal."""


def champion_rows(champions: Sequence[Promotion]) -> list[dict[str, str | int]]:
    """Every field as JSON has it, the newest first; times in UTC."""
    return [
        {"version": one.version, "since": as_text(one.at), "by": one.by, "reason": one.reason}
        for one in champions
    ]


def print_champions(champions: Sequence[Promotion]) -> None:
    """Show to people what was champion, on standard output."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    table = Table("version", "since", "by", "why")
    for row in champion_rows(champions):
        table.add_row(*(Text(str(cell)) for cell in row.values()))
    console.print(table if champions else "Nothing was promoted yet.")
