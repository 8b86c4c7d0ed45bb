"""The collector: what devices publish by MQTT, into the historian's folder; nothing is lost.

A message is acknowledged to the broker when it is on disk in the buffer, and leaves the buffer when
all it says is in a table. The broker keeps what comes while the collector is away, or has no room.
Whatever is killed in between, and whatever comes again: each thing is in the tables once.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from faultwatch_edge.config import MqttConfig, read_broker
from faultwatch_edge.errors import SpoolError
from faultwatch_edge.mqtt import Connection
from faultwatch_edge.sources.incoming import Incoming
from pipelines.buffer import Buffer, Heard
from pipelines.config import AssetConfig
from pipelines.live import make_payloads
from pipelines.records import AgentsRecord, AssetJournal, Record, SamplesRecord, Say
from pipelines.settings import Settings

CLIENT: Final = "faultwatch-collect"
"""Under which the broker keeps what comes while the collector is away."""
WAIT_S: Final = 0.2
MOST_TAKEN: Final = 1_000
MANY_WAITING: Final = 20_000
"""So many new messages of one place are written at once."""
URGENT_S: Final = 2
"""An alarm is in its table after this, about."""
AGAIN_S: Final = 10
"""What could not be written is tried again after this."""
TOLD_EVERY_S: Final = 600
MAINTAINED_EVERY_S: Final = 3_600


class CollectError(Exception):
    """Nothing can be collected like that; the message says what to do."""


class Collector:
    """Takes what the broker has, keeps it, and writes it when it is time.

    Args:
        connection: to the broker.
        buffer: between the two.
        records: where messages of assets go.
        agents: how agents are, and what nobody else takes.
        clock_us: now, microseconds since the epoch.
        passed_s: seconds by a clock that is never set and never goes back.
        say: takes a sentence for whoever looks at the log.
    """

    def __init__(
        self,
        connection: Connection,
        buffer: Buffer,
        records: Sequence[Record],
        agents: AgentsRecord,
        *,
        clock_us: Callable[[], int],
        passed_s: Callable[[], float],
        say: Say,
    ) -> None:
        self._connection, self._buffer = connection, buffer
        self._records = {one.place: one for one in (*records, agents)}
        self._agents = agents
        self._new: Counter[str] = Counter()
        self._clock_us, self._passed_s, self._say = clock_us, passed_s, say
        self._unkept: list[Incoming] = []
        self._troubles: dict[str, str] = {}
        now_s = passed_s()
        self._due_s = dict.fromkeys(self._records, now_s)
        self._tell_s, self._maintain_s = now_s + TOLD_EVERY_S, now_s + MAINTAINED_EVERY_S

    def step(self) -> None:
        """Take and keep what came within a moment, and write what is due."""
        if self._unkept or not self._buffer.has_room:
            time.sleep(WAIT_S)
        else:
            self._unkept = self._connection.take(most=MOST_TAKEN, timeout_s=WAIT_S)
        self._keep()
        now_s = self._passed_s()
        for place, due_s in list(self._due_s.items()):
            if now_s >= due_s or self._new[place] >= MANY_WAITING:
                self._write(self._records[place])
        if now_s >= self._tell_s:
            self._tell_s = now_s + TOLD_EVERY_S
            self.tell()
        if now_s >= self._maintain_s:
            self._maintain_s = now_s + MAINTAINED_EVERY_S
            self._maintain()

    def finish(self) -> None:
        """Write what is kept; what the broker has not been told is kept comes again."""
        for record in self._records.values():
            self._write(record)
        self.tell()

    def tell(self) -> None:
        """Say what was taken since the last time, also what was known already."""
        counts: Counter[str] = Counter()
        for record in self._records.values():
            counts += record.counts
            record.counts.clear()
        taken = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
        self._say(f"taken: {taken or 'nothing'}; {self._buffer.count} messages wait")

    def _keep(self) -> None:
        """On disk first, then the broker is told."""
        if not self._unkept:
            self._trouble("room", "" if self._buffer.has_room else _full(self._buffer.count))
            return
        now_us = self._clock_us()
        try:
            self._buffer.keep(list(self._placed(now_us)))
        except SpoolError as error:
            self._trouble("buffer", f"{error}; nothing more is taken until there is room")
            return
        self._trouble("buffer", "")
        self._connection.acknowledge(self._unkept)
        self._unkept = []

    def _placed(self, now_us: int) -> Iterator[tuple[str, Heard]]:
        for message in self._unkept:
            takers = [one for one in self._records.values() if one.is_of(message.topic)]
            for record in takers or [self._agents]:
                self._new[record.place] += 1
                self._hurry(record, message.topic)
                yield record.place, Heard(message.topic, message.payload, now_us)

    def _hurry(self, record: Record, topic: str) -> None:
        if record.is_urgent(topic) and record.place not in self._troubles:
            soon_s = self._passed_s() + URGENT_S
            self._due_s[record.place] = min(self._due_s[record.place], soon_s)

    def _write(self, record: Record) -> None:
        """Write all that waits for a record; what it cannot take now stays in the buffer."""
        every_s: float = record.every_s
        self._new[record.place] = 0
        try:
            while messages := self._buffer.waiting(record.place):
                record.write(messages)
                self._buffer.forget([one.number for one in messages], gone=self._agents.gone)
            self._trouble(record.place, "")
        except Exception as error:  # noqa: BLE001 - of one asset, whatever it is: the others go on
            self._trouble(
                record.place,
                f"{record.place}: cannot be written ({_first_line(error)}); it is kept, and tried "
                "again",
            )
            every_s = AGAIN_S
        self._due_s[record.place] = self._passed_s() + every_s

    def _maintain(self) -> None:
        for record in self._records.values():
            try:
                record.maintain()
            except Exception as error:  # noqa: BLE001 - nothing is lost by it, and it comes again
                self._say(f"{record.place}: its files cannot be tidied ({_first_line(error)})")

    def _trouble(self, what: str, sentence: str) -> None:
        """Say what is wrong, once until it is otherwise."""
        if sentence and self._troubles.get(what) != sentence:
            self._say(sentence)
        if sentence:
            self._troubles[what] = sentence
        else:
            self._troubles.pop(what, None)


def collect(
    assets: Sequence[AssetConfig],
    settings: Settings,
    *,
    is_stopped: Callable[[], bool],
    say: Say,
) -> None:
    """Collect what devices publish of these assets until it is stopped.

    Args:
        assets: whose alarms, events and scores; of those with a section ``[live]`` samples, too.
        settings: where the historian, the buffer and the broker are.
        is_stopped: whether it is time to end.
        say: takes a sentence for whoever looks at the log.

    Raises:
        CollectError: an asset is named twice, or the topics cannot be subscribed to.
        faultwatch_edge.errors.EdgeError: the broker's file or the buffer cannot be used.
        pipelines.historian.HistorianError: an asset file has other channels than the historian.
    """
    mqtt = read_broker(settings.broker_file, client_id=CLIENT)
    _check(assets, mqtt)
    password = settings.mqtt_password
    with ExitStack() as stack:
        file = settings.home / "collect" / "buffer.db"
        buffer = stack.enter_context(Buffer(file, at_us=_now_us()))
        address = settings.historian_address
        records = make_records(assets, mqtt, address, buffer_us=buffer.made_us, say=say)
        agents = AgentsRecord(mqtt, buffer.gone(), address=address, say=say)
        filters = [one for record in (*records, agents) for one in record.filters]
        connection = Connection(
            mqtt,
            password=None if password is None else password.get_secret_value(),
            filters=list(dict.fromkeys(filters)),
            will=None,
            note=say,
        )
        collector = Collector(
            connection, buffer, records, agents, clock_us=_now_us, passed_s=time.monotonic, say=say
        )
        _say_beginning(buffer, [*records, agents], say)
        stack.enter_context(connection)
        while not is_stopped():
            collector.step()
        collector.finish()


def make_records(
    assets: Sequence[AssetConfig], mqtt: MqttConfig, address: str, *, buffer_us: int, say: Say
) -> list[Record]:
    """Where what is said of assets goes.

    Raises:
        pipelines.historian.HistorianError: an asset file has other channels than the historian.
    """
    records: list[Record] = []
    for asset in assets:
        name = asset.asset.id
        records.append(AssetJournal(name, mqtt, address=address, say=say))
        if asset.live is not None:
            samples = SamplesRecord(
                asset,
                make_payloads(asset.live, asset.channel, asset_id=name),
                address=address,
                source=f"mqtt/{mqtt.client_id}",
                buffer_us=buffer_us,
                say=say,
            )
            samples.historian.check_schema()
            records.append(samples)
    return records


def _check(assets: Sequence[AssetConfig], mqtt: MqttConfig) -> None:
    counts = Counter(one.asset.id for one in assets)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise CollectError(f"asset '{doubled[0]}' is named twice; name each asset once")
    if "{asset}" not in mqtt.publish.split("/"):
        raise CollectError(
            f"mqtt.publish is '{mqtt.publish}', expected {{asset}} as one whole level of it, as "
            "the health of agents is heard with a '+' there"
        )


def _say_beginning(buffer: Buffer, records: Sequence[Record], say: Say) -> None:
    known: Mapping[str, Record] = {one.place: one for one in records}
    say(f"collects {', '.join(known)}; {buffer.count} messages wait")
    if others := [place for place in buffer.places() if place not in known]:
        say(
            f"messages wait for {', '.join(others)}, which is not named now; name the assets again "
            "to have them written"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [repr(error)])[0]


def _full(count: int) -> str:
    return f"{count} messages wait: nothing more is taken until there is room; the broker keeps it"


def _now_us() -> int:
    return time.time_ns() // 1_000
