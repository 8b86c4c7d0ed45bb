"""Puts a configuration together to a service that runs: bundles, spool, connections."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.config import AssetSource, EdgeConfig, MqttConfig, OpcUaConfig, spool_file
from faultwatch_edge.delivery import Delivery, Sink
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.registry import RegistryMirror
from faultwatch_edge.renewal import Keys, Renewal
from faultwatch_edge.service import Beat, Service, Source
from faultwatch_edge.sinks.line_file import LineFile
from faultwatch_edge.sinks.webhook import Webhook
from faultwatch_edge.spool import Spool
from faultwatch_edge.stopping import Stop
from faultwatch_edge.topics import filters, last_will
from faultwatch_edge.watchdog import Watchdog
from faultwatch_edge.watched import Watched
from faultwatch_edge.web import OperatorPage

PASSWORD_VARIABLE: Final = "FAULTWATCH_EDGE_MQTT_PASSWORD"  # noqa: S105 - the variable's name
OPCUA_VARIABLE: Final = "FAULTWATCH_EDGE_OPCUA_PASSWORD"
REGISTRY_VARIABLE: Final = "FAULTWATCH_EDGE_REGISTRY_PASSWORD"
TOKEN_VARIABLE: Final = "FAULTWATCH_EDGE_WEBHOOK_TOKEN"  # noqa: S105 - the variable's name


@dataclass
class _Ends:
    """Where samples come from, where records go, and who hears how the agent is."""

    sources: list[Source] = field(default_factory=list)
    sinks: list[Sink] = field(default_factory=list)
    beat: Beat | None = None


def serve(
    config: EdgeConfig,
    keys: Keys,
    stop: Stop,
    note: Callable[[str], None],
) -> None:
    """Watch all assets until a stop is requested.

    Args:
        config: from ``read_config``.
        keys: gives the trusted signers, as they are now.
        stop: says when to end.
        note: takes a sentence for whoever looks at the log.

    Raises:
        EdgeError: something of the configuration cannot be used; nothing has been taken then.
    """
    with ExitStack() as stack:
        file = spool_file(config)
        stack.enter_context(_alone(file.with_suffix(".lock")))
        spool = stack.enter_context(Spool(file, sinks=config.sinks))
        mirror = _mirror(config, note)
        assets, renewals = _watched(config, keys, mirror, spool=spool, note=note)
        if mirror is not None:
            stack.enter_context(mirror)
        given_up = spool.give_up_others()
        if given_up:
            note(
                f"{given_up} records waited for sinks that the configuration has no more; given up"
            )
        ends = _Ends()
        if config.mqtt is not None:
            _add_broker(ends, stack, config.mqtt, list(assets.values()), spool=spool, note=note)
        by_nodes = [one for one in assets.values() if one.nodes is not None]
        if config.opcua is not None and by_nodes:
            _add_opcua(ends, stack, config.opcua, by_nodes, note=note)
        _add_other_sinks(ends, stack, config, note)
        service = Service(
            config.name,
            assets,
            sources=ends.sources,
            deliveries=[Delivery(spool, sink) for sink in ends.sinks],
            beat=ends.beat,
            renewals=renewals,
            spool=spool,
            clock_us=now_us,
            passed_us=passed_us,
            note=note,
        )
        if config.page is not None:
            page = stack.enter_context(_page(config.page.port, service, assets, file))
            note(f"the operator's page is at http://localhost:{page.port}")
        note(f"watches {', '.join(assets)}")
        watchdog = stack.enter_context(Watchdog())
        while not stop.is_requested:
            service.step()
            watchdog.alive(passed_us())


def _add_broker(
    ends: _Ends,
    stack: ExitStack,
    config: MqttConfig,
    assets: Sequence[Watched],
    *,
    spool: Spool,
    note: Callable[[str], None],
) -> None:
    from faultwatch_edge.mqtt import Connection  # noqa: PLC0415 - paho is an extra
    from faultwatch_edge.mqtt_messages import MqttMessages  # noqa: PLC0415
    from faultwatch_edge.sinks.mqtt_topics import MqttTopics  # noqa: PLC0415

    connection = Connection(
        config,
        password=os.environ.get(PASSWORD_VARIABLE),
        filters=filters(config, assets),
        will=last_will(config),
        note=note,
    )
    stack.enter_context(connection)
    topics = MqttTopics(connection, config)
    ends.sources.append(MqttMessages(connection, config, assets, spool=spool, note=note))
    ends.sinks.append(topics)
    ends.beat = topics.beat


def _add_opcua(
    ends: _Ends,
    stack: ExitStack,
    config: OpcUaConfig,
    assets: Sequence[Watched],
    *,
    note: Callable[[str], None],
) -> None:
    from faultwatch_edge.opcua_samples import OpcUaSamples  # noqa: PLC0415 - asyncua is an extra

    samples = OpcUaSamples(config, assets, password=os.environ.get(OPCUA_VARIABLE), note=note)
    stack.enter_context(samples.connection)
    ends.sources.append(samples)


def _add_other_sinks(
    ends: _Ends, stack: ExitStack, config: EdgeConfig, note: Callable[[str], None]
) -> None:
    if config.webhook is not None:
        webhook = Webhook(config.webhook, token=os.environ.get(TOKEN_VARIABLE), note=note)
        ends.sinks.append(stack.enter_context(webhook))
    if config.file is not None:
        ends.sinks.append(LineFile(Path(config.file.path), note))


def _page(port: int, service: Service, assets: Mapping[str, Watched], file: Path) -> OperatorPage:
    return OperatorPage(
        port,
        state=lambda: service.view,
        metrics=lambda: service.metrics,
        assets=frozenset(assets),
        leave=lambda asset, body: _leave(file, asset, body),
    )


def _leave(file: Path, asset: str, body: str) -> None:
    """Leave an order for the service, as the command line does."""
    with Spool(file) as spool:
        spool.order(asset, body)


def now_us() -> int:
    """Microseconds since the epoch by this device's clock."""
    return time.time_ns() // 1_000


def passed_us() -> int:
    """Microseconds since some time, by a clock that nobody sets."""
    return time.monotonic_ns() // 1_000


def _mirror(config: EdgeConfig, note: Callable[[str], None]) -> RegistryMirror | None:
    """What keeps the folders of bundles that come from a registry."""
    models = [one.model for one in config.asset if one.model is not None]
    if config.registry is None or not models:
        return None
    folders = {model: _mirrored(config, model) for model in models}
    password = os.environ.get(REGISTRY_VARIABLE)
    return RegistryMirror(config.registry, password=password, folders=folders, note=note)


def _mirrored(config: EdgeConfig, model: str) -> Path:
    return Path(config.agent.folder) / "registry" / model


def _watched(
    config: EdgeConfig,
    keys: Keys,
    mirror: RegistryMirror | None,
    *,
    spool: Spool,
    note: Callable[[str], None],
) -> tuple[dict[str, Watched], dict[str, Renewal]]:
    assets: dict[str, Watched] = {}
    renewals: dict[str, Renewal] = {}
    for source in config.asset:
        renewal = _renewal(config, source, keys, spool=spool, note=note)
        if renewal is None:
            bundle = read_bundle(Path(str(source.bundle)), trusted_keys=keys())
        else:
            if mirror is not None and source.model is not None and not renewal.has_begun:
                mirror.fetch(source.model)
            bundle = renewal.begin()
        watched = Watched(bundle, source, publish_scores=config.agent.publish_scores)
        if watched.asset in assets:
            raise ConfigError(
                f"two bundles are of asset '{watched.asset}', expected one [[asset]] for each"
            )
        kept = spool.state(watched.asset)
        if kept is not None:
            watched.resume(kept, note)
        assets[watched.asset] = watched
        if renewal is not None:
            renewal.attend(watched)
            renewals[watched.asset] = renewal
    return assets, renewals


def _renewal(
    config: EdgeConfig,
    source: AssetSource,
    keys: Keys,
    *,
    spool: Spool,
    note: Callable[[str], None],
) -> Renewal | None:
    """What looks for newer bundles; None = the bundle is a file."""
    place = Path(str(source.bundle)) if source.model is None else _mirrored(config, source.model)
    slots = spool.state(Renewal.memory(place))
    if source.model is None and slots is None and not place.is_dir():
        return None
    kept = Path(config.agent.folder) / "bundles"
    return Renewal(place, kept, slots, keys=keys, note=note, follows=source.model is not None)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock that no other agent may hold; it ends with the process."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"'{file.parent}' is used by another agent, expected a folder for each; stop the "
                "other one, or set agent.folder"
            ) from error
        yield
