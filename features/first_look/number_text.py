"""Numbers of a sampled column, and the words that stand in their place."""

import re
from collections.abc import Mapping

import polars as pl

from features.source import BAD_VALUES
from features.times import MISSING_WORDS

WORD = re.compile(r"[^\W\d][\w /!?.#-]*")
MOST_WORDS = 20


def to_numbers(values: pl.Series, decimal: str, words: dict[str, int]) -> pl.Series | None:
    """Numbers of a column, null where there is none; None if most are no numbers.

    Args:
        values: as read.
        decimal: mark in texts.
        words: counts the words that stand where numbers should; those known as bad do not count.

    Example:
        >>> words = {}
        >>> to_numbers(pl.Series(["1.5", "2", "Bad", "Wartung"]), ".", words).to_list(), words
        ([1.5, 2.0, None, None], {'wartung': 1})
    """
    if values.dtype != pl.String:
        usable = values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)
        return _finite(values.cast(pl.Float64)) if usable else None
    texts = values.str.strip_chars()
    plain = texts.str.replace(",", ".", literal=True) if decimal == "," else texts
    numbers = plain.cast(pl.Float64, strict=False)
    lower = texts.filter(numbers.is_null() & texts.is_not_null()).str.to_lowercase()
    others = lower.filter(~lower.is_in([*MISSING_WORDS, *BAD_VALUES]))
    if len(others) > numbers.count():
        return None
    for word, count in others.value_counts().iter_rows():
        if WORD.fullmatch(word):
            words[word] = words.get(word, 0) + count
    return _finite(numbers)


def _finite(numbers: pl.Series) -> pl.Series:
    nothing = pl.Series([None], dtype=pl.Float64)
    return numbers.zip_with(numbers.is_finite().fill_null(value=False), nothing)


def frequent_words(words: Mapping[str, int]) -> tuple[str, ...]:
    """The most frequent words in the place of numbers.

    Example:
        >>> frequent_words({"wartung": 3, "aus": 5})
        ('aus', 'wartung')
    """
    return tuple(sorted(words, key=lambda word: (-words[word], word))[:MOST_WORDS])
