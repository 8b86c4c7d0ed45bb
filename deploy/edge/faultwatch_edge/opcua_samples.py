"""Samples of an OPC UA server: each to its agent."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from faultwatch_edge.config import OpcUaConfig
from faultwatch_edge.sources.opcua import OpcUaSource
from faultwatch_edge.sources.opcua_values import OpcUaRejection, OpcUaSample
from faultwatch_edge.spool import Record
from faultwatch_edge.watched import Watched

MOST_AT_ONCE: Final = 1024


class OpcUaSamples:
    """A source: see ``service.Source``. Its thread begins and ends with the ``connection``.

    Args:
        config: of the server.
        password: None = none.
        assets: whose samples come from nodes.
        note: takes a sentence for whoever looks at the log.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """

    remembered: Mapping[str, str] = {}
    is_owing = False
    catches_up = False

    def __init__(
        self,
        config: OpcUaConfig,
        assets: Sequence[Watched],
        *,
        password: str | None,
        note: Callable[[str], None],
    ) -> None:
        self.assets, self._note = assets, note
        self._by_name = {one.asset: one for one in assets}
        for one in assets:
            named = {channel for channel, _ in one.nodes.nodes} if one.nodes else set()
            others = [name for name in one.bundle.manifest.channel_names if name not in named]
            if others:
                note(
                    f"{one.asset}: asset.nodes has no node for {', '.join(others)}; missing so far"
                )
        self.connection = OpcUaSource(
            config,
            password=password,
            wanted=lambda: [one.nodes for one in assets if one.nodes is not None],
            note=note,
        )

    @property
    def is_connected(self) -> bool:
        """Whether the server is there."""
        return self.connection.is_connected

    def take(self, at_us: Callable[[], int], *, timeout_s: float) -> list[Record]:
        """What the samples that came led to; waits for the first.

        Args:
            at_us: tells the time by the device's clock.
            timeout_s: how long.
        """
        came = self.connection.take(MOST_AT_ONCE, timeout_s=timeout_s)
        now_us = at_us()
        for one in self.assets:
            one.bad_quality = self.connection.bad.get(one.asset, 0)
        return [record for what in came for record in self.feed(what, now_us)]

    def kept(self) -> None:
        """The server need not know."""

    def feed(self, one: OpcUaSample | OpcUaRejection, at_us: int) -> list[Record]:
        """What one sample leads to; whatever is in it, the next one is taken, too."""
        watched = self._by_name[one.asset]
        try:
            if isinstance(one, OpcUaRejection):
                return watched.refuse_value(one)
            return watched.take_sample(one, at_us)
        except Exception as error:  # noqa: BLE001 - one sample must not end the agent
            self._note(f"{one.asset}: a sample by OPC UA led to {error!r}")
            reason = f"led to {type(error).__name__} in the agent"
            return watched.refuse_value(OpcUaRejection(one.asset, reason, one.raw, is_again=False))
