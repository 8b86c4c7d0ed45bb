"""What becomes of rows that meet rows of the same time: the per-cell rule of the historian.

Null meets value = filled; equal = duplicate; different = the later wins. Rows of one time are
taken in the order of their arrival, all of them at once.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass

import polars as pl

LARGEST_PART = 250_000
"""Superseded values made at once, about: bounds the memory."""


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
    """Rows that gave a value to at least one missing cell and replaced none."""
    superseded: int = 0
    """Rows that replaced at least one value; the old one is in quarantine."""
    quarantined: int = 0
    """Rows that could not be used."""
    duplicates: int = 0
    """Rows that said nothing new."""

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(astuple(self))

    def __add__(self, other: "MergeCounts") -> "MergeCounts":
        return MergeCounts(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def compare_rows(present: pl.DataFrame, samples: pl.DataFrame, *, repeated: int) -> pl.DataFrame:
    """Rows in order of time and arrival, each beside what was known before it.

    Args:
        present: what is there already at these times; each time once.
        samples: rows in the order of their arrival, with the same columns; times may repeat.
        repeated: how many of the first rows came from the same source before. They fill and are
            kept, but replace nothing: where something else is there, something later has won.

    Returns:
        ``time``, ``fate``, and per channel its value and, as ``<channel>.old``, the value before.

    Example:
        >>> present = pl.DataFrame({"time": [1, 2], "flow": [1.0, None]})
        >>> samples = pl.DataFrame({"time": [1, 2, 3, 3], "flow": [5.0, 6.0, 7.0, 7.0]})
        >>> compare_rows(present, samples, repeated=0)["fate"].to_list()
        ['superseded', 'filled', 'kept', 'duplicates']
        >>> compare_rows(present, samples, repeated=4)["fate"].to_list()
        ['duplicates', 'filled', 'kept', 'duplicates']
    """
    names = [name for name in samples.columns if name != "time"]
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    rows = (
        pl.concat(
            [
                present.with_columns(_place=pl.lit(-1, dtype=pl.Int64)),
                samples.with_columns(_place=place),
            ]
        )
        .sort("time", "_place")
        .with_columns(_row=place)
        .with_columns(_first=_at_new_time(pl.col("_row")).forward_fill())
    )
    replaces_nothing = pl.col("_place").is_between(0, repeated - 1)
    for name in names:  # one after the other: the scratch columns of all would be many
        ignored = replaces_nothing & _before(name).is_not_null()
        rows = rows.with_columns(pl.when(~ignored).then(name).alias(name)).with_columns(
            _before(name).alias(f"{name}.old")
        )
    compared = rows.filter(pl.col("_place") >= 0).with_columns(fate=_fate(names))
    return compared.select("time", "fate", *names, *(f"{name}.old" for name in names))


def _channels(compared: pl.DataFrame) -> list[str]:
    return [name.removesuffix(".old") for name in compared.columns if name.endswith(".old")]


def _at_new_time(values: pl.Expr) -> pl.Expr:
    return pl.when(pl.col("time").ne_missing(pl.col("time").shift(1))).then(values)


def _before(name: str) -> pl.Expr:
    """Last value of a channel in the rows of the same time before this one."""
    value = pl.col(name)
    source = pl.when(value.is_not_null()).then("_row").forward_fill().shift(1)
    return pl.when(source >= pl.col("_first")).then(value.forward_fill().shift(1))


def _fate(names: list[str]) -> pl.Expr:
    fills = [pl.col(name).is_not_null() & pl.col(f"{name}.old").is_null() for name in names]
    replaces = [(pl.col(name) != pl.col(f"{name}.old")).fill_null(value=False) for name in names]
    return (
        pl.when(pl.col("_row") == pl.col("_first"))
        .then(pl.lit("kept"))
        .when(pl.any_horizontal(replaces))
        .then(pl.lit("superseded"))
        .when(pl.any_horizontal(fills))
        .then(pl.lit("filled"))
        .otherwise(pl.lit("duplicates"))
    )


def count_rows(compared: pl.DataFrame) -> MergeCounts:
    """What became of the rows.

    Args:
        compared: what `compare_rows` returns.
    """
    return MergeCounts(**dict(compared["fate"].value_counts().iter_rows()))


def changed_rows(compared: pl.DataFrame) -> pl.DataFrame:
    """Each time at which something is new, once, as it is after all rows.

    Args:
        compared: what `compare_rows` returns.

    Returns:
        ``time``, the channels, and ``is_new``: whether nothing was there at that time.
    """
    names = _channels(compared)
    news = compared.filter(pl.col("fate") != "duplicates")
    is_new = pl.col("time").is_in(news.filter(pl.col("fate") == "kept")["time"].implode())
    return news.unique("time", keep="last", maintain_order=True).select(
        "time", *(pl.coalesce(name, f"{name}.old").alias(name) for name in names), is_new=is_new
    )


def superseded_values(compared: pl.DataFrame, *, source: str) -> Iterator[pl.DataFrame]:
    """Values that are replaced, as rows for the quarantine, a few channels at a time.

    Args:
        compared: what `compare_rows` returns.
        source: name of what replaces them.
    """
    rows = compared.filter(pl.col("fate") == "superseded").rechunk()
    names = _channels(compared) if rows.height else []
    together = max(1, LARGEST_PART // max(1, rows.height))
    for start in range(0, len(names), together):
        parts = [_superseded(rows, name, source) for name in names[start : start + together]]
        yield pl.concat(parts)


def _superseded(rows: pl.DataFrame, name: str, source: str) -> pl.DataFrame:
    new, old = pl.col(name), pl.col(f"{name}.old")
    at = pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    # Not pl.format: polars 2.1.0 panics there when columns have different chunks.
    reason = [pl.lit(f"superseded: channel '{name}' at "), at, pl.lit(" was "), old]
    raw = [pl.lit('{"time": "'), at, pl.lit(f'", "{name}": '), old, pl.lit("}")]
    return rows.filter(new != old).select(
        source=pl.lit(source),
        line=pl.lit(None, dtype=pl.Int64),
        reason=pl.concat_str(*reason, pl.lit(" and is now "), new),
        raw=pl.concat_str(raw),
    )


def count_repeated(
    samples: pl.DataFrame, *, source: str, first_line: int, find: Callable[[str], int | None]
) -> int:
    """How many of the first rows the same source has brought before, in one part or several.

    Args:
        samples: rows in the order of their arrival.
        source: name of where they come from.
        first_line: place of the first of them in it.
        find: takes a mark that `row_marks` made and returns what it made it for, if it ever did.
    """
    done = 0
    while done < samples.height:
        line = first_line + done
        count = find(_mark(samples[done : done + 1], source, line)) or 0
        part = samples[done : done + count]
        if count == 0 or part.height < count or find(_mark(part, source, line)) is None:
            break
        done += count
    return done


def row_marks(samples: pl.DataFrame, *, source: str, first_line: int) -> dict[str, int]:
    """What rows of a source are known by later: the first of them, which says how many, and all.

    Args:
        samples: rows in the order of their arrival.
        source: name of where they come from.
        first_line: place of the first of them in it.
    """
    parts = (samples[:1], samples) if samples.height else ()
    return {_mark(part, source, first_line): samples.height for part in parts}


def _mark(samples: pl.DataFrame, source: str, line: int) -> str:
    digest = hashlib.sha256()
    for column in samples:
        values = column.to_physical().cast(pl.Float64).fill_null(float("nan"))
        digest.update(values.to_numpy().tobytes())
    return f"{digest.hexdigest()} {source}:{line}"
