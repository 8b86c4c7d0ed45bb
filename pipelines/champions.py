"""The history of champions and canaries, for a terminal and for machines."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from features.labels import as_text
from pipelines.registry import Promotion
from pipelines.terminal import standard_output


def champion_rows(promotions: Sequence[Promotion]) -> list[dict[str, str | int]]:
    """Every field as JSON has it, the newest first; times in UTC."""
    return [
        {
            "version": one.version,
            "alias": one.alias,
            "since": as_text(one.at),
            "by": one.by,
            "reason": one.reason,
        }
        for one in promotions
    ]


def print_champions(promotions: Sequence[Promotion]) -> None:
    """Show to people what was champion or canary, on standard output."""
    console = standard_output()
    table = Table("version", "as", "since", "by", "why")
    for row in champion_rows(promotions):
        table.add_row(*(Text(str(cell)) for cell in row.values()))
    console.print(table if promotions else "Nothing was promoted yet.")
