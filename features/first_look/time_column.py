"""Which column of a sample holds the times."""

import re
from collections.abc import Sequence
from datetime import time

import polars as pl

from features.first_look.pieces import (
    InspectionError,
    Piece,
    Remark,
    all_columns,
    listed,
    whole_column,
)
from features.first_look.time_forms import ONLY_CLOCK, TimeForm, read_times, sniff_times
from features.wording import as_shown

TIME_NAME = re.compile(r"time|date|stamp|zeit|datum|epoch|^ts$|^t$|_ts$", re.IGNORECASE)
ARRIVAL_NAME = re.compile(
    r"server|receive|insert|ingest|create|update|modified|arriv", re.IGNORECASE
)
CLOCKS_LOOKED_AT = 5


class NoTimeColumnError(InspectionError):
    """No column can be read as times; the message lists those that there are."""


def find_time_column(
    pieces: Sequence[Piece], *, named: str | None = None
) -> tuple[str, TimeForm, list[Remark]]:
    """Find the time column by name and content.

    Numbers that could be seconds since 1970 are times only by their name or in the first place.

    Args:
        pieces: a sample.
        named: name of the time column, where the user has said it.

    Returns:
        Name of the column, how its times are written, and what is not sure about it.

    Raises:
        NoTimeColumnError: no column can be read as times.
        InspectionError: the column that was named cannot be, the date and the time of day are in
            two columns, or a file lacks the column.

    Example:
        >>> rows = pl.DataFrame({"Datum": ["01.02.2026 08:00"], "Druck": ["1.5"]})
        >>> find_time_column([Piece(rows, "a.csv")])[0]
        'Datum'
    """
    columns = all_columns(pieces)
    if named is not None and named not in columns:
        raise InspectionError(
            f"{pieces[0].name} has no column '{as_shown(named)}'; it has {listed(columns)}; "
            "correct --time"
        )
    looked_at = columns if named is None else [named]
    found = [(name, sniff_times(whole_column(pieces, name))) for name in looked_at]
    forms = {
        name: form
        for name, form in found
        if form is not None and (name == named or _likelihood(name, form, columns) > 0)
    }
    if not forms:
        kind = NoTimeColumnError if named is None else InspectionError
        raise kind(_no_time(pieces, named, columns))
    best = max(forms, key=lambda name: _likelihood(name, forms[name], columns))
    _check_everywhere(pieces, best)
    _check_clock(pieces, best, forms[best])
    others = [name for name in forms if name != best]
    also = f"times are taken from '{as_shown(best)}'; {listed(others)} would be possible, too"
    remarks = [Remark("source.time", also)] if others else []
    return best, forms[best], remarks + _form_remarks(best, forms[best])


def _likelihood(name: str, form: TimeForm, columns: Sequence[str]) -> int:
    named = 4 if TIME_NAME.search(name) else 0
    first = 2 if name == columns[0] else 0
    arrived = 3 if ARRIVAL_NAME.search(name) else 0
    return named + first - arrived + (0 if form.time_format.startswith("epoch") else 4)


def _no_time(pieces: Sequence[Piece], named: str | None, columns: Sequence[str]) -> str:
    source = pieces[0].name
    if named is None:
        return (
            f"no column of {source} holds times; it has {listed(columns)}; "
            "name one with --time, or write times such as 2026-05-01T08:00:00Z"
        )
    present = whole_column(pieces, named).drop_nulls()
    shown = f"'{as_shown(str(present[0]))}'" if len(present) else "no value"
    return (
        f"column '{as_shown(named)}' of {source} has {shown}, which cannot be read as a time; "
        "expected times such as 2026-05-01T08:00:00Z or numbers since 1970; correct --time or the "
        "file"
    )


def _check_everywhere(pieces: Sequence[Piece], name: str) -> None:
    for piece in pieces:
        if name not in piece.rows.columns:
            raise InspectionError(
                f"{piece.name} has no column '{as_shown(name)}', which holds the times elsewhere; "
                f"it has {listed(piece.rows.columns)}; give only files of one kind"
            )


def _check_clock(pieces: Sequence[Piece], name: str, form: TimeForm) -> None:
    """Refuse a date beside its time of day: they cannot be read from two columns."""
    times = read_times(whole_column(pieces, name), form)
    if (times.dt.time() != time(0)).any():
        return
    for other in all_columns(pieces):
        values = whole_column(pieces, other)
        if values.dtype in (pl.String, pl.Time):
            shown = values.cast(pl.String).drop_nulls().head(CLOCKS_LOOKED_AT).to_list()
            if shown and all(ONLY_CLOCK.fullmatch(text.strip()) for text in shown):
                raise InspectionError(
                    f"{pieces[0].name} has the date in '{as_shown(name)}' and the time of day in "
                    f"'{as_shown(other)}'; write both into one column"
                )


def _form_remarks(name: str, form: TimeForm) -> list[Remark]:
    remarks = []
    if form.doubt is not None:
        remarks.append(Remark("source.time_format", form.doubt))
    if form.time_format.startswith("epoch") and not TIME_NAME.search(name):
        text = f"the numbers in '{as_shown(name)}' were taken for times"
        remarks.append(Remark("source.time_format", text))
    if not form.zoned and not form.utc:
        text = (
            "the times have no offset and were taken as UTC; if they are local time, write the "
            'zone, such as time_zone = "Europe/Berlin"'
        )
        remarks.append(Remark("source.time_zone", text))
    return remarks
