"""Times as sources write them, to instants in UTC; a time that cannot be one gets a reason."""

from datetime import UTC, datetime

import polars as pl

from features.source import EPOCH_NS, EPOCHS, SourceConfig
from features.time_pattern import read_pattern

TIME = pl.Datetime("us", "UTC")
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Times that can be real: from the first on, before the second."""
MISSING_WORDS = ("", "nan", "null", "none", "na", "n/a", "nat")
EXAMPLE = "2026-05-01T08:00:00Z"
LOCAL_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
OFFSET_AT_END = r"([Zz]|[+-]\d\d(:?\d\d)?)$"
LONGEST_SHOWN = 60
TEXTS = (pl.String, pl.Categorical, pl.Enum)
TICKS_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
FARTHEST_DAYS = 2_900_000
"""Days from 1970 to where years have five digits, about."""
MOST_MICROSECONDS = FARTHEST_DAYS * TICKS_PER_DAY["us"]
EPOCH_UNITS = {
    "epoch_s": "seconds",
    "epoch_ms": "milliseconds",
    "epoch_us": "microseconds",
    "epoch_ns": "nanoseconds",
}


class TimeColumnError(Exception):
    """A column that cannot hold times, whatever its rows say."""


def parse_times(found: pl.Series, source: SourceConfig) -> tuple[pl.Series, pl.Series]:
    """Instants of a column, and why a row has none.

    Args:
        found: texts, numbers, dates or timestamps.
        source: how times are written, and the zone of those without an offset.

    Returns:
        ``time`` (microseconds, UTC; null where there is a reason) and ``reason`` (null where there
        is a time), both of the length of the column.

    Raises:
        TimeColumnError: the column has a type that no row can mend.

    Example:
        >>> source = SourceConfig(files="*.csv", time_zone="Europe/Berlin")
        >>> found = pl.Series(["2026-07-01 10:00", "2026-03-29 02:30:00"])
        >>> times, reasons = parse_times(found, source)
        >>> str(times[0]), reasons[1]
        ('2026-07-01 08:00:00+00:00', "time '2026-03-29 02:30:00' never was in Europe/Berlin: \
the clocks were put forward over it")
    """
    _check_type(found.dtype, source)
    if found.dtype in (pl.Datetime, pl.Date):
        found, texts = _legible(found)
        parsed = _from_type(found, texts, source)
    else:
        texts = found.cast(pl.String).str.strip_chars()
        parsed = _from_text(texts, source)
    return _checked(*parsed, texts, source)


def _check_type(kind: pl.DataType, source: SourceConfig) -> None:
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is None and source.time_zone is None:
            raise TimeColumnError(
                "has times without a zone; set [source] time_zone, or write them as UTC"
            )
    elif kind.is_numeric() and source.time_format == "iso":
        raise TimeColumnError(
            f"is {kind}, expected times with a zone; set [source] time_format to epoch_s, "
            "epoch_ms, epoch_us or epoch_ns if these are numbers since 1970"
        )
    elif not (kind.is_numeric() or kind in TEXTS or kind in (pl.Date, pl.Null)):
        raise TimeColumnError(f"is {kind}, expected times")


def _legible(found: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Dates or timestamps, and their texts; far years are null, with a number for a text.

    Polars stops at a year that it cannot write.
    """
    kind, ticks = found.dtype, found.to_physical()
    per_day = TICKS_PER_DAY[kind.time_unit] if isinstance(kind, pl.Datetime) else 1
    near = ((ticks.cast(pl.Float64) / per_day).abs() < FARTHEST_DAYS).fill_null(value=True)
    found = found.zip_with(near, pl.Series([None], dtype=kind))
    return found, found.cast(pl.String).zip_with(near, ticks.cast(pl.String))


def _from_text(texts: pl.Series, source: SourceConfig) -> tuple[pl.Series, pl.Series]:
    if source.time_format in (*EPOCHS, EPOCH_NS):
        return _from_epoch(texts, source)
    if source.time_format != "iso":
        return _from_pattern(texts, source)
    times = texts.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    if not times.null_count():
        return times, _no_reason(times)
    return _from_unusual(times, texts, source)


def _from_unusual(
    times: pl.Series, texts: pl.Series, source: SourceConfig
) -> tuple[pl.Series, pl.Series]:
    """ISO times in their rarer forms: without seconds, short offsets, decimal commas, no offset."""
    plain = (
        texts.str.replace(r"(\d)[tT ]+(\d)", "${1} ${2}")
        .str.replace(r"(:\d\d),(\d)", "${1}.${2}")
        .str.replace(r"^(\d{4})(\d\d)(\d\d) ", "${1}-${2}-${3} ")
        .str.replace(r"^(\S+ \d\d)(\d\d)", "${1}:${2}")
        .str.replace(r"^(\S+ \d\d:\d\d)(\d\d)", "${1}:${2}")
    )
    aware = plain.str.contains(r":\d\d(\.\d+)? *" + OFFSET_AT_END)
    whole = (
        plain.str.replace(r" +([Zz+-])", "${1}")
        .str.replace(r"^(\S+ \d\d:\d\d)([Zz+-].*)$", "${1}:00${2}")
        .str.replace(r"([+-]\d\d)$", "${1}:00")
        .str.replace(r"([+-]\d\d)(\d\d)$", "${1}:${2}")
        .zip_with(aware.fill_null(value=False), pl.Series([None], dtype=pl.String))
    )
    mended = whole.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    times = times.zip_with(times.is_not_null(), mended)
    naive = plain.zip_with(
        times.is_null() & ~aware.fill_null(value=True), pl.Series([None], dtype=pl.String)
    )
    local = _first_that_fits(naive, LOCAL_FORMATS)
    settled, reason = _in_zone(local, texts, source)
    return times.zip_with(times.is_not_null(), settled), reason


def _first_that_fits(texts: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    parsed = [pl.lit(texts.str.to_datetime(one, time_unit="us", strict=False)) for one in formats]
    return pl.select(pl.coalesce(parsed)).to_series()


def _from_pattern(texts: pl.Series, source: SourceConfig) -> tuple[pl.Series, pl.Series]:
    times = read_pattern(texts, source.time_format)
    if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone:
        times = times.dt.convert_time_zone("UTC")
        return times, _no_reason(times)
    return _in_zone(times, texts, source)


def _from_epoch(texts: pl.Series, source: SourceConfig) -> tuple[pl.Series, pl.Series]:
    """Numbers since 1970; whole ones are exact, fractions to the microsecond."""
    numbers = texts.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    scaled = (numbers * EPOCHS.get(source.time_format, 1e-3)).round()
    within = (scaled.abs() < MOST_MICROSECONDS).fill_null(value=False)
    micro = scaled.zip_with(within, pl.Series([None], dtype=pl.Float64)).cast(pl.Int64)
    if source.time_format == EPOCH_NS:
        whole = texts.cast(pl.Int64, strict=False) // 1_000
        micro = whole.zip_with(whole.is_not_null(), micro)
    times = micro.cast(TIME)
    return times, _no_reason(times)


def _from_type(
    found: pl.Series, texts: pl.Series, source: SourceConfig
) -> tuple[pl.Series, pl.Series]:
    if isinstance(found.dtype, pl.Datetime) and found.dtype.time_zone:
        times = found.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        return times, _no_reason(times)
    return _in_zone(found.cast(pl.Datetime("us")), texts, source)


def _in_zone(
    local: pl.Series, texts: pl.Series, source: SourceConfig
) -> tuple[pl.Series, pl.Series]:
    """Local times to instants: hours that never were or were twice have none, but a reason."""
    if source.time_zone is None:
        offset = "write an offset or Z" if source.time_format == "iso" else "read an offset with %z"
        sentence = pl.concat_str(
            pl.lit("time is '"),
            _shown(texts),
            pl.lit(f"', which has no time zone; set [source] time_zone, or {offset}"),
        )
        reason = pl.select(pl.when(pl.lit(local).is_not_null()).then(sentence)).to_series()
        return _all_null(local), reason
    local = local.zip_with(_is_real(local), pl.Series([None], dtype=local.dtype))
    early, late = (
        local.dt.replace_time_zone(source.time_zone, ambiguous=which, non_existent="null")
        for which in ("earliest", "latest")
    )
    never, twice = local.is_not_null() & early.is_null(), (early != late).fill_null(value=False)
    times = late if source.fold == "later" else early
    if source.fold is None:
        times = times.zip_with(~twice, pl.Series([None], dtype=early.dtype))
    began = pl.concat_str(pl.lit("time '"), _shown(texts))
    sentence = (
        pl.when(pl.lit(never))
        .then(
            pl.concat_str(
                began,
                pl.lit(f"' never was in {source.time_zone}: the clocks were put forward over it"),
            )
        )
        .when(pl.lit(twice & times.is_null()))
        .then(
            pl.concat_str(
                began,
                pl.lit(
                    f"' was twice in {source.time_zone}: the clocks were put back; write offsets, "
                    "or set [source] fold"
                ),
            )
        )
    )
    return times.dt.convert_time_zone("UTC"), pl.select(sentence).to_series()


def _is_real(times: pl.Series) -> pl.Series:
    """Whether there is a time, and it can be real."""
    years = times.dt.year()
    return ((years >= EARLIEST.year) & (years < LATEST.year)).fill_null(value=False)


def _all_null(like: pl.Series) -> pl.Series:
    return pl.Series([None], dtype=TIME).new_from_index(0, len(like))


def _no_reason(like: pl.Series) -> pl.Series:
    return pl.Series([None], dtype=pl.String).new_from_index(0, len(like))


def _shown(texts: pl.Series) -> pl.Expr:
    return pl.lit(texts).str.slice(0, LONGEST_SHOWN)


def _expected(source: SourceConfig) -> str:
    if source.time_format in EPOCH_UNITS:
        return f"{EPOCH_UNITS[source.time_format]} since 1970"
    if source.time_format == "iso":
        return f"a time such as {EXAMPLE}"
    return f"a time in the form {source.time_format}"


def _checked(
    times: pl.Series, reasons: pl.Series, texts: pl.Series, source: SourceConfig
) -> tuple[pl.Series, pl.Series]:
    """Times that can be real, and a reason for each of the others."""
    real = _is_real(times)
    if real.all():
        return times.alias("time"), reasons.alias("reason")
    times = times.zip_with(real, pl.Series([None], dtype=TIME))
    text = pl.lit(texts)
    expected = f"', expected {_expected(source)}"
    sentence = (
        pl.when(pl.lit(times).is_not_null())
        .then(None)
        .when(text.is_null() | text.str.to_lowercase().is_in(MISSING_WORDS))
        .then(pl.lit("time is missing"))
        .otherwise(
            pl.coalesce(
                pl.lit(reasons),
                pl.concat_str(pl.lit("time is '"), _shown(texts), pl.lit(expected)),
            )
        )
    )
    return times.alias("time"), pl.select(sentence.alias("reason")).to_series()
