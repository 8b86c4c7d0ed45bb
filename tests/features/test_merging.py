import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import permutations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.merging import (
    SOURCE,
    SOURCES,
    Comparison,
    MergeCounts,
    changed_rows,
    compare_rows,
    superseded_values,
)
from features.schema import LINE, QUARANTINE_SCHEMA
from features.times import TIME

NAMES = ("flow", "pressure")
RANK = 3
SOURCE_NAMES = {1: "a.csv", 2: "b.csv", 3: "c.csv", 4: "d.csv", 5: "e.csv"}
Row = tuple[int, float | None, float | None]
Cell = tuple[float, int]
"""A value and the rank of its source."""
Table = dict[int, list[Cell | None]]

values = st.none() | st.sampled_from([1.0, 2.0, 3.0])
stored_cells = st.none() | st.tuples(st.sampled_from([1.0, 2.0, 3.0]), st.integers(1, 5))
tables = st.dictionaries(st.integers(0, 4), st.lists(stored_cells, min_size=2, max_size=2))
rows = st.lists(st.tuples(st.integers(0, 4), values, values), max_size=12)


@dataclass
class Model:
    """The rule as a loop over cells."""

    table: Table
    fates: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[int, str, float]] = field(default_factory=list)
    """Line, channel and value that lost."""

    def merge(self, arriving: list[Row], rank: int) -> "Model":
        before = {at: list(cells) for at, cells in self.table.items()}
        for line, (at, *values) in enumerate(arriving, start=1):
            known = at in self.table
            old = self.table.setdefault(at, [None, None])
            done = {self._take(old, i, value, rank, line) for i, value in enumerate(values)}
            fate = next((f for f in ("superseded", "filled") if f in done), "duplicates")
            self.fates[fate if known else "kept"] += 1
        for at, cells in before.items():  # a value that came back is its first source's
            pairs = zip(self.table[at], cells, strict=True)
            self.table[at] = [
                was if was and now and now[0] == was[0] else now for now, was in pairs
            ]
        return self

    def _take(
        self, old: list[Cell | None], i: int, value: float | None, rank: int, line: int
    ) -> str:
        cell = old[i]
        if value is None or (cell and cell[0] == value):
            return ""
        if cell and cell[1] > rank:
            self.lost.append((line, NAMES[i], value))
            return "superseded"
        if cell:
            self.lost.append((line, NAMES[i], cell[0]))
        old[i] = (value, rank)
        return "superseded" if cell else "filled"


def columns_of(table: Table) -> list[list[Cell | None]]:
    return [[cells[i] for cells in table.values()] for i in range(len(NAMES))]


def stored(table: Table) -> pl.DataFrame:
    """A table as it is stored."""
    ranks = [[-1 if cell is None else cell[1] for cell in cells] for cells in table.values()]
    columns = {
        "time": pl.Series(list(table), dtype=pl.Int64).cast(TIME),
        **{
            name: pl.Series([cell and cell[0] for cell in cells], dtype=pl.Float64)
            for name, cells in zip(NAMES, columns_of(table), strict=True)
        },
        SOURCE: pl.Series([max([*one, 1]) for one in ranks], dtype=pl.Int32),
        SOURCES: pl.Series(
            [one if len({*one} - {-1}) > 1 else None for one in ranks], dtype=pl.List(pl.Int32)
        ),
    }
    return pl.DataFrame(columns)


def read(rows: pl.DataFrame) -> Table:
    """Stored rows as a table."""
    table: Table = {}
    for at, flow, pressure, source, sources in rows.select(
        pl.col("time").dt.epoch("us"), *NAMES, SOURCE, SOURCES
    ).iter_rows():
        ranks = [source] * 2 if sources is None else sources
        cells = zip((flow, pressure), ranks, strict=True)
        table[at] = [None if value is None else (value, rank) for value, rank in cells]
    return table


def frame(rows: list[Row]) -> pl.DataFrame:
    columns = {
        "time": pl.Series([row[0] for row in rows], dtype=pl.Int64).cast(TIME),
        **{
            name: pl.Series([row[i] for row in rows], dtype=pl.Float64)
            for i, name in enumerate(NAMES, start=1)
        },
        LINE: pl.Series(range(1, len(rows) + 1), dtype=pl.Int64),
    }
    return pl.DataFrame(columns)


def merge(table: pl.DataFrame, arriving: list[Row], rank: int) -> tuple[pl.DataFrame, Comparison]:
    """The table with these rows, as a historian would have it."""
    compared = compare_rows(table, frame(arriving), rank=rank)
    changed = changed_rows(compared)
    others = table.join(changed, on="time", how="anti")
    return pl.concat([others, changed.drop("is_new")]).sort("time"), compared


def losers(compared: Comparison, source: str = "c.csv") -> list[tuple[int, str, float]]:
    found = []
    for part in superseded_values(compared, source=source, names_of=SOURCE_NAMES):
        assert part.schema == QUARANTINE_SCHEMA
        for line, text in part.select("line", "raw").iter_rows():
            ((name, value),) = [item for item in json.loads(text).items() if item[0] != "time"]
            found.append((line, name, value))
    return sorted(found)


@given(tables, rows)
def test_all_rows_at_once_are_the_rows_one_by_one(table: Table, arriving: list[Row]) -> None:
    model = Model({at: list(cells) for at, cells in table.items()}).merge(arriving, RANK)
    merged, compared = merge(stored(table), arriving, RANK)
    counts = compared.counts()
    assert counts.rows == len(arriving)
    assert {name: count for name, count in vars(counts).items() if count} == model.fates
    assert read(merged) == model.table
    assert losers(compared) == sorted(model.lost)


@given(tables, rows)
def test_changed_rows_are_those_that_changed_once_each_and_in_order(
    table: Table, arriving: list[Row]
) -> None:
    merged, compared = merge(stored(table), arriving, RANK)
    changed = changed_rows(compared)
    assert changed["time"].is_sorted()
    assert changed["time"].is_unique().all()
    before, after = read(stored(table)), read(merged)
    times = changed["time"].dt.epoch("us").to_list()
    assert set(times) == {at for at in after if at not in before or after[at] != before[at]}
    assert changed["is_new"].to_list() == [at not in before for at in times]


@given(tables, rows)
def test_the_same_rows_again_change_nothing(table: Table, arriving: list[Row]) -> None:
    merged, compared = merge(stored(table), arriving, RANK)
    again, repeated = merge(merged, arriving, RANK)
    assert again.equals(merged)
    assert changed_rows(repeated).is_empty()
    assert repeated.counts().rows == compared.counts().rows
    assert repeated.counts().kept == repeated.counts().filled == 0


@given(tables, rows, st.integers(0, 12))
def test_rows_may_come_in_parts(table: Table, arriving: list[Row], size: int) -> None:
    whole, compared = merge(stored(table), arriving, RANK)
    first, one = merge(stored(table), arriving[:size], RANK)
    both, other = merge(first, arriving[size:], RANK)
    assert both.select("time", *NAMES).equals(whole.select("time", *NAMES))
    assert one.counts() + other.counts() == compared.counts()


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.integers(0, 3), st.tuples(st.booleans(), st.booleans()))))
def test_sources_may_arrive_in_any_order_if_each_says_something_else(
    sources: list[dict[int, tuple[bool, bool]]],
) -> None:
    brought = [
        [
            (at, rank + 0.0 if flow else None, rank + 0.5 if pressure else None)
            for at, (flow, pressure) in rows.items()
        ]
        for rank, rows in enumerate(sources[:3], start=1)
    ]
    results = []
    for order in permutations(range(len(brought))):
        table = stored({})
        for place in order:
            table, _ = merge(table, brought[place], place + 1)
        results.append(read(table))
    assert all(result == results[0] for result in results)


def test_a_source_that_is_read_again_does_not_overrule_a_later_one() -> None:
    table, _ = merge(stored({}), [(0, 1.0, 1.0)], 1)
    table, _ = merge(table, [(0, 2.0, None)], 2)
    table, compared = merge(table, [(0, 9.0, 9.0)], 1)
    assert read(table) == {0: [(2.0, 2), (9.0, 1)]}
    assert losers(compared, "a.csv") == [(1, "flow", 9.0), (1, "pressure", 1.0)]


def test_new_rows_of_an_empty_table_are_taken_as_they_are() -> None:
    table, compared = merge(stored({}), [(0, 1.0, None), (1, None, None)], 2)
    assert read(table) == {0: [(1.0, 2), None], 1: [None, None]}
    assert compared.counts() == MergeCounts(kept=2)
    assert losers(compared) == []


def test_a_channel_that_is_younger_than_a_row_has_its_source() -> None:
    sources = pl.Series([[4]], dtype=pl.List(pl.Int32))
    table = stored({0: [(1.0, 2), (2.0, 2)]}).with_columns(sources.alias(SOURCES))
    merged, compared = merge(table, [(0, 9.0, 9.0)], 3)
    assert read(merged) == {0: [(1.0, 4), (9.0, 3)]}
    assert losers(compared) == [(1, "flow", 9.0), (1, "pressure", 2.0)]


def test_a_superseded_value_says_what_became_of_it() -> None:
    table = stored({0: [(1.5, 2), (0.1 + 0.2, 5)]})
    _, compared = merge(table, [(0, 2.5, 1e-7)], 3)
    (found,) = superseded_values(compared, source="c.csv", names_of=SOURCE_NAMES)
    assert found.rows() == [
        (
            "c.csv",
            1,
            "superseded: channel 'flow' at 1970-01-01T00:00:00.000000Z was 1.5 and is now 2.5",
            '{"time": "1970-01-01T00:00:00.000000Z", "flow": 1.5}',
        ),
        (
            "c.csv",
            1,
            (
                "superseded: channel 'pressure' at 1970-01-01T00:00:00.000000Z is 1e-7 here, but "
                "0.30000000000000004 in the later source e.csv"
            ),
            '{"time": "1970-01-01T00:00:00.000000Z", "pressure": 1e-7}',
        ),
    ]


def test_a_source_without_a_name_is_another_one() -> None:
    _, compared = merge(stored({0: [(1.0, 5), None]}), [(0, 2.0, None)], 3)
    (found,) = superseded_values(compared, source="c.csv", names_of={})
    assert found["reason"][0].endswith("is 2.0 here, but 1.0 in the later source another source")


def test_many_superseded_values_come_in_parts() -> None:
    count = 130_000
    present = stored({0: [(1.0, 1), (1.0, 1)]}).select(pl.all().repeat_by(count).explode())
    present = present.with_columns(pl.int_range(count).cast(TIME).alias("time"))
    samples = present.select("time", pl.col(*NAMES) + 1, pl.int_range(count).alias(LINE))
    compared = compare_rows(present, samples, rank=2)
    parts = superseded_values(compared, source="b.csv", names_of={})
    assert [part.height for part in parts] == [count, count]
    compared = compare_rows(present, samples.with_columns(flow=1.0), rank=2)
    parts = superseded_values(compared, source="b.csv", names_of={})
    assert [part.height for part in parts] == [count]


@pytest.mark.parametrize("name", list(vars(MergeCounts())))
def test_every_count_is_one_of_rows(name: str) -> None:
    assert MergeCounts(**{name: 2}).rows == 2
    assert (MergeCounts(**{name: 2}) + MergeCounts(**{name: 3})) == MergeCounts(**{name: 5})
