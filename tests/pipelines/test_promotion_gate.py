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
    return tuple(
        FoundFault("leak", JUNE, 60.0 if one == "x" else None, 0.5, ("flow",) if one == "x" else ())
        for one in found
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


def test_it_may_not_lose_a_labelled_fault() -> None:
    champion = contender(3, 2, "xx")
    said = decided(contender(4, 2, "x-"), champion)
    assert said.outcome is Outcome.REFUSED
    assert "it finds 1 instead of 2 of 2 labelled faults, fewer than version 3" in said.reason
    assert decided(contender(4, 2, "xx"), champion).outcome is Outcome.PROMOTED


def test_no_newer_data_and_no_more_found_is_no_reason_to_change() -> None:
    again = replace(contender(4), learned_to=CHAMPION.learned_to)
    assert decided(again).outcome is Outcome.REFUSED
    assert decided(again, detected=replace(SAME, points=0.5)).outcome is Outcome.PROMOTED


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
    """It finds more only because it alarms all the time: that does not count."""
    upset = replace(contender(3, 12, "x"), standing_since=JUNE, unjudged_alarms=0)
    worse = replace(SAME, points=-30.0)
    said = decided(contender(4, 2, "-"), upset, worse)
    assert said.outcome is Outcome.PROMOTED
    assert "people said that this was normal running" in said.reason


def test_without_unseen_running_a_person_decides() -> None:
    assert decided(replace(contender(4), normal=running(0, 0.0))).outcome is (
        Outcome.LEFT_TO_A_PERSON
    )
    assert decided(contender(4), detected=None).outcome is Outcome.LEFT_TO_A_PERSON


@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.floats(-50, 50),
    st.sampled_from([JUNE, None]),
    st.integers(0, 2),
)
def test_nothing_beyond_its_budget_or_blinder_is_ever_promoted(
    alarms: int, theirs: int, points: float, stands: datetime | None, unjudged: int
) -> None:
    challenger = contender(4, alarms)
    champion = replace(contender(3, theirs), standing_since=stands, unjudged_alarms=unjudged)
    said = decided(challenger, champion, replace(SAME, points=points))
    if said.outcome is Outcome.PROMOTED:
        assert not challenger.exceeds_budget
        assert champion.is_upset or points >= -2.0
        assert not (champion.is_upset and unjudged)
    assert said.reason
