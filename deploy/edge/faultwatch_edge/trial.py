"""Whether a new bundle keeps what it promises: counted over its first day on the device. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Final

from faultwatch_edge.manifest import Manifest, ThresholdSpec

TRIAL_S: Final = 24 * 3600.0
"""Scored time after which a bundle has passed."""
SOON_S: Final = 3600.0
"""Time of windows from which their shares say something."""
_FEWEST_WINDOWS: Final = 100
_FEWEST_ALARMS: Final = 2
"""One alarm may be the machine's."""
_UNLIKELY: Final = 0.01
_MOST_BLIND: Final = 0.1
_MOST_ANOMALOUS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted of a bundle's windows since it was put to work."""

    scored: int = 0
    anomalous: int = 0
    blind: int = 0
    """Windows that should have had a number, and had none."""
    raised: int = 0
    """Times that the alarm was raised."""

    def with_window(self, *, anomalous: bool | None, is_open: bool | None) -> "Tally":
        """Count one window.

        Args:
            anomalous: None = it has no score.
            is_open: whether the machine ran so that it is scored; None = too few channels.
        """
        if anomalous is None:
            return replace(self, blind=self.blind + 1) if is_open else self
        return replace(self, scored=self.scored + 1, anomalous=self.anomalous + anomalous)

    def with_alarms(self, raised: int) -> "Tally":
        """Count alarms."""
        return replace(self, raised=self.raised + raised) if raised else self


def is_passed(tally: Tally, manifest: Manifest) -> bool:
    """Whether the trial is over."""
    return tally.scored * _hop_s(manifest) >= TRIAL_S


def why_failed(tally: Tally, manifest: Manifest) -> str | None:
    """Why the bundle does not keep what it promises; None = so far it does.

    It fails by alarms when so many or more in a whole trial had a chance of one in a hundred, if
    they came at random at the upper limit of the promised rate (Poisson); by windows when more than
    a tenth of an hour's have no number, or more than half of them are anomalous.

    Args:
        tally: what was counted since it was put to work.
        manifest: the bundle's.
    """
    most = most_alarms(manifest.threshold)
    if tally.raised > most:
        hours = tally.scored * _hop_s(manifest) / 3600
        return f"{tally.raised} alarms in {hours:.1f} h, at most {most} are to be expected in a day"
    windows = tally.scored + tally.blind
    if windows < max(_FEWEST_WINDOWS, SOON_S / _hop_s(manifest)):
        return None
    if tally.blind > _MOST_BLIND * windows:
        return f"no number for {tally.blind} of {windows} windows"
    if tally.anomalous > _MOST_ANOMALOUS * tally.scored:
        return f"{tally.anomalous} of {tally.scored} windows differ from normal"
    return None


def most_alarms(threshold: ThresholdSpec) -> int:
    """Alarms in a trial that may be chance.

    Example:
        >>> def promised(rate):
        ...     return ThresholdSpec(3.0, rate, rate, (0.0, rate), 20.0, extrapolated=False)
        >>> [most_alarms(promised(rate)) for rate in (0.0, 0.1, 0.5, 2.0)]
        [1, 1, 3, 6]
    """
    rate = max(threshold.interval_per_day[1], threshold.false_alarms_per_day) * TRIAL_S / 86_400
    most, term, tail = 0, math.exp(-rate), 1.0 - math.exp(-rate)
    while tail > _UNLIKELY:
        most += 1
        term *= rate / most
        tail -= term
    return max(most, _FEWEST_ALARMS - 1)


def _hop_s(manifest: Manifest) -> float:
    """Time between two windows."""
    return manifest.window.hop * manifest.window.sample_period_s
