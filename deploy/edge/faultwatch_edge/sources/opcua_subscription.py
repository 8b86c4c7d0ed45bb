"""What an OPC UA server watches in one session, and what it tells of that."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError

from faultwatch_edge.sources.opcua_values import AssetNodes, OpcUaValues, Reading
from faultwatch_edge.times import to_microseconds

ALIVE_S: Final = 5.0
"""How often the server is asked whether it is there, and how seldom it may send nothing."""
LIFETIME_S: Final = 60.0
"""How long a server keeps what belongs to an agent that has vanished."""
ANSWER_S: Final = 5.0
"""How long an answer may take."""
_MOST_VALUES: Final = 10_000
"""Of one message of the server."""
_AT_ONCE: Final = 500
"""Nodes in one request."""
_QUEUE: Final = 64
"""Values of a node that the server keeps until the next message."""
_LONGEST_INTERVAL_S: Final = 5.0
"""Between two messages of the server."""
_OVERFLOW: Final = 0x480
"""Bits of a status that say that the queue was full."""
_NO_TIME_US: Final = to_microseconds(datetime(1601, 1, 1, tzinfo=UTC))
"""How OPC UA writes that there is no time."""
_Item = TypeVar("_Item")


class LostError(Exception):
    """The connection is of no use any more; the text says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of one channel of one asset."""

    asset: str
    channel: str
    node: str
    is_on_change: bool


class Subscription:
    """The nodes that one session watches.

    Args:
        client: connected.
        values: where what comes goes.
        tell: takes a node, and why it cannot be watched; None = it is watched.
    """

    def __init__(
        self,
        client: Client,
        values: OpcUaValues,
        tell: Callable[[Node, str | None], None],
    ) -> None:
        self._session, self._values, self._tell = client.uaclient.session, values, tell
        self._number = self._last_handle = 0
        self._interval_ms = self._slowest_ms = self._longest_silence_s = 0.0
        self._absent: list[Node] = []
        self._nodes: dict[int, Node] = {}
        """By the handle that their values bear."""
        self._items: dict[int, int] = {}
        """The server's numbers of those that it watches, by handle."""
        self._heard: set[int] = set()
        """Handles of which something came: what they had before is not told again."""
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard_s = asyncio.get_running_loop().time()
        client.connection_lost_callback = self._lose

    async def begin(self, wanted: Sequence[AssetNodes]) -> None:
        """Subscribe to all nodes that are there."""
        self._interval_ms = 1_000 * min(one.period_s for one in wanted)
        publishing_ms = min(self._interval_ms, 1_000 * _LONGEST_INTERVAL_S)
        alive = max(1, round(1_000 * ALIVE_S / publishing_ms))
        parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=publishing_ms,
            RequestedMaxKeepAliveCount=alive,
            RequestedLifetimeCount=round(LIFETIME_S / ALIVE_S) * alive,
            MaxNotificationsPerPublish=_MOST_VALUES,
            PublishingEnabled=True,
        )
        result = await self._session.create_subscription(parameters, self._published)
        self._number = result.SubscriptionId
        if result.RevisedPublishingInterval > publishing_ms:
            self._slowest_ms = result.RevisedPublishingInterval
        pause_ms = result.RevisedPublishingInterval * result.RevisedMaxKeepAliveCount
        self._longest_silence_s = 2 * pause_ms / 1_000 + ANSWER_S
        self._absent = [
            Node(one.asset, channel, node, channel in one.on_change)
            for one in wanted
            for channel, node in one.nodes
        ]
        await self.look()

    async def listen(self, timeout_s: float) -> None:
        """Wait a while.

        Raises:
            Exception: the connection is lost, or the server sends nothing any more.
        """
        await asyncio.wait([self._lost], timeout=timeout_s)
        if self._lost.done():
            self._lost.result()
        if asyncio.get_running_loop().time() - self._heard_s > self._longest_silence_s:
            raise LostError("it sends nothing any more")

    async def look(self) -> None:
        """See which nodes have gone, and watch those that have come."""
        for chunk in _chunks(list(self._items)):
            await self._check(chunk)
        absent, self._absent = self._absent, []
        for nodes in _chunks(absent):
            await self._watch(nodes)

    @property
    def revised(self) -> str:
        """What the server gives instead of what was asked for."""
        if self._slowest_ms <= self._interval_ms:
            return ""
        slowest_s, wanted_s = self._slowest_ms / 1_000, self._interval_ms / 1_000
        return f", which tells values every {slowest_s:g} s, expected {wanted_s:g} s"

    async def _check(self, handles: Sequence[int]) -> None:
        """Let go of nodes that are not there any more."""
        ids = [ua.NodeId.from_string(self._nodes[one].node) for one in handles]
        found = await self._session.read_attributes(ids, AttributeIds.NodeClass)
        gone = [
            (handle, value.StatusCode)
            for handle, value in zip(handles, found, strict=True)
            if value.StatusCode is not None and value.StatusCode.is_bad()
        ]
        if not gone:
            return
        for handle, status in gone:
            self._refuse(self._nodes.pop(handle), status.name)
            self._heard.discard(handle)
        parameters = ua.DeleteMonitoredItemsParameters(
            SubscriptionId=self._number,
            MonitoredItemIds=[self._items.pop(handle) for handle, _ in gone],
        )
        await self._session.delete_monitored_items(parameters)

    async def _watch(self, nodes: Sequence[Node]) -> None:
        """Ask for what is measured of nodes from now on."""
        requests: dict[int, ua.MonitoredItemCreateRequest] = {}
        for node in nodes:
            self._last_handle += 1
            try:
                requests[self._last_handle] = self._request(node)
            except UaError as error:
                self._refuse(node, str(error))
            else:
                self._nodes[self._last_handle] = node
        if not requests:
            return
        parameters = ua.CreateMonitoredItemsParameters(
            SubscriptionId=self._number,
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            ItemsToCreate=list(requests.values()),
        )
        results = await self._session.create_monitored_items(parameters)
        for handle, result in zip(requests, results, strict=True):
            if result.StatusCode.is_good():
                self._items[handle] = result.MonitoredItemId
                self._slowest_ms = max(self._slowest_ms, result.RevisedSamplingInterval)
                self._tell(self._nodes[handle], None)
            else:
                self._refuse(self._nodes.pop(handle), result.StatusCode.name)

    def _request(self, node: Node) -> ua.MonitoredItemCreateRequest:
        """A value that is measured anew is told also where it is the same as before.

        Raises:
            UaError: the node's id is none.
        """
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(
                NodeId=ua.NodeId.from_string(node.node), AttributeId=AttributeIds.Value
            ),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(
                ClientHandle=self._last_handle,
                SamplingInterval=self._interval_ms,
                Filter=ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp),
                QueueSize=_QUEUE,
                DiscardOldest=True,
            ),
        )

    def _refuse(self, node: Node, problem: str) -> None:
        self._absent.append(node)
        self._tell(node, problem)

    def _published(self, result: ua.PublishResult) -> None:
        """One message of the server; without content it only says that the server lives."""
        self._heard_s = asyncio.get_running_loop().time()
        try:
            for one in result.NotificationMessage.NotificationData or []:
                if isinstance(one, ua.DataChangeNotification):
                    self._values.add(self._readings(one.MonitoredItems))
                elif isinstance(one, ua.StatusChangeNotification):
                    one.Status.check()
        except Exception as error:  # noqa: BLE001 - asyncua would keep it to itself
            self._fail(error)

    def _readings(self, items: Sequence[ua.MonitoredItemNotification]) -> Iterator[Reading]:
        for item in items:
            node = self._nodes.get(item.ClientHandle)
            if node is None:
                continue  # let go of meanwhile
            value, status = item.Value, item.Value.StatusCode
            yield Reading(
                node.asset,
                node.channel,
                node.node,
                None if value.Value is None else value.Value.Value,
                is_good=status is None or status.is_good(),
                time_us=_time_us(value),
                is_known=item.ClientHandle not in self._heard,
                is_on_change=node.is_on_change,
                is_after_loss=status is not None and status.value & _OVERFLOW == _OVERFLOW,
            )
            self._heard.add(item.ClientHandle)

    async def _lose(self, error: Exception) -> None:
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._lost.done():
            self._lost.set_exception(error)


def _time_us(value: ua.DataValue) -> int | None:
    """When it was measured; by the server's clock where the source does not say."""
    for stamp in (value.SourceTimestamp, value.ServerTimestamp):
        if stamp is not None:
            stamp_us = to_microseconds(stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC))
            if stamp_us > _NO_TIME_US:
                return stamp_us
    return None


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for begin in range(0, len(items), _AT_ONCE):
        yield items[begin : begin + _AT_ONCE]
