"""Scores and a threshold to decisions, window by window; how often they would raise an alarm."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faultwatch_edge.alarm import Alarm, AlarmState, advance

_NOT_SCORED = -1


def decide(
    scores: ArrayLike,
    threshold: float,
    *,
    scored: NDArray[np.bool_] | None = None,
    hysteresis: float = 0.0,
) -> list[bool | None]:
    """Whether each window is anomalous: True, False, or None where it was not scored.

    A score that is not finite counts as not scored. Compared in float64, so that one score gets one
    answer everywhere.

    Args:
        scores: (window,)
        threshold: a window whose score is this or higher is anomalous.
        scored: (window,), whether the gate let the window pass; None = all.
        hysteresis: below the threshold by less than this, a window is neither: None, too.

    Example:
        >>> decide([1.0, 3.0, 5.0, float("nan")], 3.0)
        [False, True, True, None]
        >>> decide([1.0, 2.4, 2.6, 3.0], 3.0, hysteresis=0.5)
        [False, False, None, True]
    """
    words: tuple[bool | None, ...] = (False, True, None)
    codes = _decision_codes(scores, threshold, scored, hysteresis)
    return [words[code] for code in codes.tolist()]


def count_raised(
    scores: ArrayLike,
    threshold: float,
    *,
    times_us: NDArray[np.int64],
    on_delay_us: int,
    off_delay_us: int,
    scored: NDArray[np.bool_] | None = None,
    hysteresis: float = 0.0,
) -> int:
    """How often the windows of one sequence would raise the alarm, if nobody acknowledged it.

    Counts transitions into ``unacknowledged`` by ``advance``, which sees only the windows at which
    something can change: the first and the last of each run of equal decisions that outlasts its
    delay. Shorter runs only forget a delay that runs, and a run that outlasts its own leaves none.

    Args:
        scores: (window,)
        threshold: a window whose score is this or higher is anomalous.
        times_us: (window,), ends of the windows, increasing.
        on_delay_us: see ``advance``.
        off_delay_us: see ``advance``.
        scored: (window,), whether the gate let the window pass; None = all.
        hysteresis: see ``decide``.

    Example:
        >>> times_us = np.arange(8)
        >>> scores = [0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0, 9.0]
        >>> count_raised(scores, 5.0, times_us=times_us, on_delay_us=1, off_delay_us=0)
        2
    """
    codes = _decision_codes(scores, threshold, scored, hysteresis)
    if not len(codes):
        return 0
    firsts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    lasts = np.append(firsts[1:], len(codes)) - 1
    delays = np.where(codes[firsts] == 1, on_delay_us, off_delay_us)
    outlasts = (times_us[lasts] - times_us[firsts] >= delays) & (codes[firsts] != _NOT_SCORED)
    first_us, last_us = times_us[firsts[outlasts]], times_us[lasts[outlasts]]
    alarm, raised = Alarm(), 0
    runs = zip(codes[firsts[outlasts]].tolist(), first_us.tolist(), last_us.tolist(), strict=True)
    for code, *window_times_us in runs:
        for at_us in sorted(set(window_times_us)):
            alarm, transitions = advance(
                alarm,
                anomalous=code == 1,
                at_us=at_us,
                on_delay_us=on_delay_us,
                off_delay_us=off_delay_us,
            )
            raised += sum(changed.state is AlarmState.UNACKNOWLEDGED for changed in transitions)
    return raised


def _decision_codes(
    scores: ArrayLike, threshold: float, scored: NDArray[np.bool_] | None, hysteresis: float
) -> NDArray[np.int8]:
    values = np.asarray(scores, dtype=np.float64)
    usable = np.isfinite(values) if scored is None else np.isfinite(values) & scored
    if hysteresis:
        usable &= (values >= threshold) | (values < threshold - hysteresis)
    return np.where(usable, values >= threshold, _NOT_SCORED).astype(np.int8)
