"""A bundle that lives through slices of rows says what the agent says of the same samples."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.agent import Agent
from faultwatch_edge.bundle import Bundle
from faultwatch_edge.score_row import ScoreRow
from features.channels import Channel
from features.grid import WindowConfig
from features.source import SourceConfig
from pipelines.config import AssetConfig, AssetInfo
from pipelines.replay import microseconds_of
from pipelines.scoring import AFTER, BEFORE, MOST_TRACED, BundleScorer
from pipelines.watch import Watched, runtime_rate, watch

START = datetime(2026, 1, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
ASSET = AssetConfig(
    asset=AssetInfo(id="pump_07"),
    source=SourceConfig(files="none"),
    channel=(Channel(name="a"), Channel(name="b")),
    window=WindowConfig(sample_period_s=1_800.0, length=2),
)
COLUMNS = {"a": "Flow [m3/h]", "b": "Level"}
NUMBERS = {"a": pl.Float64(), "b": pl.Float64()}


def rows_of(
    values: Sequence[tuple[float | None, float | None]], minutes: list[int]
) -> pl.DataFrame:
    times = [START + timedelta(minutes=int(at)) for at in np.cumsum(minutes, dtype=np.int64)]
    frame = pl.DataFrame(
        {"time": times, "a": [a for a, _ in values], "b": [b for _, b in values]},
        schema={"time": pl.Datetime("us", "UTC"), **NUMBERS},
    )
    numbers = pl.int_range(0, frame.height, dtype=pl.Int64, eager=True).alias("row")
    return frame.select(numbers, "time", pl.col("time").dt.epoch("us").alias("at_us"), "a", "b")


def live(bundle: Bundle, slices: list[pl.DataFrame], folder: Path) -> tuple[pl.DataFrame, Watched]:
    watched = watch({"it": bundle}, ASSET, slices, COLUMNS, folder=folder)["it"]
    parts = sorted(watched.parts.glob("*.parquet"))
    return pl.concat([pl.read_parquet(part) for part in parts]), watched


def ask_the_agent(bundle: Bundle, rows: pl.DataFrame) -> list[ScoreRow]:
    said: list[ScoreRow] = []
    agent = Agent(bundle, on_score=said.append)
    for time_us, *values in rows.select("at_us", "a", "b").iter_rows():
        agent.process(time_us, [np.nan if value is None else value for value in values])
    agent.finish()
    return said


def expected_of(rows: pl.DataFrame, said: list[ScoreRow]) -> list[tuple[float | None, bool, bool]]:
    """Score, anomaly and alarm of each row: those of the last window that ended by then."""
    found = []
    for at_us in rows["at_us"].to_list():
        ended = [row for row in said if row.end_us <= at_us]
        last = ended[-1] if ended else None
        is_recent = last is not None and at_us - last.end_us < 1_800_000_000
        score = last.score if last and is_recent else None
        anomalous = bool(last and is_recent and last.anomalous)
        found.append((score, anomalous, bool(last and last.state.value == "unacknowledged")))
    return found


values = st.lists(
    st.tuples(*(st.sampled_from([10.0, 12.0, 14.0, 16.0, 30.0, None]) for _ in "ab")),
    min_size=1,
    max_size=40,
)


@given(data=st.data(), values=values, cuts=st.lists(st.integers(0, 40), max_size=4).map(sorted))
def test_slices_give_the_rows_of_the_agent(
    bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    values: list[tuple[float | None, float | None]],
    cuts: list[int],
) -> None:
    steps = st.sampled_from([7, 30, 30, 30, 31, 60, 200])
    minutes = data.draw(st.lists(steps, min_size=len(values), max_size=len(values)))
    rows = rows_of(values, minutes)
    edges = [0, *(min(cut, rows.height) for cut in cuts), rows.height]
    slices = [rows[start:end] for start, end in pairwise(edges)]
    found, watched = live(bundle, slices, tmp_path_factory.mktemp("watch"))
    said = ask_the_agent(bundle, rows)
    assert found["row"].to_list() == rows["row"].to_list()
    assert found.select("score", "anomalous", "alarm").rows() == expected_of(rows, said)
    assert watched.scorer.windows == sum(row.anomalous is not None for row in said)


def test_contributions_are_named_after_the_columns(bundle: Bundle, tmp_path: Path) -> None:
    rows = rows_of([(10.0, 10.0)] * 3 + [(10.0, 30.0)] * 3, [30] * 6)
    found, _ = live(bundle, [rows], tmp_path / "watch")
    assert found.columns[-2:] == ["contribution.Flow [m3/h]", "contribution.Level"]
    assert found["contribution.Level"].to_list() == [None, None, 0.0, 20.0, 20.0, 20.0]
    assert found["contribution.Flow [m3/h]"].to_list() == [None, None, 0.0, 0.0, 0.0, 0.0]


def test_a_row_without_a_time_has_the_score_of_the_row_before_it(
    bundle: Bundle, tmp_path: Path
) -> None:
    rows = rows_of([(10.0, 10.0)] * 4 + [(10.0, 13.0)] * 2, [30] * 6)
    lost = rows.with_columns(
        pl.when(pl.col("row") != 4).then(pl.col("time")).name.keep(),
        pl.when(pl.col("row") == 4)
        .then(pl.col("at_us").shift(1))
        .otherwise("at_us")
        .alias("at_us"),
    )
    found, _ = live(bundle, [lost[:3], lost[3:]], tmp_path / "watch")
    assert found["row"].to_list() == list(range(6))
    assert found["time"].to_list() == [*rows["time"][:4], None, rows["time"][5]]
    assert found["score"].to_list() == [None, None, 0.0, 0.0, 0.0, None]  # its cell cuts


def test_no_row_sees_what_comes_after_it(bundle: Bundle, tmp_path: Path) -> None:
    rows = rows_of([(10.0 + k % 7, 10.0) for k in range(60)], [30] * 60)
    whole, _ = live(bundle, [rows], tmp_path / "whole")
    changed = rows.with_columns(
        pl.when(pl.col("row") < 40).then(pl.col("a")).otherwise(99.0).alias("a")
    )
    other, _ = live(bundle, [changed], tmp_path / "other")
    assert whole[:40].equals(other[:40])
    assert not whole.equals(other)


def test_an_alarm_is_traced_before_and_after(bundle: Bundle, tmp_path: Path) -> None:
    count = BEFORE + 50
    quiet, loud = [(10.0, 10.0)] * count, [(10.0, 20.0)] * (AFTER + 50)
    rows = rows_of([*quiet, *loud], [30] * (count + AFTER + 50))
    _, watched = live(
        bundle, [rows[:count], rows[count : count + 5], rows[count + 5 :]], tmp_path / "w"
    )
    (alarm,) = watched.scorer.alarms
    onset = START + (count + 1) * HALF_HOUR
    assert alarm.onset_us == microseconds_of(onset)
    assert alarm.raised_us == microseconds_of(onset + 2 * HALF_HOUR)
    assert (alarm.ended_us, alarm.peak) == (None, 10.0)
    assert alarm.strongest == [1]
    assert alarm.shares.tolist() == [0.0, 1.0]
    times = np.concatenate(alarm.times_us)
    assert len(times) == BEFORE + AFTER
    assert (np.diff(times) == 1_800_000_000).all()
    assert times[BEFORE] == alarm.raised_us
    np.testing.assert_array_equal(np.concatenate(alarm.expected), 10.0)
    assert np.concatenate(alarm.observed)[BEFORE - 3 : BEFORE + 1, 0].tolist() == [10, 20, 20, 20]


def test_only_the_first_alarms_are_traced(bundle: Bundle, tmp_path: Path) -> None:
    one = [(10.0, 10.0)] * 4 + [(10.0, 20.0)] * 4
    values = one * (MOST_TRACED + 2) + one[:4]
    rows = rows_of(values, [30] * len(values))
    _, watched = live(bundle, [rows], tmp_path / "watch")
    assert len(watched.scorer.alarms) == MOST_TRACED + 2
    assert all(alarm.times_us for alarm in watched.scorer.alarms[:MOST_TRACED])
    assert not any(alarm.times_us for alarm in watched.scorer.alarms[MOST_TRACED:])
    assert all(alarm.ended_us is not None for alarm in watched.scorer.alarms)


def test_each_bundle_has_a_time_and_an_alarm_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    rows = rows_of([(10.0, 30.0)] * 9, [30] * 9)
    told: list[tuple[int, int]] = []
    both = watch(
        {"one": bundle, "two": bundle},
        ASSET,
        [rows[:4], rows[4:]],
        COLUMNS,
        folder=tmp_path,
        advance=lambda rows, windows: told.append((rows, windows)),
    )
    assert [len(one.scorer.alarms) for one in both.values()] == [1, 1]
    assert all(one.seconds > 0 for one in both.values())
    assert (sum(rows for rows, _ in told), sum(windows for _, windows in told)) == (9, 8)


def test_nothing_gives_no_rows(bundle: Bundle, tmp_path: Path) -> None:
    watched = watch({"it": bundle}, ASSET, [], COLUMNS, folder=tmp_path)["it"]
    assert not list(watched.parts.iterdir())
    assert isinstance(watched.scorer, BundleScorer)
    assert watched.scorer.windows == 0


def test_the_runtime_alone_is_timed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.watch.RUNTIME_SECONDS", 0.01)
    from features.windows import Windows  # noqa: PLC0415

    cells = np.zeros((20, 2), np.float32)
    times = np.arange(20).astype("datetime64[us]")
    windows = Windows(cells, times, np.zeros(20, np.int64), np.arange(1, 20), 2)
    assert runtime_rate(bundle, windows) > 0
    none = Windows(cells, times, np.zeros(20, np.int64), np.arange(0), 2)
    assert runtime_rate(bundle, none) == 0.0
