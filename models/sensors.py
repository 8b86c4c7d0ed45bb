"""Status of each sensor in the words of NAMUR NE 107, and which of its values are believed.

A sensor that stands still, is noisy or spikes is told by what its channel never did in normal
running, and only while other channels behave: a machine at fault moves several, a logger or a
machine that has stopped holds all of them.

References:
    NAMUR NE 107: Self-monitoring and diagnosis of field devices, 2017. *Failure*: the signal is
    not valid. *Out of specification*: its uncertainty is probably larger than in normal operation.
    *Maintenance required*: the signal is valid, but its function will soon be restricted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from features.channels import Channel
from features.windows import Windows, covered_rows

GOOD = 0.0
FAILURE = 1.0
OUT_OF_SPECIFICATION = 3.0
MAINTENANCE_REQUIRED = 4.0
UNBOUNDED = 3e38

LEAST_RUN = 6
"""Equal cells of a sensor that is stuck, at least."""
USUAL_RUN = 2
"""So many equal cells may be chance, however few there were in normal running."""
RUN_MARGIN = 2
"""A stuck sensor holds a value for so many times the longest run of normal running. If the chance
of one more equal cell is always the same, and `n` cells of normal running showed one run of the
length `k`, they show one of the length `2 k` about once in `n` times as long."""
NOISE_MARGIN = 2.0
"""A noisy sensor is rougher than so many times the roughest normal window."""
SPIKE_MARGIN = 4.0
"""A spike is higher than so many times the highest normal peak; single peaks vary more."""
SPIKES = 2
"""So many peaks in one window that are higher than the highest normal one are spikes, however high:
if `n` cells of normal running showed one peak that high, they come about once in `n` windows."""
SHARPEST_TURN = 2.0
"""Sharper turns count as this in the roughness, in sharpest normal ones: one spike is no noise."""
ROUNDING = 1e-6
"""Peaks lower than this share of the channel's values are rounding."""


class NormalMotion(NamedTuple):
    """What a channel does in normal running; each a number a channel, (channel,)."""

    lowest: Float[Tensor, " channel"]
    highest: Float[Tensor, " channel"]
    longest_run: Float[Tensor, " channel"]
    """Most equal values in succession, those at the lowest and the highest left out."""
    peak: Float[Tensor, " channel"]
    """The highest peak, as `turns_and_peaks` gives them."""
    turn: Float[Tensor, " channel"]
    """The sharpest turn."""
    step: Float[Tensor, " channel"]
    """The largest change from a cell to the next."""
    roughness: Float[Tensor, " channel"]
    """Mean turn of the roughest window, as a share of the sharpest."""


class SensorStatus(nn.Module):
    """NE 107 code of each channel, by the window alone.

    * *failure*: no value in the window, or *stuck*: the newest values are one and the same for
      longer than normal running explains. A value at or beyond the extremes of normal running is
      saturated, not stuck; where most channels stand still, none is stuck.
    * *out of specification*: the last value is outside the physical range, or the channel, and no
      other, is *noisy*: it varies from cell to cell more than it ever did.
    * *maintenance required*: the channel, and no other, *spikes*: single cells jump and return, one
      of them very far, or several further than ever.

    Stuck, noisy and spiking are judged while the machine is in a regime that was learned, of
    continuous channels and counters that report periodically. A channel that held its values in
    normal running for more than half a window is not judged stuck.

    Example:
        >>> channels = [Channel(name="level", range=(0.0, 100.0)), Channel(name="flow")]
        >>> numbers = [[0.0], [99], [1], [3], [9], [3], [0.5]]
        >>> motion = NormalMotion(*torch.tensor(numbers).expand(-1, 2))
        >>> status = SensorStatus(channels, motion, length=6)
        >>> level, flow = [1.0, 2.0, 3.0, 4.0, 5.0, 101.0], [4.0] * 6
        >>> codes, believed = status(torch.tensor([[level, flow]]), torch.ones(1))
        >>> codes.tolist(), believed[0, 1].isnan().all().item()
        ([[3.0, 1.0]], True)
    """

    possible: Tensor
    lowest: Tensor
    highest: Tensor
    usual_run: Tensor
    stuck_run: Tensor
    peak: Tensor
    turn: Tensor
    roughness: Tensor

    def __init__(self, channels: Sequence[Channel], motion: NormalMotion, *, length: int) -> None:
        super().__init__()
        ranges = [channel.range or (-UNBOUNDED, UNBOUNDED) for channel in channels]
        self.register_buffer("possible", torch.tensor(ranges))
        self.register_buffer("lowest", motion.lowest)
        self.register_buffer("highest", motion.highest)
        moves = torch.tensor(
            [one.kind != "discrete" and one.reporting == "periodic" for one in channels]
        )
        stuck_run = (RUN_MARGIN * motion.longest_run).clamp(min=max(LEAST_RUN, length // 2))
        is_judged = moves & (stuck_run <= length) & (motion.lowest < motion.highest)
        usual_run = motion.longest_run.clamp(min=USUAL_RUN)
        self.register_buffer("usual_run", torch.where(is_judged, usual_run, UNBOUNDED))
        self.register_buffer("stuck_run", torch.where(is_judged, stuck_run, UNBOUNDED))
        size = torch.maximum(motion.lowest.abs(), motion.highest.abs())
        turns = moves & (motion.peak > ROUNDING * size)
        # A channel that holds each value for several cells has no peak: a step is what it can do.
        peak = torch.where(turns, motion.peak, motion.step)
        self.register_buffer("peak", torch.where(moves & (peak > ROUNDING * size), peak, UNBOUNDED))
        self.register_buffer("turn", torch.where(turns, motion.turn, UNBOUNDED))
        self.register_buffer("roughness", torch.where(turns, motion.roughness, 1.0))

    @override
    def forward(
        self, window: Float[Tensor, "batch channel time"], running: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch channel"], Float[Tensor, "batch channel time"]]:
        """Codes, and the window with NaN for values that a stuck sensor held.

        Args:
            window: engineering units, NaN = missing.
            running: 1 where the machine is in a regime that was learned, else 0.
        """
        present = ~torch.isnan(window)
        learned = (running > 0).unsqueeze(1)
        failed, held = self._judge_runs(window, present, learned)
        noisy, spiking = self._judge_shape(window)
        last = window[:, :, -1]
        outside = (last < self.possible[:, 0]) | (last > self.possible[:, 1])
        status = torch.where(learned & spiking, MAINTENANCE_REQUIRED, GOOD)
        status = torch.where(outside | (learned & noisy), OUT_OF_SPECIFICATION, status)
        status = torch.where(failed, FAILURE, status)
        return status, torch.where(held, torch.nan, window)

    def _judge_runs(
        self,
        window: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
        learned: Bool[Tensor, "batch 1"],
    ) -> tuple[Bool[Tensor, "batch channel"], Bool[Tensor, "batch channel time"]]:
        """Which channels are silent or stuck, and which values were held for too long.

        The oldest values count, too: a sensor that works again has not yet left the window.
        """
        newest, run, tail = trailing_run(window, present)
        oldest, first_run, head = trailing_run(window.flip(2), present.flip(2))
        still = run > self.usual_run
        moving = (run > 0) & (run <= self.usual_run) & (self.usual_run < UNBOUNDED)
        few = learned & (still.sum(dim=1, keepdim=True) <= moving.sum(dim=1, keepdim=True))
        stuck = few & self._is_inside(newest) & (run >= self.stuck_run)
        held_now = few & self._is_inside(newest) & still
        held_first = few & self._is_inside(oldest) & (first_run > self.usual_run)
        held = (held_now.unsqueeze(2) & tail) | (held_first.unsqueeze(2) & head.flip(2))
        return stuck | (run == 0), held | stuck.unsqueeze(2)

    def _is_inside(self, value: Float[Tensor, "batch channel"]) -> Bool[Tensor, "batch channel"]:
        return (value > self.lowest) & (value < self.highest)

    def _judge_shape(
        self, window: Float[Tensor, "batch channel time"]
    ) -> tuple[Bool[Tensor, "batch channel"], Bool[Tensor, "batch channel"]]:
        """Which channel alone is noisy, and which alone spikes."""
        turns, peaks = turns_and_peaks(window)
        sharpness = (turns / self.turn[:, None]).clamp(max=SHARPEST_TURN)
        roughness = sharpness.mean(dim=2) / self.roughness
        highest = peaks.amax(dim=2) / self.peak
        noisy = (roughness > NOISE_MARGIN) & _is_one(roughness > 1.0)
        repeats = (peaks > self.peak[:, None]).to(window.dtype).sum(dim=2) >= SPIKES
        return noisy, (repeats | (highest > SPIKE_MARGIN)) & _is_one(highest > 1.0)


def trailing_run(
    window: Float[Tensor, "batch channel time"], present: Bool[Tensor, "batch channel time"]
) -> tuple[
    Float[Tensor, "batch channel"],
    Float[Tensor, "batch channel"],
    Bool[Tensor, "batch channel time"],
]:
    """Newest value of each channel, how often in succession it came, and where.

    Missing values do not count: they neither lengthen nor end a run.

    Example:
        >>> window = torch.tensor([[[2.0, 1.0, 2.0, float("nan"), 2.0]]])
        >>> newest, run, places = trailing_run(window, ~torch.isnan(window))
        >>> newest.item(), run.item(), places[0, 0].tolist()
        (2.0, 2.0, [False, False, True, False, True])
    """
    place = torch.arange(1, window.shape[2] + 1, dtype=window.dtype, device=window.device)
    seen = torch.where(present, place, 0.0)
    last = seen.amax(dim=2, keepdim=True)
    newest = torch.gather(window, 2, last.clamp(min=1.0).long() - 1)
    changed = torch.where(window != newest, seen, 0.0).amax(dim=2, keepdim=True)
    places = seen > changed
    return newest.squeeze(2), places.to(window.dtype).sum(dim=2), places


def turns_and_peaks(
    window: Float[Tensor, "batch channel time"],
) -> tuple[Float[Tensor, "batch channel time"], Float[Tensor, "batch channel time"]]:
    """How sharply each channel turns at each cell, and how far the cell stands out, both >= 0.

    A cell above, or below, both of its neighbours is a turn as sharp as its second difference, and
    a peak as high as it stands out over the nearer neighbour. All other cells are neither, so that
    a swift move counts as little as a slow one; nor are those at an end of the window or beside a
    missing one.

    Example:
        >>> turns, peaks = turns_and_peaks(torch.tensor([[[1.0, 5.0, 2.0, 9.0, 9.5, 9.5]]]))
        >>> turns.flatten().tolist(), peaks.flatten().tolist()
        ([0.0, 7.0, 10.0, 0.0, 0.0, 0.0], [0.0, 3.0, 3.0, 0.0, 0.0, 0.0])
    """
    cells = functional.pad(window, (1, 1), value=torch.nan)
    before, here, after = cells[:, :, :-2], cells[:, :, 1:-1], cells[:, :, 2:]
    is_inner = ~torch.isnan(before + here + after)
    rise = torch.where(is_inner, here - before, 0.0)
    fall = torch.where(is_inner, here - after, 0.0)
    sharpness = (rise + fall).abs()
    peaks = (sharpness - (rise - fall).abs()).clamp(min=0.0) / 2.0
    return torch.where(peaks > 0, sharpness, 0.0), peaks


def _is_one(flags: Bool[Tensor, "batch channel"]) -> Bool[Tensor, "batch 1"]:
    return flags.sum(dim=1, keepdim=True) == 1


def fit_sensor_status(
    channels: Sequence[Channel], windows: Windows, index: NDArray[np.int64]
) -> SensorStatus:
    """Learn what each channel does in normal running.

    In the windows that it learns from, nothing was held longer than normal: none of their values
    is taken out. So what is calibrated on them is calibrated on what the device does.

    Args:
        channels: in the order of the cells.
        windows: normal running.
        index: the windows to learn from, at least one.
    """
    rows = covered_rows(windows, index)
    breaks = (np.diff(rows) != 1) | (np.diff(windows.sequences[rows]) != 0)
    stretch = np.concatenate(([0], np.cumsum(breaks)))
    ends = np.searchsorted(rows, windows.ends[index])
    motions = [
        _motion(windows.cells[rows, place], stretch, ends, windows.length)
        for place in range(len(channels))
    ]
    motion = NormalMotion(*(torch.tensor(part).float() for part in zip(*motions, strict=True)))
    return SensorStatus(channels, motion, length=windows.length)


def _motion(
    values: NDArray[np.float32],
    stretch: NDArray[np.int64],
    ends: NDArray[np.int64],
    length: int,
) -> tuple[float, float, float, float, float, float, float]:
    """The numbers of one channel, in the order of `NormalMotion`.

    Args:
        values: (row,), NaN = missing.
        stretch: number of the uninterrupted stretch of each row.
        ends: last row of each window.
        length: rows in a window.
    """
    present = values[~np.isnan(values)]
    if not len(present):
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    steps = np.abs(np.diff(values))[np.diff(stretch) == 0]
    step = float(np.nanmax(steps, initial=0.0))
    shape = np.zeros((2, len(values)))
    for rows in np.split(np.arange(len(values)), np.flatnonzero(np.diff(stretch)) + 1):
        parts = turns_and_peaks(torch.from_numpy(values[rows])[None, None])
        shape[:, rows] = [part[0, 0].double().numpy() for part in parts]
    turn, peak = (float(largest) for largest in shape.max(axis=1))
    total = np.concatenate(([0.0], np.cumsum(shape[0])))
    within = total[ends] - total[ends - length + 2]  # its first and last cell have no turn
    roughness = float(within.max()) / (length * turn) if turn else 0.0
    lowest, highest = float(present.min()), float(present.max())
    return lowest, highest, _longest_run(values, stretch), peak, turn, step, roughness


def _longest_run(values: NDArray[np.float32], stretch: NDArray[np.int64]) -> float:
    """Most equal values in succession, between the extremes."""
    present = ~np.isnan(values)
    kept, part = values[present], stretch[present]
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(kept) != 0) | (np.diff(part) != 0))))
    lengths = np.diff(np.append(starts, len(kept)))
    inside = (kept[starts] > kept.min()) & (kept[starts] < kept.max())
    return float(lengths[inside].max(initial=0))
