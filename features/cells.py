"""Samples in the long layout, one row a value, as rows of the wide one."""

from collections.abc import Iterator

import polars as pl

from features.merging import Comparison, MergeCounts
from features.schema import LINE

MOST_VALUES = 4_000_000
"""Values of a wide frame that is made at once: bounds the memory."""


def is_one_value_each(cells: pl.DataFrame) -> bool:
    """Whether no channel has two rows of one time."""
    each = cells.group_by("channel").agg(pl.col("time").n_unique() == pl.len())
    return bool(each["time"].all())


def spread_cells(cells: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """One row a time; no channel may have two rows of one time.

    Args:
        cells: ``time``, ``channel``, ``value``, ``_line``.
        names: the asset's channels.

    Returns:
        ``time``, the channels, and the ``_line`` of the first row of that time; sorted.

    Example:
        >>> cells = pl.DataFrame(
        ...     {"time": [1, 1, 2], "channel": ["flow", "level", "flow"],
        ...      "value": [5.0, 6.0, 7.0], "_line": [2, 3, 4]}
        ... )
        >>> spread_cells(cells, ("flow", "level")).rows()
        [(1, 5.0, 6.0, 2), (2, 7.0, None, 4)]
    """
    wide = cells.pivot(
        on="channel", on_columns=list(names), index="time", values="value", aggregate_function=None
    )
    lines = cells.group_by("time").agg(pl.col(LINE).first())
    wide = wide.join(lines, on="time", how="left")
    return wide.select("time", *names, LINE).sort("time")


def spread_one_by_one(cells: pl.DataFrame, names: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """One row a cell, in parts that have no time in common.

    Args:
        cells: ``time``, ``channel``, ``value``, ``_line``, in the order of arrival.
        names: the asset's channels.
    """
    ordered = cells.sort("time", maintain_order=True)
    most = max(1, MOST_VALUES // max(1, len(names)))
    for part in _parts_by_time(ordered, most):
        values = (pl.when(pl.col("channel") == name).then("value").alias(name) for name in names)
        yield part.select("time", *values, LINE)


def _parts_by_time(ordered: pl.DataFrame, most: int) -> Iterator[pl.DataFrame]:
    while ordered.height:
        end = most
        if end < ordered.height:
            border = ordered["time"][end]
            first = int(ordered["time"].search_sorted(border, side="left"))
            end = first or int(ordered["time"].search_sorted(border, side="right"))
        yield ordered[:end]
        ordered = ordered[end:]


def count_cells(cells: pl.DataFrame, compared: Comparison) -> MergeCounts:
    """What became of rows of one value each that were compared as rows of one time.

    The first row of a new time is kept, the others fill it: as if each had been taken alone.

    Args:
        cells: ``time``, ``channel``, ``value``, ``_line``, in the order of arrival.
        compared: those cells, spread, with no value that met another.
    """
    rows = compared.rows
    new = rows.filter(pl.col("fate") == "kept").select("time")
    gave = rows.select(
        pl.sum_horizontal(
            (pl.col(name).is_not_null() & pl.col(f"{name}.old").is_null()).sum()
            for name in compared.names
        )
    ).item()
    first = cells.group_by("time").agg(pl.col("value").first())
    with_value = first.join(new, on="time", how="semi")["value"].count()
    filled = int(gave) - with_value
    return MergeCounts(
        kept=new.height, filled=filled, duplicates=cells.height - new.height - filled
    )
