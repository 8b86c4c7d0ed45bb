"""A version on the devices that go first: who gets it, what ends it, and what a kill leaves."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from faultwatch_edge.bundle import Bundle
from pipelines.cli import main
from pipelines.promote import end_trial, promote_version, roll_back_champion, try_version
from pipelines.registry import Registry, RegistryError
from pipelines.retrain import is_finished, why_wait

Decide = Callable[..., Any]
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def registry(pump: Any, bundle: Bundle, tmp_path: Path) -> Registry:
    """Three versions; nobody has promoted one."""
    found: Registry = pump.registry
    for version in (1, 2, 3):
        file = tmp_path / f"small_pump-{version}.fwb"
        file.write_bytes(b"signed")
        with found.runs.start(f"trained {version}", {}) as run:
            found.register(run, file, graph=bundle.onnx, version=version)
    return found


@pytest.fixture
def decide(registry: Registry, pump: Any) -> Decide:
    """Does what a person decides, an hour after the decision before."""
    hours = iter(range(100))

    def do(what: Callable[..., Any], *version: str) -> Any:
        at = NOW + timedelta(hours=next(hours))
        return what(registry, pump.settings, *version, at=at, by="anna", reason="tried")

    return do


def devices(registry: Registry) -> tuple[int, int]:
    """What devices run that follow `champion`, and those that follow `canary`."""
    champion, canary = map(registry.version_of, ("champion", "canary"))
    return int(champion.version), int(canary.version)


def test_a_canary_gets_a_version_before_the_others_and_a_promotion_gives_it_to_all(
    registry: Registry, decide: Decide
) -> None:
    decide(promote_version, "1")
    assert devices(registry) == (1, 1)
    decide(try_version, "2")
    assert devices(registry) == (1, 2)
    decide(promote_version, "canary")
    assert devices(registry) == (2, 2)
    assert registry.trial() is None
    decide(roll_back_champion)
    assert devices(registry) == (1, 1)


def test_a_trial_that_is_taken_back_leaves_the_champion_and_is_not_promoted_by_a_retraining(
    registry: Registry, decide: Decide, pump: Any
) -> None:
    decide(promote_version, "1")
    decide(try_version, "2")
    assert why_wait(registry, pump.settings) == "version 2 is on trial with the canaries"
    decide(end_trial)
    assert devices(registry) == (1, 1)
    assert why_wait(registry, pump.settings) == ""
    assert is_finished(registry, registry.version_of("2"))
    assert not is_finished(registry, registry.version_of("3"))
    with pytest.raises(RegistryError, match="the canaries run the champion; there is nothing to"):
        decide(end_trial)


def test_while_one_version_is_on_trial_no_other_is_tried_or_promoted(
    registry: Registry, decide: Decide
) -> None:
    with pytest.raises(RegistryError, match="there is no champion to go back to; promote one"):
        decide(try_version, "2")
    decide(promote_version, "1")
    with pytest.raises(RegistryError, match="version 1 cannot go on trial: it is the champion"):
        decide(try_version, "1")
    decide(try_version, "2")
    for what in (try_version, promote_version):
        with pytest.raises(RegistryError, match=r"version 2 is on trial .*roll-back --canary"):
            decide(what, "3")
    assert devices(registry) == (1, 2)


def test_a_champion_that_is_rolled_back_takes_the_canaries_with_it(
    registry: Registry, decide: Decide
) -> None:
    for version in ("1", "2"):
        decide(promote_version, version)
    decide(try_version, "3")
    decide(roll_back_champion)
    assert devices(registry) == (1, 1)


def test_a_trial_that_was_killed_half_way_is_finished(registry: Registry, decide: Decide) -> None:
    decide(promote_version, "1")
    decide(try_version, "2")
    registry.client.delete_registered_model_alias("small_pump", "canary")
    registry.settle()
    assert devices(registry) == (1, 2)
    decide(end_trial)
    registry.client.set_registered_model_alias("small_pump", "canary", "3")
    registry.settle()
    assert devices(registry) == (1, 1)


def test_who_has_not_the_key_of_devices_finishes_all_but_what_devices_follow(
    registry: Registry, decide: Decide, pump: Any, tmp_path: Path
) -> None:
    decide(promote_version, "1")
    for alias in ("champion", "challenger"):
        registry.client.delete_registered_model_alias("small_pump", alias)
    apart = pump.settings.model_copy(update={"release_key": tmp_path / "theirs.key"})
    assert registry.finish_before(apart) == []
    assert int(registry.version_of("challenger").version) == 3
    assert registry.champion_version() is None
    assert registry.finish_before(pump.settings) == []
    assert devices(registry) == (1, 1)


def test_what_is_not_later_than_the_newest_decision_is_refused_and_changes_nothing(
    registry: Registry, pump: Any
) -> None:
    promote_version(registry, pump.settings, "1", at=NOW, by="anna", reason="good")
    for at in (NOW, NOW - timedelta(days=1)):
        with pytest.raises(RegistryError, match="version 1 became the champion at 2026-05-01T00:0"):
            promote_version(registry, pump.settings, "2", at=at, by="anna", reason="better")
    assert devices(registry) == (1, 1)
    assert [one.version for one in registry.promotions()] == [1]


def test_a_promotion_by_a_person_while_another_process_settles_stays(
    registry: Registry, decide: Decide, pump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(promote_version, "1")
    slow, read = pump.registry, pump.registry.promotions

    def read_before_the_person_promotes() -> Any:
        monkeypatch.setattr(slow, "promotions", read)
        found = read()
        decide(promote_version, "2")
        return found

    monkeypatch.setattr(slow, "promotions", read_before_the_person_promotes)
    slow.settle()
    assert devices(registry) == (2, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_harness")
def test_the_verbs_say_who_tried_what_and_why(
    registry: Registry, pump: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("FAULTWATCH_HOME", str(pump.settings.home))
    who = ("--by", "anna", "--reason", "first on line 2")
    asset = str(pump.path)
    promote_version(registry, pump.settings, "1", at=NOW, by="kim", reason="the first")
    assert main(["promote", asset, "--version", "2", "--canary", *who]) == 0
    assert "Version 2 is what devices run that follow `canary`." in capsys.readouterr().out
    assert main(["champions", asset, "--json"]) == 0
    newest, first = json.loads(capsys.readouterr().out)
    assert (newest["version"], newest["alias"], newest["by"]) == (2, "canary", "anna")
    assert (first["version"], first["alias"], first["reason"]) == (1, "champion", "the first")
    page = registry.client.get_registered_model("small_pump").description
    assert page.split("\n")[2].startswith("| 2 | canary | ")
    assert main(["roll-back", asset, "--canary", *who]) == 0
    assert "Version 1 is what devices run that follow `canary` again." in capsys.readouterr().out
    assert devices(registry) == (1, 1)
