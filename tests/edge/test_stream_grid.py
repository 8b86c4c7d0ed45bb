import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.grid import Cell, Grid
from faultwatch_edge.manifest import ChannelSpec, WindowSpec

SECOND = 1_000_000
NAN = math.nan


def channel(kind: str = "continuous", reporting: str = "periodic", name: str = "c") -> ChannelSpec:
    return ChannelSpec(name, None, "", kind, reporting, None)  # type: ignore[arg-type]


def window(*, max_gap_s: float = 0.0, lateness_s: float = 0.0, period_s: float = 1.0) -> WindowSpec:
    return WindowSpec(period_s, 4, 1, max_gap_s, 1, lateness_s)


def cells_of(
    samples: Sequence[tuple[float, float]], spec: ChannelSpec, w: WindowSpec | None = None
) -> list[tuple[float, float | None, bool]]:
    """Run one channel through the grid; seconds in, (end, value, starts) out, None = missing."""
    grid = Grid([spec], w or window())
    cells = [c for at_s, value in samples for c in grid.add(round(at_s * SECOND), [value])]
    return [
        (c.end_us / SECOND, None if math.isnan(c.values[0]) else c.values[0], c.starts_sequence)
        for c in cells + grid.flush()
    ]


def test_cell_includes_its_end_and_not_its_start() -> None:
    found = cells_of([(0.000001, 1.0), (1.0, 3.0), (1.000001, 8.0)], channel())
    assert found == [(1.0, 2.0, True), (2.0, 8.0, False)]


def test_cells_are_aligned_to_the_epoch_also_before_it() -> None:
    assert cells_of([(-0.5, 1.0), (0.5, 2.0)], channel()) == [(0.0, 1.0, True), (1.0, 2.0, False)]


def test_missing_samples_do_not_enter_the_mean() -> None:
    grid = Grid([channel(), channel(name="d")], window())
    grid.add(100_000, [1.0, NAN])
    grid.add(200_000, [NAN, NAN])
    grid.add(300_000, [3.0, NAN])
    (cell,) = grid.flush()
    assert cell.values.tolist() == pytest.approx([2.0, NAN], nan_ok=True)


def test_discrete_cell_is_the_last_value_by_time_not_by_arrival() -> None:
    late_first = [(0.9, 7.0), (0.2, 5.0), (0.95, NAN)]
    found = cells_of(late_first, channel("discrete"), window(lateness_s=1.0))
    assert found == [(1.0, 7.0, True)]


def test_counter_cell_is_what_was_counted_since_the_cell_before() -> None:
    samples = [(0.5, 10.0), (1.5, 12.0), (1.9, 13.0), (2.5, 20.0)]
    found = cells_of(samples, channel("counter"))
    assert found == [(1.0, None, True), (2.0, 3.0, False), (3.0, 7.0, False)]


def test_counter_reset_is_missing_and_counting_goes_on_from_there() -> None:
    found = cells_of([(1, 10.0), (2, 3.0), (3, 5.0)], channel("counter"))
    assert [value for _, value, _ in found] == [None, None, 2.0]


def test_counter_counts_across_a_cell_in_which_it_was_missing() -> None:
    grid = Grid([channel("counter"), channel(name="d")], window())
    cells = [
        c
        for at_s, total in [(1, 10.0), (2, NAN), (3, 15.0)]
        for c in grid.add(at_s * SECOND, [total, 1.0])
    ]
    values = [c.values[0] for c in cells + grid.flush()]
    assert values == pytest.approx([NAN, NAN, 5.0], nan_ok=True)


def test_channel_that_reports_on_change_holds_its_value_and_a_periodic_one_does_not() -> None:
    w = window(max_gap_s=2.0)
    samples = [(1, 4.0), (4, 6.0)]
    held = cells_of(samples, channel("discrete", "on_change"), w)
    assert [value for _, value, _ in held] == [4.0, 4.0, 4.0, 6.0]
    missing = cells_of(samples, channel("discrete"), w)
    assert [value for _, value, _ in missing] == [4.0, None, None, 6.0]


def test_counter_that_reports_on_change_counts_nothing_while_it_is_quiet() -> None:
    spec = channel("counter", "on_change")
    found = cells_of([(1, 4.0), (4, 6.0)], spec, window(max_gap_s=2.0))
    assert [value for _, value, _ in found] == [None, 0.0, 0.0, 2.0]


def test_held_value_of_several_samples_is_that_of_the_cell() -> None:
    spec = channel("continuous", "on_change")
    found = cells_of([(0.2, 1.0), (0.8, 3.0), (2.5, 9.0)], spec, window(max_gap_s=1.0))
    assert [value for _, value, _ in found] == [2.0, 2.0, 9.0]


def test_silence_of_max_gap_stays_and_a_longer_one_cuts() -> None:
    w = window(max_gap_s=2.0)
    kept = cells_of([(1, 1.0), (4, 2.0)], channel(), w)
    assert [(end, starts) for end, _, starts in kept] == [
        (1.0, True),
        (2.0, False),
        (3.0, False),
        (4.0, False),
    ]
    cut = cells_of([(1, 1.0), (5, 2.0)], channel(), w)
    assert [(end, starts) for end, _, starts in cut] == [(1.0, True), (5.0, True)]


def test_nothing_is_known_after_a_cut() -> None:
    specs = [channel("counter"), channel("discrete", "on_change", "d")]
    grid = Grid(specs, window())
    cells = grid.add(1 * SECOND, [10.0, 1.0]) + grid.add(9 * SECOND, [30.0, NAN]) + grid.flush()
    assert cells[-1].starts_sequence
    assert np.isnan(cells[-1].values).all()


def test_row_without_any_value_leaves_its_cell_silent_and_moves_the_watermark() -> None:
    grid = Grid([channel()], window(max_gap_s=9.0))
    assert grid.add(1 * SECOND, [1.0])[0].end_us == SECOND
    assert grid.add(3 * SECOND, [NAN]) == []
    assert grid.is_late(2 * SECOND)
    (second, third, fourth) = grid.add(4 * SECOND, [2.0])
    assert np.isnan([second.values[0], third.values[0]]).all()
    assert fourth.values[0] == 2.0


def test_cell_stays_open_for_the_allowed_lateness_and_later_samples_are_late() -> None:
    grid = Grid([channel()], window(lateness_s=2.0))
    assert grid.add(1 * SECOND, [1.0]) == []
    assert grid.add(3 * SECOND - 1, [5.0]) == []
    assert grid.add(SECOND // 2, [3.0]) == []
    (cell,) = grid.add(3 * SECOND, [5.0])
    assert (cell.end_us, cell.values[0]) == (SECOND, 2.0)
    assert grid.add(1 * SECOND, [99.0]) == []
    assert grid.late == 1


def test_flush_closes_what_is_open_once() -> None:
    grid = Grid([channel()], window(lateness_s=5.0))
    grid.add(1 * SECOND, [1.0])
    assert len(grid.flush()) == 1
    assert grid.flush() == []
    assert grid.is_late(1 * SECOND)
    assert not grid.is_late(2 * SECOND)


def test_same_time_twice_replaces_channel_by_channel_and_is_counted() -> None:
    grid = Grid([channel(), channel(name="d")], window())
    grid.add(500_000, [1.0, 5.0])
    grid.add(500_000, [3.0, NAN])
    (cell,) = grid.flush()
    assert cell.values.tolist() == [3.0, 5.0]
    assert grid.duplicates == 1


def test_a_long_gap_costs_no_memory_and_open_cells_are_bounded() -> None:
    grid = Grid([channel()], window(lateness_s=3.0, max_gap_s=60.0))
    for at_s in range(100):
        grid.add(at_s * SECOND, [1.0])
        assert len(grid._open) <= 3 + 2  # noqa: SLF001 - the bound is a promise
    cells = grid.add(10**9 * SECOND, [1.0]) + grid.flush()
    assert len(cells) < 10
    assert cells[-1].starts_sequence


times = st.lists(st.integers(1, 12_000_000), min_size=1, max_size=40, unique=True)
values = st.floats(-1e6, 1e6)


@given(st.data(), times)
def test_order_of_arrival_within_the_lateness_does_not_matter(
    data: st.DataObject, at_us: list[int]
) -> None:
    specs = [
        channel("continuous"),
        channel("discrete", "on_change", "d"),
        channel("counter", "on_change", "e"),
    ]
    cell_values = st.tuples(*[st.one_of(values, st.just(NAN))] * 3)
    samples = [(t, list(data.draw(cell_values))) for t in sorted(at_us)]
    shuffled = data.draw(st.permutations(samples))
    w = window(lateness_s=12.0, max_gap_s=2.0)
    assert_same_cells(run(specs, w, samples), run(specs, w, shuffled))


@given(times)
def test_lateness_changes_when_cells_close_not_what_is_in_them(at_us: list[int]) -> None:
    samples = [(t, [float(t)]) for t in sorted(at_us)]
    prompt = run([channel()], window(max_gap_s=3.0), samples)
    patient = run([channel()], window(max_gap_s=3.0, lateness_s=5.0), samples)
    assert_same_cells(prompt, patient)


@given(times, st.data())
def test_every_value_is_in_one_cell_whose_mean_lies_between_its_values(
    at_us: list[int], data: st.DataObject
) -> None:
    samples = [(t, [data.draw(values)]) for t in sorted(at_us)]
    cells = run([channel()], window(max_gap_s=20.0), samples)
    used = 0
    for cell in cells:
        inside = [v[0] for t, v in samples if cell.end_us - SECOND < t <= cell.end_us]
        used += len(inside)
        if inside:
            assert min(inside) <= cell.values[0] <= max(inside)
        else:
            assert math.isnan(cell.values[0])
    assert used == len(samples)
    assert np.diff([cell.end_us for cell in cells]).tolist() == [SECOND] * (len(cells) - 1)


def run(
    specs: list[ChannelSpec], w: WindowSpec, samples: Sequence[tuple[int, list[float]]]
) -> list[Cell]:
    grid = Grid(specs, w)
    cells = [cell for at_us, row in samples for cell in grid.add(at_us, row)] + grid.flush()
    assert grid.late == 0
    return cells


def assert_same_cells(some: list[Cell], others: list[Cell]) -> None:
    assert [(c.end_us, c.starts_sequence) for c in some] == [
        (c.end_us, c.starts_sequence) for c in others
    ]
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
