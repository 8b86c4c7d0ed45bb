import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from faultwatch_edge.errors import TrustError
from faultwatch_edge.keys import key_id, load_private_key, load_trusted_keys, make_key_pair


def test_key_pair_belongs_together_and_the_private_key_is_its_owners(tmp_path: Path) -> None:
    private, public = make_key_pair(tmp_path / "new")
    (trusted,) = load_trusted_keys([public])
    assert key_id(load_private_key(private).public_key()) == key_id(trusted)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert len(key_id(trusted)) == 16


@pytest.mark.parametrize("name", ["faultwatch.key", "faultwatch.pub"])
def test_key_is_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(TrustError, match=f"{name}: is already there"):
        make_key_pair(tmp_path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrustError, match="cannot write a key pair"):
        make_key_pair(tmp_path / "file")


def test_folder_gives_each_of_its_public_keys_once(tmp_path: Path) -> None:
    _, one = make_key_pair(tmp_path / "one")
    _, two = make_key_pair(tmp_path / "two")
    folder = tmp_path / "trusted"
    folder.mkdir()
    for number, path in enumerate([one, two, two]):
        (folder / f"{number}.pub").write_bytes(path.read_bytes())
    (folder / "notes.txt").write_text("no key")
    assert len(load_trusted_keys([folder, one])) == 2


def test_no_key_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="no trusted key in"):
        load_trusted_keys([tmp_path])
    with pytest.raises(TrustError, match="no trusted key in an empty list"):
        load_trusted_keys([])


def test_private_key_on_a_device_is_refused(key_folder: Path) -> None:
    with pytest.raises(TrustError, match="is a private key and must not be here"):
        load_trusted_keys([key_folder / "faultwatch.key"])


def test_files_that_are_no_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pub"
    with pytest.raises(TrustError, match="cannot be read \\(No such file"):
        load_trusted_keys([path])
    path.write_text("hello")
    with pytest.raises(TrustError, match="is not a public key"):
        load_trusted_keys([path])
    with pytest.raises(TrustError, match="is not an unencrypted PEM private key"):
        load_private_key(path)


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pub"
    curve = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        curve.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(TrustError, match="expected an Ed25519 public key"):
        load_trusted_keys([path])
    path.write_bytes(
        x25519.X25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(TrustError, match="expected an Ed25519 private key"):
        load_private_key(path)


def test_encrypted_private_key_is_refused(tmp_path: Path, key_folder: Path) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(
        load_private_key(key_folder / "faultwatch.key").private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    with pytest.raises(TrustError, match="is not an unencrypted"):
        load_private_key(path)
