"""Values as sources write them, to numbers; one that is none is missing, bad or refused."""

from dataclasses import dataclass, replace

import polars as pl

from features.source import SourceConfig
from features.times import LONGEST_SHOWN, MISSING_WORDS

NUMBER = "a finite number"


class ValueColumnError(Exception):
    """A column that cannot hold values, whatever its rows say."""


@dataclass(frozen=True)
class Values:
    """What the values of a column are; the series have its length."""

    numbers: pl.Series
    """Float64, finite; null where a value is missing, bad or refused."""
    bad: pl.Series
    """Whether a value says that it is bad."""
    refused: pl.Series
    """Whether a value is neither a finite number, nor missing, nor bad."""
    texts: pl.Series
    """As they were found."""
    expected: str = NUMBER
    """What a refused value should have been."""

    def reasons(self, channel: pl.Expr) -> pl.Series:
        """A sentence for each refused value, null for the others.

        Args:
            channel: name of the channel of each row.
        """
        sentence = pl.concat_str(
            pl.lit("channel '"),
            channel,
            pl.lit("' is '"),
            pl.lit(self.texts).str.slice(0, LONGEST_SHOWN),
            pl.lit(f"', expected {self.expected}"),
        )
        return pl.select(pl.when(pl.lit(self.refused)).then(sentence)).to_series()

    def only_where(self, good: pl.Series) -> "Values":
        """The same, with all values bad that are not of good quality."""
        bad = self.bad | ~good
        numbers = _without(self.numbers, bad)
        return replace(self, numbers=numbers, bad=bad, refused=self.refused & good)


def parse_values(found: pl.Series, source: SourceConfig) -> Values:
    """Numbers of a column, and what the others are.

    Args:
        found: texts, numbers or booleans.
        source: its decimal mark, and the words and numbers that say bad.

    Raises:
        ValueColumnError: the column has a type that no row can mend.

    Example:
        >>> source = SourceConfig(files="a.csv", bad_values=("Bad", "-9999"))
        >>> values = parse_values(pl.Series(["1.5", "", "Bad", "-9999.0", "off"]), source)
        >>> values.numbers.to_list()
        [1.5, None, None, None, None]
        >>> values.bad.to_list(), values.refused.to_list()
        ([False, False, True, True, False], [False, False, False, False, True])
    """
    kind = found.dtype
    if kind in (pl.String, pl.Categorical, pl.Enum):
        found = found.cast(pl.String).str.strip_chars()
        numbers = _read(found, source)
    elif kind.is_numeric() or kind in (pl.Boolean, pl.Null):
        numbers = found.cast(pl.Float64)
    else:
        raise ValueColumnError(f"is {kind}, expected numbers")
    sentinels = _read(pl.Series(source.bad_values, dtype=pl.String), source).drop_nulls()
    all_read = numbers.null_count() == found.null_count()
    if all_read and not len(sentinels) and not numbers.is_infinite().any():
        nowhere = pl.Series([False]).new_from_index(0, len(found))
        return Values(numbers.fill_nan(None), nowhere, nowhere, found)
    return _told_apart(numbers, sentinels, found.cast(pl.String), source)


def _told_apart(
    numbers: pl.Series, sentinels: pl.Series, texts: pl.Series, source: SourceConfig
) -> Values:
    words = texts.str.to_lowercase().fill_null("")
    bad_words = [word.strip().lower() for word in source.bad_values if word.strip()]
    bad = words.is_in(bad_words) | numbers.is_in(sentinels.implode()).fill_null(value=False)
    missing = words.is_in(["", *MISSING_WORDS]) | numbers.is_nan().fill_null(value=False)
    finite = numbers.is_finite().fill_null(value=False)
    refused = ~(finite | missing | bad)
    expected = f"{NUMBER} with a decimal comma" if source.decimal == "," else NUMBER
    return Values(_without(numbers, bad | ~finite), bad, refused, texts, expected)


def _read(texts: pl.Series, source: SourceConfig) -> pl.Series:
    if source.decimal == ",":
        plain = ~texts.str.contains(".", literal=True)
        texts = texts.zip_with(plain.fill_null(value=True), pl.Series([None], dtype=pl.String))
        texts = texts.str.replace(",", ".", literal=True)
    return texts.cast(pl.Float64, strict=False)


def _without(numbers: pl.Series, unwanted: pl.Series) -> pl.Series:
    return numbers.zip_with(~unwanted, pl.Series([None], dtype=pl.Float64))


def is_good(quality: pl.Series, source: SourceConfig) -> pl.Series:
    """Whether each quality, a word or a code, is one of those that say good; missing is not.

    Example:
        >>> source = SourceConfig(files="a.csv", good_quality=("Good", "192"))
        >>> is_good(pl.Series(["good ", "192.0", "Bad", None]), source).to_list()
        [True, True, False, False]
    """
    words = quality.cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase()
    whole = words.str.replace(r"^(\d+)[.,]0*$", "${1}")
    return whole.is_in([word.strip().lower() for word in source.good_quality])
