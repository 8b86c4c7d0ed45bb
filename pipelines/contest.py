"""Which of the detectors of one training becomes the challenger: the linear one, where it wins."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipelines.detectability import difference
from pipelines.promotion_gate import WORSE_POINTS
from pipelines.verdict import Scorecard


def pick_challenger(
    own: str, cards: Mapping[str, Scorecard], found: Mapping[str, NDArray[np.bool_]], *, seed: int
) -> tuple[str, str]:
    """Pick the asset's own detector, unless a rival is beyond doubt the better one.

    A rival is if it keeps the alarm budget where the own one does not, or if it keeps it and finds
    more of the same faults: more than two points, and the 90% interval leaves no doubt.

    Args:
        own: the reconstructor of the asset file.
        cards: what each detector achieved on held-out running.
        found: (onset, fault) of each, from one call of `pipelines.detectability.find_same_faults`.
        seed: of the intervals.

    Returns:
        Whose bundle is registered, and why it is not the own one; '' = it is.
    """
    best, why = own, ""
    most = WORSE_POINTS
    for rival in (name for name in cards if name != own and not _exceeds(cards[name])):
        if _exceeds(cards[own]):
            normal = cards[rival].evaluation.normal
            return rival, (
                f"{own} raises more false alarms than its budget, {rival} "
                f"{normal.per_day:.2f} a day: it is the challenger."
            )
        more = difference(found[rival], found[own], seed=seed)
        if more is not None and more.interval[0] > 0.0 and more.points > most:
            best, most = rival, more.points
            why = f"{rival} finds {more.than(own)}, and keeps its budget: it is the challenger."
    return best, why


def _exceeds(card: Scorecard) -> bool:
    return card.promise.is_exceeded(card.evaluation.normal)
