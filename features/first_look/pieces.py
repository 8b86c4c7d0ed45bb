"""Pieces of a source, as a sample of it, and what a person should look at."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from features.wording import as_shown

MOST_LISTED = 10
NUMBERED = re.compile(r"(.*)#\d+")
"""Name of a doubled column, or of one without a name."""


class InspectionError(Exception):
    """Data that no asset file can be made from; the message says why and what to do."""


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one source."""

    rows: pl.DataFrame
    """As read: text columns from CSV, typed ones from Parquet and databases."""
    source: str
    """Path of the file, or what else says where the rows are from."""
    folder: str = ""
    """Name of the folder that the file is in."""

    @property
    def name(self) -> str:
        """Name of the source, for messages."""
        return self.source.rpartition("/")[2]


@dataclass(frozen=True)
class Remark:
    """Something that a person should look at."""

    about: str
    """``section.option`` or ``channel.name``; '' is the whole file."""
    text: str


def all_columns(pieces: Sequence[Piece]) -> list[str]:
    """Names of all columns, each once, in order of appearance.

    Example:
        >>> rows = pl.DataFrame({"time": [1], "a": [2], "b": [3]})
        >>> all_columns([Piece(rows.drop("b"), "1.csv"), Piece(rows.drop("a"), "2.csv")])
        ['time', 'a', 'b']
    """
    return list(dict.fromkeys(name for piece in pieces for name in piece.rows.columns))


def whole_column(pieces: Sequence[Piece], name: str) -> pl.Series:
    """All values of a column; as text where the pieces have it in several types.

    Example:
        >>> typed, text = pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["2"]})
        >>> whole_column([Piece(typed, "1.parquet"), Piece(text, "2.csv")], "a").to_list()
        ['1', '2']
    """
    parts = [piece.rows[name] for piece in pieces if name in piece.rows.columns]
    if len({part.dtype for part in parts}) > 1:
        parts = [part.cast(pl.String) for part in parts]
    return pl.concat(parts)


def listed(words: Iterable[str]) -> str:
    """The first ten of some names, in quotes.

    Example:
        >>> listed(["flow", "level"]), listed(map(str, range(12)))[-17:]
        ("'flow', 'level'", ", '9', and 2 more")
    """
    names = list(words)
    more = f", and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(f"'{as_shown(name)}'" for name in names[:MOST_LISTED]) + more


def by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """Columns that are left out, by the reason.

    Example:
        >>> by_reason({"op": "holds text", "label": "looks like a label", "shift": "holds text"})
        {'holds text': ['op', 'shift'], 'looks like a label': ['label']}
    """
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def name_fault(column: str, columns: Sequence[str]) -> str | None:
    """Why no option can name a column: it has no name, or another has the same; else None.

    Args:
        column: its name; a doubled or empty one has its number, such as ``flow#3``.
        columns: names of all columns.

    Example:
        >>> [name_fault(name, ["#1", "flow", "flow#3", "p"]) for name in ("#1", "flow#3", "p")]
        ['has no name', 'is there twice', None]
    """
    numbered = NUMBERED.fullmatch(column)
    if not column or (numbered and not numbered[1]):
        return "has no name"
    name = numbered[1] if numbered else column
    names = [found[1] if (found := NUMBERED.fullmatch(one)) else one for one in columns]
    return "is there twice" if name in columns and names.count(name) > 1 else None
