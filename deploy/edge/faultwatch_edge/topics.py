"""On which MQTT topics things are said and heard."""

import json
from collections.abc import Sequence

from faultwatch_edge.config import MqttConfig
from faultwatch_edge.watched import Watched


def order_topic(config: MqttConfig, asset: str) -> str:
    """Where operators' orders for an asset come.

    Example:
        >>> order_topic(MqttConfig(), "pump_07")
        'faultwatch/pump_07/command'
    """
    return config.command.replace("{asset}", asset)


def published_topic(config: MqttConfig, asset: str, kind: str) -> str:
    """Where what is said of an asset goes.

    Example:
        >>> published_topic(MqttConfig(), "pump_07", "alarm")
        'faultwatch/pump_07/alarm'
    """
    return config.publish.replace("{asset}", asset).replace("{kind}", kind)


def health_topic(config: MqttConfig) -> str:
    """Where the agent says how it is.

    Example:
        >>> health_topic(MqttConfig())
        'faultwatch/faultwatch-edge/health'
    """
    return published_topic(config, config.client_id, "health")


def last_will(config: MqttConfig) -> tuple[str, str]:
    """What the broker says when the agent has vanished: topic and body."""
    body = {"schema": 1, "kind": "health", "agent": config.client_id, "online": False}
    return health_topic(config), json.dumps(body)


def filters(config: MqttConfig, assets: Sequence[Watched]) -> list[str]:
    """What is subscribed to: samples and orders of all assets, each once."""
    wanted = [one for watched in assets for one in watched.payloads.filters]
    wanted += [order_topic(config, watched.asset) for watched in assets]
    return list(dict.fromkeys(wanted))
