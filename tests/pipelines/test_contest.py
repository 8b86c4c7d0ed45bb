"""When a linear rival becomes the challenger, and what is said of it."""

import numpy as np

from faultwatch_edge.manifest import ThresholdSpec
from pipelines.contest import pick_challenger
from pipelines.replay import Evaluation, NormalRunning
from pipelines.threshold import rate_interval
from pipelines.verdict import Scorecard

THRESHOLD = ThresholdSpec(2.75, 0.1, 0.08, (0.02, 0.2), 40.0, extrapolated=False)


def card(name: str, alarms: int = 2) -> Scorecard:
    normal = NormalRunning(20.0, alarms, rate_interval(alarms, 20.0), 0.004, (0.001, 0.01))
    return Scorecard(name, THRESHOLD, Evaluation(name, normal, ()), ())


def found(share: float) -> np.ndarray:
    """At each of ten onsets this share of a hundred faults."""
    return np.tile(np.arange(100) < 100 * share, (10, 1))


def picked(own: tuple[int, float], rival: tuple[int, float]) -> tuple[str, str]:
    """Of alarms in twenty days, and shares of the faults that are found."""
    cards = {"vae": card("vae", own[0]), "window_pca": card("window_pca", rival[0])}
    shares = {"vae": found(own[1]), "window_pca": found(rival[1])}
    return pick_challenger("vae", cards, shares, seed=0)


def test_the_asset_s_own_detector_stays_where_the_rival_is_no_better() -> None:
    assert picked((2, 0.9), (2, 0.9)) == ("vae", "")
    assert picked((2, 0.9), (2, 0.915)) == ("vae", "")
    assert picked((2, 0.5), (12, 0.9)) == ("vae", "")


def test_a_rival_that_finds_more_beyond_doubt_is_the_challenger() -> None:
    who, why = picked((2, 0.8), (2, 0.9))
    assert who == "window_pca"
    assert why.startswith("window_pca finds 10.0 points of 1000 injected faults more (90% interval")
    assert why.endswith("than vae, and keeps its budget: it is the challenger.")


def test_a_rival_that_keeps_the_budget_is_taken_where_the_own_one_does_not() -> None:
    who, why = picked((12, 0.9), (2, 0.7))
    assert who == "window_pca"
    assert "vae raises more false alarms than its budget" in why
    assert picked((12, 0.9), (12, 0.9)) == ("vae", "")


def test_what_may_be_chance_is_no_reason() -> None:
    """All of the difference comes from one onset of ten."""
    cards = {name: card(name) for name in ("vae", "pca")}
    lucky = found(0.5)
    lucky[0] = True
    assert pick_challenger("vae", cards, {"vae": found(0.5), "pca": lucky}, seed=0) == ("vae", "")
