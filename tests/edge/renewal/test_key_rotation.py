"""Whom a device trusts may change while it runs; what a key that is gone signed is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge.errors import BundleError
from faultwatch_edge.keys import key_id

NOW_US = 1_790_000_000 * 1_000_000
NEW = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROLL_BACK = b'{"verb": "roll_back", "by": "Kim", "reason": "cries wolf"}'
Release = Callable[..., Path]


def trust_new(device: Any) -> Path:
    pem = NEW.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path = Path(device.trusted / "new.pub")
    path.write_bytes(pem)
    return path


@pytest.fixture
def refusal_of_old(private_key: Ed25519PrivateKey) -> str:
    old, new = key_id(private_key.public_key()), key_id(NEW.public_key())
    return f"signed with key {old}, expected one of the trusted {new}; add the signer's .pub file"


@pytest.fixture
def refusal_of_new(private_key: Ed25519PrivateKey) -> str:
    old, new = key_id(private_key.public_key()), key_id(NEW.public_key())
    return f"signed with key {new}, expected one of the trusted {old}; add the signer's .pub file"


def test_a_bundle_that_came_before_its_key_is_put_to_work_when_the_key_is_there(
    device: Any, release: Release, refusal_of_new: str
) -> None:
    release(4, key=NEW)
    device.look()
    device.look()
    (sentence,) = device.notes
    assert refusal_of_new in sentence
    assert device.version == 3
    trust_new(device)
    device.look()
    assert device.version == 4


def test_what_a_withdrawn_key_signed_is_taken_no_more_and_not_gone_back_to(
    device: Any, release: Release, refusal_of_old: str
) -> None:
    trust_new(device)
    release(4, key=NEW)
    device.look()
    (device.trusted / "faultwatch.pub").unlink()
    release(5)
    device.look()
    assert refusal_of_old in device.notes[-1]
    (refused,) = device.watched.obey(ROLL_BACK, NOW_US)
    assert refusal_of_old in json.loads(refused.body)["reason"]
    assert device.version == 4


def test_a_bundle_whose_key_is_withdrawn_runs_on_and_is_refused_at_the_next_start(
    device: Any, release: Release, refusal_of_new: str
) -> None:
    key = trust_new(device)
    release(4, key=NEW)
    device.look()
    key.unlink()
    device.look()
    device.keep()
    assert device.version == 4
    with pytest.raises(BundleError, match=refusal_of_new):
        device.start()
    release(5)
    device.start()
    assert device.version == 5
    assert f"{refusal_of_new} if you trust it; the newest of" in device.notes[-2]


def test_without_any_key_the_running_bundle_goes_on_and_it_is_said_once(
    device: Any, release: Release
) -> None:
    release(4)
    key = device.trusted / "faultwatch.pub"
    key.rename(device.trusted / "away")
    device.look()
    device.look()
    (sentence,) = device.notes
    assert "no trusted key in" in sentence
    assert sentence.endswith("; pump_07-3.fwb goes on")
    (device.trusted / "away").rename(key)
    device.look()
    assert device.version == 4
