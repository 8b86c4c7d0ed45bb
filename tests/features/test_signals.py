from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from features.first_look.naming import VALID, name_channels, pair_names, split_unit
from features.first_look.set_points import pair_values
from features.first_look.signals import (
    Kind,
    Signal,
    describe_signal,
    find_kind,
    is_regular,
    nice_period,
    suggest_range,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
RANDOM = np.random.default_rng(7)
NOISE = RANDOM.normal(50.0, 5.0, 600)
WALK = np.cumsum(RANDOM.uniform(0.0, 2.0, 600))


def points_of(
    values: ArrayLike, *, seconds: ArrayLike | None = None, piece: ArrayLike = 0
) -> pl.DataFrame:
    column = np.asarray(values, dtype=float)
    at = np.arange(len(column)) if seconds is None else np.asarray(seconds)
    times = [START + timedelta(seconds=float(second)) for second in at]
    pieces = np.broadcast_to(np.asarray(piece), len(column)).copy()
    return pl.DataFrame({"time": times, "value": column, "piece": pieces})


def described(
    values: ArrayLike, *, seconds: ArrayLike | None = None, may_hold: bool = False
) -> Signal:
    return describe_signal(points_of(values, seconds=seconds), may_hold=may_hold)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NOISE, "continuous"),
        (np.repeat([0.0, 1.0], 50), "discrete"),
        (np.repeat([1.0, 4.0, 2.0, 7.0, 0.0, 5.0], 20), "discrete"),
        (np.repeat([0.0, 33.3, 66.7, 0.0], 100), "discrete"),
        (np.repeat([0.0, 33.3], 2), "continuous"),
        (np.tile([0.0, 1.0], 50), "continuous"),
        (np.tile([0.0, 3.0, 1.0, 7.0], 50), "continuous"),
        (np.repeat([20.0, 21.0, 22.0, 23.0, 22.0, 21.0], 20), "continuous"),
        (np.round(NOISE), "continuous"),
        (WALK, "counter"),
        (np.concatenate([WALK, WALK]), "counter"),
        (WALK - 1_000.0, "continuous"),
        (np.full(50, 3.0), "continuous"),
        (np.array([]), "continuous"),
        (np.arange(10.0), "continuous"),
    ],
)
def test_the_kind_is_told_from_the_values(values: np.ndarray, kind: Kind) -> None:
    assert find_kind(values, np.diff(values)) == kind


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0], (0.0, 1.5)),
        ([-3.0, -1.0], (-3.5, -0.5)),
        ([-0.5, -0.1], (-0.6, 0.0)),
        ([101_300.0, 101_400.0], (101_250.0, 101_450.0)),
        ([5.0, 5.0], None),
        ([], None),
        ([-1.7e308, 1.7e308], None),
        ([5e-324, 1e-323], None),
    ],
)
def test_a_range_is_a_bit_wider_and_readable(
    values: list[float], expected: tuple[float, float] | None
) -> None:
    assert suggest_range(np.array(values), kind="continuous", unit="") == (expected, None)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_a_range_holds_what_was_seen(values: list[float]) -> None:
    found, _ = suggest_range(np.array(values), kind="continuous", unit="bar")
    if found is not None:
        assert found[0] <= min(values) <= max(values) <= found[1]
        assert found[0] < found[1]


def test_special_kinds_have_special_ranges() -> None:
    assert suggest_range(np.array([3.0, 60.0]), kind="continuous", unit="%")[0] == (0.0, 100.0)
    assert suggest_range(np.array([3.0, 160.0]), kind="continuous", unit="%")[0] == (0.0, 200.0)
    assert suggest_range(np.array([0.0, 1.0]), kind="discrete", unit="")[0] == (0.0, 1.0)
    assert suggest_range(WALK, kind="counter", unit="")[0] is None


@pytest.mark.parametrize("outlier", [9_999.0, -9_999.0])
def test_a_value_far_out_is_told_and_does_not_widen_the_range(outlier: float) -> None:
    values = np.append(RANDOM.normal(50.0, 5.0, 2_000), outlier)
    found, told = suggest_range(values, kind="continuous", unit="")
    assert told == outlier
    assert found is not None
    assert -100 < found[0] < found[1] < 200


def test_a_state_that_is_rare_is_no_outlier() -> None:
    values = np.append(np.zeros(2_000), 50.0)
    assert suggest_range(values, kind="continuous", unit="")[1] is None


def test_silence_means_unchanged_only_where_it_may_and_is_irregular() -> None:
    irregular = np.cumsum(RANDOM.exponential(30.0, 200))
    assert described(NOISE[:200], seconds=irregular, may_hold=True).reporting == "on_change"
    assert described(NOISE[:200], seconds=irregular).reporting == "periodic"
    assert described(NOISE[:200], may_hold=True).reporting == "periodic"
    assert described([5.0, 6.0], may_hold=True).reporting == "on_change"


def test_a_missing_row_now_and_then_is_regular() -> None:
    assert is_regular(np.array([1.0, 1.0, 2.0, 1.0, 1.0]))
    assert not is_regular(np.array([1.0, 1.0]))


def test_interruptions_are_no_spacings_and_no_steps() -> None:
    values = np.concatenate([WALK[:50], WALK[:50]])
    at = np.concatenate([np.arange(50), np.arange(50) + 1_000_000])
    points = points_of(values, seconds=at, piece=np.repeat([0, 1], 50))
    signal = describe_signal(points, may_hold=False)
    assert (signal.kind, signal.period_s) == ("counter", 1.0)


def test_a_constant_is_told() -> None:
    signal = described(np.full(20, 3.0))
    assert (signal.constant, signal.range, signal.steps) == (True, None, False)


def test_one_value_has_no_period() -> None:
    assert described([3.0]).period_s is None


def test_periods_are_what_people_choose() -> None:
    assert [nice_period(seconds) for seconds in (0.999, 59.7, 3_595.0, 7.0, 42.1234)] == [
        1.0,
        60.0,
        3_600.0,
        7.0,
        42.1,
    ]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("Flow [m3/h]", ("Flow", "m3/h")),
        ("T (°C)", ("T", "°C")),
        ("n (1/min)", ("n", "1/min")),
        ("c [mol %]", ("c", "mol %")),
        ("cond (µS/cm)", ("cond", "µS/cm")),
        ("XMEAS(1)", ("XMEAS(1)", "")),
        ("a[0]", ("a[0]", "")),
        ("Flow (raw)", ("Flow (raw)", "")),
        ("[bar]", ("[bar]", "")),
        ("Flow", ("Flow", "")),
    ],
)
def test_a_unit_is_taken_where_it_is_obvious(column: str, expected: tuple[str, str]) -> None:
    assert split_unit(column) == expected


def test_names_are_made_from_tags() -> None:
    tags = ["flow", "time", "2nd", "Größe [%]", "ns=2;s=Pump.Flow", "日本", "", "Pump\\Flow"]
    assert list(name_channels(tags).values()) == [
        "flow",
        "time_2",
        "x2nd",
        "Groesse",
        "Pump_Flow",
        "signal",
        "signal_2",
        "Pump_Flow_2",
    ]


def test_a_name_is_never_another_column() -> None:
    assert name_channels(["flow 2", "flow_2"]) == {"flow 2": "flow_2_2", "flow_2": "flow_2"}
    assert name_channels(["a b"], taken=["a_b"]) == {"a b": "a_b_2"}


@given(st.lists(st.text(max_size=90), unique=True, max_size=12))
def test_any_tags_get_names_that_differ(tags: list[str]) -> None:
    names = name_channels(tags)
    assert list(names) == tags
    assert len({name.casefold() for name in names.values()}) == len(tags)
    for tag, name in names.items():
        assert VALID.fullmatch(name)
        assert name != "time"
        assert name == tag or name not in tags


def test_set_points_are_told_by_their_names() -> None:
    tags = [
        "FIC1.PV",
        "FIC1.SP",
        "T_sp [degC]",
        "T [degC]",
        "Druck Istwert",
        "Druck Sollwert",
        "SP",
    ]
    assert pair_names(tags) == {
        "FIC1.PV": "FIC1.SP",
        "T [degC]": "T_sp [degC]",
        "Druck Istwert": "Druck Sollwert",
    }


def paired(**values: np.ndarray) -> dict[str, str]:
    points = {tag: points_of(column) for tag, column in values.items()}
    signals = {tag: describe_signal(part, may_hold=False) for tag, part in points.items()}
    return pair_values(points, signals)


def test_set_points_are_told_by_their_values() -> None:
    wanted = np.repeat([10.0, 14.0, 11.0], 200)
    near = wanted + RANDOM.normal(0.0, 0.1, 600)
    found = paired(
        other=NOISE,
        far=wanted * 3.0,
        level=near + 0.2,
        flow=near,
        set=wanted,
        shuffled=RANDOM.permutation(near),
    )
    assert found == {"flow": "set"}


def test_too_few_values_follow_nothing() -> None:
    wanted = np.repeat([10.0, 14.0], 30)
    points = {"set": points_of(wanted), "flow": points_of(wanted[:20] + NOISE[:20] / 1e3)}
    signals = {tag: describe_signal(part, may_hold=False) for tag, part in points.items()}
    assert signals["set"].steps
    assert pair_values(points, signals) == {}
