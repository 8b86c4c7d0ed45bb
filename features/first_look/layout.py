"""How a sample is laid out: one column a channel, or rows of tag and value, or folders of parts."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import polars as pl

from features.first_look.pieces import Piece, Remark, all_columns, whole_column
from features.first_look.time_forms import TimeForm, read_times, sniff_times
from features.source import GOOD_QUALITY

TAG_NAME = re.compile(
    r"((tag|point|sensor|signal|variable|item|metric|channel|series|parameter|node)[_ ]?(name|id)?)"
    r"|name|measurement|attribute|kanal|messstelle|id",
    re.IGNORECASE,
)
VALUE_NAME = re.compile(
    r"((tag|numeric|num)[_ ]?)?(val|value)|value[_ ]?num(eric)?|v|wert|messwert|reading|data|mean"
    r"|avg|average",
    re.IGNORECASE,
)
QUALITY_NAME = re.compile(
    r"((opc|data)[_ ]?)?(qual(ity)?|status)([_ ]?code)?|qc|q|good|is[_ ]?good|güte|guete"
    r"|qualität|state|flag|confidence",
    re.IGNORECASE,
)
GOOD_WORD = re.compile(r"good\b.*|ok|gut|valid|true|normal|g", re.IGNORECASE)
QUALITY_WORD = re.compile(r"(good|bad|uncertain|ok|gut|schlecht|valid|invalid)\b.*", re.IGNORECASE)
IDENTIFIER = re.compile(r"(?=.*[A-Za-z])(?=.*[\d._:/\\-]).+")
MOST_COLUMNS = 8
"""A table of tags and values has no more columns."""
MOST_WORDS = 50
"""Distinct words and codes of a quality column that are looked at."""
SHARED_SPAN = 0.5
"""Share of the shorter span from which two folders tell of the same time."""
OPC_DA_GOOD, OPC_DA_LAST, OPC_UA_UNCERTAIN = 192, 255, 0x4000_0000


@dataclass(frozen=True)
class Long:
    """Columns of a table with one value a row."""

    tag: str
    value: str
    quality: str | None
    good: tuple[str, ...]
    """Words and codes of good quality."""
    remarks: tuple[Remark, ...] = ()


def find_long(pieces: Sequence[Piece], time: str) -> Long | None:
    """Find the columns of tag, value and quality; None where each column is a channel.

    Args:
        pieces: a sample.
        time: name of the time column.

    Example:
        >>> rows = pl.DataFrame({"t": [1, 1], "Tag": ["FT1", "PT1"], "Value": [1.5, 2.5]})
        >>> long = find_long([Piece(rows, "a.csv")], "t")
        >>> long.tag, long.value
        ('Tag', 'Value')
    """
    names = [name for name in all_columns(pieces) if name != time]
    if len(names) >= MOST_COLUMNS or any(len(p.rows.columns) != len(names) + 1 for p in pieces):
        return None
    columns = {name: whole_column(pieces, name) for name in names}
    values = [name for name in names if VALUE_NAME.fullmatch(name)]
    tags = [name for name in names if TAG_NAME.fullmatch(name) and _can_be_tags(columns[name])]
    if values and tags and values[0] != tags[0]:
        return _with_quality(columns, tags[0], values[0], doubt=False)
    likely = [name for name in names if _is_identifier(columns[name])]
    numbers = [name for name in values or names if name not in likely and _is_number(columns[name])]
    if len(likely) == 1 and numbers and len(names) <= len(("tag", "value", "quality")):
        return _with_quality(columns, likely[0], numbers[0], doubt=True)
    return None


def _can_be_tags(column: pl.Series) -> bool:
    """Whether it can hold tags: texts, or numbers of which there are few."""
    few = not _is_number(column) or column.n_unique() <= len(column) / 3
    return few and sniff_times(column) is None


def _is_number(column: pl.Series) -> bool:
    if column.dtype == pl.String:
        texts = column.str.strip_chars().str.replace(",", ".", literal=True)
        return texts.cast(pl.Float64, strict=False).count() > column.count() / 2
    return column.dtype.is_numeric()


def _is_identifier(column: pl.Series) -> bool:
    """Whether the texts look like names of signals: letters with digits, points or lines."""
    if column.dtype != pl.String or column.n_unique() > len(column) / 2:
        return False
    texts = column.drop_nulls().unique().head(MOST_WORDS).to_list()
    alike = [text for text in texts if IDENTIFIER.fullmatch(text.strip())]
    return len(texts) > 1 and len(alike) == len(texts)


def _with_quality(columns: dict[str, pl.Series], tag: str, value: str, *, doubt: bool) -> Long:
    rest = {name: column for name, column in columns.items() if name not in (tag, value)}
    by_name = [name for name in rest if QUALITY_NAME.fullmatch(name)]
    by_word = [name for name, column in rest.items() if _is_quality(column)]
    quality = next(iter(by_name + by_word), None)
    remarks = []
    if doubt:
        text = f"one value a row was guessed: tags in '{tag}', values in '{value}'"
        remarks.append(Remark("source.layout", text))
    good, unclear = good_words(rest[quality]) if quality is not None else (GOOD_QUALITY, None)
    if unclear is not None:
        remarks.append(Remark("source.good_quality", unclear))
    return Long(tag, value, quality, good, tuple(remarks))


def _words(column: pl.Series) -> list[str]:
    """Words or codes of a quality column as an ingest compares them, the most frequent first."""
    whole = column.cast(pl.Int64, strict=False) if column.dtype.is_float() else column
    texts = whole.cast(pl.String).str.strip_chars().str.to_lowercase()
    counts = texts.filter(texts != "").value_counts(sort=True).head(MOST_WORDS)
    return counts.to_series().to_list()


def _is_quality(column: pl.Series) -> bool:
    words = _words(column)
    codes = _codes(words)
    if codes:
        first, highest = codes[0], max(codes)
        return first == OPC_DA_GOOD or (first == 0 and highest >= OPC_UA_UNCERTAIN)
    return bool(words) and all(QUALITY_WORD.fullmatch(word) for word in words)


def _codes(words: Iterable[str]) -> list[int] | None:
    """Quality codes as numbers, hexadecimal too; None if one is a word."""
    try:
        return [int(word.removesuffix(".0"), 0) % 2**32 for word in words]
    except ValueError:
        return None


def good_words(quality: pl.Series) -> tuple[tuple[str, ...], str | None]:
    """Words and codes of a quality column that say good, and what is not sure about them.

    OPC DA codes from 192 to 255 are good; of OPC UA's status codes those below 0x40000000.

    Example:
        >>> good_words(pl.Series([192, 192, 216, 0]))
        (('192', '216'), None)
        >>> good_words(pl.Series([0, 0, 0, 2147483648]))
        (('0',), None)
        >>> good_words(pl.Series(["Good", "Bad"]))
        (('good', '192'), None)
    """
    words = _words(quality)
    codes = _codes(words)
    if not words:
        return GOOD_QUALITY, "the quality column is empty in the sample"
    if codes is None:
        good = [word for word in words if GOOD_WORD.fullmatch(word)]
        if good:
            return tuple(dict.fromkeys([*good, *GOOD_QUALITY])), None
    else:
        pairs, highest = list(zip(words, codes, strict=True)), max(codes)
        if OPC_DA_GOOD <= highest <= OPC_DA_LAST:
            good = [word for word, code in pairs if code >= OPC_DA_GOOD]
            return tuple(sorted({*good, str(OPC_DA_GOOD)})), None
        if highest >= OPC_UA_UNCERTAIN and min(codes) == 0:
            return tuple(word for word, code in pairs if code < OPC_UA_UNCERTAIN), None
    found = ", ".join(words[:10])
    return (words[0],), f"the quality column has {found}; only '{words[0]}' was taken as good"


def is_by_folder(pieces: Sequence[Piece], time: str, form: TimeForm) -> bool:
    """Whether folders are parts of one machine: names repeat in them, at the same times.

    Folders with the same names at other times are runs of the machine, one after the other.

    Example:
        >>> rows = pl.DataFrame({"time": ["2026-01-01", "2026-01-02"], "flow": [1, 2]})
        >>> is_by_folder([Piece(rows, "1.csv", "a"), Piece(rows, "2.csv", "b")], "time",
        ...              TimeForm("iso", zoned=False))
        True
    """
    names: dict[str, set[str]] = {}
    spans: dict[str, tuple[float, float]] = {}
    for piece in pieces:
        times = read_times(piece.rows[time], form).drop_nulls().dt.epoch("s")
        names.setdefault(piece.folder, set()).update(set(piece.rows.columns) - {time})
        if len(times):
            low, high = float(times.min()), float(times.max())  # type: ignore[arg-type]
            old = spans.get(piece.folder, (low, high))
            spans[piece.folder] = min(low, old[0]), max(high, old[1])
    return any(
        names[one] & names[other] and _overlap(spans[one], spans[other])
        for one, other in combinations(spans, 2)
    )


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    shared = min(one[1], other[1]) - max(one[0], other[0])
    shorter = min(one[1] - one[0], other[1] - other[0])
    return shared >= 0 and shared >= SHARED_SPAN * shorter
