"""What is kept of what was heard: an asset's samples, its journal, and how agents are.

Each record takes messages in their order and writes what they say. To be given the same messages
again, in part or with others, changes nothing. A message that cannot be used goes to quarantine
with the reason.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final, Literal, Protocol, cast

import polars as pl

from faultwatch_edge.config import MqttConfig
from faultwatch_edge.sources.json_payload import JsonPayloads, PayloadError
from faultwatch_edge.times import EARLIEST_US, LATEST_US, to_iso
from faultwatch_edge.topics import published_topic
from faultwatch_edge.watched import MOST_AHEAD_US
from features.channels import channel_names
from features.rows import LONGEST_RAW, Split, refuse_rows
from features.schema import LINE
from pipelines.buffer import Heard
from pipelines.config import AssetConfig
from pipelines.historian import Historian, MovedOn
from pipelines.journal import AGENTS, Journal, JournalTable, health_table
from pipelines.ledger import Progress
from pipelines.quarantine import Quarantine
from pipelines.tables import compact, forget
from pipelines.told import Row, ToldError, health_rows, read_health, read_score, read_told

Say = Callable[[str], None]
Refused = tuple[Heard, str]
"""A message, and why it cannot be used."""
MOST_SAID: Final = 5
"""Sentences about messages that cannot be used, of one write."""
KEPT: Final = timedelta(days=1)
"""Older versions of the journal are not needed: nothing in it changes."""
_NO_LINE: Final = 0


class Record(Protocol):
    """Where messages of some topics are written."""

    place: str
    """Name in the buffer."""
    filters: tuple[str, ...]
    """What is subscribed to."""
    every_s: int
    """How long messages may wait in the buffer, about: each write is a file in each table."""
    counts: Counter[str]
    """What was heard since somebody took note, by kind."""

    def is_of(self, topic: str) -> bool:
        """Whether messages of a topic go here."""

    def is_urgent(self, topic: str) -> bool:
        """Whether somebody may be waiting for them."""

    def write(self, messages: Sequence[Heard]) -> None:
        """Write what they say."""

    def maintain(self) -> None:
        """Make few files of many small ones, and remove what only old versions need."""


class SamplesRecord:
    """The samples of one asset, by the rules of the historian.

    Args:
        asset: with a section ``[live]``.
        payloads: read its messages.
        address: of the historian.
        source: name of this collector, as a source of samples.
        buffer_us: when the buffer was made: its numbers mean nothing in another.
        say: takes a sentence for whoever looks at the log.
    """

    every_s = 300

    def __init__(
        self,
        asset: AssetConfig,
        payloads: JsonPayloads,
        *,
        address: str,
        source: str,
        buffer_us: int,
        say: Say,
    ) -> None:
        self._asset, self._payloads = asset, payloads
        self.historian = Historian(address, asset.asset.id, asset.channel)
        self._source, self._buffer_us, self._say = source, buffer_us, say
        self.place = f"{asset.asset.id}/samples"
        self.filters = payloads.filters
        self.counts: Counter[str] = Counter()

    def is_of(self, topic: str) -> bool:
        """Whether it carries samples of this asset."""
        return self._payloads.is_of(topic)

    def is_urgent(self, topic: str) -> bool:
        """Never: nobody waits for samples."""
        del topic
        return False

    def write(self, messages: Sequence[Heard]) -> None:
        """Merge them, each once: the commit that brings them says up to which message."""
        source = self.historian.sources.of(self._source)
        while True:
            before = self.historian.progress(source)
            new = [one for one in messages if not self._is_merged(one, before)]
            if not new:
                return
            split, refused = self._split(new, before.lines + 1)
            after = replace(
                before,
                place=new[-1].number,
                lines=before.lines + len(new),
                digest=self._buffer_us,
            )
            try:
                self.historian.merge_part(split, source=source, before=before, after=after)
            except MovedOn:
                continue
            self.counts["samples"] += split.samples.height
            self.counts["quarantined"] += len(refused)
            _say_refused(self._asset.asset.id, refused, self._say)
            return

    def maintain(self) -> None:
        """Keep versions for as long as a training may name them."""
        self.historian.maintain(timedelta(days=self._asset.retrain.lookback_days))

    def _is_merged(self, message: Heard, before: Progress) -> bool:
        return before.digest == self._buffer_us and message.number <= before.place

    def _split(self, messages: Sequence[Heard], first: int) -> tuple[Split, list[Refused]]:
        times: list[int] = []
        rows: list[list[float]] = []
        lines: list[int] = []
        refused: list[Refused] = []
        for line, message in enumerate(messages, start=first):
            try:
                time_us, values = self._measured(message)
            except PayloadError as error:
                refused.append((message, f"payload {error}"))
                continue
            times.append(time_us)
            rows.append(values)
            lines.append(line)
        names = channel_names(self._asset.channel)
        wide = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64()), orient="row")
        samples = wide.fill_nan(None).select(
            pl.Series("time", times, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            *names,
            pl.Series(LINE, lines, dtype=pl.Int64),
        )
        return Split(samples, _as_quarantine(refused)), refused

    def _measured(self, message: Heard) -> tuple[int, list[float]]:
        """Time and values.

        Raises:
            PayloadError: it cannot be used.
        """
        try:
            found = self._payloads.read(message.topic, message.payload)
        except PayloadError:
            raise
        except Exception as error:  # of this message, whatever it is: the others must go on
            raise PayloadError(f"led to {error!r}") from error
        if not EARLIEST_US <= found.time_us < LATEST_US:
            raise PayloadError("has a time out of range, expected one in the years 1900 to 8999")
        if found.time_us > message.heard_us + MOST_AHEAD_US:
            raise PayloadError(
                f"has a time ahead of the collector's clock by more than "
                f"{MOST_AHEAD_US // 1_000_000} s, which was {to_iso(message.heard_us)}; set one of "
                "the clocks"
            )
        for channel, value in zip(self._asset.channel, found.values, strict=True):
            if value in (float("inf"), float("-inf")):
                raise PayloadError(f"has '{channel.name}' = {value}, expected a finite number")
        return found.time_us, found.values


class AssetJournal:
    """Alarms, events and scores of one asset.

    Args:
        asset_id: whose.
        mqtt: the topics.
        address: of the historian.
        say: takes a sentence for whoever looks at the log.
    """

    every_s = 60

    def __init__(self, asset_id: str, mqtt: MqttConfig, *, address: str, say: Say) -> None:
        self._asset_id, self._say = asset_id, say
        journal = Journal(address, asset_id)
        self._tables: dict[str, JournalTable] = {
            "alarm": journal.alarms,
            "event": journal.events,
            "score": journal.scores,
        }
        self._kinds = {published_topic(mqtt, asset_id, kind): kind for kind in self._tables}
        self._quarantine = Quarantine(f"{address.rstrip('/')}/{asset_id}/quarantine", asset_id)
        self.place, self.filters = asset_id, tuple(self._kinds)
        self.counts: Counter[str] = Counter()

    def is_of(self, topic: str) -> bool:
        """Whether agents say something of this asset there."""
        return topic in self._kinds

    def is_urgent(self, topic: str) -> bool:
        """Whether it is an alarm."""
        return self._kinds.get(topic) == "alarm"

    def write(self, messages: Sequence[Heard]) -> None:
        """Add what is not there yet."""
        refused: list[Refused] = []
        for kind, table in self._tables.items():
            ours = [one for one in messages if self._kinds[one.topic] == kind]
            found = _read_all(partial(self._rows, kind), ours, refused)
            refused += _added(table, found)
            self.counts[f"{kind}s"] += len(found)
        self._quarantine.add(_as_quarantine(refused))
        self.counts["quarantined"] += len(refused)
        _say_refused(self._asset_id, refused, self._say)

    def maintain(self) -> None:
        """All three tables."""
        _tidy(self._tables.values())

    def _rows(self, kind: str, message: Heard) -> list[Row]:
        if kind == "score":
            return [read_score(message.payload, asset=self._asset_id)]
        told = cast("Literal['alarm', 'event']", kind)
        return [read_told(message.payload, kind=told, asset=self._asset_id)]


class AgentsRecord:
    """How agents are; and what came on a topic that nobody here listens to.

    Args:
        mqtt: the topics.
        gone: agents that had vanished when the last message was written.
        address: of the historian.
        say: takes a sentence for whoever looks at the log.
    """

    every_s = 60

    def __init__(self, mqtt: MqttConfig, gone: Collection[str], *, address: str, say: Say) -> None:
        self.gone = frozenset(gone)
        self._table = health_table(address)
        self._quarantine = Quarantine(f"{address.rstrip('/')}/{AGENTS}/quarantine", AGENTS)
        self._say = say
        self.place = AGENTS
        self.filters: tuple[str, ...] = (published_topic(mqtt, "+", "health"),)
        self.counts: Counter[str] = Counter()

    def is_of(self, topic: str) -> bool:
        """Whether an agent says there how it is."""
        wanted, found = self.filters[0].split("/"), topic.split("/")
        return len(wanted) == len(found) and all(
            one in ("+", other) for one, other in zip(wanted, found, strict=True)
        )

    def is_urgent(self, topic: str) -> bool:
        """Never: what is wrong with an agent shows by its absence."""
        del topic
        return False

    def write(self, messages: Sequence[Heard]) -> None:
        """Add what is not there yet; an agent that is gone is not gone once more."""
        gone = set(self.gone)
        refused: list[Refused] = []
        found = _read_all(partial(self._rows, gone), messages, refused)
        refused += _added(self._table, found)
        self._quarantine.add(_as_quarantine(refused))
        self.gone = frozenset(gone)
        self.counts["health"] += len(found)
        self.counts["quarantined"] += len(refused)
        _say_refused("agents", refused, self._say)

    def maintain(self) -> None:
        """The one table."""
        _tidy([self._table])

    def _rows(self, gone: set[str], message: Heard) -> list[Row]:
        if not self.is_of(message.topic):
            raise ToldError("belongs to no asset that is collected, expected one; name it, too")
        health = read_health(message.payload)
        was_gone = health.agent in gone
        rows = health_rows(health, message.heard_us)
        if health.online:
            gone.discard(health.agent)
            return rows
        gone.add(health.agent)
        return [] if was_gone else rows


def _read_all(
    rows_of: Callable[[Heard], list[Row]], messages: Sequence[Heard], refused: list[Refused]
) -> list[tuple[Heard, Row]]:
    """Rows beside the messages that they are of; those that cannot be read are refused."""
    found: list[tuple[Heard, Row]] = []
    for message in messages:
        try:
            found += [(message, row) for row in rows_of(message)]
        except ToldError as error:
            refused.append((message, str(error)))
        except Exception as error:  # noqa: BLE001 - it would stop the others at every start
            refused.append((message, f"led to {error!r}"))
    return found


def _added(table: JournalTable, found: Sequence[tuple[Heard, Row]]) -> list[Refused]:
    """Add rows; those that say something else than what is known under their name."""
    others = table.add([row for _, row in found])
    reason = "says otherwise what was said before under the same name, expected the same again"
    return [(found[place][0], reason) for place in others]


def _as_quarantine(refused: Iterable[Refused]) -> pl.DataFrame:
    """Rows of the quarantine by topic; the same message for the same reason is there once."""
    by_topic: dict[str, list[tuple[int, str, str]]] = {"": []}
    for message, reason in refused:
        raw = message.payload[:LONGEST_RAW].decode("utf-8", "replace")
        by_topic.setdefault(message.topic, []).append((_NO_LINE, reason, raw))
    return pl.concat([refuse_rows(topic, rows) for topic, rows in by_topic.items()])


def _say_refused(whose: str, refused: Sequence[Refused], say: Say) -> None:
    for message, reason in refused[:MOST_SAID]:
        say(f"{whose}: a message on {message.topic} is put in quarantine: it {reason}")
    if len(refused) > MOST_SAID:
        say(f"{whose}: {len(refused) - MOST_SAID} more messages are put in quarantine")


def _tidy(tables: Iterable[JournalTable]) -> None:
    for one in tables:
        compact(one.table)
        forget(one.table, KEPT)
