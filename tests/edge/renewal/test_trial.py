"""What a new bundle must keep in its first day of scored time."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.bundle import Manifest
from faultwatch_edge.trial import Tally, is_passed, most_alarms, why_failed

DAY_WINDOWS = 43_200  # of the tiny bundle: one every two seconds


@pytest.mark.parametrize(
    ("tally", "reason"),
    [
        (Tally(scored=1800, anomalous=900), None),
        (Tally(scored=1800, anomalous=901), "901 of 1800 windows differ from normal"),
        (Tally(scored=1799, anomalous=1799), None),
        (Tally(scored=1620, blind=180), None),
        (Tally(scored=1619, blind=181), "no number for 181 of 1800 windows"),
        (Tally(raised=2), None),
        (Tally(scored=900, raised=3), "3 alarms in 0.5 h, at most 2 are to be expected in a day"),
    ],
)
def test_what_a_bundle_must_keep(manifest: Manifest, tally: Tally, reason: str | None) -> None:
    assert why_failed(tally, manifest) == reason


def test_a_day_of_scored_windows_is_a_trial(manifest: Manifest) -> None:
    assert not is_passed(Tally(scored=DAY_WINDOWS - 1, blind=9), manifest)
    assert is_passed(Tally(scored=DAY_WINDOWS), manifest)


@given(rate=st.floats(0.0, 50.0))
def test_so_many_alarms_are_chance_once_in_a_hundred_days_at_most(
    manifest: Manifest, rate: float
) -> None:
    threshold = replace(manifest.threshold, false_alarms_per_day=rate, interval_per_day=(0.0, rate))
    most = most_alarms(threshold)

    def beyond(count: int) -> float:
        terms = [math.exp(-rate) * rate**k / math.factorial(k) for k in range(count + 1)]
        return 1 - sum(terms)

    assert beyond(most) <= 0.01 + 1e-9
    assert most == 1 or beyond(most - 1) > 0.01 - 1e-9


@given(
    st.lists(st.tuples(st.sampled_from([None, False, True]), st.sampled_from([None, True, False])))
)
def test_each_window_is_counted_once_or_was_not_to_be_scored(
    windows: list[tuple[bool | None, bool | None]],
) -> None:
    tally = Tally()
    for anomalous, is_open in windows:
        tally = tally.with_window(anomalous=anomalous, is_open=is_open)
    assert tally.scored == sum(anomalous is not None for anomalous, _ in windows)
    assert tally.anomalous == sum(anomalous is True for anomalous, _ in windows)
    assert tally.blind == sum(
        anomalous is None and is_open is True for anomalous, is_open in windows
    )
