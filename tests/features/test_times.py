from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.source import SourceConfig
from features.times import TIME, TimeColumnError, parse_times

AT = datetime(2026, 5, 1, 8, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BERLIN = "Europe/Berlin"
NAMES = {
    "epoch_s": "seconds",
    "epoch_ms": "milliseconds",
    "epoch_us": "microseconds",
    "epoch_ns": "nanoseconds",
}
UNITS = {"epoch_s": 1.0, "epoch_ms": 1e3, "epoch_us": 1e6, "epoch_ns": 1e9}
real_times = st.datetimes(datetime(1900, 1, 2), datetime(8999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is drawn
years_of_plants = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is drawn
local_times = st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1))  # noqa: DTZ001 - local times are meant
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def source(**options: object) -> SourceConfig:
    return SourceConfig.model_validate({"files": "*.csv", **options})


def parse(found: pl.Series, **options: object) -> tuple[list[datetime | None], list[str | None]]:
    times, reasons = parse_times(found, source(**options))
    assert times.dtype == TIME
    assert reasons.dtype == pl.String
    assert (times.name, reasons.name) == ("time", "reason")
    assert (times.is_null() != reasons.is_null()).all()
    return times.to_list(), reasons.to_list()


def parse_text(text: str | None, **options: object) -> datetime | None:
    return parse(pl.Series([text], dtype=pl.String), **options)[0][0]


def reason_of(text: str | None, **options: object) -> str | None:
    return parse(pl.Series([text], dtype=pl.String), **options)[1][0]


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01T08:00:00Z",
        "2026-05-01t08:00:00z",
        "2026-05-01 08:00:00+00:00",
        "2026-05-01 08:00:00-00:00",
        " 2026-05-01T10:00:00+02:00 ",
        "2026-05-01T10:00:00.000+0200",
        "2026-05-01 03:30:00-04:30",
        "2026-05-01T10:00:00+02",
        "2026-05-01 08:00:00 UTC",
        "2026-05-01 08:00:00 Z",
        "2026-05-01 10:00:00 +02:00",
        "2026-05-01  10:00:00.000000000 +0200",
        "2026-05-01T08:00Z",
        "2026-05-01 10:00+02",
        "2026-05-01T10:00 +02:00",
        "2026-05-01T08:00:00,000Z",
        "20260501T080000Z",
        "20260501T0800Z",
        "20260501T100000.000+0200",
        "20260501 10:00:00 +02",
    ],
)
def test_a_time_with_an_offset_is_that_instant_in_any_form_of_iso(text: str) -> None:
    assert parse_text(text) == AT
    assert parse_text(text, time_zone="Asia/Tokyo") == AT


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01T10:00:00",
        "2026-05-01 10:00:00",
        "2026-05-01 10:00:00.000",
        "2026-05-01 10:00:00,000",
        "2026-05-01  10:00",
        "2026-05-01T10:00",
        "20260501T100000",
        "20260501T1000",
        "2026-5-1 10:00",
    ],
)
def test_a_time_without_an_offset_is_of_the_zone_that_is_set(text: str) -> None:
    assert parse_text(text, time_zone=BERLIN) == AT
    assert reason_of(text) == (
        f"time is '{text}', which has no time zone; set [source] time_zone, or write an offset or Z"
    )


def test_a_day_begins_at_midnight_of_the_zone() -> None:
    midnight = datetime(2026, 4, 30, 22, tzinfo=UTC)
    assert parse_text("2026-05-01", time_zone=BERLIN) == midnight
    assert parse(pl.Series([date(2026, 5, 1)]), time_zone=BERLIN)[0] == [midnight]
    assert "which has no time zone" in (parse(pl.Series([date(2026, 5, 1)]))[1][0] or "")


def test_forms_may_be_mixed_in_a_column() -> None:
    found = pl.Series(["2026-05-01T08:00:00Z", "2026-05-01 10:00", None, "2026-05-01 10:00+02"])
    times, reasons = parse(found, time_zone=BERLIN)
    assert times == [AT, AT, None, AT]
    assert reasons[2] == "time is missing"


@pytest.mark.parametrize("text", [None, "", "  ", "NaN", "nan", "NULL", "None", "n/a", "NaT"])
@pytest.mark.parametrize("time_format", ["iso", "epoch_s", "epoch_ns", "%d.%m.%Y"])
def test_a_word_for_missing_is_a_missing_time(text: str | None, time_format: str) -> None:
    assert reason_of(text, time_format=time_format) == "time is missing"


@pytest.mark.parametrize(
    ("text", "time_format", "expected"),
    [
        ("soon", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("2026-13-01T08:00:00Z", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("2026-02-29 08:00:00", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("2026-05-01T24:30:00Z", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("2026-05-01T08:00:00+25:00", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("1777622400", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("01.05.2026 08:00", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("1899-12-31T23:59:59.999999Z", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("9000-01-01T00:00:00Z", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("+262142-12-31 23:59:59", "iso", "a time such as 2026-05-01T08:00:00Z"),
        ("soon", "epoch_s", "seconds since 1970"),
        ("1777622400000", "epoch_s", "seconds since 1970"),
        ("inf", "epoch_ms", "milliseconds since 1970"),
        ("1e300", "epoch_us", "microseconds since 1970"),
        ("-9223372036854775808", "epoch_ns", "nanoseconds since 1970"),
        ("2026-05-01", "%d.%m.%Y", "a time in the form %d.%m.%Y"),
    ],
)
def test_a_time_that_cannot_be_read_says_what_was_found_and_expected(
    text: str, time_format: str, expected: str
) -> None:
    reason = reason_of(text, time_format=time_format, time_zone="America/New_York")
    assert reason == f"time is '{text}', expected {expected}"


def test_a_long_text_is_shown_in_part() -> None:
    reason = f"time is '{'x' * 60}', expected a time such as 2026-05-01T08:00:00Z"
    assert reason_of("x" * 500) == reason


@pytest.mark.parametrize("text", ["1900-01-01T00:00:00Z", "8999-12-31T23:59:59.999999Z"])
def test_the_first_and_the_last_time_that_can_be_real_are_read(text: str) -> None:
    assert parse_text(text) == datetime.fromisoformat(text)


NEVER, TWICE = "2026-03-29 02:30:00", "2026-10-25 02:30:00"
FIRST_OF_TWO = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("fold", [None, "earlier", "later"])
def test_an_hour_that_never_was_has_no_time(fold: str | None) -> None:
    assert reason_of(NEVER, time_zone=BERLIN, fold=fold) == (
        f"time '{NEVER}' never was in {BERLIN}: the clocks were put forward over it"
    )


def test_an_hour_that_was_twice_is_the_one_that_fold_says() -> None:
    later = FIRST_OF_TWO + timedelta(hours=1)
    assert parse_text(TWICE, time_zone=BERLIN, fold="earlier") == FIRST_OF_TWO
    assert parse_text(TWICE, time_zone=BERLIN, fold="later") == later
    assert reason_of(TWICE, time_zone=BERLIN) == (
        f"time '{TWICE}' was twice in {BERLIN}: the clocks were put back; write offsets, "
        "or set [source] fold"
    )


@pytest.mark.parametrize("time_format", ["iso", "%Y-%m-%d %H:%M:%S"])
@pytest.mark.parametrize("fold", [None, "earlier", "later"])
def test_texts_patterns_and_timestamps_know_the_same_hours(
    time_format: str, fold: str | None
) -> None:
    texts = pl.Series([NEVER, TWICE, "2026-10-25 03:00:00", "2026-03-29 01:59:59"])
    local = texts.str.to_datetime("%Y-%m-%d %H:%M:%S")
    options = {"time_format": time_format, "time_zone": BERLIN, "fold": fold}
    assert parse(texts, **options)[0] == parse(local, **options)[0]


@given(
    local_times,
    st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
    st.sampled_from(["earlier", "later"]),
)
def test_local_times_are_those_of_the_standard_library(
    local: datetime, zone: str, fold: str
) -> None:
    moment = local.replace(tzinfo=ZoneInfo(zone), fold=int(fold == "later"))
    time = parse_text(local.isoformat(" "), time_zone=zone, fold=fold)
    was = moment.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local
    assert time == (moment.astimezone(UTC) if was else None)


def test_a_pattern_is_read_with_the_zone_or_with_its_own_offset() -> None:
    pattern = "%d.%m.%Y %H:%M:%S"
    assert parse_text("01.05.2026 10:00:00", time_format=pattern, time_zone=BERLIN) == AT
    assert parse_text("01.05.2026 10:00:00 +0200", time_format=f"{pattern} %z") == AT
    assert reason_of("01.05.2026 10:00:00", time_format=pattern) == (
        "time is '01.05.2026 10:00:00', which has no time zone; set [source] time_zone, or read an "
        "offset with %z"
    )


def test_numbers_can_be_read_with_a_pattern() -> None:
    found = pl.Series([20260501100000, None])
    times, reasons = parse(found, time_format="%Y%m%d%H%M%S", time_zone=BERLIN)
    assert (times, reasons) == ([AT, None], [None, "time is missing"])


@given(st.sampled_from(list(UNITS)), years_of_plants)
def test_whole_numbers_since_1970_come_back_as_texts_and_numbers(unit: str, at: datetime) -> None:
    nanoseconds = (at - EPOCH) // timedelta(microseconds=1) * 1_000
    whole = nanoseconds // (1_000_000_000 // int(UNITS[unit]))
    lost = timedelta(microseconds=(nanoseconds - whole * 10**9 // int(UNITS[unit])) // 1_000)
    for found in (pl.Series([str(whole)]), pl.Series([whole]), pl.Series([Decimal(whole)])):
        assert parse(found, time_format=unit)[0] == [at - lost]


@given(st.sampled_from(list(UNITS)), years_of_plants.filter(lambda at: at.year < 2100))
def test_numbers_with_fractions_come_back_to_the_microsecond(unit: str, at: datetime) -> None:
    number = (at - EPOCH) / timedelta(seconds=1) * UNITS[unit]
    for found in (pl.Series([number]), pl.Series([repr(number)])):
        ((read,), _) = parse(found, time_format=unit)
        assert read is not None
        assert abs(read - at) <= timedelta(microseconds=1)


def test_seconds_may_have_a_decimal_comma() -> None:
    found = parse_text("1777622400,25", time_format="epoch_s", separator=";", decimal=",")
    assert found == AT + timedelta(milliseconds=250)


@pytest.mark.parametrize("unit", list(UNITS))
@pytest.mark.parametrize("number", [float("inf"), float("-inf"), 1e300, -1e300])
def test_a_number_beyond_all_times_is_none(unit: str, number: float) -> None:
    assert parse(pl.Series([number]), time_format=unit)[1] == [
        f"time is '{pl.Series([number]).cast(pl.String)[0]}', expected {NAMES[unit]} since 1970"
    ]
    assert parse(pl.Series([float("nan")]), time_format=unit)[1] == ["time is missing"]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", BERLIN])
def test_timestamps_of_any_unit_and_zone_are_read(unit: str, zone: str | None) -> None:
    found = pl.Series([AT, None]).dt.convert_time_zone(BERLIN)
    kind = pl.Datetime(unit, zone)  # type: ignore[arg-type]  # one of its units
    typed = found.dt.replace_time_zone(None) if zone is None else found.dt.convert_time_zone(zone)
    times, reasons = parse(typed.cast(kind), time_zone=BERLIN)
    assert (times, reasons) == ([AT, None], [None, "time is missing"])


@given(
    st.sampled_from(["ms", "us", "ns"]),
    st.sampled_from([None, "UTC", BERLIN]),
    st.lists(st.integers(-(2**63), 2**63 - 1)),
)
def test_no_timestamp_is_too_far_to_be_told(unit: str, zone: str | None, ticks: list[int]) -> None:
    kind = pl.Datetime(unit, zone)  # type: ignore[arg-type]  # one of its units
    found = pl.Series([*ticks, -(2**63), 2**63 - 1], dtype=pl.Int64).cast(kind)
    times, _ = parse(found, time_zone=BERLIN)
    assert len(times) == len(found)


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_no_date_is_too_far_to_be_told(days: list[int]) -> None:
    found = pl.Series([*days, -(2**31), 2**31 - 1], dtype=pl.Int32).cast(pl.Date)
    times, reasons = parse(found, time_zone=BERLIN)
    assert times[-1] is None
    assert (reasons[-1] or "").startswith("time is '2147483647', expected a time such as")


@pytest.mark.parametrize(
    ("found", "options", "message"),
    [
        (
            pl.Series([AT]).dt.replace_time_zone(None),
            {},
            "has times without a zone; set [source] time_zone, or write them as UTC",
        ),
        (
            pl.Series([1_777_622_400]),
            {"time_zone": BERLIN},
            (
                "is Int64, expected times with a zone; set [source] time_format to epoch_s, "
                "epoch_ms, epoch_us or epoch_ns if these are numbers since 1970"
            ),
        ),
        (pl.Series([True]), {"time_format": "epoch_s"}, "is Boolean, expected times"),
        (pl.Series([time(8)]), {}, "is Time, expected times"),
        (pl.Series([timedelta(1)]), {}, "is Duration(time_unit='us'), expected times"),
        (pl.Series([[1]]), {"time_format": "epoch_s"}, "is List(Int64), expected times"),
        (pl.Series([b"\xff"]), {}, "is Binary, expected times"),
    ],
)
def test_a_column_of_a_type_that_no_row_can_mend_is_refused(
    found: pl.Series, options: dict[str, object], message: str
) -> None:
    with pytest.raises(TimeColumnError) as caught:
        parse(found, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["2026-05-01T08:00:00Z", "soon"])])
def test_categories_are_texts(kind: pl.DataType) -> None:
    found = pl.Series(["2026-05-01T08:00:00Z", None, "soon"], dtype=kind)
    times, reasons = parse(found)
    assert times == [AT, None, None]
    assert reasons[1:] == ["time is missing", reason_of("soon")]


@pytest.mark.parametrize("time_format", ["iso", "epoch_s", "%d.%m.%Y"])
def test_columns_without_a_time_or_without_rows_are_read(time_format: str) -> None:
    for empty in (pl.Series([], dtype=pl.String), pl.Series([], dtype=pl.Null)):
        assert parse(empty, time_format=time_format, time_zone=BERLIN) == ([], [])
    nothing = pl.Series([None, None], dtype=pl.Null)
    assert parse(nothing, time_format=time_format) == ([None] * 2, ["time is missing"] * 2)


@given(real_times, offsets, st.sampled_from(["T", " ", "  "]), st.sampled_from(["", " "]))
def test_any_instant_in_any_offset_comes_back(
    at: datetime, offset: timezone, joint: str, space: str
) -> None:
    text = at.astimezone(offset).isoformat(joint[0]).replace(joint[0], joint)
    written = f"{text[:-6]}{space}{text[-6:]}"
    assert parse_text(written) == at
    assert parse_text(written.replace(".", ",")) == at
    assert parse_text(f"{text[:-6]}{space}{text[-6:].replace(':', '')}") == at


@given(real_times)
def test_any_instant_in_the_short_forms_comes_back(at: datetime) -> None:
    assert parse_text(f"{at:%Y%m%dT%H%M%S.%fZ}".zfill(23)) == at
    minute = at.replace(second=0, microsecond=0)
    assert parse_text(f"{at:%Y-%m-%d %H:%MZ}") == minute
    assert parse_text(f"{at:%Y-%m-%d %H:%M}", time_zone="UTC") == minute
    assert parse_text(f"{at:%Y%m%dT%H%M}+00") == minute


@given(
    st.lists(st.text(st.sampled_from("0123456789-:+., TZz°\0aN"), max_size=30)),
    st.sampled_from(["iso", "epoch_s", "epoch_ns", "%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M:%S,%f%z"]),
    st.sampled_from([None, BERLIN]),
)
def test_every_text_is_a_time_or_has_a_reason(
    texts: list[str], time_format: str, zone: str | None
) -> None:
    found = pl.Series(texts, dtype=pl.String)
    times, reasons = parse(found, time_format=time_format, time_zone=zone)
    assert len(times) == len(reasons) == len(texts)
    assert all(reason is None or reason.startswith("time ") for reason in reasons)
    assert all(at is None or 1900 <= at.year < 9000 for at in times)
