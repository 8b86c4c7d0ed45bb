"""The grid that suits a sample: its period, the silences it has, how much history it covers."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from features.first_look.pieces import InspectionError, Piece, Remark
from features.first_look.signals import Signal, nice_period
from features.grid import USUAL_LENGTH, WindowConfig

FASTEST_S = 0.1
"""Period of the fastest process data that this is made for."""
SHORTEST_S, LONGEST_S = 1e-6, 1e6
"""Periods that a grid can have."""
PATIENCE = 5
"""Periods of silence that never cut a sequence."""
DOUBLED = 0.05
"""Share of the rows with the time of the row before from which it is worth a remark."""


def suggest_window(
    signals: Sequence[Signal], times: Sequence[pl.Series], *, source: str
) -> tuple[WindowConfig, list[Remark]]:
    """Suggest the ``[window]`` section.

    The period is the most frequent one of the channels that report periodically; if none does, the
    median of the others. Silences as long as they often are do not cut a sequence.

    Args:
        signals: what the channels are.
        times: of each piece of the source.
        source: name of it, for the message.

    Raises:
        InspectionError: no channel has two values at different times.

    Example:
        >>> from datetime import UTC, datetime, timedelta
        >>> at = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=k) for k in range(9)]
        >>> flow = Signal("continuous", "periodic", False, False, 60.0, None, None)
        >>> window, remarks = suggest_window([flow], [pl.Series(at)], source="a.csv")
        >>> window.sample_period_s, window.max_gap_s, remarks
        (60.0, 300.0, [])
    """
    periodic = [
        nice_period(signal.period_s)
        for signal in signals
        if signal.period_s is not None and signal.reporting == "periodic"
    ]
    every = [signal.period_s for signal in signals if signal.period_s is not None]
    if not every:
        raise InspectionError(
            f"no channel of {source} has values at two different times; expected a history"
        )
    counts = Counter(periodic)
    if periodic:
        period = min(counts, key=lambda seconds: (-counts[seconds], seconds))
    else:
        period = nice_period(float(np.median(every)))
    period = min(max(period, SHORTEST_S), LONGEST_S)
    window = WindowConfig(
        sample_period_s=period,
        max_gap_s=_usual_silence(times, period),
        min_channels=math.ceil(len(signals) / 2),
    )
    return window, _period_remarks(period, counts, every)


def _usual_silence(times: Sequence[pl.Series], period: float) -> float:
    spacings = np.concatenate([np.diff(_sorted_s(piece)) for piece in times])
    spacings = spacings[spacings > 0]
    often = float(np.quantile(spacings, 0.99)) if len(spacings) else 0.0
    # a window of nothing cuts a sequence, however often that happens
    cells = min(max(math.ceil(2 * often / period), PATIENCE), USUAL_LENGTH)
    return float(f"{cells * period:.6g}")


def _sorted_s(times: pl.Series) -> np.ndarray:
    return times.sort().dt.epoch("us").to_numpy() / 1e6


def _period_remarks(period: float, counts: Counter[float], every: Sequence[float]) -> list[Remark]:
    remarks = []
    if not counts:
        text = (
            f"all channels report on change, in the middle every {min(every):.3g} to "
            f"{max(every):.3g} s; cells of {period:g} s were chosen"
        )
        remarks.append(Remark("window.sample_period_s", text))
    if len(counts) > 1:
        listed = ", ".join(
            f"{count} every {seconds:g} s" for seconds, count in counts.most_common(5)
        )
        remarks.append(Remark("window.sample_period_s", f"channels have other periods: {listed}"))
    if period < FASTEST_S:
        text = f"faster than {FASTEST_S:g} s: vibration should enter as band values"
        remarks.append(Remark("window.sample_period_s", text))
    return remarks


def doubled_times(times: Sequence[pl.Series]) -> list[Remark]:
    """Say so when many rows have the time of another; for tables of one row a time.

    Example:
        >>> doubled_times([pl.Series([5, 5, 6, 6])])[0].about
        'source.time'
    """
    rows = sum(map(len, times))
    doubled = rows - sum(piece.n_unique() for piece in times)
    if doubled <= DOUBLED * rows:
        return []
    text = (
        f"{doubled} of {rows} sampled rows have the time of another row, and the later one wins; "
        "if the rows are of several machines, make a file for each"
    )
    return [Remark("source.time", text)]


def recorded_seconds(pieces: Sequence[Piece], times: Sequence[pl.Series]) -> float:
    """Seconds from the first to the last row of each file, summed over the files.

    Args:
        pieces: of the source.
        times: of each piece.
    """
    spans: dict[str, list[float]] = {}
    for piece, at in zip(pieces, times, strict=True):
        if len(at):
            seconds = _sorted_s(at)
            spans.setdefault(piece.source, []).extend((float(seconds[0]), float(seconds[-1])))
    return sum(max(ends) - min(ends) for ends in spans.values())
