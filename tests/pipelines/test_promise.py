"""What is promised, beside what came of it in running that nothing was learned from."""

from dataclasses import replace

import pytest

from faultwatch_edge.manifest import ThresholdSpec
from pipelines.promise import Promise
from pipelines.replay import NormalRunning
from pipelines.threshold import rate_interval

THRESHOLD = ThresholdSpec(2.75, 0.1, 0.08, (0.02, 0.2), 40.0, extrapolated=False)
BUDGET = Promise(THRESHOLD)
SHARE = Promise(THRESHOLD, 0.01, hop_s=60.0, span_s=960.0)


def running(days: float, alarms: int, share: float = 0.004) -> NormalRunning:
    limits = (share / 2, 2 * share)
    return NormalRunning(days, alarms, rate_interval(alarms, days), share, limits)


def test_it_says_what_it_rests_on() -> None:
    text = BUDGET.says()
    assert "Budget 0.1 false alarms a day" in text
    assert "In 40.0 days of cross-fitted normal running" in text
    assert "0.08 a day (90% interval 0.02 to 0.20)" in text
    assert "extrapolated" not in text
    assert BUDGET.days_to_support == 0.0


def test_an_extrapolated_one_says_how_many_days_would_support_it() -> None:
    budget = Promise(replace(THRESHOLD, scored_days=4.0, extrapolated=True))
    assert budget.days_to_support == pytest.approx(6.0)
    assert "wants 6 more days of normal running: the threshold is extrapolated." in budget.says()
    # A thousandth of windows that stand for a minute wants a thousand minutes; 14.4 are there.
    share = replace(SHARE, far=0.001, threshold=replace(budget.threshold, scored_days=0.01))
    assert share.days_to_support == pytest.approx(1_000 / 1_440 - 0.01)
    assert share.shortage().startswith("A share of 0.001 wants 0.684 more days")


@pytest.mark.parametrize(
    ("normal", "verdict", "sentence"),
    [
        (running(40.0, 4), "inside", "The promise, 0.1 a day, lies inside: these days bear it out"),
        (running(40.0, 12), "more than promised", "That is more than promised, 0.1 a day: learn"),
        (running(90.0, 1), "fewer", "That is fewer than promised, 0.1 a day: kept"),
        (running(4.0, 0), "inside, too few days", "so few days cannot check it: 6 more days of"),
        (running(4.0, 3), "more than promised", "That is more than promised"),
    ],
)
def test_a_budget_is_checked_by_the_alarms_of_unseen_normal_running(
    normal: NormalRunning, verdict: str, sentence: str
) -> None:
    assert BUDGET.verdict(normal) == verdict
    text = BUDGET.realised(normal)
    assert sentence in text
    assert f"In {normal.days:.1f} days of normal running that nothing was learned from:" in text
    assert f"{normal.per_day:.2f} alarms a day (90% interval " in text
    assert "0.4 % anomalous (0.2 % to 0.8 %)" in text


def test_a_share_is_checked_by_the_share_of_anomalous_windows() -> None:
    assert SHARE.verdict(running(3.0, 9, share=0.008)) == "inside"
    assert SHARE.verdict(running(3.0, 0, share=0.05)) == "more than promised"
    assert SHARE.verdict(running(3.0, 9, share=0.001)) == "fewer"
    assert "fewer than promised, 1 %" in SHARE.realised(running(3.0, 9, share=0.001))


def test_a_share_wants_a_hundred_windows_without_a_common_cell() -> None:
    normal = running(0.5, 0, share=0.008)
    assert SHARE.days_to_check(normal) == pytest.approx(100 * 960 / 86_400 - 0.5)
    assert SHARE.verdict(normal) == "inside, too few days"
    assert "0.611 more days" in SHARE.realised(normal)


def test_without_labels_it_says_that_nobody_knows_what_was_normal() -> None:
    assert "if all of it was normal running" in BUDGET.realised(running(9.0, 1), is_labelled=False)


def test_without_normal_running_there_is_nothing_to_check() -> None:
    nothing = NormalRunning(0.0, 0, (0.0, float("inf")), float("nan"))
    assert BUDGET.verdict(nothing) == "not checked"
    assert BUDGET.realised(nothing) == "No normal running was left to check the promise by."
