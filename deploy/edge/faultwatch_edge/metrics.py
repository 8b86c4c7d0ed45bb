"""The agent's health as Prometheus reads it."""

import math
import resource
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

_ASSET: Final[Mapping[str, tuple[str, str]]] = {
    "samples": ("samples_total", "samples taken"),
    "late": ("samples_late_total", "samples whose cell had closed"),
    "rejected": ("samples_rejected_total", "samples that could not be used"),
    "bad_quality": ("values_bad_quality_total", "values that the source itself called bad"),
    "windows_scored": ("windows_scored_total", "windows that have a score"),
    "windows_not_scored": ("windows_not_scored_total", "windows without one"),
    "alarms_raised": ("alarms_raised_total", "times that the alarm was raised"),
    "model_version": ("model_version", "version of the bundle"),
}


def prometheus(health: Mapping[str, Any], *, sinks: Mapping[str, bool]) -> str:
    r"""Text format 0.0.4 of a health message.

    Example:
        >>> asset = {name: 2 for name in _ASSET} | {"asset": "pump"}
        >>> asset["last_sample_at"] = "2026-01-01T00:00:00Z"
        >>> health = {"at": "2026-01-01T00:00:05Z", "waiting": {"alarm": 1}, "assets": [asset]}
        >>> text = prometheus(health, sinks={"mqtt": True})
        >>> [line for line in text.splitlines() if "alarm" in line and line[0] != "#"]
        ['faultwatch_waiting{kind="alarm"} 1', 'faultwatch_alarms_raised_total{asset="pump"} 2']
    """
    waiting, assets = health["waiting"], health["assets"]
    kinds = [(f'{{kind="{kind}"}}', value) for kind, value in waiting.items()]
    ready = [(f'{{sink="{name}"}}', int(is_ready)) for name, is_ready in sinks.items()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    parts = [
        _family("connected", "whether what is said can be delivered there", ready),
        _family("resident_peak_bytes", "most memory that was resident", [("", peak)]),
        _family("waiting", "records that wait for delivery, and scores dropped", kinds),
    ]
    ages = [(f'{{asset="{one["asset"]}"}}', _age_s(health, one)) for one in assets]
    parts.append(_family("last_sample_age_seconds", "since the last sample was measured", ages))
    for key, (name, what) in _ASSET.items():
        values = [(f'{{asset="{one["asset"]}"}}', one[key]) for one in assets]
        parts.append(_family(name, what, values))
    return "".join(parts)


def _age_s(health: Mapping[str, Any], asset: Mapping[str, Any]) -> float:
    """Seconds since the last sample; not a number where there is none."""
    if asset["last_sample_at"] is None:
        return math.nan
    last, now = asset["last_sample_at"], health["at"]
    return (datetime.fromisoformat(now) - datetime.fromisoformat(last)).total_seconds()


def _family(name: str, what: str, values: Sequence[tuple[str, object]]) -> str:
    kind = "counter" if name.endswith("_total") else "gauge"
    head = f"# HELP faultwatch_{name} {what}\n# TYPE faultwatch_{name} {kind}\n"
    return head + "".join(f"faultwatch_{name}{labels} {value}\n" for labels, value in values)
