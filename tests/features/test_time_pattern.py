from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.time_pattern import check_pattern, pattern_of_polars, read_pattern

MICROSECOND, MILLISECOND = timedelta(microseconds=1), timedelta(milliseconds=1)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
GOOD = {
    "%Y-%m-%d": DAY,
    "%Y-%m-%d %H:%M": MINUTE,
    "%d.%m.%Y %H:%M:%S": SECOND,
    "%d.%m.%y %H:%M": MINUTE,
    "%m/%d/%Y %I:%M:%S %p": SECOND,
    "%d-%b-%y %H:%M:%S": SECOND,
    "%A, %d %B %Y %H:%M": MINUTE,
    "%Y%m%d%H%M%S": SECOND,
    "%Y%m%d%H%M%S%3f": MILLISECOND,
    "%Y-%m-%d %H:%M:%S%.f": MICROSECOND,
    "%Y-%m-%d %H:%M:%S.%f": MICROSECOND,
    "%Y-%m-%d %H:%M:%S,%f": MICROSECOND,
    "%Y-%m-%d %H:%M:%S,%2f": MICROSECOND,
    "%Y-%m-%d %H:%M:%S:%3f": MILLISECOND,
    "%Y-%m-%dT%H:%M:%S%z": SECOND,
    "%Y-%m-%dT%H:%M:%S %#z": SECOND,
    "%Y-%m-%d %H:%M:%S UTC": SECOND,
    "%Y-%j %H:%M": MINUTE,
    "%e.%m.%Y %k:%M": MINUTE,
    "%D %T": SECOND,
    "%c": SECOND,
    "%+": MICROSECOND,
}
WHOLE = "reads no whole time; write iso, epoch_s"


@pytest.mark.parametrize("pattern", GOOD)
def test_a_pattern_that_reads_a_whole_time_is_right(pattern: str) -> None:
    assert check_pattern(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        *[
            (pattern, WHOLE)
            for pattern in (
                "", "%", "%%", "%Q", "%p", "%é", "\0", "local", "%Y", "%Y-%m", "%y", "%j", "%U",
                "%H:%M", "%I:%M %p", "%d.%m. %H:%M", "%Y-%m-%d %H", "%d.%m.%Y %I:%M", "%Z", "%:z",
                "%m/%d/%Y %H:%M %p", "%Y-%m-%d %M:%S", "%Y-%m-%d %H:%M:%S%::z", "%3f",
            )
        ],
        ("%s", "counts seconds since 1970; write epoch_s"),
        ("%s%.f", "counts seconds since 1970; write epoch_s"),
        ("%Y%m%d%H%M%S%f", "has %f without a mark before it; write .%f, or %3f"),
    ],
)  # fmt: skip
def test_a_pattern_that_does_not_is_wrong_in_a_sentence(pattern: str, wrong: str) -> None:
    assert (check_pattern(pattern) or "").startswith(wrong)


@given(st.text(st.sampled_from("%YmdHMSIpybBjsfzZTD3.:-_#+, /ae"), max_size=16))
def test_no_pattern_of_any_kind_stops_the_reading_if_it_is_right(pattern: str) -> None:
    if check_pattern(pattern) is None:
        texts = pl.Series(["2026-05-01 08:00:00", "", None, "x", pattern, "+05:00", "0", "ä"])
        assert read_pattern(texts, pattern).dtype in (
            pl.Datetime("us"),
            pl.Datetime("us", "UTC"),
        )


@pytest.mark.parametrize(
    ("pattern", "text", "microsecond"),
    [
        ("%d.%m.%Y %H:%M:%S,%f", "01.05.2026 08:00:00,123456", 123_456),
        ("%d.%m.%Y %H:%M:%S,%3f", "01.05.2026 08:00:00,5", 500_000),
        ("%d.%m.%Y %H:%M:%S.%f", "01.05.2026 08:00:00.123456789", 123_456),
        ("%d.%m.%Y %H:%M:%S.%f", "01.05.2026 08:00:00", 0),
        ("%d.%m.%Y %H:%M:%S%.f", "01.05.2026 08:00:00.25", 250_000),
        ("%d,%m,%Y %H:%M:%S.%f", "01,05,2026 08:00:00.25", 250_000),
        ("%Y%m%d%H%M%S%3f", "20260501080000042", 42_000),
    ],
)
def test_fractions_are_parts_of_a_second_in_any_number_of_digits(
    pattern: str, text: str, microsecond: int
) -> None:
    expected = datetime(2026, 5, 1, 8, 0, 0, microsecond, tzinfo=UTC).replace(tzinfo=None)
    assert read_pattern(pl.Series([text]), pattern).to_list() == [expected]


@given(st.sampled_from(list(GOOD)), st.datetimes(datetime(1970, 1, 1), datetime(2037, 12, 31)))  # noqa: DTZ001 - written as UTC
def test_what_is_written_with_a_pattern_is_read_to_its_precision(
    pattern: str, moment: datetime
) -> None:
    at = moment.replace(tzinfo=UTC)
    told = pattern_of_polars(pattern).replace("%#z", "%z")
    written = pl.Series([at]).dt.strftime(told)
    if "," in pattern:
        written = written.str.replace(".", ",", literal=True)
    (read,) = read_pattern(written, pattern).to_list()
    assert timedelta(0) <= at - read.replace(tzinfo=UTC) < GOOD[pattern]


def test_a_comma_in_another_place_is_no_fraction() -> None:
    assert read_pattern(pl.Series(["01,05,2026 08:00"]), "%d,%m,%Y %H:%M").null_count() == 0
