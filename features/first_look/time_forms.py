"""How times are written, told from a sample of them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from features.source import EPOCH_NS, EPOCHS, SourceConfig
from features.times import parse_times

MICROSECONDS = {**EPOCHS, EPOCH_NS: 1e-3}
"""Microseconds of each epoch unit."""
PLAUSIBLE = (datetime(1985, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
"""Times that numbers may stand for to be taken as times."""
READABLE = 0.9
"""Share of the sample that a form must be able to read."""
LOOKED_AT = 20
"""Texts that are looked at before a form is tried on all."""
LAST_MONTH = 12
TAIL = r"(?P<half>\ ?[AaPp][Mm])?(?P<tail>\ ?(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?"
SHAPE = re.compile(
    r"(?P<one>\d{1,4}|[A-Za-z]{3,9})(?P<mark>[-./ ])(?P<two>\d{1,2}|[A-Za-z]{3,9})(?P=mark)"
    r"(?P<three>\d{1,4})"
    r"(?:(?P<joint>T|[ _,-]+)(?P<hour>\d{1,2})(?P<colon>[:.-])(?P<minute>\d\d)"
    r"(?:(?P=colon)(?P<second>\d\d)(?P<fraction>[.,]\d+)?)?)?" + TAIL
)
COMPACT = re.compile(
    r"(?P<one>\d{4})(?P<mark>)(?P<two>\d\d)(?P<three>\d\d)"
    r"(?:(?P<joint>[T _-]?)(?P<hour>\d\d)(?P<colon>:?)(?P<minute>\d\d)"
    r"(?:(?P=colon)(?P<second>\d\d)(?P<fraction>[.,]\d+)?)?)?" + TAIL
)
ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?\ ?(Z|[+-]\d\d(:?\d\d)?)?)?")
ONLY_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?(\ ?[AaPp][Mm])?")


@dataclass(frozen=True)
class TimeForm:
    """How a column's times are written."""

    time_format: str
    """As in ``[source]``: ``iso`` (also for a column of times), ``epoch_s`` ..., or a pattern."""
    zoned: bool
    """Whether the values themselves say which instant they mean."""
    utc: bool = False
    """Whether the texts say UTC by a word that the pattern skips."""
    doubt: str | None = None
    """What the sample does not decide."""


def sniff_times(values: pl.Series) -> TimeForm | None:
    """Tell how times are written; None if these are no times.

    Args:
        values: a column as read: text, numbers or times; in order.

    Example:
        >>> sniff_times(pl.Series(["31.12.2026 23:59:00"])).time_format
        '%d.%m.%Y %H:%M:%S'
        >>> sniff_times(pl.Series([1767225600000, 1767225601000])).time_format
        'epoch_ms'
    """
    kind, present = values.dtype, values.drop_nulls()
    if kind.is_temporal():
        zoned = isinstance(kind, pl.Datetime) and kind.time_zone is not None
        return TimeForm("iso", zoned) if kind in (pl.Datetime, pl.Date) else None
    if kind.is_numeric():
        return _sniff_epoch(present.cast(pl.Float64))
    if kind != pl.String:
        return None
    texts = present.str.strip_chars()
    texts = texts.filter(texts != "")
    numbers = texts.cast(pl.Float64, strict=False)
    if len(numbers) and numbers.null_count() < (1 - READABLE) * len(numbers):
        epoch = _sniff_epoch(numbers.drop_nulls())
        return epoch or _sniff_text(texts)
    return _sniff_text(texts)


def _sniff_epoch(numbers: pl.Series) -> TimeForm | None:
    """Numbers since 1970: all plausible, and never falling but rarely."""
    if (numbers.diff() < 0).sum() > (1 - READABLE) * len(numbers):
        return None
    for name, unit in MICROSECONDS.items():
        low, high = (at.timestamp() * 1e6 / unit for at in PLAUSIBLE)
        if len(numbers) and numbers.is_between(low, high).sum() >= READABLE * len(numbers):
            return TimeForm(name, zoned=True)
    return None


def _sniff_text(texts: pl.Series) -> TimeForm | None:
    looked_at = texts.gather_every(max(len(texts) // LOOKED_AT, 1)).to_list()
    matches = [SHAPE.fullmatch(text) or COMPACT.fullmatch(text) for text in looked_at]
    shapes = [shape for shape in matches if shape is not None]
    if not shapes or len(shapes) < READABLE * len(looked_at):
        return None
    if len([text for text in looked_at if ISO.fullmatch(text)]) >= READABLE * len(looked_at):
        return TimeForm("iso", zoned=shapes[0]["tail"] is not None)
    return _sniff_pattern(texts, shapes)


def _sniff_pattern(texts: pl.Series, shapes: list[re.Match[str]]) -> TimeForm | None:
    orders = _orders(texts, shapes[0])
    forms = []
    for order in orders:
        pattern = _pattern(order, shapes)
        tail = (shapes[0]["tail"] or "").strip()
        form = TimeForm(
            pattern, "%z" in pattern, tail in {"Z", "UTC", "GMT"}, _doubt(orders, order)
        )
        read = read_times(texts, form).drop_nulls()
        if len(read) >= READABLE * len(texts):
            forms.append((_seconds(read), form))
    return min(forms, key=lambda pair: pair[0])[1] if forms else None


def _doubt(orders: list[str], order: str) -> str | None:
    if len(orders) == 1:
        return None
    first, other = ("day", "month") if order[0] == "d" else ("month", "day")
    return (
        f"whether day or month comes first the sample does not decide: the {first} was taken; if "
        f"it is the {other}, exchange %d and %m"
    )


def _seconds(times: pl.Series) -> float:
    """Length of the way through the times: the right order of day and month is the shorter."""
    return float(times.diff().dt.total_seconds().abs().sum())


def _orders(texts: pl.Series, shape: re.Match[str]) -> list[str]:
    """Orders of year, month and day that the texts allow, the likelier first."""
    if len(shape["one"]) == len("2026") and shape["one"].isdigit():
        return ["Ymd"]
    year = "Y" if len(shape["three"]) == len("2026") else "y"
    if shape["two"].isalpha():
        return [f"d{_month(shape['two'])}{year}"]
    if shape["one"].isalpha():
        return [f"{_month(shape['one'])}d{year}"]
    mark = re.escape(shape["mark"])
    parts = texts.str.extract_groups(rf"^(\d{{1,2}}){mark}(\d{{1,2}})").struct.unnest()
    highest = [parts[name].cast(pl.Int64, strict=False).max() or 0 for name in parts.columns]
    if highest[0] > LAST_MONTH:  # type: ignore[operator]
        return [f"dm{year}"]
    if highest[1] > LAST_MONTH:  # type: ignore[operator]
        return [f"md{year}"]
    return [f"md{year}", f"dm{year}"] if shape["mark"] == "/" else [f"dm{year}", f"md{year}"]


def _month(word: str) -> str:
    return "b" if len(word) == len("Jan") else "B"


def _pattern(order: str, shapes: list[re.Match[str]]) -> str:
    shape = shapes[0]
    pattern = shape["mark"].join(f"%{letter}" for letter in order)
    if shape["hour"]:
        hour = "%I" if shape["half"] else "%H"
        parts = [hour, "%M", "%S"] if shape["second"] else [hour, "%M"]
        pattern += shape["joint"] + shape["colon"].join(parts) + _fraction(shapes)
    if shape["half"]:
        pattern += shape["half"].replace(shape["half"].strip(), "%p")
    tail = shape["tail"] or ""
    return pattern + re.sub(r"[+-]\d\d(:?\d\d)?", "%z", tail)


def _fraction(shapes: list[re.Match[str]]) -> str:
    fractions = {shape["fraction"] for shape in shapes if shape["fraction"]}
    if not fractions:
        return ""
    longest = max(fractions, key=len)
    return "%.f" if longest[0] == "." else f",%{len(longest) - 1}f"


def read_times(values: pl.Series, form: TimeForm) -> pl.Series:
    """Instants of a sample, read as an ingest will read them; without an offset taken as UTC.

    Args:
        values: as `sniff_times` took them.
        form: what it said.

    Returns:
        As many instants, microseconds, UTC; null where a value cannot be read.

    Example:
        >>> form = TimeForm("%d.%m.%Y", zoned=False)
        >>> read_times(pl.Series(["31.12.2026", "soon"]), form).dt.year().to_list()
        [2026, None]
    """
    return parse_times(
        values, SourceConfig(files="*", time_format=form.time_format, time_zone="UTC")
    )[0]
