"""The same faults under two bundles: a toy whose limits are known, and itself less sensitive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from faultwatch_edge.bundle import Bundle
from pipelines.detectability import difference, find_same_faults

DEVIATIONS = {"a": 1.0, "b": 1.0}


def normal_running() -> pl.DataFrame:
    """Two channels near 10, where the toy's score is 0."""
    values = 10.0 + 0.05 * np.random.default_rng(0).normal(size=(2, 400))
    start, period = datetime(2026, 1, 1, tzinfo=UTC), timedelta(minutes=30)
    times = pl.Series([start + period * row for row in range(1, 401)], dtype=pl.Datetime("us", UTC))
    return pl.DataFrame({"time": times, "a": values[0], "b": values[1]})


def with_threshold(bundle: Bundle, score: float) -> Bundle:
    threshold = replace(bundle.manifest.threshold, score=score)
    return replace(bundle, manifest=replace(bundle.manifest, threshold=threshold))


def found_by(*bundles: Bundle) -> list[np.ndarray]:
    return find_same_faults(bundles, normal_running(), (), deviations=DEVIATIONS, seed=0)


def test_a_bundle_beside_itself_finds_the_same(bundle: Bundle) -> None:
    one, other = found_by(bundle, bundle)
    assert one.shape[0] == 10
    assert one.any()
    assert (one == other).all()
    same = difference(one, other, seed=0)
    assert same is not None
    assert (same.points, same.interval) == (0.0, (0.0, 0.0))
    assert same.than("it").startswith(f"as many of {one.size} injected faults")


def test_a_less_sensitive_one_finds_fewer_and_the_interval_says_how_sure(bundle: Bundle) -> None:
    keen, dull = found_by(bundle, with_threshold(bundle, 7.0))
    assert not (dull & ~keen).any()
    fewer = difference(dull, keen, seed=0)
    assert fewer is not None
    assert fewer.points == pytest.approx(100.0 * (dull.mean() - keen.mean()))
    assert fewer.interval[0] <= fewer.points <= fewer.interval[1] < 0.0
    assert " injected faults fewer (90% interval -" in fewer.than("it")


def test_only_instants_that_are_quiet_under_both_are_used(bundle: Bundle) -> None:
    """One that always alarms leaves none: there is nothing to compare by."""
    calm, loud = found_by(bundle, with_threshold(bundle, -1.0))
    assert not calm.size
    assert difference(calm, loud, seed=0) is None


def test_a_channel_that_does_not_move_gets_no_fault(bundle: Bundle) -> None:
    (one,) = find_same_faults(
        [bundle], normal_running(), (), deviations={**DEVIATIONS, "b": 0.0}, seed=0
    )
    assert one.shape == (10, found_by(bundle)[0].shape[1] // 2)


def test_other_delays_have_their_own_time_to_find_it(bundle: Bundle) -> None:
    """What takes longer by its on-delay finds what lasts, and loses what is short."""
    alarm = replace(bundle.manifest.alarm, on_delay_s=4 * 3600.0)
    slow = replace(bundle, manifest=replace(bundle.manifest, alarm=alarm))
    quick, late = found_by(bundle, slow)
    assert late.any()
    assert late.shape == quick.shape
