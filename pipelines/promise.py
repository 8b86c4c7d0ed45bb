"""What a threshold promises, and what running that nothing was learned from says of it."""

from dataclasses import dataclass
from math import isnan

from faultwatch_edge.manifest import ThresholdSpec
from features.remarks import in_share
from pipelines.replay import NormalRunning
from pipelines.threshold import SECONDS_PER_DAY, days_needed

ALL_DIGITS = 100.0


@dataclass(frozen=True)
class Promise:
    """False alarms a day, or a share of anomalous windows, that normal running keeps within.

    Example:
        >>> threshold = ThresholdSpec(2.7, 0.1, 0.0, (0.0, 0.75), 4.0, extrapolated=True)
        >>> promise = Promise(threshold)
        >>> promise.shortage()
        'A budget of 0.1 false alarms a day wants 6 more days of normal running: the threshold ...'
        >>> promise.is_inside(NormalRunning(20.0, 1, (0.003, 0.24), 0.001))
        True
    """

    threshold: ThresholdSpec
    far: float | None = None
    """The share; None = the alarm budget of the threshold."""
    hop_s: float = 0.0
    """Seconds that each window stands for; only a share asks."""
    span_s: float = 0.0
    """Seconds of a window; only a share asks."""

    @property
    def rate(self) -> float:
        """What is promised: alarms a day, or the share."""
        return self.threshold.false_alarms_per_day if self.far is None else self.far

    @property
    def days_to_support(self) -> float:
        """Further days of normal running to learn from, until the threshold is not extrapolated."""
        if not self.threshold.extrapolated:
            return 0.0
        needed = days_needed(self.rate)
        if self.far is not None:
            needed *= self.hop_s / SECONDS_PER_DAY
        return max(needed - self.threshold.scored_days, 0.0)

    def days_to_check(self, normal: NormalRunning) -> float:
        """Further days of unseen normal running, until the promise allows one alarm in them.

        Of a share, until it allows one anomalous window among those that share no cell.
        """
        needed = days_needed(self.rate)
        if self.far is not None:
            needed *= self.span_s / SECONDS_PER_DAY
        return max(needed - normal.days, 0.0)

    def interval(self, normal: NormalRunning) -> tuple[float, float]:
        """90% interval of what is promised, in unseen normal running."""
        return normal.interval_per_day if self.far is None else normal.share_interval

    def is_inside(self, normal: NormalRunning) -> bool:
        """Whether the promise lies in the 90% interval of what came of it."""
        low, high = self.interval(normal)
        return low <= self.rate <= high

    def is_exceeded(self, normal: NormalRunning) -> bool:
        """Whether more came of it in unseen normal running than chance explains."""
        return bool(normal.days) and self.interval(normal)[0] > self.rate

    def says(self) -> str:
        """What is promised, and what that rests on."""
        threshold = self.threshold
        low, high = threshold.interval_per_day
        first = (
            f"Budget {threshold.false_alarms_per_day:g} false alarms a day."
            if self.far is None
            else f"At most {self.far:.2%} of normal rows anomalous."
        )
        text = (
            f"{first} In {_days(threshold.scored_days)} of cross-fitted normal running, threshold "
            f"{threshold.score:.2f} raised {threshold.expected_per_day:.2f} a day (90% interval "
            f"{low:.2f} to {high:.2f})."
        )
        return f"{text} {self.shortage()}." if self.shortage() else text

    def shortage(self) -> str:
        """What the data lack for the promise; '' = nothing."""
        if not self.threshold.extrapolated:
            return ""
        what = (
            f"A budget of {self.rate:g} false alarms a day"
            if self.far is None
            else f"A share of {self.rate:g}"
        )
        return (
            f"{what} wants {_more(self.days_to_support)} of normal running: the threshold is "
            "extrapolated"
        )

    def realised(self, normal: NormalRunning, *, is_labelled: bool = True) -> str:
        """What came of it in unseen normal running, and whether that bears it out, as sentences.

        Args:
            normal: running that nothing was learned from, at this threshold.
            is_labelled: whether anybody said what was no normal running.
        """
        if not normal.days or isnan(normal.anomalous_share):
            return "No normal running was left to check the promise by."
        unless = "" if is_labelled else " (if all of it was normal running: nothing is labelled)"
        return (
            f"In {_days(normal.days)} of normal running that nothing was learned from{unless}: "
            f"{self.figures(normal)}. {self._judgement(normal)}"
        )

    def figures(self, normal: NormalRunning) -> str:
        """Realised alarms a day and share of anomalous windows, with 90% intervals."""
        low, high = normal.interval_per_day
        least, most = normal.share_interval
        return (
            f"{normal.per_day:.2f} alarms a day (90% interval {low:.2f} to {high:.2f}), "
            f"{in_share(normal.anomalous_share)} anomalous ({in_share(least)} to {in_share(most)})"
        )

    def verdict(self, normal: NormalRunning) -> str:
        """Whether unseen normal running bears the promise out, in a few words."""
        if not normal.days or isnan(normal.anomalous_share):
            return "not checked"
        if self.is_inside(normal):
            return "inside, too few days" if self.days_to_check(normal) else "inside"
        return "more than promised" if self.is_exceeded(normal) else "fewer"

    def _judgement(self, normal: NormalRunning) -> str:
        promised = f"{self.rate:g} a day" if self.far is None else in_share(self.rate)
        if not self.is_inside(normal):
            if self.interval(normal)[0] <= self.rate:
                return f"That is fewer than promised, {promised}: kept, with room to spare."
            return (
                f"That is more than promised, {promised}: learn from more normal running, label "
                "what was none, or train anew if the machine has changed."
            )
        if more := self.days_to_check(normal):
            return (
                f"The promise, {promised}, lies inside, but so few days cannot check it: "
                f"{_more(more)} of normal running would."
            )
        return f"The promise, {promised}, lies inside: these days bear it out."


def _days(days: float) -> str:
    return f"{days:.1f} days" if days >= 1.0 else f"{days:.2g} days"


def _more(days: float) -> str:
    """Further days; never fewer than are needed."""
    return f"{days:.0f} more days" if days >= ALL_DIGITS else f"{days:.3g} more days"
