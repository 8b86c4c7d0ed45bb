from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.channels import Channel
from features.grid import WindowConfig, make_grid
from features.slices import GridSlices, WindowSlices
from features.windows import make_windows

CHANNELS = (
    Channel(name="flow"),
    Channel(name="mode", kind="discrete", reporting="on_change"),
    Channel(name="total", kind="counter"),
    Channel(name="held", kind="counter", reporting="on_change"),
)
START = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def sample_frames(draw: st.DrawFn) -> pl.DataFrame:
    """Samples at odd times, with holes, silences and counters that are reset."""
    steps = draw(st.lists(st.sampled_from([1, 400, 999, 1_000, 1_001, 2_500, 9_000]), max_size=40))
    times = [START + timedelta(milliseconds=int(at)) for at in np.cumsum(steps, dtype=np.int64)]
    value = st.none() | st.integers(0, 9).map(float)
    columns = {
        channel.name: draw(st.lists(value, min_size=len(steps), max_size=len(steps)))
        for channel in CHANNELS
    }
    schema = {"time": pl.Datetime("us", "UTC")} | dict.fromkeys(columns, pl.Float64())
    return pl.DataFrame({"time": times, **columns}, schema=schema)


windows = st.builds(
    WindowConfig,
    sample_period_s=st.just(1.0),
    length=st.integers(2, 4),
    hop=st.integers(1, 2),
    max_gap_s=st.sampled_from([0.0, 1.0, 3.0]),
)
cuts = st.lists(st.integers(0, 40), max_size=6).map(sorted)


def sliced(samples: pl.DataFrame, places: list[int]) -> list[pl.DataFrame]:
    edges = [0, *(min(place, samples.height) for place in places), samples.height]
    return [samples[start:end] for start, end in pairwise(edges)]


@settings(max_examples=150, deadline=None)
@given(samples=sample_frames(), window=windows, places=cuts)
def test_slices_give_the_cells_and_windows_of_the_whole(
    samples: pl.DataFrame, window: WindowConfig, places: list[int]
) -> None:
    whole = make_grid(samples, CHANNELS, window)
    slices = GridSlices(CHANNELS, window)
    parts = [slices.add(part) for part in sliced(samples, places)]
    parts.append(slices.finish())
    assert_frame_equal(pl.concat(parts), whole)

    expected = make_windows(whole, CHANNELS, window)
    cut = WindowSlices(CHANNELS, window)
    found = [cut.add(part) for part in parts]
    ends = [at for part in found for at in part.end_times.tolist()]
    assert ends == expected.end_times.tolist()
    for part in found:
        same = np.searchsorted(expected.end_times, part.end_times)
        np.testing.assert_array_equal(part.take(slice(None)), expected.take(same))


def test_nothing_gives_nothing() -> None:
    window = WindowConfig(sample_period_s=1.0)
    slices = GridSlices(CHANNELS, window)
    nothing = pl.DataFrame(
        schema={"time": pl.Datetime("us", "UTC")}
        | {channel.name: pl.Float64() for channel in CHANNELS}
    )
    assert slices.add(nothing).is_empty()
    assert slices.finish().is_empty()
    assert len(WindowSlices(CHANNELS, window).add(slices.finish())) == 0
