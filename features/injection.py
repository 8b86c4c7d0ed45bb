"""Sensor faults put into normal running, to measure what a detector would find."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

FaultKind = Literal["bias", "drift", "stuck", "noise", "spike", "gain", "dropout"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
SPIKE_SPACING = 10
"""Samples between two spikes."""


@dataclass(frozen=True)
class InjectedFault:
    """One fault of one channel.

    Example:
        >>> InjectedFault("bias", "flow", size=2.0, onset=datetime(2026, 1, 1)).kind
        'bias'
    """

    kind: FaultKind
    """What goes wrong."""
    channel: str
    """Which channel."""
    size: float
    """How much, in the channel's unit; without meaning for ``stuck`` and ``dropout``."""
    onset: datetime
    """First instant at which the channel is wrong."""


def inject(samples: pl.DataFrame, fault: InjectedFault, *, seed: int) -> pl.DataFrame:
    """Copy of the samples with one channel wrong from the onset to the end.

    * ``bias``: ``x + size``; ``drift``: grows linearly to ``size`` at the end
    * ``stuck``: the first value at or after the onset, for ever; ``dropout``: no value
    * ``noise``: normal noise of standard deviation ``size``
    * ``spike``: every tenth sample ``x + size``
    * ``gain``: ``x`` times ``1 + size / s``, about its mean, ``s`` its deviation before the onset

    What was missing stays missing.

    Args:
        samples: a samples frame.
        fault: what to inject.
        seed: of the noise.

    Example:
        >>> from datetime import UTC
        >>> at = [datetime(2026, 1, 1, 0, m, tzinfo=UTC) for m in range(4)]
        >>> samples = pl.DataFrame({"time": at, "flow": [1.0, 2.0, 3.0, 4.0]})
        >>> fault = InjectedFault("bias", "flow", size=10.0, onset=at[2])
        >>> inject(samples, fault, seed=0)["flow"].to_list()
        [1.0, 2.0, 13.0, 14.0]
    """
    values = samples[fault.channel].to_numpy().astype(np.float64)
    onset = int((samples["time"] < fault.onset).sum())
    changed = faulty_values(values, onset, fault.kind, fault.size, seed=seed)
    column = pl.Series(fault.channel, changed).fill_nan(None)
    return samples.with_columns(column)


def faulty_values(
    values: NDArray[np.float64], onset: int, kind: FaultKind, size: float, *, seed: int
) -> NDArray[np.float64]:
    """Samples of one channel, in order of time, that are wrong from one of them on.

    Args:
        values: (sample,), NaN = missing.
        onset: number of the first one that is wrong.
        kind: what goes wrong, as ``inject`` explains it.
        size: how much, in the channel's unit.
        seed: of the noise.

    Example:
        >>> faulty_values(np.array([1.0, 2.0, 3.0]), 1, "stuck", 0.0, seed=0).tolist()
        [1.0, 2.0, 2.0]
    """
    before, after = np.split(values, [onset])
    return np.concatenate([before, _faulty(after, before, kind, size=size, seed=seed)])


def normal_deviations(samples: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Standard deviation of each channel in normal running; 0 where it is constant.

    Example:
        >>> samples = pl.DataFrame({"flow": [1.0, 3.0, None], "valve": [0.1, 0.1, 0.1]})
        >>> normal_deviations(samples, ["flow", "valve"])  # not 1e-17, which is rounding
        {'flow': 1.0, 'valve': 0.0}
    """
    moves = pl.col(names).n_unique() > 1 + pl.col(names).has_nulls().cast(pl.UInt32)
    spread = samples.select(pl.when(moves).then(pl.col(names).std(ddof=0)).otherwise(0.0))
    return {name: float(spread[name][0]) for name in names}


def _faulty(
    values: NDArray[np.float64],
    before: NDArray[np.float64],
    kind: FaultKind,
    *,
    size: float,
    seed: int,
) -> NDArray[np.float64]:
    places, present = np.arange(len(values)), values[~np.isnan(values)]
    change = np.zeros(len(values))
    match kind:
        case "bias":
            change = np.full(len(values), size)
        case "drift":
            change = size * (places + 1) / max(len(values), 1)
        case "stuck":
            return np.where(np.isnan(values), np.nan, present[0] if len(present) else np.nan)
        case "noise":
            change = np.random.default_rng(seed).normal(0.0, size, len(values))
        case "spike":
            change = np.where(places % SPIKE_SPACING == 0, size, 0.0)
        case "gain":
            change = _deviation(values, before) * size
        case _:  # dropout
            change = np.full(len(values), np.nan)
    return values + change


def _deviation(values: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the mean before the onset, in standard deviations."""
    normal = before[~np.isnan(before)]
    spread = float(normal.std()) if len(normal) else 0.0
    centre = float(normal.mean()) if len(normal) else 0.0
    return (values - centre) / (spread or 1.0)
