"""The history of champions, for a terminal and for machines."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from features.labels import as_text
from pipelines.registry import Promotion
from pipelines.terminal import standard_output


def champion_rows(champions: Sequence[Promotion]) -> list[dict[str, str | int]]:
    """Every field as JSON has it, the newest first; times in UTC."""
    return [
        {"version": one.version, "since": as_text(one.at), "by": one.by, "reason": one.reason}
        for one in champions
    ]


def print_champions(champions: Sequence[Promotion]) -> None:
    """Show to people what was champion, on standard output."""
    console = standard_output()
    table = Table("version", "since", "by", "why")
    for row in champion_rows(champions):
        table.add_row(*(Text(str(cell)) for cell in row.values()))
    console.print(table if champions else "Nothing was promoted yet.")
