"""What two files have in common, what may be learned of them, and what is said about it."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.first_look.pieces import InspectionError
from pipelines.data_files import InitError
from pipelines.trial_files import BacktestError, count_rows, open_file
from pipelines.two_files import (
    ROW_TIME,
    OutOfOrderError,
    Pair,
    TrialOptions,
    open_pair,
    read_normal,
    read_test,
    read_test_in_order,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def table(rows: int = 200, *, seed: int = 0, period_s: float = 10.0) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    times = [START + timedelta(seconds=period_s * row) for row in range(rows)]
    return pl.DataFrame(
        {
            "time": [at.isoformat() for at in times],
            "flow": generator.normal(50, 1, rows).round(4),
            "level": generator.normal(2, 0.1, rows).round(4),
        }
    )


def write(path: Path, frame: pl.DataFrame, separator: str = ",") -> Path:
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator=separator)
    return path


def pair_of(folder: Path, train: Path, test: Path, options: TrialOptions | None = None) -> Pair:
    copies = folder / "copies"
    copies.mkdir(exist_ok=True)
    return open_pair(train, test, options or TrialOptions(), folder=copies)


def tables(folder: Path, train: pl.DataFrame, test: pl.DataFrame, **options: object) -> Pair:
    files = write(folder / "train.csv", train), write(folder / "test.csv", test)
    return pair_of(folder, *files, TrialOptions(**options))  # type: ignore[arg-type]


def test_channels_are_those_of_both_files(tmp_path: Path) -> None:
    only_in_train = table().with_columns(speed=pl.col("flow") * 2 + pl.col("level"))
    only_in_test = table().with_columns(label=pl.lit(0))
    pair = tables(tmp_path, only_in_train, only_in_test)
    assert list(pair.columns.values()) == ["flow", "level"]
    assert pair.notes == (
        "Only in train.csv, so not used: 'speed'",
        "Only in test.csv, so not used: 'label'",
    )
    assert pair.asset.window.min_channels == 1


def test_excluded_columns_are_no_channels_and_must_exist(tmp_path: Path) -> None:
    labelled = table().with_columns(odd=pl.Series(range(200)).cast(pl.Float64).sin())
    assert list(tables(tmp_path, labelled, labelled, exclude=("odd",)).columns) == ["flow", "level"]
    with pytest.raises(BacktestError, match=r"--exclude 'anomaly': neither file has that column"):
        tables(tmp_path, labelled, labelled, exclude=("anomaly",))


def test_an_excluded_column_never_comes_back_under_a_channel_s_name(tmp_path: Path) -> None:
    """The name that is made from "Flow rate" is that of a label."""
    frame = table().rename({"flow": "Flow rate"}).with_columns(Flow_rate=pl.lit(1.0))
    pair = tables(tmp_path, frame, frame, exclude=("Flow_rate",))
    assert pair.columns == {"Flow_rate_": "Flow rate", "level": "level"}
    assert read_normal(pair).samples["Flow_rate_"].to_list() == frame["Flow rate"].to_list()


def test_files_without_a_common_column_are_refused(tmp_path: Path) -> None:
    other = table().rename({"flow": "p", "level": "q"})
    with pytest.raises(BacktestError, match=r"no column of numbers in common; the first has"):
        tables(tmp_path, table(), other)


def test_one_file_needs_the_rows_that_teach(tmp_path: Path) -> None:
    path = write(tmp_path / "both.csv", table())
    with pytest.raises(BacktestError, match=r"is both TRAIN and TEST; say with --train-rows"):
        pair_of(tmp_path, path, path)
    pair = pair_of(tmp_path, path, path, TrialOptions(train_rows=120))
    assert pair.is_one_file
    learned = read_normal(pair)
    assert (learned.samples.height, learned.rows) == (120, 120)


def test_what_comes_after_the_rows_that_teach_decides_nothing(tmp_path: Path) -> None:
    """In the rest of the file a channel moves that never moved, and the spacing is another."""
    rest = table(400, seed=1, period_s=30.0).with_columns(
        time=pl.Series(
            [(START + timedelta(days=1, seconds=30 * k)).isoformat() for k in range(400)]
        )
    )
    still = table(200).with_columns(flow=pl.lit(5.0))
    path = write(tmp_path / "both.csv", pl.concat([still, rest]))
    alone = tables(tmp_path, still, still)
    both = pair_of(tmp_path, path, path, TrialOptions(train_rows=200))
    assert both.asset.channel == alone.asset.channel
    assert both.asset.window == alone.asset.window


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("period_s", [None, 60.0])
def test_without_times_rows_are_evenly_apart(
    tmp_path: Path, suffix: str, period_s: float | None
) -> None:
    frame = table().drop("time")
    train, test = (write(tmp_path / f"{name}{suffix}", frame) for name in ("train", "test"))
    pair = pair_of(tmp_path, train, test, TrialOptions(sample_period_s=period_s))
    told = "for want of --sample-period-s" if period_s is None else "as you said"
    apart = period_s or 1.0
    assert pair.notes == (f"No column holds times: rows were taken as {apart:g} s apart, {told}",)
    assert (pair.has_times, pair.asset.window.sample_period_s) == (False, apart)
    assert pair.asset.window.length == 16
    samples = read_normal(pair).samples
    assert samples["flow"].to_list() == frame["flow"].to_list()
    assert (samples["time"].diff().drop_nulls().dt.total_seconds() == apart).all()
    (rows,) = read_test(pair)
    assert rows.frame["row"].to_list() == list(range(200))


def test_one_column_of_numbers_is_a_file(tmp_path: Path) -> None:
    for name in ("train.csv", "test.txt"):
        (tmp_path / name).write_text("flow\n" + "\n".join(map(str, table()["flow"])))
    pair = pair_of(tmp_path, tmp_path / "train.csv", tmp_path / "test.txt")
    assert pair.columns == {"flow": "flow"}
    assert read_normal(pair).samples.height == 200


def test_numbers_without_a_header_have_numbered_columns(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    table().drop("time").write_csv(path, include_header=False)
    pair = pair_of(tmp_path, path, path, TrialOptions(train_rows=100))
    assert list(pair.columns) == ["column_1", "column_2"]
    assert read_normal(pair).samples.height == 100
    alone = tmp_path / "alone.csv"
    alone.write_text("1.5\n2.5\n")
    assert open_file(alone).columns == ("column_1",)


def test_encodings_separators_and_compression_may_differ(tmp_path: Path) -> None:
    german = table().rename({"flow": "Durchfluß"})
    text = german.write_csv(separator=";").replace(".", ",").encode("cp1252")
    train = tmp_path / "train.csv.gz"
    train.write_bytes(gzip.compress(text))
    test = write(tmp_path / "test.parquet", german)
    pair = pair_of(tmp_path, train, test)
    assert list(pair.columns.values()) == ["Durchfluß", "level"]
    (rows,) = read_test(pair)
    learned = read_normal(pair).samples
    for name in pair.columns:
        assert rows.frame[name].to_list() == learned[name].to_list()
    timeless = train.with_name("rows.csv.gz")
    timeless.write_bytes(gzip.compress(text.split(b"\r\n")[0].partition(b";")[2]))
    nameless = german.drop("time").write_csv(separator=";").replace(".", ",").encode("cp1252")
    timeless.write_bytes(gzip.compress(nameless))
    again = read_normal(pair_of(tmp_path, timeless, timeless, TrialOptions(train_rows=200)))
    assert again.samples["level"].to_list() == learned["level"].to_list()


def test_every_row_of_test_is_there_with_its_number(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", table())
    lines = table().write_csv().splitlines()
    lines[3] = "garbage"
    lines[5] = lines[5].replace(lines[5].split(",")[1], "high")
    lines[7] = "soon" + lines[7][lines[7].index(",") :]
    lines.insert(9, "")
    (tmp_path / "test.csv").write_text("\n".join(lines))
    pair = pair_of(tmp_path, tmp_path / "train.csv", tmp_path / "test.csv")
    (rows,) = read_test(pair)
    assert rows.frame["row"].to_list() == list(range(200))
    lost = rows.frame.filter(pl.col("time").is_null())
    assert lost["row"].to_list() == [2, 4, 6]
    at = rows.frame["at_us"]
    assert [at[row] for row in (2, 4, 6)] == [at[row] for row in (1, 3, 5)]
    assert len(rows.refused) == 3
    assert rows.frame["flow"][199] == table()["flow"][199]
    assert count_rows(pair.test) in {200, 201}


def test_a_first_row_without_a_time_is_never_scored(tmp_path: Path) -> None:
    lines = table().write_csv().splitlines()
    lines[1] = "soon" + lines[1][lines[1].index(",") :]
    (tmp_path / "test.csv").write_text("\n".join(lines))
    pair = pair_of(tmp_path, write(tmp_path / "train.csv", table()), tmp_path / "test.csv")
    (rows,) = read_test(pair)
    assert rows.frame["at_us"][0] is None


def test_a_slice_of_rows_without_times_is_not_out_of_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.reading.most_rows", lambda *_: 50)
    lost = table(2_000).with_columns(
        time=pl.when(pl.int_range(2_000).is_between(1_000, 1_099))
        .then(pl.lit("soon"))
        .otherwise("time")
    )
    slices = list(read_test(tables(tmp_path, table(), lost)))
    assert len(slices) == 40
    assert [rows.frame["time"].null_count() for rows in slices[19:23]] == [0, 50, 50, 0]
    assert slices[21].frame["at_us"].unique().to_list() == [slices[19].frame["at_us"][-1]]


def test_rows_out_of_order_are_put_in_order_when_all_are_known(tmp_path: Path) -> None:
    shuffled = table().sample(fraction=1.0, shuffle=True, seed=3)
    pair = tables(tmp_path, shuffled, shuffled)
    assert read_normal(pair).samples["flow"].to_list() == table()["flow"].to_list()
    with pytest.raises(OutOfOrderError):
        list(read_test(pair))
    rows = read_test_in_order(pair)
    assert rows.frame["flow"].to_list() == table()["flow"].to_list()
    assert sorted(rows.frame["row"].to_list()) == list(range(200))


def test_of_two_rows_at_one_time_the_later_wins(tmp_path: Path) -> None:
    doubled = pl.concat([table(), table()[-1:].with_columns(flow=pl.lit(99.0), level=None)])
    pair = tables(tmp_path, doubled, doubled)
    samples = read_normal(pair).samples
    assert samples.height == 200
    assert (samples["flow"][-1], samples["level"][-1]) == (99.0, table()["level"][-1])


def test_the_sample_period_that_is_told_counts(tmp_path: Path) -> None:
    pair = tables(tmp_path, table(), table(), sample_period_s=20.0)
    assert (pair.asset.window.sample_period_s, pair.asset.window.max_gap_s) == (20.0, 100.0)
    assert pair.asset.alarm.on_delay_s == 60.0


def test_counters_and_states_are_named(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frame = table().with_columns(
        total=pl.Series(np.cumsum(generator.integers(0, 5, 200)).astype(float)),
        mode=pl.Series(np.repeat([0.0, 1.0, 0.0, 1.0], 50)),
    )
    notes = tables(tmp_path, frame, frame).notes
    assert "Taken as counter: 'total'" in notes
    assert "Taken as discrete: 'mode'" in notes


def test_bad_values_are_counted(tmp_path: Path) -> None:
    train = table().with_columns(
        flow=pl.when(pl.int_range(200) == 7).then(pl.lit("Bad")).otherwise(pl.col("flow").cast(str))
    )
    learned = read_normal(tables(tmp_path, train, table()))
    assert learned.notes == ["1 values of TRAIN are words that say bad: taken as missing"]
    assert learned.samples["flow"][7] is None


def test_a_long_file_teaches_with_its_newest_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.two_files.MOST_VALUES", 250)
    monkeypatch.setattr("pipelines.reading.MOST_ROWS", 1)
    monkeypatch.setattr("pipelines.reading.most_rows", lambda *_: 50)
    learned = read_normal(tables(tmp_path, table(), table()))
    assert learned.rows == 200
    assert learned.samples["flow"].to_list() == table()["flow"][100:].to_list()
    assert learned.notes == ["TRAIN is long: the newest 100 rows learn"]


@pytest.mark.parametrize(
    ("train", "options", "error", "reason"),
    [
        ("gone.csv", {}, BacktestError, r"'.*gone.csv' is not there; name a file"),
        ("notes.md", {}, BacktestError, r"is neither CSV .* nor .parquet; name a file"),
        ("empty.csv", {}, InitError, r"'empty.csv' is empty"),
        ("words.csv", {}, InspectionError, r"words.csv has no column of numbers"),
        ("good.csv", {"time": "when"}, InspectionError, r"good.csv has no column 'when'"),
        ("long.csv", {}, BacktestError, r"long.csv has one row a value; .* needs one column a"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_a_sentence(
    tmp_path: Path, train: str, options: dict[str, str], error: type[Exception], reason: str
) -> None:
    write(tmp_path / "good.csv", table())
    (tmp_path / "notes.md").write_text("# Notes")
    (tmp_path / "empty.csv").write_text("")
    write(tmp_path / "words.csv", table().select("time", op=pl.lit("Jo")))
    tags = table().unpivot(index="time", variable_name="tag", value_name="value")
    write(tmp_path / "long.csv", tags)
    with pytest.raises(error, match=reason):
        pair_of(
            tmp_path,
            tmp_path / train,
            write(tmp_path / "test.csv", table()),
            TrialOptions(**options),  # type: ignore[arg-type]
        )


def test_a_test_without_the_time_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BacktestError, match=r"test.csv has no column 'time', which holds"):
        tables(tmp_path, table(), table().rename({"time": "at"}))


def test_ragged_lines_of_a_file_without_times_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text(table().drop("time").write_csv() + "1,2,3,4,5\n")
    with pytest.raises(BacktestError, match=r"ragged.csv cannot be read as rows of 2 columns"):
        pair_of(tmp_path, path, path, TrialOptions(train_rows=100))


def test_the_column_of_row_times_is_not_a_column_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", table().drop("time"))
    pair = pair_of(tmp_path, path, path, TrialOptions(train_rows=100))
    assert ROW_TIME not in pair.columns.values()
    assert pair.train.name == "rows.csv"


def test_nothing_usable_is_refused_with_the_reason(tmp_path: Path) -> None:
    pair = tables(tmp_path, table(), table())
    lines = (tmp_path / "train.csv").read_text().replace("2026-", "soon-")
    (tmp_path / "train.csv").write_text(lines)
    with pytest.raises(BacktestError, match=r"train.csv has no row that can be used: time is"):
        read_normal(pair)
