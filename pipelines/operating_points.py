"""New operating points in windows that come in slices, as the device tells them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge.manifest import Manifest
from faultwatch_edge.operating_point import OperatingPoint, is_new_point
from faultwatch_edge.times import microseconds

MOST_NAMED = 3


@dataclass
class PointRecord:
    """One stretch in which the machine, not anomalous, ran where training never was."""

    channels: tuple[str, ...]
    """That lay furthest from training, the furthest first."""
    onset_us: int
    """End of its first window."""
    ended_us: int | None = None
    """End of the window that told its end; None = it was still there at the end."""


class OperatingPoints:
    """Keeps the new operating points that a bundle would tell.

    Args:
        manifest: of what a device would run.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._names = [channel.name for channel in manifest.channels]
        self._point = OperatingPoint(
            on_delay_us=microseconds(manifest.alarm.on_delay_s),
            off_delay_us=microseconds(manifest.alarm.off_delay_s),
        )
        self.records: list[PointRecord] = []

    def cut(self, at_us: int) -> None:
        """Nothing from before a cut of the sequence may be used after it."""
        self._point.advance(is_new=False, anomalous=None, at_us=at_us)

    def add(
        self,
        shares: NDArray[np.float32],
        decisions: Sequence[bool | None],
        end_us: NDArray[np.int64],
    ) -> None:
        """Take the next windows.

        Args:
            shares: of the channels in the distance from training, (window, channel).
            decisions: whether each window is anomalous; None = not scored.
            end_us: end of each window, microseconds since the epoch.
        """
        is_new = is_new_point(shares)
        if not (is_new.any() or self._point.is_new):
            self.cut(int(end_us[-1]))  # as good as one by one: a delay that runs is forgotten
            return
        for place, (at_us, new) in enumerate(zip(end_us.tolist(), is_new.tolist(), strict=True)):
            changed = self._point.advance(is_new=new, anomalous=decisions[place], at_us=at_us)
            if changed is None:
                continue
            if self._point.is_new:
                self.records.append(PointRecord(self._furthest(shares[place]), changed.onset_us))
            else:
                self.records[-1].ended_us = at_us

    def _furthest(self, shares: NDArray[np.float32]) -> tuple[str, ...]:
        order = np.argsort(-shares, kind="stable")[:MOST_NAMED]
        return tuple(self._names[place] for place in order.tolist() if shares[place] > 0)


def tell_points(channels: Sequence[Sequence[str]], first: str | int, learned_from: str) -> str:
    """A sentence on all new operating points of a file.

    Args:
        channels: of each of them.
        first: instant or row of the first.
        learned_from: what was learned from, for people.

    Example:
        >>> tell_points([["flow"], ["speed"]], "2026-05-01T08:00:00Z", "train.csv")[:58]
        'New operating point 2 times, first 2026-05-01T08:00:00Z (f'
    """
    times = "once" if len(channels) == 1 else f"{len(channels)} times"
    when = f"{'at' if len(channels) == 1 else 'first'} {first}"
    return (
        f"New operating point {times}, {when} ({', '.join(channels[0])}): not anomalous, but the "
        f"machine ran where it never did in {learned_from}; if that is normal, let it be learned"
    )
