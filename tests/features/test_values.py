import math
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.source import BAD_VALUES, SourceConfig
from features.values import ValueColumnError, Values, is_good, parse_values


def source(**options: object) -> SourceConfig:
    return SourceConfig.model_validate({"files": "*.csv", **options})


def parse(found: list[object], **options: object) -> Values:
    return parse_values(pl.Series(found, strict=False), source(**options))


def parse_text(text: str | None, **options: object) -> tuple[float | None, bool, bool]:
    found = parse_values(pl.Series([text], dtype=pl.String), source(**options))
    return found.numbers[0], found.bad[0], found.refused[0]


@pytest.mark.parametrize(
    "text", [None, "", " ", "NaN", "-nan", "null", "NULL", "None", "N/A", "na"]
)
def test_a_word_for_missing_is_null(text: str | None) -> None:
    assert parse_text(text) == (None, False, False)


@pytest.mark.parametrize("text", ["Bad", "BAD INPUT", " i/o timeout ", "#N/A", "-", *BAD_VALUES])
def test_a_word_for_bad_is_null_and_counted(text: str) -> None:
    assert parse_text(text) == (None, True, False)


@pytest.mark.parametrize("text", ["off", "1,5", "inf", "-Infinity", "1e999", "0x10", "1 2", "--"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    assert parse_text(text) == (None, False, True)


@pytest.mark.parametrize(
    ("text", "number"), [("1.5", 1.5), (" -2 ", -2), ("+3e2", 300), (".5", 0.5), ("5.", 5)]
)
def test_a_number_is_read(text: str, number: float) -> None:
    assert parse_text(text) == (number, False, False)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,5", 1.5),
        ("-,5", -0.5),
        ("2", 2.0),
        ("1,5e3", 1500.0),
        ("1.234", None),
        ("1.234,5", None),
    ],
)
def test_with_a_decimal_comma_a_point_is_no_part_of_a_number(
    text: str, number: float | None
) -> None:
    options = {"separator": ";", "decimal": ","}
    assert parse_text(text, **options) == (number, False, number is None)


def test_the_reason_says_which_channel_and_what_was_expected() -> None:
    found = parse(["off", "1", "x" * 99])
    assert found.reasons(pl.lit("flow")).to_list() == [
        "channel 'flow' is 'off', expected a finite number",
        None,
        f"channel 'flow' is '{'x' * 60}', expected a finite number",
    ]
    names = pl.lit(pl.Series(["a", "b", "c"]))
    assert str(found.reasons(names)[2]).startswith("channel 'c' is 'xx")
    comma = parse(["1.5", "1,5"], separator=";", decimal=",")
    reason = "channel 'flow' is '1.5', expected a finite number with a decimal comma"
    assert comma.only_where(pl.Series([True, True])).reasons(pl.lit("flow"))[0] == reason


@pytest.mark.parametrize(
    "found",
    [
        pl.Series(["-9999", "1"]),
        pl.Series([" -9999.00 ", "1"]),
        pl.Series([-9999, 1]),
        pl.Series([-9999.0, 1.0]),
        pl.Series([Decimal("-9999.0"), Decimal(1)]),
    ],
)
def test_a_number_for_bad_is_bad_however_it_is_written(found: pl.Series) -> None:
    values = parse_values(found, source(bad_values=("-9999",)))
    assert values.numbers.to_list() == [None, 1.0]
    assert values.bad.to_list() == [True, False]
    assert not values.refused.any()


def test_infinity_may_be_a_word_for_bad() -> None:
    assert parse_text("inf", bad_values=("inf",)) == (None, True, False)
    assert parse([math.inf, 1.0], bad_values=("inf",)).bad.to_list() == [True, False]


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt64, pl.Float32, pl.Decimal(9, 2), pl.Int128])
def test_numbers_of_any_type_are_used(kind: pl.DataType) -> None:
    values = parse_values(pl.Series([1, None, 3]).cast(kind), source())
    assert values.numbers.to_list() == [1.0, None, 3.0]
    assert not (values.bad | values.refused).any()


def test_booleans_empty_columns_and_categories_are_used() -> None:
    assert parse([True, None, False]).numbers.to_list() == [1.0, None, 0.0]
    assert parse_values(pl.Series([None, None]), source()).numbers.to_list() == [None, None]
    for kind in (pl.Categorical, pl.Enum(["1.5", "Bad", "off"])):
        values = parse_values(pl.Series(["1.5", "Bad", "off"], dtype=kind), source())
        assert values.numbers.to_list() == [1.5, None, None]
        assert values.refused.to_list() == [False, False, True]


def test_infinities_among_numbers_are_refused_and_nan_is_missing() -> None:
    values = parse([1.5, math.nan, math.inf, -math.inf, None])
    assert values.numbers.to_list() == [1.5, None, None, None, None]
    assert values.refused.to_list() == [False, False, True, True, False]
    assert values.reasons(pl.lit("flow"))[2] == "channel 'flow' is 'inf', expected a finite number"


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (pl.Series([[1.0]]), "List(Float64)"),
        (
            pl.Series([datetime(2026, 5, 1, tzinfo=UTC)]),
            "Datetime(time_unit='us', time_zone='UTC')",
        ),
        (pl.Series([b"1"]), "Binary"),
        (pl.Series([{"a": 1}]), "Struct({'a': Int64})"),
    ],
)
def test_a_column_of_another_type_is_refused(found: pl.Series, kind: str) -> None:
    with pytest.raises(ValueColumnError) as caught:
        parse_values(found, source())
    assert str(caught.value) == f"is {kind}, expected numbers"


@pytest.mark.parametrize(
    ("quality", "options", "good"),
    [
        (pl.Series(["Good", " GOOD ", "192", "Bad", "", None]), {}, [1, 1, 1, 0, 0, 0]),
        (pl.Series([192, 0, 64, None]), {}, [1, 0, 0, 0]),
        (pl.Series([192.0, 192.5, math.nan, None]), {}, [1, 0, 0, 0]),
        (pl.Series([Decimal("192.00"), Decimal(24)]), {}, [1, 0]),
        (pl.Series(["192.0", "192,0", "1920"]), {}, [1, 1, 0]),
        (pl.Series(["0x00000000", "0x80000000"]), {"good_quality": ("0x00000000",)}, [1, 0]),
        (pl.Series([0, 2_147_483_648]), {"good_quality": ("Good", "0")}, [1, 0]),
        (pl.Series([True, False, None]), {"good_quality": ("true",)}, [1, 0, 0]),
        (pl.Series(["Good", "Bad"], dtype=pl.Categorical), {}, [1, 0]),
        (pl.Series([None, None]), {}, [0, 0]),
    ],
)  # fmt: skip
def test_a_quality_is_good_if_it_is_one_of_the_words_or_codes(
    quality: pl.Series, options: dict[str, object], good: list[int]
) -> None:
    assert is_good(quality, source(**options)).to_list() == [bool(one) for one in good]


@given(
    st.lists(st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=9)).map(
        lambda cell: None if cell is None else str(cell)
    )),
    st.sampled_from([(), ("Bad",), ("-9999", "nan", "")]),
)  # fmt: skip
def test_every_value_is_a_number_or_missing_or_bad_or_refused(
    texts: list[str | None], bad_values: tuple[str, ...]
) -> None:
    found = parse_values(pl.Series(texts, dtype=pl.String), source(bad_values=bad_values))
    assert not (found.bad & found.refused).any()
    assert (found.numbers.is_null() | found.numbers.is_finite()).all()
    assert not found.numbers.is_not_null().filter(found.bad | found.refused).any()
    assert all(len(one) == len(texts) for one in (found.numbers, found.bad, found.refused))


@given(st.lists(st.floats() | st.none()), st.sampled_from([(), ("-9999", "inf")]))
def test_texts_of_numbers_are_what_the_numbers_are(
    numbers: list[float | None], bad_values: tuple[str, ...]
) -> None:
    chosen = source(bad_values=bad_values)
    typed = parse_values(pl.Series(numbers, dtype=pl.Float64), chosen)
    texts = [None if number is None else repr(number) for number in numbers]
    written = parse_values(pl.Series(texts, dtype=pl.String), chosen)
    assert typed.numbers.equals(written.numbers)
    assert (typed.bad == written.bad).all()
    assert (typed.refused == written.refused).all()


def test_a_value_of_bad_quality_is_bad_whatever_it_is() -> None:
    found = parse(["1", "off", "2", "off"]).only_where(pl.Series([True, True, False, False]))
    assert found.numbers.to_list() == [1.0, None, None, None]
    assert found.bad.to_list() == [False, False, True, True]
    assert found.refused.to_list() == [False, True, False, False]
