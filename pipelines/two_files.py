"""Two files as one trial: what both have in common, what may be learned, what is to be scored."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from features.channels import Channel
from features.first_look.inspection import Inspection, inspect
from features.first_look.pieces import Piece, by_reason, listed
from features.first_look.time_column import NoTimeColumnError, find_time_column
from features.grid import WindowConfig
from features.source import SourceConfig
from models.config import AlarmConfig, ModelConfig, ReconstructorName
from pipelines.config import AssetConfig, AssetInfo
from pipelines.init import make_id
from pipelines.trial_files import (
    ROW,
    BacktestError,
    Rows,
    TrialFile,
    describe_source,
    look_at,
    number_rows,
    open_file,
    read_rows,
)

ROW_TIME = "row_time"
MOST_VALUES = 20_000_000
"""Values of normal running that are learned from, at most: the newest ones; bounds the memory."""


@dataclass(frozen=True)
class TrialOptions:
    """What the user says of two files."""

    train_rows: int | None = None
    """Rows of TRAIN that are normal running, from its beginning; None = all."""
    time: str | None = None
    """Name of the time column; None = found, or there is none."""
    sample_period_s: float | None = None
    exclude: tuple[str, ...] = ()
    """Columns that are no channels, labels above all."""
    reconstructor: ReconstructorName = "vae"
    far: float | None = None
    """Share of normal rows that may be anomalous; None = the default alarm budget."""
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """Two files that can be tried."""

    asset: AssetConfig
    columns: dict[str, str]
    """Column of each channel in the files."""
    train: TrialFile
    test: TrialFile
    sources: tuple[SourceConfig, SourceConfig]
    train_rows: int | None
    is_one_file: bool
    has_times: bool
    notes: tuple[str, ...]
    """What a person should know of how the files were taken."""


@dataclass
class Learned:
    """Normal running, and what could not be used of it."""

    samples: pl.DataFrame
    rows: int
    """Rows of the file that were read."""
    refused: Counter[str] = field(default_factory=Counter)
    """Rows that could not be used, by reason."""
    notes: list[str] = field(default_factory=list)


def open_pair(train: Path, test: Path, options: TrialOptions, *, folder: Path) -> Pair:
    """Find out how two files are read and which channels they share; only TRAIN decides.

    Args:
        train: normal running.
        test: what is to be scored.
        options: what the user says.
        folder: for copies of files without times.

    Raises:
        BacktestError: they cannot be tried together.
        pipelines.data_files.InitError: a file cannot be read.
        features.first_look.pieces.InspectionError: a file has no numbers.
    """
    files = (open_file(train), open_file(test))
    is_one = train.resolve() == test.resolve()
    if is_one and options.train_rows is None:
        raise BacktestError(
            f"'{train}' is both TRAIN and TEST; say with --train-rows how many of its first rows "
            "are normal running to learn from"
        )
    _check_excluded(files, options.exclude)
    pieces = _look(files[0], options)
    time = _time_column(pieces, options)
    if time is None:
        period_s = options.sample_period_s or 1.0
        files = (
            number_rows(files[0], ROW_TIME, period_s=period_s, folder=folder),
            number_rows(files[1], ROW_TIME, period_s=period_s, folder=folder),
        )
        pieces = _look(files[0], options)
    return _pair(files, pieces, time, options, is_one=is_one, name=train.name)


def _look(file: TrialFile, options: TrialOptions) -> list[Piece]:
    if len(file.columns) == 1:
        return [Piece(pl.DataFrame(schema={file.columns[0]: pl.String}), file.name)]
    return look_at(file, options.train_rows, without=options.exclude)


def _check_excluded(files: Sequence[TrialFile], exclude: Sequence[str]) -> None:
    for column in exclude:
        if not any(column in file.columns for file in files):
            raise BacktestError(
                f"--exclude '{column}': neither file has that column; {files[0].name} has "
                f"{listed(files[0].columns)}"
            )


def _time_column(pieces: Sequence[Piece], options: TrialOptions) -> str | None:
    try:
        return find_time_column(pieces, named=options.time)[0]
    except NoTimeColumnError:
        return None


def _pair(
    files: tuple[TrialFile, TrialFile],
    pieces: list[Piece],
    time: str | None,
    options: TrialOptions,
    *,
    is_one: bool,
    name: str,
) -> Pair:
    train, test = files
    named = time or ROW_TIME
    found = inspect(pieces, time=named, decimal=train.decimal)
    if found.source["layout"] == "long":
        raise BacktestError(
            f"{train.name} has one row a value; a backtest needs one column a channel: "
            "`faultwatch init` and `ingest` read such files"
        )
    if named not in test.columns:
        raise BacktestError(
            f"{test.name} has no column '{named}', which holds the times of {train.name}; it has "
            f"{listed(test.columns)}"
        )
    channels, columns = _channels(found, files)
    sources = (
        describe_source(train, named, pieces),
        describe_source(test, named, look_at(test, None, without=options.exclude)),
    )
    asset = AssetConfig(
        asset=AssetInfo(id=make_id(name)),
        source=sources[0],
        channel=channels,
        window=(window := _window(found.window, options, len(channels))),
        model=ModelConfig(reconstructor=options.reconstructor, seed=options.seed),
        alarm=AlarmConfig(
            on_delay_s=3 * window.sample_period_s, off_delay_s=10 * window.sample_period_s
        ),
    )
    return Pair(
        asset=asset,
        columns=columns,
        train=train,
        test=test,
        sources=sources,
        train_rows=options.train_rows,
        is_one_file=is_one,
        has_times=time is not None,
        notes=tuple(_notes(found, columns, files, options, asset, has_times=time is not None)),
    )


def _channels(
    found: Inspection, files: tuple[TrialFile, TrialFile]
) -> tuple[tuple[Channel, ...], dict[str, str]]:
    """Channels that both files have; a made-up name never is that of another column."""
    train, test = files
    taken = {*train.columns, *test.columns}
    channels: list[Channel] = []
    columns: dict[str, str] = {}
    for channel in found.channels:
        column = channel.tag or channel.name
        if column not in test.columns:
            continue
        name = channel.name
        while name != column and name in taken:
            name += "_"
        taken.add(name)
        columns[name] = column
        channels.append(
            channel.model_copy(update={"name": name, "tag": column, "range": None, "follows": None})
        )
    if not channels:
        raise BacktestError(
            f"{train.name} and {test.name} have no column of numbers in common; the first has "
            f"{listed(channel.tag or channel.name for channel in found.channels)}, the second "
            f"{listed(test.columns)}"
        )
    return tuple(channels), columns


def _window(found: WindowConfig, options: TrialOptions, channels: int) -> WindowConfig:
    changed: dict[str, object] = {"min_channels": math.ceil(channels / 2)}
    period = options.sample_period_s
    if period is not None and period != found.sample_period_s:
        cells = max(1, round(found.max_gap_s / found.sample_period_s))
        changed |= {"sample_period_s": period, "max_gap_s": cells * period}
    return WindowConfig.model_validate(found.model_dump() | changed)


def _notes(
    found: Inspection,
    columns: dict[str, str],
    files: tuple[TrialFile, TrialFile],
    options: TrialOptions,
    asset: AssetConfig,
    *,
    has_times: bool,
) -> Iterator[str]:
    period = asset.window.sample_period_s
    if not has_times:
        told = "as you said" if options.sample_period_s else "for want of --sample-period-s"
        yield f"No column holds times: rows were taken as {period:g} s apart, {told}"
    for reason, names in by_reason(found.left_out).items():
        yield f"Left out, since it {reason}: {listed(names)}"
    yield from _only_in_one(found, columns, files, options)
    for kind in ("counter", "discrete"):
        if names := [columns[one.name] for one in asset.channel if one.kind == kind]:
            yield f"Taken as {kind}: {listed(names)}"
    for remark in found.remarks:
        if remark.about in {"window.sample_period_s", "source.time", "source.time_format"}:
            yield remark.text[:1].upper() + remark.text[1:]


def _only_in_one(
    found: Inspection,
    columns: dict[str, str],
    files: tuple[TrialFile, TrialFile],
    options: TrialOptions,
) -> Iterator[str]:
    train, test = files
    used = {*columns.values(), *options.exclude, *found.left_out}
    inputs = [channel.tag or channel.name for channel in found.channels]
    if only := [name for name in inputs if name not in test.columns]:
        yield f"Only in {train.name}, so not used: {listed(only)}"
    if only := [name for name in test.columns if name not in train.columns and name not in used]:
        yield f"Only in {test.name}, so not used: {listed(only)}"


def read_normal(pair: Pair) -> Learned:
    """Read the rows of TRAIN that may be learned from, in order of time.

    Raises:
        BacktestError: none of them can be used.
    """
    parts: list[pl.DataFrame] = []
    learned = Learned(pl.DataFrame(), 0)
    values = bad = 0
    for rows in read_rows(pair.train, pair.asset.channel, pair.sources[0]):
        frame = _first(rows.frame, pair.train_rows)
        learned.rows += frame.height
        learned.refused.update(rows.refused)
        bad += rows.bad
        parts.append(frame.drop(ROW).filter(pl.col("time").is_not_null()))
        values += parts[-1].height * len(pair.columns)
        while len(parts) > 1 and values > MOST_VALUES:
            values -= parts.pop(0).height * len(pair.columns)
            learned.notes = [f"TRAIN is long: the newest {values // len(pair.columns)} rows learn"]
        if pair.train_rows is not None and learned.rows >= pair.train_rows:
            break
    learned.samples = in_order(pl.concat(parts)) if parts else learned.samples
    if learned.samples.is_empty():
        why = f": {learned.refused.most_common(1)[0][0]}" if learned.refused else ""
        raise BacktestError(f"{pair.train.name} has no row that can be used{why}")
    if bad:
        learned.notes.append(f"{bad} values of TRAIN are words that say bad: taken as missing")
    return learned


def _first(frame: pl.DataFrame, count: int | None) -> pl.DataFrame:
    return frame if count is None else frame.filter(pl.col(ROW) < count)


def in_order(samples: pl.DataFrame) -> pl.DataFrame:
    """Samples by time; of two at one time the later row wins, channel by channel.

    Example:
        >>> from datetime import UTC, datetime
        >>> at = datetime(2026, 1, 1, tzinfo=UTC)
        >>> in_order(pl.DataFrame({"time": [at, at], "flow": [1.0, 2.0]}))["flow"].to_list()
        [2.0]
    """
    if not samples["time"].is_sorted():
        samples = samples.sort("time", maintain_order=True)
    if samples["time"].is_duplicated().any():
        last = pl.all().drop_nulls().last()
        samples = samples.group_by("time", maintain_order=True).agg(last)
    return samples.with_columns(pl.col("time").set_sorted())


class OutOfOrderError(Exception):
    """Rows that are not in order of time; they can be scored only when all of them are known."""


def read_test(pair: Pair) -> Iterator[Rows]:
    """Rows of TEST slice by slice; with ``at_us``, by when each is scored: null = never.

    That is a row's time, or that of the row before it where it cannot be used.

    Raises:
        OutOfOrderError: a row is earlier than the one before it.
    """
    latest: int | None = None
    for rows in read_rows(pair.test, pair.asset.channel, pair.sources[1]):
        frame = _with_instants(rows.frame, latest)
        times = rows.frame["time"].drop_nulls().dt.epoch("us")
        if len(times):
            if not times.is_sorted() or (latest is not None and times[0] <= latest):
                raise OutOfOrderError
            latest = int(times[-1])
        yield Rows(frame, rows.refused, rows.bad)


def _with_instants(frame: pl.DataFrame, latest: int | None) -> pl.DataFrame:
    at_us = pl.col("time").dt.epoch("us").forward_fill().fill_null(pl.lit(latest, pl.Int64))
    return frame.with_columns(at_us=at_us.cast(pl.Int64))


def read_test_in_order(pair: Pair) -> Rows:
    """All rows of TEST at once, in order of time."""
    parts = list(read_rows(pair.test, pair.asset.channel, pair.sources[1]))
    frame = _with_instants(pl.concat([part.frame for part in parts]), None)
    return Rows(
        frame.sort("at_us", maintain_order=True),
        tuple(reason for part in parts for reason in part.refused),
        sum(part.bad for part in parts),
    )
