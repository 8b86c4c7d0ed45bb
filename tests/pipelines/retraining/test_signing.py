"""A retraining without the key that devices trust, and what finishes it where the key is."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from faultwatch_edge.bundle import read_bundle, write_bundle
from faultwatch_edge.keys import load_private_key, load_trusted_keys, make_key_pair
from pipelines.gate_verdict import Verdict, note_verdict
from pipelines.judging import judge_version
from pipelines.promote import promote_version
from pipelines.registry import RegistryError
from pipelines.release import mirror_champion
from pipelines.settings import SettingsError
from pipelines.sign import sign_asset


def sign(pump: Any) -> str:
    return sign_asset(pump.asset, pump.settings, clock=lambda: datetime.now(UTC))


def test_signing_without_a_key_says_which_one_is_missing(pump: Any) -> None:
    with pytest.raises(SettingsError, match="FAULTWATCH_RELEASE_KEY is not set"):
        sign(pump)


@pytest.mark.slow
def test_what_the_gate_allows_waits_for_the_key_and_a_forged_word_of_the_gate_is_not_enough(
    pump: Any,
) -> None:
    both = pump.settings
    pump.settings = both.model_copy(
        update={"release_key": pump.folder / "theirs" / "faultwatch.key"}
    )
    pump.run(5_000)
    for _ in range(2):
        waiting = pump.retrain()
        assert (waiting.outcome, waiting.version, pump.champion) == ("waits", 1, None)
        assert "signing is for whoever may read " in waiting.reason
    make_key_pair(pump.folder / "theirs")
    assert sign(pump).startswith("version 1, promoted: ")
    assert pump.champion == 1
    assert pump.registry.champions()[0].by == "sign"
    path = mirror_champion(pump.registry, pump.settings)
    assert path is not None
    read_bundle(path, trusted_keys=load_trusted_keys([pump.settings.release_public_key_file]))
    assert sign(pump).startswith("nothing to sign")

    pump.run(300, fault=(5_100, 5_112))
    pump.label(5_100, 5_112, "true_fault")
    registry = pump.registry
    register_deaf(pump)
    assert sign(pump).startswith("nothing to sign")
    forged = Verdict("promoted", "trust me", datetime.now(UTC), 1)
    note_verdict(registry, registry.version_of("2"), forged, "note")
    refused = sign(pump)
    assert refused.startswith("version 2, refused here: ")
    assert "it misses 1 of the 1 labelled faults" in refused
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("pipelines.sign.judge_version")  # what was refused is not judged again
        assert sign(pump) == refused
    assert pump.champion == 1


@pytest.mark.slow
def test_what_a_person_promoted_while_the_gate_judged_stays_as_the_person_said(
    pump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = pump.settings
    theirs = pump.folder / "theirs" / "faultwatch.key"
    pump.settings = both.model_copy(update={"release_key": theirs})
    pump.run(5_000)
    assert pump.retrain().outcome == "waits"
    make_key_pair(theirs.parent)

    def judge_slowly(*asked: Any) -> Any:
        said = judge_version(*asked)
        now = datetime.now(UTC)
        promote_version(pump.registry, pump.settings, "1", at=now, by="anna", reason="seen it")
        return said

    monkeypatch.setattr("pipelines.sign.judge_version", judge_slowly)
    assert sign(pump) == "version 1 waits: the champion changed while it was judged"
    assert [one.by for one in pump.registry.champions()] == ["anna"]

    pump.settings = both
    with pytest.raises(RegistryError, match="and FAULTWATCH_RELEASE_KEY is not set"):
        promote_version(
            pump.registry, both, "1", at=datetime.now(UTC), by="kim", reason="no key here"
        )


def register_deaf(pump: Any) -> None:
    """Whoever owns the trainings' key signs a detector that says nothing for ten hours."""
    registry = pump.registry
    first = registry.version_of("1")
    trusted = load_trusted_keys([pump.settings.public_key_file])
    bundle = read_bundle(registry.download(first, pump.folder / "first"), trusted_keys=trusted)
    alarm = replace(bundle.manifest.alarm, on_delay_s=36_000.0)
    file = pump.folder / "small_pump-2.fwb"
    write_bundle(
        file,
        manifest=replace(bundle.manifest, version=2, alarm=alarm),
        onnx=bundle.onnx,
        golden=bundle.golden,
        private_key=load_private_key(pump.settings.signing_key_file),
    )
    with registry.runs.start("deaf", {}) as run:
        registry.runs.log_parameters({"normal_to": registry.learned_to(first).isoformat()})
        registry.register(run, file, graph=bundle.onnx, version=2)
