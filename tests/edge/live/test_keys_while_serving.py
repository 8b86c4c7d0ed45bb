"""Whom the agent trusts is read anew while it serves."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge.keys import load_private_key, make_key_pair

pytestmark = pytest.mark.slow


@pytest.fixture
def new_key(tmp_path: Path) -> Ed25519PrivateKey:
    private, _ = make_key_pair(tmp_path / "new")
    return load_private_key(private)


@pytest.fixture
def trusted(agent: Any, key_folder: Path) -> Path:
    """The folder of keys that the agent trusts; its bundles are in the folder ``pump_07``."""
    folder = Path(agent.config.parent)
    trusted, bundles = folder / "trusted", folder / "pump_07"
    trusted.mkdir()
    bundles.mkdir()
    shutil.copy(key_folder / "faultwatch.pub", trusted / "old.pub")
    text = agent.config.read_text().replace(str(key_folder / "faultwatch.pub"), str(trusted))
    start, end = text.index('bundle = "'), text.index('topic = "plant')
    agent.config.write_text(f'{text[:start]}bundle = "{bundles}"\n{text[end:]}')
    return trusted


def test_one_key_is_changed_for_another_without_a_restart(
    agent: Any,
    trusted: Path,
    new_key: Ed25519PrivateKey,
    write_version: Callable[..., Path],
    wait_for: Any,
) -> None:
    bundles = trusted.parent / "pump_07"
    write_version(bundles, 3)
    agent.start()
    wait_for(lambda: "connected to the broker" in agent.said, "the agent")
    write_version(bundles, 4, key=new_key)
    wait_for(lambda: "pump_07-4.fwb: signed with key" in agent.said, "the refusal")
    shutil.copy(trusted.parent / "new" / "faultwatch.pub", trusted / "new.pub")
    (trusted / "old.pub").unlink()
    wait_for(lambda: "version 3 makes way for version 4" in agent.said, "the new key")
    assert agent.said.count("pump_07-3.fwb goes on") == 1
    assert agent.end(signal.SIGTERM) == 0
