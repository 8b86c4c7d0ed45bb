from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features import cells
from features.cells import count_cells, is_one_value_each, spread_cells, spread_one_by_one
from features.merging import SOURCE, SOURCES, MergeCounts, changed_rows, compare_rows
from features.rows import CELLS_SCHEMA
from features.schema import LINE
from features.times import TIME

NAMES = ("flow", "level", "pressure")
Said = tuple[int, str, float | None]
Row = tuple[int, list[float | None]]
said = st.tuples(
    st.integers(0, 3), st.sampled_from(NAMES), st.none() | st.sampled_from([1.0, 2.0, 3.0])
)
said_once = st.lists(said, min_size=1, unique_by=lambda cell: cell[:2])
present_rows = st.dictionaries(
    st.integers(0, 3), st.lists(st.none() | st.sampled_from([1.0, 2.0]), min_size=3, max_size=3)
)


def frame(said: list[Said]) -> pl.DataFrame:
    times, channels, numbers = ([cell[i] for cell in said] for i in range(3))
    columns = {
        "time": pl.Series(times, dtype=pl.Int64).cast(TIME),
        "channel": channels,
        "value": numbers,
        LINE: list(range(1, len(said) + 1)),
    }
    return pl.DataFrame(columns, schema=CELLS_SCHEMA)


def stored(rows: dict[int, list[float | None]], rank: int = 1) -> pl.DataFrame:
    columns = {
        name: pl.Series([row[i] for row in rows.values()], dtype=pl.Float64)
        for i, name in enumerate(NAMES)
    }
    times = pl.Series(list(rows), dtype=pl.Int64).cast(TIME)
    return pl.DataFrame({"time": times, **columns}).with_columns(
        pl.lit(rank, dtype=pl.Int32).alias(SOURCE),
        pl.lit(None, dtype=pl.List(pl.Int32)).alias(SOURCES),
    )


def one_by_one(present: pl.DataFrame, said: pl.DataFrame) -> tuple[MergeCounts, pl.DataFrame]:
    counts, changed = MergeCounts(), [changed_rows(compare_rows(present, none(), rank=2))]
    for part in spread_one_by_one(said, NAMES):
        compared = compare_rows(present.join(part, on="time", how="semi"), part, rank=2)
        counts += compared.counts()
        changed.append(changed_rows(compared))
    return counts, pl.concat(changed).sort("time")


def none() -> pl.DataFrame:
    return pl.DataFrame(schema={"time": TIME, **dict.fromkeys(NAMES, pl.Float64), LINE: pl.Int64})


@given(present_rows, said_once)
def test_cells_that_meet_no_other_value_may_be_taken_at_once(
    rows: dict[int, list[float | None]], said: list[Said]
) -> None:
    present = stored(rows)
    compared = compare_rows(present, spread_cells(frame(said), NAMES), rank=2)
    assume("superseded" not in compared.rows["fate"])
    counts, changed = one_by_one(present, frame(said))
    assert count_cells(frame(said), compared) == counts
    assert changed_rows(compared).equals(changed)


@given(present_rows, said_once)
def test_a_value_meets_another_at_once_where_it_does_one_by_one(
    rows: dict[int, list[float | None]], said: list[Said]
) -> None:
    compared = compare_rows(stored(rows), spread_cells(frame(said), NAMES), rank=2)
    counts, _ = one_by_one(stored(rows), frame(said))
    assert ("superseded" in compared.rows["fate"]) == (counts.superseded > 0)


@given(present_rows, st.lists(said))
def test_every_cell_is_counted_once(rows: dict[int, list[float | None]], said: list[Said]) -> None:
    counts, _ = one_by_one(stored(rows), frame(said))
    assert counts.rows == len(said)


@given(st.lists(said))
def test_two_values_of_one_channel_and_time_are_noticed(said: list[Said]) -> None:
    keys = [cell[:2] for cell in said]
    assert is_one_value_each(frame(said)) == (len(set(keys)) == len(keys))


@given(said_once)
def test_spread_cells_are_the_cells(said: list[Said]) -> None:
    wide = spread_cells(frame(said), NAMES)
    assert wide["time"].is_sorted()
    assert wide["time"].is_unique().all()
    values = {(at, name): value for at, name, value in said}
    first = {at: line for line, (at, _, _) in reversed(list(enumerate(said, start=1)))}
    for at, *numbers, line in wide.with_columns(pl.col("time").dt.epoch("us")).iter_rows():
        assert numbers == [values.get((at, name)) for name in NAMES]
        assert line == first[at]


@given(st.lists(said), st.integers(1, 5))
def test_one_by_one_every_cell_is_a_row_and_no_time_is_in_two_parts(
    said: list[Said], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "MOST_VALUES", most * len(NAMES))
        parts = list(spread_one_by_one(frame(said), NAMES))
    times = [set(part["time"]) for part in parts]
    assert sum(len(one) for one in times) == len({at for at, _, _ in said})
    assert all(part.height <= most or len(one) == 1 for part, one in zip(parts, times, strict=True))
    given = [(at, name if value else "", value) for at, name, value in said]
    assert sorted(told(parts)) == list(enumerate(given, start=1))
    lines = [line for part in parts for line in part.sort("time", LINE)[LINE]]
    assert [line for part in parts for line in part[LINE]] == lines


def told(parts: list[pl.DataFrame]) -> Iterator[tuple[int, Said]]:
    """Each row as the line and the cell that it came from, if that has a value."""
    for part in parts:
        for at, *numbers, line in part.with_columns(pl.col("time").dt.epoch("us")).iter_rows():
            given = [(name, value) for name, value in zip(NAMES, numbers, strict=True) if value]
            assert len(given) <= 1
            yield line, (at, *(given[0] if given else ("", None)))
