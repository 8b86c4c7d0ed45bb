"""``edge.toml``: which bundles an agent runs, where samples come from, where messages go."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from faultwatch_edge.errors import BundleError, ConfigError
from faultwatch_edge.manifest import ASSET_ID
from faultwatch_edge.spool import SinkName
from faultwatch_edge.strict_json import read_record

LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PORT, _TLS_PORT, _LAST_PORT = 1883, 8883, 65_535
_FILES: Final = ("ca", "certificate", "private_key", "server_certificate")
_NODE: Final = re.compile(r"(ns=\d{1,5};)?(i=\d{1,10}|[sgb]=.+)")
_LARGEST_FILE: Final = 1024 * 1024
Config = TypeVar("Config")


def _check_topic(name: str, topic: str, *parts: str) -> None:
    if not topic or not topic.isprintable() or "#" in topic or "+" in topic:
        raise BundleError(f"{name} is {topic!r}, expected a topic without '+' and '#'")
    for part in parts:
        if topic.count(part) != 1:
            raise BundleError(f"{name} is {topic!r}, expected {part} in it once")


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Where the agent keeps what it must not lose, and whom it trusts."""

    folder: str
    """Where the state and what waits for delivery are kept; one folder for each agent."""
    keys: tuple[str, ...] = ()
    """Trusted public keys, or folders of ``*.pub``; none = the usual places."""
    publish_scores: bool = True
    """Whether the score of every window is published, too."""
    log: Literal["text", "json"] = "text"
    """Sentences on standard error, or a JSON object for each."""


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """The broker; the password comes from ``FAULTWATCH_EDGE_MQTT_PASSWORD``."""

    host: str = "127.0.0.1"
    port: int | None = None
    """None = 8883 with ``ca``, else 1883."""
    client_id: str = "faultwatch-edge"
    """The broker keeps what comes while the agent is away under this name: one for each agent."""
    username: str | None = None
    ca: str | None = None
    """Certificate authority of the broker: with it the connection is encrypted (TLS)."""
    certificate: str | None = None
    """The agent's own certificate, where the broker asks for one."""
    private_key: str | None = None
    """Key of ``certificate``."""
    publish: str = "faultwatch/{asset}/{kind}"
    """Topic of what the agent says: ``alarm``, ``event``, ``rejected``, ``score``."""
    command: str = "faultwatch/{asset}/command"
    """Topic on which operators acknowledge and shelve."""

    def __post_init__(self) -> None:
        if self.ca is None and self.host not in LOCAL:
            raise BundleError(
                f"mqtt.host is {self.host!r} without mqtt.ca, expected an encrypted connection "
                "beyond this machine; name the certificate authority of the broker"
            )
        if (self.certificate is None) != (self.private_key is None):
            raise BundleError("mqtt.certificate and mqtt.private_key go together, expected both")
        if self.port is not None and not 1 <= self.port <= _LAST_PORT:
            raise BundleError(f"mqtt.port is {self.port}, expected 1 to 65535")
        _check_topic("mqtt.publish", self.publish, "{asset}", "{kind}")
        _check_topic("mqtt.command", self.command, "{asset}")

    @property
    def used_port(self) -> int:
        """The port that is connected to."""
        return self.port or (_PORT if self.ca is None else _TLS_PORT)


def _check_address(name: str, address: str, *, variable: str) -> None:
    wanted = f"{name} is {address!r}, expected https://HOST/PATH"
    try:
        parts = urlsplit(address)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise BundleError(wanted) from error
    if not is_address or not address.isprintable() or " " in address:
        raise BundleError(wanted)
    if parts.scheme not in ("http", "https"):
        raise BundleError(wanted)
    if parts.username is not None or parts.password is not None:
        raise BundleError(f"{name} holds a name or password, expected {variable}")
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        raise BundleError(f"{name} is {address!r}, expected https:// beyond this machine")


@dataclass(frozen=True, slots=True)
class OpcUaConfig:
    """An OPC UA server; the password comes from ``FAULTWATCH_EDGE_OPCUA_PASSWORD``."""

    address: str
    """Of the server: ``opc.tcp://HOST:PORT/PATH``."""
    security: Literal["Basic256Sha256", "none"] = "Basic256Sha256"
    """Signed and encrypted; or neither, which is for a server on this machine only."""
    certificate: str | None = None
    """The agent's own certificate, which the server trusts."""
    private_key: str | None = None
    """Key of ``certificate``."""
    server_certificate: str | None = None
    """Of the server: one that shows another is not the right one."""
    username: str | None = None
    """None = anonymous."""

    def __post_init__(self) -> None:
        host = _opcua_host(self.address)
        if self.security == "none":
            if host not in LOCAL:
                raise BundleError(
                    f"opcua.address is {self.address!r} with opcua.security 'none', expected "
                    "'Basic256Sha256' beyond this machine"
                )
            return
        for name in ("certificate", "private_key", "server_certificate"):
            if getattr(self, name) is None:
                raise BundleError(
                    f"opcua.{name} is missing, expected a file, as opcua.security is "
                    f"'{self.security}'"
                )


def _opcua_host(address: str) -> str:
    wanted = f"opcua.address is {address!r}, expected opc.tcp://HOST:PORT"
    try:
        parts = urlsplit(address)
        is_address = parts.scheme == "opc.tcp" and bool(parts.port)
    except ValueError as error:
        raise BundleError(wanted) from error
    if not is_address or not parts.hostname or not address.isprintable() or " " in address:
        raise BundleError(wanted)
    if parts.username is not None or parts.password is not None:
        raise BundleError(
            "opcua.address holds a name or password, expected opcua.username and "
            "FAULTWATCH_EDGE_OPCUA_PASSWORD"
        )
    return parts.hostname


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """An MLflow server; the password comes from ``FAULTWATCH_EDGE_REGISTRY_PASSWORD``."""

    address: str
    alias: str = "champion"
    """Whose bundles are run: ``champion``, or ``canary`` for those who go first."""
    username: str | None = None
    ca: str | None = None
    """Certificate authority of the server; None = those that the device trusts."""
    every_s: float = 60.0
    """How often it is asked."""

    def __post_init__(self) -> None:
        _check_address(
            "registry.address", self.address, variable="FAULTWATCH_EDGE_REGISTRY_PASSWORD"
        )
        if not self.every_s >= 1:
            raise BundleError(f"registry.every_s is {self.every_s:g}, expected 1 or more")


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """A web address for alarms and events; a token comes from ``FAULTWATCH_EDGE_WEBHOOK_TOKEN``."""

    url: str
    ca: str | None = None
    """Certificate authority of the server; None = those that the device trusts."""

    def __post_init__(self) -> None:
        _check_address("webhook.url", self.url, variable="FAULTWATCH_EDGE_WEBHOOK_TOKEN")


@dataclass(frozen=True, slots=True)
class FileConfig:
    """A file of JSON lines."""

    path: str
    """Appended to; from 64 MiB it is put aside as ``.1``, in place of the one before."""


@dataclass(frozen=True, slots=True)
class PageConfig:
    """The operator's page, on this machine only."""

    port: int = 8471

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _LAST_PORT:
            raise BundleError(f"page.port is {self.port}, expected 0 to {_LAST_PORT}; 0 = any")


@dataclass(frozen=True, slots=True)
class AssetSource:
    """One ``[[asset]]``: a bundle, and how its samples look."""

    bundle: str | None = None
    """File; or folder, whose newest bundle is used, also one that comes later."""
    topic: str = ""
    """Of JSON objects with all channels, or, with ``{channel}`` in it, of one channel each."""
    time: str = "time"
    """Key of the time in the object; keys within keys are parted by dots."""
    time_format: Literal["iso", "s", "ms", "us"] = "iso"
    """ISO-8601 with an offset, or seconds, milliseconds, microseconds since 1970 in UTC."""
    value: str = "value"
    """Key of the value where each channel has a topic of its own."""
    keys: dict[str, str] | None = None
    """Channel to its key, or its word in the topic; else it is its name, or its tag."""
    model: str | None = None
    """Instead of ``bundle``: the asset's name in the registry, whose alias is followed."""
    nodes: dict[str, str] | None = None
    """Instead of ``topic``: channel to the id of its OPC UA node, such as ``ns=2;s=FT-101``."""

    def __post_init__(self) -> None:
        if (self.bundle is None) == (self.model is None):
            raise BundleError("asset has bundle and model, or none of them, expected one of both")
        if self.model is not None and ASSET_ID.fullmatch(self.model) is None:
            raise BundleError(f"asset.model is {self.model!r}, expected the id of an asset")
        if bool(self.topic) == (self.nodes is not None):
            raise BundleError("asset has topic and nodes, or none of them, expected one of both")
        if self.nodes is None:
            self._check_topic()
        else:
            self._check_nodes(self.nodes)

    def _check_topic(self) -> None:
        _check_topic("asset.topic", self.topic)
        levels = self.topic.split("/")
        if self.topic.count("{channel}") > 1 or (
            "{channel}" in self.topic and "{channel}" not in levels
        ):
            raise BundleError(
                f"asset.topic is {self.topic!r}, expected {{channel}} as one whole level of it"
            )

    def _check_nodes(self, nodes: Mapping[str, str]) -> None:
        if not nodes:
            raise BundleError("asset.nodes is empty, expected a node for each channel")
        if self.keys is not None:
            raise BundleError("asset.keys goes with asset.topic, expected asset.nodes alone")
        for channel, node in nodes.items():
            if _NODE.fullmatch(node) is None or not node.isprintable():
                raise BundleError(
                    f"asset.nodes has {node!r} for channel {channel!r}, expected the id of a node, "
                    "such as ns=2;s=FT-101"
                )


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """All of ``edge.toml``."""

    agent: AgentConfig
    asset: tuple[AssetSource, ...]
    mqtt: MqttConfig | None = None
    opcua: OpcUaConfig | None = None
    webhook: WebhookConfig | None = None
    file: FileConfig | None = None
    page: PageConfig | None = None
    registry: RegistryConfig | None = None

    def __post_init__(self) -> None:
        if not self.asset:
            raise BundleError("asset is empty, expected at least one [[asset]]")
        if self.mqtt is None and any(one.topic for one in self.asset):
            raise BundleError("mqtt is missing, expected the broker that samples come from")
        if self.opcua is None and any(one.nodes for one in self.asset):
            raise BundleError("opcua is missing, expected the server that samples come from")
        if self.opcua is not None and not any(one.nodes for one in self.asset):
            raise BundleError("asset.nodes is missing, expected the nodes to read from [opcua]")
        if not self.sinks:
            raise BundleError("mqtt, webhook and file are missing, expected where alarms go")
        followed = [one.model for one in self.asset if one.model is not None]
        if followed and self.registry is None:
            raise BundleError(
                f"registry is missing, expected the address from which model {followed[0]!r} comes"
            )

    @property
    def name(self) -> str:
        """What the agent calls itself."""
        return "faultwatch-edge" if self.mqtt is None else self.mqtt.client_id

    @property
    def sinks(self) -> tuple[SinkName, ...]:
        """Where records go."""
        given: Mapping[SinkName, object] = {
            "mqtt": self.mqtt,
            "webhook": self.webhook,
            "file": self.file,
        }
        return tuple(name for name, section in given.items() if section is not None)


@dataclass(frozen=True, slots=True)
class _BrokerFile:
    """A file with nothing but a broker."""

    mqtt: MqttConfig


def read_config(path: Path) -> EdgeConfig:
    """Read and check ``edge.toml``; paths in it are relative to its folder.

    Raises:
        ConfigError: the file cannot be read, or is not as it must be.
    """
    return _checked(EdgeConfig, _read(path, "edge.toml"), path)


def read_broker(path: Path, *, client_id: str) -> MqttConfig:
    """The section ``[mqtt]`` of a file that holds nothing else; ``client_id`` if it names none.

    Raises:
        ConfigError: the file cannot be read, or is not as it must be.
    """
    document = _read(path, "a file with the section [mqtt]")
    if isinstance(document.get("mqtt"), dict):
        document["mqtt"].setdefault("client_id", client_id)
    return _checked(_BrokerFile, document, path).mqtt


def _read(path: Path, expected: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise ConfigError(f"{path}: is larger than {_LARGEST_FILE} bytes, expected a few")
        return tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}), expected {expected}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not TOML ({error})") from error


def _checked(kind: type[Config], document: Mapping[str, Any], path: Path) -> Config:
    try:
        return read_record(kind, _from(document, path.parent), where=str(path))
    except BundleError as error:
        raise ConfigError(str(error)) from error


def _from(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same with the paths in it made absolute; what is not as expected is left as it is."""
    found = dict(document)
    places = [
        (found.get("agent"), ("folder",)),
        (found.get("mqtt"), _FILES),
        (found.get("opcua"), _FILES),
        (found.get("webhook"), ("ca",)),
        (found.get("file"), ("path",)),
        (found.get("registry"), ("ca",)),
    ]
    assets = found.get("asset")
    places += [(one, ("bundle",)) for one in (assets if isinstance(assets, list) else [])]
    for section, names in places:
        for name in names:
            if isinstance(section, dict) and isinstance(section.get(name), str):
                section[name] = str(folder / Path(section[name]).expanduser())
    agent = found.get("agent")
    if isinstance(agent, dict) and isinstance(agent.get("keys"), list):
        agent["keys"] = [
            str(folder / Path(one).expanduser()) if isinstance(one, str) else one
            for one in agent["keys"]
        ]
    return found


def spool_file(config: EdgeConfig) -> Path:
    """The file that holds what the agent remembers and has yet to deliver.

    Raises:
        ConfigError: its folder cannot be made.
    """
    folder = Path(config.agent.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"agent.folder '{folder}' cannot be made ({error.strerror}), expected a folder that "
            "the agent may write to"
        ) from error
    return folder / "spool.db"
