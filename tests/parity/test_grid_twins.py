"""The one rule that exists twice: the same samples through features and through the edge."""

import math
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultwatch_edge.grid import Cell
from faultwatch_edge.grid import Grid as EdgeGrid
from faultwatch_edge.manifest import ChannelSpec, WindowSpec
from faultwatch_edge.window import WindowBuffer
from features.channels import Channel, channel_names
from features.grid import WindowConfig, make_grid
from features.schema import samples_schema
from features.times import TIME
from features.windows import make_windows

CASES = sorted((Path(__file__).parents[1] / "cases" / "grid").iterdir())
EXACT = 1e-9


def read_table(path: Path, names: list[str]) -> pl.DataFrame:
    time = pl.col("time").str.to_datetime(time_unit="us", time_zone="UTC", format="%+")
    values = pl.col(names).cast(pl.Float64)
    return pl.read_csv(path, infer_schema=False).with_columns(time, values)


def edge_cells(
    samples: pl.DataFrame, channels: tuple[Channel, ...], window: WindowConfig
) -> list[Cell]:
    specs = [
        ChannelSpec(**c.model_dump(exclude={"description", "follows", "former_tags"}))
        for c in channels
    ]
    grid = EdgeGrid(specs, WindowSpec(**window.model_dump()))
    at_us = samples["time"].dt.epoch("us").to_list()
    rows = samples.select(channel_names(channels)).fill_null(math.nan).rows()
    cells = [cell for at, row in zip(at_us, rows, strict=True) for cell in grid.add(at, row)]
    return cells + grid.flush()


def as_grid(cells: list[Cell], channels: tuple[Channel, ...]) -> pl.DataFrame:
    names = channel_names(channels)
    values = np.array([cell.values for cell in cells]).reshape(len(cells), len(names))
    sequence = np.cumsum([cell.starts_sequence for cell in cells], dtype=np.int64) - 1
    times = pl.Series([cell.end_us for cell in cells], dtype=pl.Int64).cast(TIME)
    columns = {name: pl.Series(values[:, i]).fill_nan(None) for i, name in enumerate(names)}
    return pl.DataFrame({"time": times, "sequence": sequence.astype(np.uint32), **columns})


def assert_same_grid(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert found["time"].to_list() == expected["time"].to_list()
    assert found["sequence"].to_list() == expected["sequence"].cast(pl.UInt32).to_list()
    values = pl.all().exclude("time", "sequence").fill_null(math.nan)
    np.testing.assert_allclose(
        found.select(values).to_numpy(), expected.select(values).to_numpy(), rtol=EXACT, atol=EXACT
    )


def test_there_are_cases() -> None:
    assert len(CASES) >= 12


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("form", ["batch", "edge"])
def test_case(folder: Path, form: str) -> None:
    case = tomllib.loads((folder / "case.toml").read_text())
    channels = tuple(Channel(**channel) for channel in case["channel"])
    window = WindowConfig(**case["window"])
    names = channel_names(channels)
    samples = read_table(folder / "samples.csv", names)
    if form == "batch":
        found = make_grid(samples, channels, window)
    else:
        found = as_grid(edge_cells(samples, channels, window), channels)
    assert found.columns == ["time", "sequence", *names]
    assert_same_grid(found, read_table(folder / "expected.csv", names))


KINDS = ("continuous", "discrete", "counter")
REPORTINGS = ("periodic", "on_change")
CHANNELS = tuple(
    Channel(name=f"{kind}_{reporting}", kind=kind, reporting=reporting)
    for kind in KINDS
    for reporting in REPORTINGS
)


@st.composite
def random_samples(
    draw: st.DrawFn, *, around_us: int = 0, wide_us: int = 20_000_000
) -> pl.DataFrame:
    at_us = sorted(draw(st.sets(st.integers(around_us, around_us + wide_us), max_size=30)))
    cell = st.one_of(st.none(), st.integers(0, 9).map(float), st.floats(-1e6, 1e6))
    rows = [[draw(cell) for _ in CHANNELS] for _ in at_us]
    values = {c.name: [row[i] for row in rows] for i, c in enumerate(CHANNELS)}
    times = pl.Series(at_us, dtype=pl.Int64).cast(TIME)
    return pl.DataFrame({"time": times, **values}, schema=samples_schema(CHANNELS))


windows = st.builds(
    WindowConfig,
    sample_period_s=st.sampled_from([0.3, 1.0, 2.5]),
    length=st.integers(3, 6),
    hop=st.integers(1, 3),
    max_gap_s=st.sampled_from([0.0, 1.0, 3.0, 7.4]),
)


@settings(deadline=None)
@given(random_samples(), windows)
def test_both_make_the_same_cells_of_any_samples(
    samples: pl.DataFrame, window: WindowConfig
) -> None:
    assert_same_grid(
        make_grid(samples, CHANNELS, window),
        as_grid(edge_cells(samples, CHANNELS, window), CHANNELS),
    )


@settings(deadline=None)
@given(random_samples(around_us=-9_000_000), windows)
def test_both_agree_around_the_epoch(samples: pl.DataFrame, window: WindowConfig) -> None:
    assert_same_grid(
        make_grid(samples, CHANNELS, window),
        as_grid(edge_cells(samples, CHANNELS, window), CHANNELS),
    )


@settings(deadline=None)
@given(random_samples(), windows)
def test_both_cut_the_same_windows(samples: pl.DataFrame, window: WindowConfig) -> None:
    buffer = WindowBuffer(length=window.length, hop=window.hop, channel_count=len(CHANNELS))
    cells = edge_cells(samples, CHANNELS, window)
    pushed = [(cell.end_us, buffer.push(cell)) for cell in cells]
    streamed = [(end_us, one) for end_us, one in pushed if one is not None]
    batch = make_windows(make_grid(samples, CHANNELS, window), CHANNELS, window)
    assert batch.end_times.astype(np.int64).tolist() == [end_us for end_us, _ in streamed]
    for one, (_, other) in zip(batch.take(slice(None)), streamed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=EXACT)
