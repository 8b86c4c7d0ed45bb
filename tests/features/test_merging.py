from collections import defaultdict

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from features.merging import (
    changed_rows,
    compare_rows,
    count_repeated,
    count_rows,
    row_marks,
    superseded_values,
)
from features.schema import QUARANTINE_SCHEMA, TIME

NAMES = ("flow", "pressure")
Row = tuple[int, float | None, float | None]
cell = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.0]))
rows = st.lists(st.tuples(st.integers(0, 4), cell, cell), max_size=12)
one_each = st.lists(st.tuples(st.integers(0, 4), cell, cell), unique_by=lambda row: row[0])


def frame(rows: list[Row]) -> pl.DataFrame:
    times = pl.Series([row[0] for row in rows], dtype=pl.Int64).cast(TIME)
    values = {
        name: pl.Series([row[i] for row in rows], dtype=pl.Float64)
        for i, name in enumerate(NAMES, start=1)
    }
    return pl.DataFrame({"time": times, **values})


def one_by_one(
    present: list[Row], arriving: list[Row], repeated: int
) -> tuple[dict[int, list[float | None]], dict[str, int], int]:
    """The rule as a loop: state of the table, fates of the rows, values superseded."""
    state = {at: list(values) for at, *values in present}
    fates: dict[str, int] = defaultdict(int)
    superseded = 0
    for place, (at, *values) in enumerate(arriving):
        known = at in state
        old = state.setdefault(at, [None, None])
        filled = replaced = 0
        for i, value in enumerate(values):
            if value is None or value == old[i]:
                continue
            if old[i] is None:
                filled += 1
            elif place < repeated:
                continue
            else:
                replaced += 1
            old[i] = value
        superseded += replaced
        fate = "superseded" if replaced else "filled" if filled else "duplicates"
        fates[fate if known else "kept"] += 1
    return state, dict(fates), superseded


@settings(deadline=None)
@given(one_each, rows, st.data())
def test_all_rows_at_once_are_the_rows_one_by_one(
    present: list[Row], arriving: list[Row], data: st.DataObject
) -> None:
    repeated = data.draw(st.integers(0, len(arriving)))
    state, fates, superseded = one_by_one(present, arriving, repeated)
    compared = compare_rows(frame(present), frame(arriving), repeated=repeated)
    counts = count_rows(compared)
    assert counts.rows == len(arriving)
    assert {name: n for name, n in vars(counts).items() if n} == fates
    changed = changed_rows(compared)
    assert changed["time"].is_unique().all()
    table = {at: list(values) for at, *values in present}
    is_new = {at: at not in table for at in state}
    for at, *values, new in changed.with_columns(pl.col("time").dt.epoch("us")).iter_rows():
        table[at] = values
        assert new == is_new[at]
    assert table == state
    values = list(superseded_values(compared, source="b.csv"))
    assert sum(part.height for part in values) == superseded


def test_a_superseded_value_says_what_became_of_it() -> None:
    compared = compare_rows(frame([(0, 1.5, 2.0)]), frame([(0, 2.5, 3.0)]), repeated=0)
    (values,) = superseded_values(compared, source="b.csv")
    assert values.schema == QUARANTINE_SCHEMA
    assert values.row(0) == (
        "b.csv",
        None,
        "superseded: channel 'flow' at 1970-01-01T00:00:00.000000Z was 1.5 and is now 2.5",
        '{"time": "1970-01-01T00:00:00.000000Z", "flow": 1.5}',
    )


def test_many_superseded_values_come_in_parts() -> None:
    count = 130_000
    present = frame([(at, 1.0, 1.0) for at in range(count)])
    compared = compare_rows(present, present.with_columns(pl.col(NAMES) + 1), repeated=0)
    parts = list(superseded_values(compared, source="b.csv"))
    assert [part.height for part in parts] == [count, count]


@settings(deadline=None)
@given(rows, st.lists(st.integers(1, 5)), rows)
def test_rows_are_known_again_in_the_parts_that_they_came_in(
    before: list[Row], sizes: list[int], later: list[Row]
) -> None:
    marks: dict[str, int] = {}
    brought = frame(before)
    for size in [*sizes, len(before)]:
        done = count_known(brought, marks)
        marks |= row_marks(brought[done : done + size], source="a", first_line=2 + done)
    assert count_known(brought, marks) == len(before)
    assert count_known(pl.concat([brought, frame(later)]), marks) == len(before)
    assert count_known(brought, marks, source="b") == 0


def count_known(samples: pl.DataFrame, marks: dict[str, int], *, source: str = "a") -> int:
    return count_repeated(samples, source=source, first_line=2, find=marks.get)


def test_rows_that_changed_are_not_known() -> None:
    marks = row_marks(frame([(0, 1.0, None), (1, 2.0, None)]), source="a", first_line=2)
    assert count_known(frame([(0, 1.0, None), (1, 3.0, None)]), marks) == 0
    assert count_known(frame([(0, 1.0, None)]), marks) == 0
    assert row_marks(frame([]), source="a", first_line=2) == {}
