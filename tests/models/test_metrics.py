from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score as sklearn_f1
from sklearn.metrics import roc_auc_score

from models.metrics import (
    count_rows,
    f1_score,
    false_alarm_rate,
    fault_detection_rate,
    missed_alarm_rate,
    paired_difference,
    roc_auc,
    rows_to_alarm,
    threshold_at_rate,
)

BOOLS = st.lists(st.booleans(), min_size=1, max_size=60)
SCORES = st.lists(st.integers(0, 9), min_size=2, max_size=60)


def test_rates_of_counts_made_by_hand() -> None:
    counts = np.array([30.0, 5.0, 10.0, 95.0])  # hit, false alarm, miss, quiet
    assert fault_detection_rate(counts) == pytest.approx(0.75)
    assert missed_alarm_rate(counts) == pytest.approx(0.25)
    assert false_alarm_rate(counts) == pytest.approx(0.05)
    assert f1_score(counts) == pytest.approx(60 / 75)


def test_rates_of_several_counts_at_once() -> None:
    counts = np.array([[1.0, 0.0, 1.0, 2.0], [2.0, 1.0, 0.0, 1.0]])
    assert fault_detection_rate(counts).tolist() == [0.5, 1.0]
    assert false_alarm_rate(counts.sum(axis=0)) == pytest.approx(0.25)


def test_a_rate_of_nothing_is_no_number() -> None:
    quiet = np.array([0.0, 0.0, 0.0, 7.0])
    assert np.isnan(fault_detection_rate(quiet))
    assert np.isnan(f1_score(quiet))
    assert np.isnan(false_alarm_rate(np.array([1.0, 0.0, 1.0, 0.0])))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_counts_are_complete_and_f1_is_that_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    faulty, alarmed = (np.array(part) for part in zip(*pairs, strict=True))
    counts = count_rows(faulty, alarmed)
    assert counts.sum() == len(pairs)
    if faulty.any() or alarmed.any():
        assert f1_score(counts) == pytest.approx(sklearn_f1(faulty, alarmed))


@given(SCORES, st.randoms(use_true_random=False))
def test_the_area_under_the_curve_is_that_of_scikit_learn(
    scores: list[int], random: Random
) -> None:
    faulty = np.array([random.random() < 0.5 for _ in scores])
    faulty[:2] = [True, False]
    values = np.array(scores, float)
    assert roc_auc(faulty, values) == pytest.approx(roc_auc_score(faulty, values))


def test_rows_without_a_score_rank_lowest() -> None:
    faulty = np.array([False, False, True])
    assert roc_auc(faulty, np.array([np.nan, 0.0, 1.0])) == 1.0
    assert roc_auc(faulty, np.array([1.0, 2.0, np.nan])) == 0.0
    assert np.isnan(roc_auc(np.zeros(3, np.bool_), np.zeros(3)))


@pytest.mark.parametrize(
    ("anomalous", "rows"),
    [
        ([1, 1, 1], 3),
        ([0, 1, 1, 0, 1, 1, 1, 1], 7),
        ([1, 1, 0, 1, 1], None),
        ([1, 1], None),
        ([], None),
    ],
)
def test_an_alarm_needs_three_anomalous_rows_in_a_row(
    anomalous: list[int], rows: int | None
) -> None:
    assert rows_to_alarm(np.array(anomalous, np.bool_)) == rows


@given(BOOLS, st.integers(1, 4))
def test_rows_to_alarm_is_the_first_full_run(rows: list[bool], in_a_row: int) -> None:
    ends = [n for n in range(in_a_row, len(rows) + 1) if all(rows[n - in_a_row : n])]
    found = rows_to_alarm(np.array(rows, np.bool_), in_a_row=in_a_row)
    assert found == (ends[0] if ends else None)


@given(SCORES, st.floats(0.0, 1.0))
def test_a_threshold_keeps_its_rate_and_the_next_score_would_not(
    scores: list[int], rate: float
) -> None:
    values = np.array(scores, float)
    threshold = threshold_at_rate(values, rate)
    assert np.mean(values >= threshold) <= rate + 1e-6
    below = values[values < threshold]
    if len(below):
        assert np.mean(values >= below.max()) > rate


def test_rows_without_a_score_count_towards_the_rate() -> None:
    values = np.array([np.nan] * 50 + list(range(50)))
    assert np.sum(values >= threshold_at_rate(values, 0.05)) == 5
    assert threshold_at_rate(np.full(4, np.nan), 0.5) == np.inf
    assert threshold_at_rate(np.array([2.0, 1.0]), 1.0) == 1.0


def share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
    return found


def test_the_difference_is_that_of_the_sums_and_lies_in_its_interval() -> None:
    generator = np.random.default_rng(0)
    hits = generator.integers(40, 60, size=(2, 30)).astype(float)
    first = np.stack([hits + 10, np.full_like(hits, 100)], axis=2)
    second = np.stack([hits, np.full_like(hits, 100)], axis=2)[:1]
    found = paired_difference(first, second, share, seed=0)
    assert found.value == pytest.approx(first[..., 0].mean() / 100 - second[..., 0].mean() / 100)
    assert found.low < found.value < found.high
    assert found == paired_difference(first, second, share, seed=0)


def test_what_is_hard_for_both_does_not_widen_the_interval() -> None:
    hits = np.array([[0.0, 50.0, 10.0, 80.0, 30.0]])
    first = np.stack([hits + 10, np.full_like(hits, 100)], axis=2)
    second = np.stack([hits, np.full_like(hits, 100)], axis=2)
    found = paired_difference(first, second, share, seed=1)
    assert [found.low, found.high] == pytest.approx([0.1, 0.1])


def test_one_unit_has_no_interval() -> None:
    counts = np.array([[[5.0, 10.0]]])
    found = paired_difference(counts, counts, share, seed=0)
    assert found.value == 0.0
    assert np.isnan([found.low, found.high]).all()
