"""Numbers that the registry has used up, and bundles that are not what they say."""

from pathlib import Path
from typing import Any

import pytest

from faultwatch_edge.bundle import Bundle
from pipelines.registry import RegistryError


def register(pump: Any, bundle: Bundle, version: int) -> int:
    """As a training does, under the number that it was given at its start."""
    file: Path = pump.folder / f"small_pump-{version}.fwb"
    file.write_bytes(b"a bundle")
    registry = pump.registry
    with registry.runs.start(f"trained {version}", {}) as run:
        return int(registry.register(run, file, graph=bundle.onnx, version=version))


def test_a_number_that_is_used_up_ends_one_training_and_no_later_one(
    pump: Any, bundle: Bundle
) -> None:
    registry = pump.registry
    assert registry.next_version() == 1
    register(pump, bundle, 1)
    assert registry.next_version() == 2
    register(pump, bundle, 2)
    with pytest.raises(RegistryError, match="another training registered version 2"):
        register(pump, bundle, 2)
    with pytest.raises(RegistryError, match=r"no registered bundle '3' \(versions: 2, 1\)"):
        registry.version_of("3")
    assert registry.next_version() == 4
    assert register(pump, bundle, 4) == 4
    assert [int(one.version) for one in registry.versions()] == [4, 2, 1]


def test_a_version_whose_bundle_says_another_number_is_never_the_challenger(
    pump: Any, bundle: Bundle
) -> None:
    """What a training leaves that was killed between the two."""
    registry, client = pump.registry, pump.registry.client
    register(pump, bundle, 1)
    first = registry.version_of("1")
    tags = {"bundle": "small_pump-1.fwb"}
    client.create_model_version("small_pump", first.source, first.run_id, tags=tags)
    registry.settle()
    assert int(registry.version_of("challenger").version) == 1
    assert registry.next_version() == 3
    client.delete_registered_model_alias("small_pump", "challenger")
    registry.settle()
    assert int(registry.version_of("challenger").version) == 1
