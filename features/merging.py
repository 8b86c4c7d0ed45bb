"""What becomes of rows that meet rows of the same time: the per-cell rule of the historian.

Null meets value = filled; equal = duplicate; different = the later source wins, and within a source
the later row. Sources have ranks, in the order in which they first came, so that a file that is
read again never overrules what a later one said. Rows of one time are taken in the order of their
arrival, all of them at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass

import polars as pl

from features.schema import LINE

LARGEST_PART = 250_000
"""Superseded values made at once, about: bounds the memory."""
SOURCE, SOURCES = "_source", "_sources"
"""Columns of stored rows: rank of the source of all cells; rank of each, where they differ."""


@dataclass(frozen=True)
class MergeCounts:
    """What became of rows; every row is counted once.

    Example:
        >>> (MergeCounts(kept=2) + MergeCounts(kept=1, duplicates=3)).rows
        6
    """

    kept: int = 0
    """Rows of a new time."""
    filled: int = 0
    """Rows that gave a value to at least one missing cell and met no other value."""
    superseded: int = 0
    """Rows with a value that met another; the one that lost is in quarantine."""
    quarantined: int = 0
    """Rows that could not be used."""
    duplicates: int = 0
    """Rows that said nothing new."""
    unlisted: int = 0
    """Rows of tags that belong to no channel of the asset."""

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(astuple(self))

    def __add__(self, other: "MergeCounts") -> "MergeCounts":
        return MergeCounts(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Comparison:
    """Rows beside what was known before each of them."""

    names: tuple[str, ...]
    """Channels."""
    rows: pl.DataFrame
    """``time``, ``_line``, ``fate`` and per channel its value, ``<channel>.old`` (the value before)
    and ``<channel>.lost`` (a value that a later source overruled); in order of time and arrival."""
    present: pl.DataFrame
    """What was there."""
    rank: int
    """Of the source that brought the rows."""

    def counts(self) -> MergeCounts:
        """What became of the rows."""
        return MergeCounts(**dict(self.rows["fate"].value_counts().iter_rows()))


def compare_rows(present: pl.DataFrame, samples: pl.DataFrame, *, rank: int) -> Comparison:
    """Set rows beside what was known before them.

    Args:
        present: what is there already at these times, each time once: ``time``, the channels,
            ``_source`` and ``_sources``.
        samples: rows in the order of their arrival: ``time``, the channels and ``_line``; times may
            repeat.
        rank: of their source.

    Example:
        >>> ranks = {"_source": [1, 3], "_sources": [None, None]}
        >>> present = pl.DataFrame(
        ...     {"time": [1, 2], "flow": [1.0, 2.0], **ranks},
        ...     schema_overrides={"_sources": pl.List(pl.Int32)},
        ... )
        >>> samples = pl.DataFrame(
        ...     {"time": [1, 2, 3, 3], "flow": [5.0, 6.0, 7.0, 7.0], "_line": [1, 2, 3, 4]}
        ... )
        >>> compared = compare_rows(present, samples, rank=2)
        >>> compared.rows["fate"].to_list()
        ['superseded', 'superseded', 'kept', 'duplicates']
        >>> compared.rows["flow"].to_list(), compared.rows["flow.lost"].to_list()
        ([5.0, None, 7.0, 7.0], [None, 6.0, None, None])
    """
    names = tuple(name for name in samples.columns if name not in ("time", LINE))
    if present.is_empty() and _is_increasing(samples["time"]):
        nothing = [
            pl.lit(None, dtype=pl.Float64).alias(f"{n}.{w}") for n in names for w in ("old", "lost")
        ]
        rows = samples.with_columns(pl.lit("kept").alias("fate"), *nothing)
        return Comparison(names, rows, present, rank)
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    rows = (
        pl.concat(
            [
                present.select("time", *names, *(_rank_of(name, names) for name in names)),
                samples.with_columns(_place=place),
            ],
            how="diagonal",
        )
        .with_columns(pl.col("_place").fill_null(-1))
        .sort("time", "_place")
        .with_columns(_row=place)
        .with_columns(_first=_at_new_time(pl.col("_row")).forward_fill())
    )
    for name in names:  # one after the other: the scratch columns of all would be many
        rows = _beside_known(rows, name, rank)
    compared = rows.filter(pl.col("_place") >= 0).with_columns(fate=_fate(names))
    kept = [
        "time",
        LINE,
        "fate",
        *(f"{name}{end}" for name in names for end in ("", ".old", ".lost")),
    ]
    return Comparison(names, compared.select(kept), present, rank)


def _is_increasing(times: pl.Series) -> bool:
    return times.is_sorted() and not (times == times.shift(1)).any()


def _rank_of(name: str, names: tuple[str, ...]) -> pl.Expr:
    """Rank of the source of a stored cell; -1 where there is no value."""
    own = pl.col(SOURCES).list.get(names.index(name), null_on_oob=True).fill_null(pl.col(SOURCE))
    return pl.when(pl.col(name).is_not_null()).then(own).otherwise(-1).alias(f"{name}.rank")


def _at_new_time(values: pl.Expr) -> pl.Expr:
    return pl.when(pl.col("time").ne_missing(pl.col("time").shift(1))).then(values)


def _beside_known(rows: pl.DataFrame, name: str, rank: int) -> pl.DataFrame:
    stored_rank = _at_new_time(pl.col(f"{name}.rank").fill_null(-1)).forward_fill()
    overruled = (pl.col("_place") >= 0) & (stored_rank > rank)
    rows = rows.with_columns(
        pl.when(~overruled).then(name).alias(name),
        pl.when(overruled).then(name).alias(f"{name}.lost"),
    ).with_columns(_before(name).alias(f"{name}.old"))
    differs = pl.col(f"{name}.lost") != pl.col(f"{name}.old")
    return rows.with_columns(pl.when(differs).then(f"{name}.lost").alias(f"{name}.lost"))


def _before(name: str) -> pl.Expr:
    """Last value of a channel in the rows of the same time before this one."""
    value = pl.col(name)
    source = pl.when(value.is_not_null()).then("_row").forward_fill().shift(1)
    return pl.when(source >= pl.col("_first")).then(value.forward_fill().shift(1))


def _fate(names: tuple[str, ...]) -> pl.Expr:
    fills = [pl.col(name).is_not_null() & pl.col(f"{name}.old").is_null() for name in names]
    meets = [_replaces(name) | pl.col(f"{name}.lost").is_not_null() for name in names]
    return (
        pl.when(pl.col("_row") == pl.col("_first"))
        .then(pl.lit("kept"))
        .when(pl.any_horizontal(meets))
        .then(pl.lit("superseded"))
        .when(pl.any_horizontal(fills))
        .then(pl.lit("filled"))
        .otherwise(pl.lit("duplicates"))
    )


def _replaces(name: str) -> pl.Expr:
    return (pl.col(name) != pl.col(f"{name}.old")).fill_null(value=False)


def changed_rows(compared: Comparison) -> pl.DataFrame:
    """Each time at which something is new, once, as it is after all rows.

    Returns:
        ``time``, the channels, ``_source``, ``_sources``, and ``is_new``: whether nothing was there
        at that time.
    """
    names, rows = compared.names, compared.rows
    news = rows.filter(pl.col("fate") != "duplicates")
    if compared.present.is_empty() and news.height == rows.height and _is_increasing(rows["time"]):
        return _of_one_source(rows.select("time", *names), compared.rank, is_new=True)
    is_new = pl.col("time").is_in(news.filter(pl.col("fate") == "kept")["time"].implode())
    last = rows.filter(pl.col("time").is_in(news["time"].implode())).unique(
        "time", keep="last", maintain_order=True
    )
    after = last.select(
        "time", *(pl.coalesce(name, f"{name}.old").alias(name) for name in names), is_new=is_new
    )
    new, old = after.filter("is_new"), after.filter(~pl.col("is_new"))
    stored = _settled(old.drop("is_new"), compared)
    kept = _of_one_source(new.drop("is_new"), compared.rank, is_new=True)
    return pl.concat([kept, stored]).sort("time")


def _of_one_source(rows: pl.DataFrame, rank: int, *, is_new: bool) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit(rank, dtype=pl.Int32).alias(SOURCE),
        pl.lit(None, dtype=pl.List(pl.Int32)).alias(SOURCES),
        pl.lit(is_new).alias("is_new"),
    )


def _settled(after: pl.DataFrame, compared: Comparison) -> pl.DataFrame:
    """Rows that were there and changed, with the source of each cell."""
    names, rank = compared.names, compared.rank
    ranks = [_rank_of(name, names) for name in names]
    before = compared.present.select(
        "time", *(pl.col(name).alias(f"{name}.stored") for name in names), *ranks
    )
    both = after.join(before, on="time", how="inner", maintain_order="left")
    both = both.filter(
        pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}.stored")) for name in names)
    )
    sources = [
        pl.when(pl.col(name).ne_missing(pl.col(f"{name}.stored")))
        .then(pl.lit(rank, dtype=pl.Int32))
        .otherwise(pl.col(f"{name}.rank"))
        .alias(f"{name}.rank")
        for name in names
    ]
    both = both.with_columns(sources)
    own = [pl.col(f"{name}.rank").replace(-1, None) for name in names]
    latest, first = pl.max_horizontal(own), pl.min_horizontal(own)
    listed = pl.concat_list([pl.col(f"{name}.rank").cast(pl.Int32) for name in names])
    return both.select(
        "time",
        *names,
        latest.cast(pl.Int32).alias(SOURCE),
        pl.when(first != latest).then(listed).alias(SOURCES),
        is_new=pl.lit(value=False),
    )


def superseded_values(
    compared: Comparison, *, source: str, names_of: Mapping[int, str]
) -> Iterator[pl.DataFrame]:
    """Values that lost against others, as rows for the quarantine, a few channels at a time.

    Args:
        compared: what `compare_rows` returns.
        source: name of what brought the rows.
        names_of: the name of each source, by rank.
    """
    rows = compared.rows.filter(pl.col("fate") == "superseded").rechunk()
    names = compared.names if rows.height else ()
    together = max(1, LARGEST_PART // max(1, rows.height))
    for start in range(0, len(names), together):
        part = names[start : start + together]
        found = [_replaced(rows, name, source) for name in part]
        found += [_overruled(compared, rows, name, source, names_of) for name in part]
        values = pl.concat(found)
        if values.height:
            yield values


def _replaced(rows: pl.DataFrame, name: str, source: str) -> pl.DataFrame:
    lost = rows.filter(_replaces(name))
    new, old = pl.col(name), pl.col(f"{name}.old")
    reason = [pl.lit(f"superseded: channel '{name}' at "), _instant(), pl.lit(" was "), old]
    return _as_quarantine(lost, name, source, [*reason, pl.lit(" and is now "), new], old)


def _overruled(
    compared: Comparison, rows: pl.DataFrame, name: str, source: str, names_of: Mapping[int, str]
) -> pl.DataFrame:
    lost = rows.filter(pl.col(f"{name}.lost").is_not_null())
    ranks = compared.present.select("time", _rank_of(name, compared.names))
    lost = lost.join(ranks, on="time", how="left", maintain_order="left")
    winner = pl.col(f"{name}.rank").replace_strict(
        pl.Series(list(names_of), dtype=pl.Int32),
        pl.Series(list(names_of.values()), dtype=pl.String),
        default="another source",
        return_dtype=pl.String,
    )
    value = pl.col(f"{name}.lost")
    reason = [pl.lit(f"superseded: channel '{name}' at "), _instant(), pl.lit(" is "), value]
    later = [pl.lit(" here, but "), pl.col(f"{name}.old"), pl.lit(" in the later source "), winner]
    return _as_quarantine(lost, name, source, [*reason, *later], value)


def _instant() -> pl.Expr:
    return pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")


def _as_quarantine(
    lost: pl.DataFrame, name: str, source: str, reason: list[pl.Expr], value: pl.Expr
) -> pl.DataFrame:
    # Not pl.format: polars 2.1.0 panics there when columns have different chunks.
    raw = [pl.lit('{"time": "'), _instant(), pl.lit(f'", "{name}": '), value, pl.lit("}")]
    return lost.select(
        pl.lit(source).alias("source"),
        pl.col(LINE).alias("line"),
        pl.concat_str(reason).alias("reason"),
        pl.concat_str(raw).alias("raw"),
    )
