"""When a challenger takes the champion's place, and what people are told of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.manifest import ThresholdSpec
from pipelines.detectability import Difference
from pipelines.promise import Promise
from pipelines.promotion_gate import Contender, Decision, Outcome, decide
from pipelines.replay import FoundFault, NormalRunning
from pipelines.threshold import rate_interval

BUDGET = Promise(ThresholdSpec(2.75, 0.1, 0.08, (0.02, 0.2), 40.0, extrapolated=False))
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
SAME = Difference(0.0, (-1.0, 1.0), 3_000, 10)


def running(alarms: int, days: float = 20.0) -> NormalRunning:
    interval = rate_interval(alarms, days) if days else (0.0, float("inf"))
    return NormalRunning(days, alarms, interval, 0.004, (0.001, 0.01))


def faults(found: str) -> tuple[FoundFault, ...]:
    days = (JUNE + timedelta(days=number) for number in range(len(found)))
    return tuple(
        FoundFault("leak", day, 60.0 if one == "x" else None, 0.5, ())
        for day, one in zip(days, found, strict=True)
    )


def contender(version: int, alarms: int = 2, found: str = "") -> Contender:
    """``found``: x for each labelled fault that it found, - for each that it did not."""
    learned_to = JUNE + timedelta(days=version)
    return Contender(version, learned_to, BUDGET, running(alarms), faults(found), 0, None)


CHAMPION = contender(3)


def decided(
    challenger: Contender,
    champion: Contender | None = CHAMPION,
    detected: Difference | None = SAME,
    flaw: str = "",
) -> Decision:
    return decide(challenger, champion, detected=detected, flaw=flaw)


def test_as_good_and_of_newer_data_is_promoted_and_says_its_false_alarms() -> None:
    said = decided(contender(4))
    assert said.outcome is Outcome.PROMOTED
    assert "0.10 false alarms a day (90% interval 0.02 to 0.31, budget 0.1)" in said.reason
    assert "as many of 3000 injected faults" in said.reason
    assert said.reason.endswith("version 3, the champion, and learned from newer data")


def test_the_first_is_promoted_if_it_keeps_its_budget() -> None:
    assert decided(contender(1), None, None).outcome is Outcome.PROMOTED
    said = decided(contender(1, 12), None, None)
    assert said.outcome is Outcome.REFUSED
    assert "0.60 false alarms a day" in said.reason
    assert "are more than promised" in said.reason


@pytest.mark.parametrize(
    ("points", "outcome"),
    [(-1.9, Outcome.PROMOTED), (-2.1, Outcome.REFUSED), (3.0, Outcome.PROMOTED)],
)
def test_it_may_find_two_points_less_of_the_injected_faults(
    points: float, outcome: Outcome
) -> None:
    said = decided(contender(4), detected=replace(SAME, points=points))
    assert said.outcome is outcome
    less = f"it finds {abs(points):.1f} points of 3000 injected faults"
    assert less in said.reason


def test_it_may_not_lose_a_labelled_fault_though_it_finds_another() -> None:
    champion = contender(3, 2, "x-x")
    for found in ("x--", "-xx", "xx-"):
        said = decided(contender(4, 2, found), champion)
        assert said.outcome is Outcome.REFUSED
        assert "it misses 1 of the 2 labelled faults that are found" in said.reason
        assert said.reason.endswith("by version 3, the champion")
    assert decided(contender(4, 2, "xxx"), champion).outcome is Outcome.PROMOTED


def test_data_that_are_no_newer_want_more_found_beyond_doubt() -> None:
    again = replace(contender(4), learned_to=CHAMPION.learned_to)
    assert decided(again).outcome is Outcome.REFUSED
    perhaps = replace(SAME, points=0.5)
    assert decided(again, detected=perhaps).outcome is Outcome.REFUSED
    said = decided(again, detected=replace(perhaps, interval=(0.1, 0.9)))
    assert said.outcome is Outcome.PROMOTED
    assert "newer" not in said.reason


def test_more_false_alarms_than_the_champion_s_and_beyond_the_budget_are_worse() -> None:
    """Each by itself may be chance, as the interval says; beside each other they are not."""
    said = decided(contender(4, 4), contender(3, 2))
    assert said.outcome is Outcome.REFUSED
    assert "it raises 4 instead of 2 false alarms in 20.0 days, beyond its budget" in said.reason
    assert decided(contender(4, 3), contender(3, 2)).outcome is Outcome.PROMOTED


def test_a_challenger_that_stands_in_alarm_itself_is_left_to_a_person() -> None:
    standing = replace(contender(4, 1), standing_since=JUNE)
    for champion in (None, CHAMPION):
        said = decided(standing, champion)
        assert said.outcome is Outcome.LEFT_TO_A_PERSON
        assert "it stands in alarm itself since 2026-06-01 00:00 UTC" in said.reason


def test_what_a_device_would_refuse_is_refused_whatever_it_finds() -> None:
    said = decided(contender(4), detected=replace(SAME, points=50.0), flaw="window 3 differs")
    assert said == Decision(Outcome.REFUSED, "a device would refuse it: window 3 differs")


def test_a_champion_in_an_alarm_that_nobody_judged_is_replaced_by_no_machine() -> None:
    """A slow fault would be learned as normal."""
    upset = replace(CHAMPION, standing_since=JUNE, unjudged_alarms=1)
    said = decided(contender(4), upset, None)
    assert said.outcome is Outcome.LEFT_TO_A_PERSON
    assert "has stood in alarm since 2026-06-01 00:00 UTC" in said.reason
    assert "`faultwatch label`" in said.reason
    loud = replace(contender(3, 12), unjudged_alarms=12)
    assert "raised more than its budget (0.60" in decided(contender(4), loud).reason


def test_once_people_called_the_champion_s_alarms_false_the_challenger_follows() -> None:
    """One that always alarms finds more: that does not count. A fault that people labelled does."""
    upset = replace(contender(3, 12, "x"), standing_since=JUNE, unjudged_alarms=0)
    worse = replace(SAME, points=-30.0)
    said = decided(contender(4, 2, "x"), upset, worse)
    assert said.outcome is Outcome.PROMOTED
    assert "people said that this was normal running" in said.reason
    assert decided(contender(4, 2, "-"), upset, worse).outcome is Outcome.LEFT_TO_A_PERSON


def test_one_that_finds_less_does_not_follow_a_champion_that_is_only_too_loud() -> None:
    loud = contender(3, 12)
    assert decided(contender(4), loud).outcome is Outcome.PROMOTED
    said = decided(contender(4), loud, replace(SAME, points=-30.0))
    assert said.outcome is Outcome.LEFT_TO_A_PERSON
    assert "but the challenger finds 30.0 points of 3000 injected faults fewer" in said.reason


def test_without_unseen_running_a_person_decides() -> None:
    nothing, little = (
        decided(replace(contender(4), normal=running(0, days))) for days in (0.0, 2.4)
    )
    assert nothing.outcome is little.outcome is Outcome.LEFT_TO_A_PERSON
    assert "2.4 days of unseen normal running are too few" in little.reason
    assert decided(contender(4), detected=None).outcome is Outcome.LEFT_TO_A_PERSON


contenders = st.builds(
    lambda version, alarms, standing, unjudged: replace(
        contender(version, alarms), standing_since=standing, unjudged_alarms=unjudged
    ),
    st.sampled_from([2, 4]),
    st.integers(0, 40),
    st.sampled_from([JUNE, None]),
    st.integers(0, 2),
)


@given(contenders, contenders, st.floats(-50, 50))
def test_nothing_beyond_its_budget_or_blinder_is_ever_promoted(
    challenger: Contender, champion: Contender, points: float
) -> None:
    said = decided(challenger, champion, replace(SAME, points=points))
    if said.outcome is Outcome.PROMOTED:
        assert not challenger.is_upset
        assert champion.standing_since or points >= -2.0
        assert not (champion.is_upset and champion.unjudged_alarms)
    assert said.reason
