"""A small pump is trained again and again: what is promoted, and what a kill leaves."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.gate_verdict import Verdict, note_verdict, verdict_of
from pipelines.promote import promote_version, roll_back_champion
from pipelines.registry import RegistryError
from pipelines.release import mirror_champion


def released(pump: Any) -> list[str]:
    return sorted(path.name for path in (pump.settings.releases / "small_pump").glob("*"))


def note_of(pump: Any, version: int) -> str:
    registered = pump.registry.version_of(str(version))
    run = pump.registry.client.get_run(registered.run_id)
    return str(run.data.tags["mlflow.note.content"])


@pytest.mark.slow
def test_what_is_better_is_promoted_and_what_loses_a_fault_is_refused(pump: Any) -> None:
    pump.run(5_000)
    first = pump.retrain()
    assert (first.outcome, first.version, pump.champion) == ("promoted", 1, 1)
    assert first.reason.startswith("the first: ")
    assert note_of(pump, 1).startswith("**Version 1 is promoted: the first: ")
    assert pump.retrain().outcome == "nothing new"

    pump.run(300, fault=(5_100, 5_112))
    pump.label(5_100, 5_112, "true_fault")
    pump.set("[alarm]", "[alarm]\non_delay_s = 36000.0")
    worse = pump.retrain()
    assert (worse.outcome, worse.version, pump.champion) == ("refused", 2, 1)
    assert "it misses 1 of the 1 labelled faults that are found" in worse.reason
    assert worse.reason.endswith("by version 1, the champion")
    assert worse.note.split("\n")[0] in note_of(pump, 2)
    verdict = verdict_of(pump.registry.version_of("2"))
    assert verdict is not None
    assert verdict.outcome == "refused"
    again = pump.retrain()
    assert again.outcome == "nothing new"
    assert worse.reason in again.reason

    pump.set("\non_delay_s = 36000.0", "")
    better = pump.retrain()
    assert (better.outcome, better.version, pump.champion) == ("promoted", 3, 3)
    history = [(one.version, one.by) for one in pump.registry.champions()]
    assert history == [(3, "retrain"), (1, "retrain")]
    page = pump.registry.client.get_registered_model("small_pump").description
    assert page.split("\n")[2].startswith("| 3 | ")
    assert better.reason in page


@pytest.mark.slow
def test_a_lasting_change_is_learned_only_once_a_person_called_it_normal(pump: Any) -> None:
    pump.run(4_000)
    assert pump.retrain().outcome == "promoted"
    pump.run(4_000, shift=1.0)
    left = pump.retrain()
    assert (left.outcome, pump.champion) == ("left to a person", 1)
    assert "nobody has said whether they were right" in left.reason
    pump.label(4_000, 8_000, "nuisance")
    learned = pump.retrain()
    assert (learned.outcome, pump.champion) == ("promoted", 3)
    assert "people said that this was normal running" in learned.reason


@pytest.mark.slow
def test_samples_that_came_wrong_are_not_learned(pump: Any) -> None:
    pump.run(4_000)
    assert pump.retrain().outcome == "promoted"
    pump.set('unit = "m3/h"', 'unit = "m3/h"\nrange = [0.0, 20.0]')
    pump.run(500, shift=273.0)
    unfit = pump.retrain()
    assert (unfit.outcome, unfit.version) == ("unfit samples", None)
    assert "channel 'flow' is outside its range in 30 % of its values" in unfit.reason
    assert len(pump.registry.versions()) == 1


@pytest.mark.slow
def test_a_promotion_that_was_killed_half_way_is_finished_and_an_undone_one_stays_undone(
    pump: Any,
) -> None:
    """Killed after the gate spoke; killed after it was written down and before the alias moved."""
    pump.run(4_000)
    assert pump.retrain().outcome == "promoted"
    registry, client = pump.registry, pump.registry.client
    first = registry.version_of("1")
    client.delete_registered_model_alias("small_pump", "champion")
    client.delete_model_version_tag(
        "small_pump", "1", next(tag for tag in first.tags if tag.startswith("champion_since."))
    )
    assert registry.champion_version() is None
    with pytest.raises(RegistryError, match=r"no registered bundle 'champion' \(versions: 1\)"):
        registry.version_of("champion")
    assert pump.retrain().outcome == "promoted"
    assert pump.champion == 1

    client.delete_registered_model_alias("small_pump", "champion")
    client.delete_registered_model_alias("small_pump", "challenger")
    assert pump.retrain().outcome == "nothing new"
    assert (pump.champion, int(registry.version_of("challenger").version)) == (1, 1)

    run = client.get_run(first.run_id)
    source = f"{run.info.artifact_uri}/bundle"
    tags = {"bundle": "small_pump-2.fwb", "bundle_sha256": first.tags["bundle_sha256"]}
    client.create_model_version("small_pump", source, first.run_id, tags=tags)
    note_verdict(
        registry,
        registry.version_of("2"),
        Verdict("promoted", "better", datetime.now(UTC), 1),
        "note",
    )
    promote_version(
        registry, pump.settings, "2", at=datetime.now(UTC), by="retrain", reason="better"
    )
    roll_back_champion(
        registry, pump.settings, at=datetime.now(UTC), by="anna", reason="alarms on every start"
    )
    assert pump.retrain().outcome == "nothing new"
    assert pump.champion == 1


@pytest.mark.slow
def test_the_folder_of_releases_holds_the_champion_alone(pump: Any) -> None:
    assert mirror_champion(pump.registry, pump.settings) is None
    pump.run(4_000)
    pump.retrain()
    path = mirror_champion(pump.registry, pump.settings)
    assert path is not None
    assert path == pump.settings.releases / "small_pump" / "small_pump-1.fwb"
    path.with_name("small_pump-9.fwb").write_bytes(b"rolled back")
    mirror_champion(pump.registry, pump.settings)
    assert released(pump) == ["faultwatch.pub", "small_pump-1.fwb"]
