"""The promotion gate: whether a challenger takes the champion's place, and why, in one sentence.

It only decides; what it decides on was measured on unseen running that is the same for both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from pipelines.detectability import Difference
from pipelines.promise import Promise
from pipelines.replay import FoundFault, NormalRunning
from pipelines.threshold import days_needed

WORSE_POINTS = 2.0
"""Percentage points by which a challenger may find less than the champion."""
LEAST_CHECKED = 0.25
"""Unseen normal running that is needed, as a share of the days in which a budget has one alarm."""
MORE_ALARMS = 1
"""False alarms that a challenger beyond its budget may raise more than the champion: chance."""


class Outcome(Enum):
    """What the gate says; the value is what the registry keeps."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    LEFT_TO_A_PERSON = "left to a person"


@dataclass(frozen=True)
class Contender:
    """What one bundle did with unseen running."""

    version: int
    learned_to: datetime | None
    """Time of the newest sample that it learned from."""
    promise: Promise
    normal: NormalRunning
    """Running that nobody labelled as anything else."""
    faults: tuple[FoundFault, ...]
    """Labelled faults."""
    unjudged_alarms: int
    """Alarms at times of which nobody has said anything."""
    standing_since: datetime | None
    """Since when an alarm stands in running that counts as normal; None = none does."""

    @property
    def found_faults(self) -> int:
        """How many of the labelled faults it found."""
        return sum(fault.delay_s is not None for fault in self.faults)

    @property
    def exceeds_budget(self) -> bool:
        """Whether it raised more false alarms than chance explains."""
        return self.promise.is_exceeded(self.normal)

    @property
    def is_upset(self) -> bool:
        """Whether it alarms in running that counts as normal, more than it may or all the time."""
        return self.exceeds_budget or self.standing_since is not None

    @property
    def false_alarms(self) -> str:
        """Its false alarms, with their interval, beside the budget."""
        low, high = self.normal.interval_per_day
        return (
            f"{self.normal.per_day:.2f} false alarms a day (90% interval {low:.2f} to {high:.2f}, "
            f"budget {self.promise.rate:g})"
        )


@dataclass(frozen=True)
class Decision:
    """What the gate says of a challenger."""

    outcome: Outcome
    reason: str
    """For people."""


def decide(
    challenger: Contender,
    champion: Contender | None,
    *,
    detected: Difference | None,
    flaw: str = "",
) -> Decision:
    """Say whether a challenger becomes the champion.

    It does if a device would take it, its false alarms are within the budget, and it finds no less
    than the champion: at most `WORSE_POINTS` less of the same injected faults and of the labelled
    ones. Newer data break the tie. Where the champion alarms beyond its budget or all the time and
    nobody has judged it, a fault that lasts would be learned as normal: a person has to say first.

    Args:
        challenger: what was trained last.
        champion: judged on the same running; None = there is none.
        detected: what the challenger finds more of the same injected faults; None = no champion, or
            no quiet instant to put them in.
        flaw: why a device would refuse the challenger; '' = it would not.
    """
    if flaw:
        return Decision(Outcome.REFUSED, f"a device would refuse it: {flaw}")
    if by_itself := _by_itself(challenger):
        return by_itself
    if champion is None:
        return Decision(Outcome.PROMOTED, f"the first: {challenger.false_alarms}")
    if champion.is_upset:
        return _instead_of_upset(challenger, champion, detected)
    return _against(challenger, champion, detected)


def _by_itself(challenger: Contender) -> Decision | None:
    """Why it is not promoted, whatever the champion does; None = it may be."""
    if challenger.normal.days < LEAST_CHECKED * days_needed(challenger.promise.rate):
        return Decision(
            Outcome.LEFT_TO_A_PERSON,
            f"{challenger.normal.days:.2g} days of unseen normal running are too few to check its "
            f"false alarms by (budget {challenger.promise.rate:g} a day); ingest more, raise "
            "[retrain] holdout_days, or promote it by hand",
        )
    if challenger.exceeds_budget:
        return Decision(
            Outcome.REFUSED,
            f"{challenger.false_alarms} are more than promised; learn from more normal running, "
            "or label what was none",
        )
    if challenger.standing_since is not None:
        return Decision(
            Outcome.LEFT_TO_A_PERSON,
            f"it stands in alarm itself since {_minute(challenger.standing_since)}: if that was a "
            "fault or maintenance, say so with `faultwatch label`",
        )
    return None


def _against(challenger: Contender, champion: Contender, detected: Difference | None) -> Decision:
    name = f"version {champion.version}, the champion"
    if detected is None:
        return Decision(
            Outcome.LEFT_TO_A_PERSON,
            f"nothing could be put into unseen running under both it and {name}: ingest more, or "
            "promote it by hand",
        )
    if worse := list(_worse(challenger, champion, detected, name=name)):
        return Decision(Outcome.REFUSED, f"it {'; it '.join(worse)}")
    promoted = f"{challenger.false_alarms}; it finds {detected.than(name)}"
    if _is_newer(challenger, champion):
        return Decision(Outcome.PROMOTED, f"{promoted}, and learned from newer data")
    if detected.interval[0] > 0.0:
        return Decision(Outcome.PROMOTED, promoted)
    kept = f"it learned from no newer data, and finds {detected.than(name)}"
    return Decision(Outcome.REFUSED, kept)


def _instead_of_upset(
    challenger: Contender, champion: Contender, detected: Difference | None
) -> Decision:
    """A champion that alarms in what counts as normal running: do people say that it is wrong?"""
    since = champion.standing_since
    what = f"version {champion.version}, the champion, " + (
        f"has stood in alarm since {_minute(since)}"
        if since is not None
        else f"raised more than its budget ({champion.false_alarms})"
    )
    if champion.unjudged_alarms:
        return Decision(
            Outcome.LEFT_TO_A_PERSON,
            f"{what}, and of {champion.unjudged_alarms} of its alarms nobody has said whether they "
            "were right: a fault that lasts would be learned as normal running; say so with "
            "`faultwatch label`",
        )
    compared = None if since is not None else detected  # who always alarms finds everything
    if worse := list(_worse(challenger, champion, compared, name="it")):
        return Decision(
            Outcome.LEFT_TO_A_PERSON, f"{what}; but the challenger {'; it '.join(worse)}"
        )
    return Decision(
        Outcome.PROMOTED,
        f"{challenger.false_alarms}; {what}, and people said that this was normal running",
    )


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _worse(
    challenger: Contender, champion: Contender, detected: Difference | None, *, name: str
) -> Iterator[str]:
    """In what the challenger is worse than the champion, who is called by a name."""
    if detected is not None and detected.points < -WORSE_POINTS:
        yield f"finds {detected.than(name)}"
    theirs = {fault.onset for fault in champion.faults if fault.delay_s is not None}
    ours = {fault.onset for fault in challenger.faults if fault.delay_s is not None}
    lost = theirs - ours
    if 100.0 * len(lost) > WORSE_POINTS * len(champion.faults):
        first = _minute(min(lost))
        yield (
            f"misses {len(lost)} of the {len(theirs)} labelled faults that are found (the first "
            f"of {first}) by {name}"
        )
    more = challenger.normal.alarms - champion.normal.alarms
    if more > MORE_ALARMS and challenger.normal.per_day > challenger.promise.rate:
        yield (
            f"raises {challenger.normal.alarms} instead of {champion.normal.alarms} false alarms "
            f"in {challenger.normal.days:.1f} days, beyond its budget and more than {name}"
        )


def _is_newer(challenger: Contender, champion: Contender) -> bool:
    if challenger.learned_to is None or champion.learned_to is None:
        return challenger.version > champion.version
    return challenger.learned_to > champion.learned_to
