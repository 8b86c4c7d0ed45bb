"""The journal: what agents said, beside the samples; nothing in it ever changes.

Every row has a name: ``alarm_id`` and ``sequence``, or time and bundle, or time and agent. A row
whose name is there already is not added again, so it does not matter how often, in which order and
in which company messages come. If it says something else under the same name, the first word
stands, and `JournalTable.add` tells which rows say otherwise.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from pipelines.tables import Snapshot, Table, append, retried, rows_of
from pipelines.told import Row

TIME: Final = pl.Datetime("us", "UTC")
AGENTS: Final = "_agents"
"""Folder beside those of the assets: what is of agents, or of no asset; no asset is called so."""
MONTH: Final = "month"
TOLD_KEY: Final = ("alarm_id", "sequence")
TOLD_SCHEMA: Final[dict[str, pl.DataType]] = {
    "time": TIME,
    "alarm_id": pl.String(),
    "sequence": pl.Int64(),
    "condition": pl.String(),
    "channel": pl.String(),
    "occurrence": pl.Int64(),
    "status": pl.String(),
    "state": pl.String(),
    "previous_state": pl.String(),
    "onset_at": TIME,
    "raised_at": TIME,
    "score": pl.Float64(),
    "threshold": pl.Float64(),
    "contributors": pl.String(),
    "first_out": pl.String(),
    "priority": pl.String(),
    "message": pl.String(),
    "cause": pl.String(),
    "consequence": pl.String(),
    "action": pl.String(),
    "by": pl.String(),
    "reason": pl.String(),
    "shadow": pl.Boolean(),
    "model_version": pl.Int64(),
    "bundle_sha256": pl.String(),
}
"""Of alarms and of events: ``time`` is that of the transition, ``contributors`` is JSON."""
SCORE_KEY: Final = ("time", "bundle_sha256")
SCORE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "time": TIME,
    "score": pl.Float64(),
    "anomalous": pl.Boolean(),
    "gate": pl.Boolean(),
    "state": pl.String(),
    "model_version": pl.Int64(),
    "bundle_sha256": pl.String(),
    MONTH: pl.String(),
}
HEALTH_KEY: Final = ("time", "agent", "asset")
_COUNTS: Final = (
    "samples",
    "late",
    "rejected",
    "bad_quality",
    "windows_scored",
    "windows_not_scored",
    "alarms_raised",
)
HEALTH_SCHEMA: Final[dict[str, pl.DataType]] = {
    "time": TIME,
    "agent": pl.String(),
    "asset": pl.String(),
    "online": pl.Boolean(),
    "version": pl.String(),
    "waiting": pl.Int64(),
    "model_version": pl.Int64(),
    "bundle_sha256": pl.String(),
    "last_sample_at": TIME,
    **dict.fromkeys(_COUNTS, pl.Int64()),
    MONTH: pl.String(),
}
"""A row for each asset of an agent; ``asset`` is empty where it has vanished."""


class JournalTable:
    """Rows of one kind, each once.

    Args:
        address: of the Delta table.
        schema: its columns; with ``month`` it is partitioned by it.
        key: columns that together name a row.
        owner: asset, for messages.

    Example:
        >>> from datetime import UTC, datetime
        >>> from tempfile import TemporaryDirectory
        >>> row = {"time": datetime(2026, 1, 1, tzinfo=UTC), "score": 1.5, "bundle_sha256": "ab"}
        >>> with TemporaryDirectory() as folder:
        ...     scores = JournalTable(folder + "/scores", SCORE_SCHEMA, SCORE_KEY, owner="pump_07")
        ...     others = scores.add([row, row, row | {"score": 2.0}])
        ...     others, scores.read()["score"].to_list()
        ([2], [1.5])
    """

    def __init__(
        self,
        address: str,
        schema: dict[str, pl.DataType],
        key: tuple[str, ...],
        *,
        owner: str,
    ) -> None:
        self.table = Table(address, schema, partition_by=MONTH if MONTH in schema else None)
        self._key, self._owner = key, owner

    def add(self, rows: Sequence[Row]) -> list[int]:
        """Keep rows whose name is not there yet.

        Args:
            rows: all values by column; those that are not given are null.

        Returns:
            Places of those rows that say something else than what is kept under their name.

        Raises:
            pipelines.tables.TableError: others never stop writing.
        """
        if not rows:
            return []
        frame = pl.DataFrame(rows, schema=pl.Schema(self.table.schema), strict=True)
        if self.table.partition_by:
            frame = frame.with_columns(pl.col("time").dt.strftime("%Y-%m").alias(MONTH))
        self.table.create()
        placed = frame.with_row_index("_place")
        return retried(lambda: self._append_unknown(placed), self._owner)

    def read(self) -> pl.DataFrame:
        """All rows, sorted by time and name."""
        order = list(dict.fromkeys(("time", *self._key)))
        return self.table.scan().drop(MONTH, strict=False).sort(order).collect()

    def _append_unknown(self, rows: pl.DataFrame) -> list[int]:
        snapshot, names = self.table.open(), list(self.table.schema)
        first = rows.unique(self._key, keep="first", maintain_order=True)
        known = self._known(snapshot, first)
        new = first.join(known, on=self._key, how="anti", maintain_order="left").select(names)
        if new.height:
            append(snapshot, new)
        kept = pl.concat([known, new])
        others = rows.join(kept, on=names, how="anti", nulls_equal=True, maintain_order="left")
        return others["_place"].to_list()

    def _known(self, snapshot: Snapshot, rows: pl.DataFrame) -> pl.DataFrame:
        """What is there under the names of these rows."""
        lead = self._key[0]
        found = rows_of(snapshot).filter(
            pl.col(lead).is_between(pl.lit(rows[lead].min()), pl.lit(rows[lead].max()))
        )
        if self.table.partition_by:
            found = found.filter(pl.col(MONTH).is_in(rows[MONTH].unique().implode()))
        names = rows.lazy().select(self._key)
        known = found.join(names, on=self._key, how="semi").select(list(self.table.schema))
        return known.collect(engine="streaming")


class Journal:
    """What agents said of one asset.

    Args:
        address: folder, or address such as ``s3://bucket/folder``, of all assets' tables.
        asset_id: whose.
    """

    def __init__(self, address: str, asset_id: str) -> None:
        root = f"{address.rstrip('/')}/{asset_id}"
        self.alarms = JournalTable(f"{root}/alarms", TOLD_SCHEMA, TOLD_KEY, owner=asset_id)
        self.events = JournalTable(f"{root}/events", TOLD_SCHEMA, TOLD_KEY, owner=asset_id)
        self.scores = JournalTable(f"{root}/scores", SCORE_SCHEMA, SCORE_KEY, owner=asset_id)


def health_table(address: str) -> JournalTable:
    """How agents were, each minute; all agents of all assets in one table.

    One agent watches several assets, and what the broker says of one that has vanished names none.
    """
    root = f"{address.rstrip('/')}/{AGENTS}"
    return JournalTable(f"{root}/health", HEALTH_SCHEMA, HEALTH_KEY, owner="health")
