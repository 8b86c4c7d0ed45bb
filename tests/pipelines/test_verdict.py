from dataclasses import replace
from datetime import UTC, datetime
from math import isnan

import pytest

from faultwatch_edge.certificate import Certificate
from faultwatch_edge.manifest import ThresholdSpec
from pipelines.injected import InjectedFaults
from pipelines.replay import Evaluation, FoundFault, NormalRunning
from pipelines.threshold import rate_interval
from pipelines.verdict import (
    Scorecard,
    certificate_metrics,
    describe,
    fault_table,
    flat,
    injected_table,
    metrics_of,
    run_metrics,
    tables_of,
)

ONSET = datetime(2026, 1, 1, tzinfo=UTC)
THRESHOLD = ThresholdSpec(2.75, 0.1, 0.08, (0.02, 0.2), 40.0, extrapolated=False)


def make_card(
    *,
    name: str = "vae",
    delays_s: tuple[float | None, ...] = (600.0, None, 1800.0),
    alarms: int = 1,
    injected_found: int = 3,
) -> Scorecard:
    faults = tuple(
        FoundFault(f"fault {place}", ONSET, delay_s, 0.5, ("a", "b", "c", "d") if delay_s else ())
        for place, delay_s in enumerate(delays_s)
    )
    injected = (
        InjectedFaults("bias", 4, injected_found, 900.0 if injected_found else None, 2, 3),
        InjectedFaults("stuck", 4, 0, None, 0, 0),
    )
    normal = NormalRunning(10.0, alarms, rate_interval(alarms, 10.0), 0.002, (0.001, 0.004))
    return Scorecard(name, THRESHOLD, Evaluation(name, normal, faults), injected)


def headline(note: str) -> str:
    return note.splitlines()[0]


def test_the_shares_and_the_median_are_those_of_the_faults() -> None:
    card = make_card()
    assert card.evaluation.found_share == pytest.approx(2 / 3)
    assert card.median_delay_h == pytest.approx(1200 / 3600)
    assert card.injected_found_share == pytest.approx(3 / 8)


def test_metrics_have_the_threshold_its_promise_and_what_came_of_it() -> None:
    metrics = metrics_of(make_card())
    assert metrics["threshold"] == 2.75
    assert metrics["false_alarms.budget_per_day"] == 0.1
    assert metrics["false_alarms.held_out_per_day"] == 0.1
    assert metrics["faults.found_share"] == pytest.approx(2 / 3)
    assert metrics["injected.bias.found_share"] == 0.75
    assert metrics["injected.bias.first_hit_share"] == 0.5
    assert metrics["injected.bias.median_delay_h"] == 0.25
    assert "injected.stuck.median_delay_h" not in metrics


def test_rivals_have_metrics_of_their_own() -> None:
    rivals = flat([make_card(name="pca"), make_card(name="window_pca")])
    assert rivals["rival.pca.threshold"] == 2.75
    assert len(rivals) == 2 * len(metrics_of(make_card()))


def test_the_fault_table_has_a_row_a_fault_and_a_column_a_detector() -> None:
    table = fault_table([make_card(), make_card(name="pca", delays_s=(None, 60.0, 90.0))])
    assert table["fault"].to_list() == ["fault 0", "fault 1", "fault 2"]
    assert table["vae, min"].to_list() == [10.0, None, 30.0]
    assert table["pca, min"].to_list() == [None, 1.0, 1.5]
    assert table["contributors"].to_list() == ["a, b, c", "", "a, b, c"]


def test_the_injected_table_has_a_row_a_kind_and_detector() -> None:
    table = injected_table([make_card(), make_card(name="pca", injected_found=0)])
    assert table["found"].to_list() == ["3 of 4", "0 of 4", "0 of 4", "0 of 4"]
    assert table["right channel first"].to_list()[0] == "2 of 4"
    assert table["median delay, min"].to_list() == [15.0, None, None, None]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "As good as"),
        ({"delays_s": (600.0, 600.0, 1800.0)}, "Better than"),
        ({"alarms": 0}, "Better than"),
        ({"injected_found": 4}, "Better than"),
        ({"delays_s": (None, None, None)}, "Worse than"),
        ({"alarms": 2}, "Worse than"),
        ({"alarms": 2, "injected_found": 4}, "Neither better nor worse than"),
    ],
)
def test_the_note_says_first_whether_it_is_better(changes: dict[str, object], verdict: str) -> None:
    champion = make_card(name="champion 3")
    note = describe([make_card(**changes)], champion)  # type: ignore[arg-type]
    assert headline(note).startswith(f"**{verdict} champion 3.")


def test_without_champion_the_note_says_so() -> None:
    assert headline(describe([make_card()], None)).startswith("**No champion")


def test_the_note_has_a_row_a_detector() -> None:
    note = describe([make_card(), make_card(name="pca")], make_card(name="champion 3"))
    rows = [line.split("|")[1].strip() for line in note.splitlines() if line.startswith("| ")]
    assert rows[0] == "detector"
    assert sorted(rows[2:]) == ["champion 3", "pca", "vae"]
    assert note.count("2 of 3 |") == 3


def test_the_note_says_what_came_of_the_promise_of_every_detector() -> None:
    note = describe([make_card(), make_card(name="pca", alarms=30)], None)
    assert "Budget 0.1 false alarms a day." in note
    assert "In 10.0 days of normal running that nothing was learned from: 0.10 alarms a day" in note
    assert "The promise, 0.1 a day, lies inside: these days bear it out." in note
    (vae,) = (line for line in note.splitlines() if line.startswith("| vae"))
    (pca,) = (line for line in note.splitlines() if line.startswith("| pca"))
    assert "| 0.1: inside | 0.2 % (0.1 % to 0.4 %) |" in vae
    assert "| 0.1: more than promised | " in pca


def test_metrics_say_whether_the_promise_was_kept_and_what_the_data_lack() -> None:
    metrics = metrics_of(make_card(alarms=30))
    assert metrics["promise.inside"] == 0.0
    assert metrics["promise.days_to_check"] == metrics["promise.days_to_support"] == 0.0
    assert metrics["anomalous_share.held_out_low"] == 0.001
    assert flat([make_card(name="pca")])["rival.pca.promise.inside"] == 1.0


def test_no_faults_are_no_figures() -> None:
    card = replace(make_card(delays_s=()), injected=())
    assert isnan(metrics_of(card)["faults.found_share"])
    assert "| 0 of 0 | - |" in describe([card], None)


def test_the_champion_has_metrics_of_its_own_beside_those_of_the_run() -> None:
    champion = make_card(name="champion 3", alarms=30)
    metrics = run_metrics([make_card()], None, champion)
    assert metrics["false_alarms.held_out_per_day"] == 0.1
    assert metrics["champion.false_alarms.held_out_per_day"] == 3.0
    assert not [name for name in run_metrics([make_card()], None) if name.startswith("champion")]


def test_the_certificate_has_a_row_a_channel_and_kind_and_names_the_rest(
    certificate: Certificate,
) -> None:
    tables = tables_of([make_card()], certificate)
    assert list(tables) == ["faults", "injected_faults", "certificate"]
    table = tables["certificate"]
    assert table["channel"].to_list() == ["flow", "flow", "mood", "mood", "valve"]
    assert table["smallest"].to_list() == [
        "\N{LESS-THAN OR EQUAL TO} 0.5",
        "found",
        "> 16",
        "not found",
        "not certified, constant in normal running",
    ]
    assert table["size"].to_list() == [1.0, None, None, None, None]
    assert table["median delay, min (within 120)"].to_list()[:3] == [10.0, 15.0, 1.0]
    assert table["found at so many of 10 onsets (8 needed)"].to_list() == [10, 9, 3, 0, None]
    assert list(tables_of([make_card()], None)) == ["faults", "injected_faults"]


def test_the_champion_s_certificate_stands_beside_the_challenger_s(
    certificate: Certificate,
) -> None:
    table = tables_of([make_card()], certificate, certificate)["certificate"]
    assert table["champion's smallest"].to_list() == [*table["smallest"].to_list()[:-1], None]
    assert "champion's smallest" not in tables_of([make_card()], certificate)["certificate"].columns


def test_the_metrics_of_a_certificate_sum_up_each_kind(certificate: Certificate) -> None:
    assert certificate_metrics(None) == {}
    metrics = certificate_metrics(certificate)
    assert metrics["certificate.within_h"] == 2.0
    assert metrics["certificate.untouched_alarms_per_day"] == 0.05
    assert metrics["certificate.bias.found_share"] == 0.5
    assert metrics["certificate.bias.median_sd"] == 0.5
    assert metrics["certificate.dropout.found_share"] == 0.5
    assert "certificate.dropout.median_sd" not in metrics
