"""Which signals follow a set-point, by their values."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from features.first_look.signals import Signal

MOST_SET_POINTS = 20
MOST_POINTS = 500
"""Values of a signal that are compared with a set-point."""
LEAST_POINTS = 30
ALIKE = 0.8
"""Correlation with the set-point from which a signal may follow it."""
NEAR = 0.15
"""Median distance from the set-point, in its spans, up to which a signal may follow it."""


def pair_values(
    points: Mapping[str, pl.DataFrame], signals: Mapping[str, Signal]
) -> dict[str, str]:
    """Signals that stay near another one which holds its value and steps.

    Args:
        points: by tag: ``time``, ``value``, ``piece``; sorted.
        signals: what each is.

    Returns:
        Tag of the signal: tag of its set-point; each set-point has one follower, the nearest.
    """
    leaders = [tag for tag, signal in signals.items() if signal.steps][:MOST_SET_POINTS]
    followers = {
        tag: _thinned(points[tag])
        for tag, signal in signals.items()
        if signal.kind == "continuous" and not signal.steps and not signal.constant
    }
    found: dict[str, str] = {}
    for leader in leaders:
        distances = {
            tag: distance
            for tag, values in followers.items()
            if tag not in found and (distance := _distance(values, points[leader])) is not None
        }
        if distances:
            found[min(distances, key=lambda tag: distances[tag])] = leader
    return found


def _thinned(points: pl.DataFrame) -> pl.DataFrame:
    return points.gather_every(max(points.height // MOST_POINTS, 1))


def _distance(values: pl.DataFrame, leader: pl.DataFrame) -> float | None:
    """Median distance from the leader in its spans; None where the signal does not follow it."""
    wanted = leader["value"].to_numpy()
    span = float(np.ptp(wanted))
    if abs(float(np.median(values["value"].to_numpy())) - float(np.median(wanted))) > span:
        return None
    joined = values.join_asof(
        leader.rename({"value": "wanted"}), on="time", by="piece", check_sortedness=False
    ).drop_nulls()
    value, target = joined["value"].to_numpy(), joined["wanted"].to_numpy()
    if len(value) < LEAST_POINTS or np.ptp(value) == 0 or np.ptp(target) == 0:
        return None
    distance = float(np.median(np.abs(value - target))) / span
    follows = np.corrcoef(value, target)[0, 1] >= ALIKE and distance <= NEAR
    return distance if follows else None
