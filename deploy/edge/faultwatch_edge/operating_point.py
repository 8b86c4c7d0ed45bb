"""Whether the machine runs where training never was, though nothing else speaks of a fault."""

from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge.alarm import Alarm, AlarmState, Transition, advance

NEW: Final = 1.0
"""Distance from the running of training at which an operating point is new."""


def is_new_point(shares: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each window lies at a new operating point.

    Args:
        shares: of the channels in the distance, (window, channel), as the graph gives them.

    Example:
        >>> is_new_point(np.array([[0.2, 0.1], [0.9, 0.4]], np.float32)).tolist()
        [False, True]
    """
    new: NDArray[np.bool_] = shares.sum(axis=1) >= NEW
    return new


class OperatingPoint:
    """Remembers whether the operating point is new, with the delays of the alarm.

    Example:
        >>> point = OperatingPoint(on_delay_us=2, off_delay_us=1)
        >>> for at_us, is_new in enumerate([False, True, True, True, False, False]):
        ...     changed = point.advance(is_new=is_new, anomalous=False, at_us=at_us)
        ...     if changed:
        ...         print(at_us, point.is_new, "since", changed.onset_us)
        3 True since 1
        5 False since 1
    """

    def __init__(self, *, on_delay_us: int, off_delay_us: int) -> None:
        self._alarm = Alarm()
        self._advance = partial(advance, on_delay_us=on_delay_us, off_delay_us=off_delay_us)

    @property
    def is_new(self) -> bool:
        """Whether the machine is at a new operating point, after the delays."""
        return self._alarm.state is AlarmState.UNACKNOWLEDGED

    @property
    def state(self) -> Alarm:
        """What it remembers, for ``resume``."""
        return self._alarm

    def resume(self, state: Alarm) -> None:
        """Go on from where ``state`` was taken."""
        self._alarm = state

    def advance(self, *, is_new: bool, anomalous: bool | None, at_us: int) -> Transition | None:
        """Take the next window; return the change, if it brought one.

        Args:
            is_new: whether the window lies at a new operating point.
            anomalous: whether it is; an anomaly is told as that. None = not scored, or the
                sequence was cut.
            at_us: end of the window.
        """
        told = None if anomalous is None else is_new and not anomalous
        self._alarm, changes = self._advance(self._alarm, anomalous=told, at_us=at_us)
        return changes[0] if changes else None
