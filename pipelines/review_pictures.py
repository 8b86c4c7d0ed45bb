"""Pictures that a person reviews a challenger by: what it makes of windows, how the data moved."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from faultwatch_edge.bundle import Bundle
from features.drift import LEAST_SHIFT
from features.labels import Interval
from features.windows import Windows
from pipelines.channel_drift import ChannelDrift
from pipelines.report import (
    EXPECTED,
    FAULT,
    NORMAL,
    WindowScores,
    draw_certificate,
    draw_contributions,
    draw_scores,
    draw_worst_channels,
    is_within,
    score_windows,
    upset_of,
)

GREY = "#b4b4b4"
MOST_BARS = 20
"""Channels of the picture of a drift: those that are furthest away."""
FURTHEST = 10.0
"""Standard deviations at which a bar ends."""


def draw_challenger(
    bundle: Bundle, windows: Windows, intervals: Sequence[Interval], drift: ChannelDrift | None
) -> dict[str, Figure]:
    """All pictures of a bundle, by name."""
    return {
        **draw_detector(bundle, windows, intervals),
        **draw_certificate(bundle.certificate),
        **draw_drift(drift),
    }


def draw_detector(
    bundle: Bundle, windows: Windows, intervals: Sequence[Interval]
) -> dict[str, Figure]:
    """Pictures of what a bundle makes of windows, by name."""
    scores = score_windows(bundle, windows)
    return {
        "scores": draw_scores(scores, bundle.manifest.threshold.score, intervals),
        "observed_and_expected": draw_worst_channels(scores, bundle),
        "latent_map": draw_latent_map(scores, intervals),
        "contributions": draw_contributions(scores, intervals, bundle.manifest.channel_names),
    }


def draw_latent_map(scores: WindowScores, intervals: Sequence[Interval]) -> Figure:
    """Latent means in their two leading principal directions: by time, regime and label."""
    latent = scores.latent
    plane = PCA(min(2, latent.shape[1])).fit_transform(latent)
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    by_time, by_regime, by_label = figure.subplots(1, 3, sharex=True, sharey=True)
    days = (scores.times - scores.times[0]) / np.timedelta64(1, "D")
    dots = by_time.scatter(plane[:, 0], plane[:, -1], s=3, c=days, cmap="viridis")
    figure.colorbar(dots, ax=by_time, label=f"days since {scores.times[0].astype('M8[D]')}")
    faulty = np.zeros(len(plane), dtype=np.bool_)
    for interval in upset_of(intervals):
        faulty |= is_within(scores.times, interval)
    _draw_two(by_regime, plane, scores.scored, ("scored", NORMAL), ("not in a scored regime", GREY))
    _draw_two(by_label, plane, ~faulty, ("normal", NORMAL), ("fault or maintenance", FAULT))
    for axes, title in ((by_time, "by time"), (by_regime, "by regime"), (by_label, "by label")):
        axes.set(title=f"Latent map {title}", xlabel="first direction")
    by_time.set_ylabel("second direction")
    return figure


def _draw_two(
    axes: Axes,
    plane: NDArray[np.float64],
    first: NDArray[np.bool_],
    *looks: tuple[str, str],
) -> None:
    """Dots of two kinds, the second above the first."""
    for chosen, (label, color) in zip((first, ~first), looks, strict=True):
        axes.scatter(plane[chosen, 0], plane[chosen, -1], s=3, color=color, label=label)
    axes.legend(frameon=False, markerscale=3.0)


def draw_drift(drift: ChannelDrift | None) -> dict[str, Figure]:
    """The picture of a drift by its name, if there is one: how far each channel is away."""
    if drift is None or not drift.learned:
        return {}
    names = [shift.channel for shift in (drift.held_out or drift.learned)[:MOST_BARS]]
    figure = Figure(figsize=(8, 1.4 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    parts = ((drift.learned, NORMAL, "this one learned"), (drift.held_out, EXPECTED, "held out"))
    for offset, (shifts, color, label) in zip((-0.2, 0.2), parts, strict=True):
        there = [shift for shift in shifts if shift.channel in names]
        places = [names.index(shift.channel) + offset for shift in there]
        away = np.clip([shift.deviations for shift in there], -FURTHEST, FURTHEST)
        axes.barh(places, away, height=0.38, color=color, label=label)
    axes.axvspan(-LEAST_SHIFT, LEAST_SHIFT, color=GREY, alpha=0.25, lw=0)
    axes.axvline(0.0, color="black", lw=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("standard deviations from what the champion learned; grey: of no account")
    axes.set_title("Where the channels are now", loc="left")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return {"drift": figure}
