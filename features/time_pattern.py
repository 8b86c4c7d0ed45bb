"""Patterns of strptime: which ones read a whole time, and how polars is told."""

import re
from datetime import UTC, datetime

import polars as pl

EXAMPLE = datetime(2026, 5, 21, 20, 34, 56, tzinfo=UTC)
FRACTION = re.compile(r"[.,]%\d?f")
"""Fraction of a second behind a mark, as Python and polars write it."""
COMMA = re.compile(r",%\d?f")
COUNTED = re.compile(r"%f")
SINCE_1970 = re.compile(r"%[-_0]?s")


def check_pattern(pattern: str) -> str | None:
    """A sentence on what is wrong with a pattern, or None.

    Example:
        >>> check_pattern("%d.%m.%Y %H:%M:%S.%f")
        >>> check_pattern("%s")
        'counts seconds since 1970; write epoch_s'
    """
    plain = pattern.replace("%%", "")
    if SINCE_1970.search(plain):
        return "counts seconds since 1970; write epoch_s"
    if COUNTED.search(FRACTION.sub("", plain)):
        return "has %f without a mark before it; write .%f, or %3f for milliseconds"
    if not _reads_a_day(pattern):
        return (
            "reads no whole time; write iso, epoch_s, epoch_ms, epoch_us, epoch_ns, or a pattern "
            "with the day and hours with minutes, such as '%d.%m.%Y %H:%M:%S'"
        )
    return None


def _reads_a_day(pattern: str) -> bool:
    """Whether a time that is written with the pattern is of the same day when it is read."""
    try:
        written = pl.Series([EXAMPLE]).dt.strftime(pattern_of_polars(pattern).replace("%#z", "%z"))
        read = read_pattern(written, pattern).dt.date()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return bool((read == EXAMPLE.date()).all()) and not read.null_count()


def pattern_of_polars(pattern: str) -> str:
    """The pattern with fractions of a second in any number of digits.

    Example:
        >>> pattern_of_polars("%H:%M:%S,%f")
        '%H:%M:%S%.f'
    """
    return FRACTION.sub("%.f", pattern)


def read_pattern(texts: pl.Series, pattern: str) -> pl.Series:
    """Times of texts, with a zone if the pattern reads an offset; null where it does not fit.

    Example:
        >>> texts = pl.Series(["31.12.2026 23:59:00,25", "soon"])
        >>> read_pattern(texts, "%d.%m.%Y %H:%M:%S,%f").dt.microsecond().to_list()
        [250000, None]
    """
    if COMMA.search(pattern):
        texts = texts.str.replace(r"(\d\d),(\d{1,9})", "${1}.${2}")
    return texts.str.to_datetime(pattern_of_polars(pattern), time_unit="us", strict=False)
