from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.first_look.layout import find_long, good_words
from features.first_look.pieces import Piece

START = datetime(2026, 1, 1, tzinfo=UTC)
RANDOM = np.random.default_rng(3)


def times_of(count: int) -> list[str]:
    at = (START + timedelta(minutes=place) for place in range(count))
    return [f"{one:%Y-%m-%d %H:%M:%S}" for one in at]


def piece(**columns: Any) -> Piece:
    return Piece(pl.DataFrame(columns), "plant/a.csv")


def noise(count: int) -> list[str]:
    return [f"{value:.3f}" for value in RANDOM.normal(50.0, 5.0, count)]


@pytest.mark.parametrize(
    "columns",
    [
        {"mode": ["auto", "hand"] * 10, "flow": noise(20)},
        {"name": [str(number) for number in range(20)], "value": noise(20)},
        {"tag": times_of(20), "value": noise(20)},
        {"id": ["A-1", "A-2"] * 10, "note": ["x"] * 20},
        {"id": ["A-1", "A-2"] * 10, "flow": noise(20), "p": noise(20), "q": noise(20)},
        {f"c{number}": noise(20) for number in range(9)},
    ],
)
def test_other_tables_are_wide(columns: dict[str, list[str]]) -> None:
    assert find_long([piece(time=times_of(20), **columns)], "time") is None


def test_numbers_can_be_tags_where_the_names_say_so() -> None:
    long = find_long([piece(time=times_of(20), sensor_id=[1, 2] * 10, value=noise(20))], "time")
    assert long is not None
    assert (long.tag, long.quality) == ("sensor_id", None)


@pytest.mark.parametrize(
    ("words", "quality"),
    [
        (["Good", "Bad"], "x"),
        (["192", "64"], "x"),
        (["Good, local", "Uncertain"], "x"),
        (["Jo", "Al"], None),
        ([None, None], None),
    ],
)
def test_quality_is_told_by_its_words(words: list[str | None], quality: str | None) -> None:
    rows = piece(time=times_of(20), Tag=["FT-101", "PT-102"] * 10, Value=noise(20), x=words * 10)
    long = find_long([rows], "time")
    assert long is not None
    assert long.quality == quality


@pytest.mark.parametrize(
    ("values", "good", "doubt"),
    [
        ([192, 192, 216, 0, 64], ("192", "216"), None),
        ([192.0, 0.0], ("192",), None),
        ([216], ("192", "216"), None),
        ([0, 0, 2_147_483_648], ("0",), None),
        ([0, -2_147_483_648, 0], ("0",), None),
        (["0x00000000", "0x80000000"], ("0x00000000",), None),
        (["Good", "Bad", "GOOD"], ("good", "192"), None),
        (["OK", "ok", "x"], ("ok", "good", "192"), None),
        ([0, 0, 1], ("0",), "has 0, 1; only '0' was taken as good"),
        (["A", "A", "B"], ("a",), "has a, b; only 'a' was taken as good"),
        ([True, True, False], ("true", "good", "192"), None),
        ([None, None], ("good", "192"), "is empty in the sample"),
    ],
)
def test_good_quality_is_told_from_words_and_codes(
    values: list[object], good: tuple[str, ...], doubt: str | None
) -> None:
    found, told = good_words(pl.Series(values))
    assert found == good
    assert (doubt is None and told is None) or (doubt or "?") in (told or "")
