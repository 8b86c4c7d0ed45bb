"""Pieces of a source, as a sample of it, and what a person should look at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from features.wording import as_shown

MOST_LISTED = 10


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
