"""Pictures of a training, a detector and its evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import shorten

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.certificate import Certificate
from faultwatch_edge.detector import Detector
from features.labels import Interval
from features.remarks import in_time
from features.windows import Windows
from pipelines.verdict import limit_text

NORMAL = "#4878a8"
FAULT = "#c44e52"
EXPECTED = "#dd8452"
SHOWN_CHANNELS = 4
HEAT_CHANNELS = 20
SIZE_TICKS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
IN_A_ROW = 5
DARK_FROM = 3.0
"""Standard deviations from which on a cell of the certificate is too dark for black figures."""

mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9})


@dataclass(frozen=True)
class WindowScores:
    """What the detector says of every window, in order of time."""

    times: NDArray[np.datetime64]
    """(window,)"""
    score: NDArray[np.float32]
    """(window,)"""
    scored: NDArray[np.bool_]
    """(window,)"""
    contribution: NDArray[np.float32]
    """(window, channel)"""
    observed: NDArray[np.float32]
    """(window, channel); last cell, engineering units."""
    expected: NDArray[np.float32]
    """(window, channel); its reconstruction."""
    latent: NDArray[np.float32]
    """(window, latent)"""


def score_windows(bundle: Bundle, windows: Windows) -> WindowScores:
    """Score windows with the edge runtime, each sequence from a fresh state."""
    runtime = Detector.from_bundle(bundle)
    parts = []
    for run in windows.runs():
        runtime.reset()
        for start in range(0, len(run), 256):
            batch = windows.take(run[start : start + 256])
            found = runtime.score(batch)
            parts.append(
                (
                    found.score,
                    found.scored,
                    found.contribution,
                    batch[:, :, -1],
                    found.reconstruction[:, :, -1],
                    found.latent,
                )
            )
    joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return WindowScores(windows.end_times, *joined)


def draw_losses(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Loss, reconstruction and divergence over the epochs."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(1, len(losses)), losses.items(), strict=True):
        axes.plot(range(1, len(values) + 1), values, marker="o", color=NORMAL)
        axes.set(title=name.replace("_", " "), xlabel="epoch")
    return figure


def draw_scores(scores: WindowScores, threshold: float, intervals: Sequence[Interval]) -> Figure:
    """Score over time with the threshold; labelled faults are shaded."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    axes = figure.subplots()
    draw_score_line(axes, scores.times, scores.score, threshold)
    for interval in upset_of(intervals):
        axes.axvspan(*_span(interval), color=FAULT, alpha=0.12, lw=0)
    axes.set_title("Score of running that nothing was trained on; labelled faults shaded")
    return figure


def draw_score_line(
    axes: Axes,
    times: NDArray[np.datetime64],
    score: NDArray[np.float32],
    threshold: float,
) -> None:
    """Score as dots, red above the threshold, on an axis that shows large scores too."""
    above = score >= threshold
    axes.scatter(times[~above], score[~above], s=2, color=NORMAL, label="normal")
    axes.scatter(times[above], score[above], s=2, color=FAULT, label="anomalous")
    axes.axhline(threshold, color="black", lw=0.8, ls="--")
    axes.set_yscale("symlog", linthresh=10.0)
    axes.set(ylabel="score, -log10 p", ylim=(0, None))


def draw_worst_channels(scores: WindowScores, bundle: Bundle) -> Figure:
    """Observed against expected of the channels behind the first sustained anomaly."""
    worst = _first_anomaly(scores, bundle.manifest.threshold.score)
    near = slice(max(0, worst - 120), worst + 120)
    strongest = np.argsort(-scores.contribution[worst])[:SHOWN_CHANNELS]
    figure = Figure(figsize=(12, 1.9 * SHOWN_CHANNELS), layout="constrained")
    rows = figure.subplots(len(strongest), 1, sharex=True, squeeze=False)[:, 0]
    for axes, place in zip(rows, strongest, strict=True):
        channel = bundle.manifest.channels[place]
        axes.plot(scores.times[near], scores.observed[near, place], color=NORMAL, label="observed")
        axes.plot(
            scores.times[near], scores.expected[near, place], color=EXPECTED, label="expected"
        )
        axes.axvline(scores.times[worst], color=FAULT, lw=0.8)
        axes.set_title(f"{channel.name}, {channel.unit}", loc="left", fontsize=9)
    rows[0].legend(loc="upper left", ncols=2, frameon=False)
    figure.suptitle("Observed and expected around the anomaly marked in red")
    return figure


def _first_anomaly(scores: WindowScores, threshold: float) -> int:
    """Last of the first few anomalous windows in a row; else the highest score."""
    anomalous = (scores.score >= threshold) & scores.scored
    row = np.convolve(anomalous, np.ones(IN_A_ROW), mode="full")[: len(anomalous)] >= IN_A_ROW
    return int(np.argmax(row)) if row.any() else int(np.argmax(scores.score))


def draw_contributions(
    scores: WindowScores, intervals: Sequence[Interval], names: Sequence[str]
) -> Figure:
    """Mean share of each channel in the contributions, fault by fault."""
    shares = scores.contribution / scores.contribution.sum(axis=1, keepdims=True).clip(1e-12)
    upset, rows = upset_of(intervals), {}
    if (normal := _outside(scores.times, upset)).any():
        rows["(normal)"] = shares[normal].mean(axis=0)
    for interval in upset:
        inside = ~_outside(scores.times, [interval])
        if inside.any():
            rows[interval.note or interval.kind] = shares[inside].mean(axis=0)
    table = np.stack(list(rows.values()))
    shown = np.argsort(-table.max(axis=0))[:HEAT_CHANNELS]
    figure = Figure(figsize=(11, 2.5 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table[:, shown], aspect="auto", cmap="magma_r", vmin=0.0)
    axes.set_yticks(range(len(rows)), [name[:48] for name in rows])
    axes.set_xticks(range(len(shown)), [names[place] for place in shown], rotation=60, ha="right")
    axes.set_title("Mean share of the contributions")
    figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def upset_of(intervals: Sequence[Interval]) -> list[Interval]:
    """What is no normal running; a nuisance is."""
    return [one for one in intervals if one.kind != "nuisance"]


def _outside(times: NDArray[np.datetime64], intervals: Sequence[Interval]) -> NDArray[np.bool_]:
    outside = np.ones(len(times), dtype=np.bool_)
    for interval in intervals:
        outside &= ~is_within(times, interval)
    return outside


def is_within(times: NDArray[np.datetime64], interval: Interval) -> NDArray[np.bool_]:
    """Whether each instant lies in an interval."""
    start, end = (np.datetime64(_naive(at)) for at in (interval.start, interval.end))
    return (times >= start) & (times < end)


def _span(interval: Interval) -> tuple[float, float]:
    """Start and end as matplotlib counts days."""
    start, end = (float(mdates.date2num(at)) for at in (interval.start, interval.end))  # type: ignore[no-untyped-call]
    return start, end


def _naive(at: datetime) -> datetime:
    """UTC without its zone, as numpy and matplotlib want it."""
    return at.replace(tzinfo=None)


@dataclass(frozen=True)
class Life:
    """One detector's life through the demo plant's runs."""

    name: str
    """What it is called in the picture."""
    times: NDArray[np.datetime64]
    """(window,)"""
    score: NDArray[np.float32]
    """(window,); NaN where not scored."""
    threshold: float
    delays_min: Sequence[float | None]
    """Minutes from each fault's onset to its alarm; None = not found."""


def draw_lives(
    lives: Sequence[Life],
    spans: Sequence[tuple[datetime, datetime, datetime | None]],
    names: Sequence[str],
) -> Figure:
    """Score through every run, and how soon each fault was found, beside the rival.

    Args:
        lives: the detector's, then its rival's.
        spans: start, end and onset of each run; the silence between them is left out.
        names: of the faults, in the order of the delays.
    """
    figure = Figure(figsize=(12, 7), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[1.1, 1.0])
    _draw_runs(upper, lives[0], spans)
    _draw_delays(lower, lives, names)
    return figure


def _draw_runs(
    axes: Axes, life: Life, spans: Sequence[tuple[datetime, datetime, datetime | None]]
) -> None:
    left = 0.0
    ticks, labels = [], []
    faults = 0
    for start, end, onset in spans:
        first, last = np.datetime64(_naive(start)), np.datetime64(_naive(end))
        inside = (life.times > first) & (life.times <= last)
        hours = left + (life.times[inside] - first) / np.timedelta64(1, "h")
        score = life.score[inside]
        above = score >= life.threshold
        axes.scatter(hours[~above], score[~above], s=1.5, color=NORMAL, linewidths=0)
        axes.scatter(hours[above], score[above], s=2.5, color=FAULT, linewidths=0)
        width = (end - start).total_seconds() / 3600
        if onset is not None:
            began = left + (onset - start).total_seconds() / 3600
            axes.axvspan(began, left + width, color=FAULT, alpha=0.10, lw=0)
            faults += 1
        ticks.append(left + width / 2)
        labels.append(str(faults) if onset is not None else "ok")
        left += width + 3.0
    axes.axhline(life.threshold, color="black", lw=0.9, ls="--")
    axes.text(left, life.threshold, " threshold", va="center", fontsize=8)
    axes.set_yscale("symlog", linthresh=10.0)
    axes.set_xticks(ticks, labels)
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-5.0, left), ylim=(0, None), ylabel="score, -log10 p")
    axes.set_title(
        f"{life.name}: six normal days (ok) and twenty faults (shaded from the onset), "
        "none of them seen in training",
        loc="left",
    )


def _draw_delays(axes: Axes, lives: Sequence[Life], names: Sequence[str]) -> None:
    places = np.arange(len(names))
    found = [delay for life in lives for delay in life.delays_min if delay is not None]
    top = 2.0 * max(found, default=1.0)
    for offset, color, life in zip((-0.2, 0.2), (FAULT, "#9a9a9a"), lives, strict=True):
        delays = np.array([np.nan if delay is None else delay for delay in life.delays_min])
        axes.bar(places + offset, delays, width=0.38, color=color, label=life.name)
        missed = places[np.isnan(delays)] + offset
        axes.scatter(missed, np.full(len(missed), top), marker="x", s=22, color=color)
    axes.set_yscale("log")
    labels = [shorten(name, 32, placeholder=" …") for name in names]
    axes.set_xticks(places, labels, rotation=35, ha="right", fontsize=8)
    axes.set(ylabel="minutes to the alarm", ylim=(3.0, 1.5 * top))
    axes.set_title("From the onset to the alarm (x = no alarm)", loc="left")
    axes.legend(frameon=False, ncols=2, loc="upper right")


def draw_bars(
    names: Sequence[str], figures: Mapping[str, Sequence[float]], *, marked: Sequence[bool]
) -> Figure:
    """Figures of several detectors, one panel a figure.

    Args:
        names: of the detectors.
        figures: values by the figure's name, in the order of the detectors; NaN = none.
        marked: the detectors that stand out.
    """
    places = np.arange(len(names))
    colors = [FAULT if is_marked else "#9a9a9a" for is_marked in marked]
    figure = Figure(figsize=(3.2 * len(figures), 1.2 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(panels, figures.items(), strict=True):
        bars = axes.barh(places, values, color=colors)
        axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=2, fontsize=7)
        axes.set(title=name, xlim=(0.0, 1.25 * max(np.nanmax([*values, 0.0]), 0.01)))
    panels[0].set_yticks(places, names)
    panels[0].invert_yaxis()
    return figure


def draw_shares(
    rows: Sequence[str], columns: Sequence[str], shares: NDArray[np.float64], *, title: str
) -> Figure:
    """Shares from 0 to 1 as a map of colours.

    Args:
        rows: their names.
        columns: their names.
        shares: (row, column); NaN = none.
        title: what is shown.
    """
    size = (3.0 + 0.3 * len(columns), 1.6 + 0.28 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=7)
    axes.set_title(title, loc="left")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def draw_certificate(certificate: Certificate | None) -> dict[str, Figure]:
    """The picture of a certificate by its name, if there is one that certifies anything."""
    if certificate is None or not certificate.limits:
        return {}
    return {"certificate": draw_limits(certificate)}


def draw_limits(certificate: Certificate) -> Figure:
    """Smallest fault of each channel and kind that is found, in standard deviations, as a map."""
    limits = {(limit.channel, limit.kind): limit for limit in certificate.limits}
    channels = list(dict.fromkeys(channel for channel, _ in limits))
    kinds = list(dict.fromkeys(kind for _, kind in limits))
    sizes = np.array(
        [[limits[channel, kind].deviations or np.nan for kind in kinds] for channel in channels]
    )
    height = 1.8 + 0.24 * len(channels)
    figure = Figure(figsize=(5.4 + 0.7 * len(kinds), height), layout="constrained")
    axes = figure.subplots()
    norm = LogNorm(certificate.smallest, certificate.largest)
    image = axes.imshow(sizes, aspect="auto", cmap="cividis_r", norm=norm)
    for (channel, kind), limit in limits.items():
        row, column = channels.index(channel), kinds.index(kind)
        if not limit.is_found:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#d5d9de"))
        axes.text(
            *(column, row, limit_text(certificate, limit)),
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if sizes[row, column] > DARK_FROM else "black",
        )
    axes.set_yticks(range(len(channels)), channels, fontsize=8)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(
        f"Smallest fault found within {in_time(certificate.within_s)} at "
        f"{certificate.needed} of {certificate.onsets} onsets,\nin standard deviations "
        "of normal running; grey: not found",
        loc="left",
    )
    ticks = [size for size in SIZE_TICKS if certificate.smallest <= size <= certificate.largest]
    bar = figure.colorbar(image, ax=axes, aspect=40, shrink=min(1.0, 4 / height), ticks=ticks)
    bar.ax.set_yticklabels([f"{size:g} sd" for size in ticks])
    bar.minorticks_off()
    return figure
