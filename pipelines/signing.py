"""Sign what devices are given with the key that they trust, where trainings sign with another."""

import tempfile
from dataclasses import replace
from pathlib import Path

from faultwatch_edge.bundle import Bundle, read_bundle, write_bundle
from faultwatch_edge.detector import Detector, check_golden
from faultwatch_edge.keys import key_id, load_private_key, load_trusted_keys
from pipelines.registry import RegisteredVersion, Registry, RegistryError, is_signed_anew
from pipelines.settings import Settings


def sign_version(registry: Registry, settings: Settings, version: RegisteredVersion) -> None:
    """Sign a registered bundle anew, and keep the file with its version, for devices to fetch.

    Comes before the version is written down as champion or canary, so that whatever is killed, no
    alias stands for a file that devices refuse. The same bundle and key give the same file: doing
    it again changes nothing. Without `Settings.release_key` the training's signature is enough.

    Args:
        registry: of the asset.
        settings: the public key of trainings, and the private one that devices trust.
        version: the registered bundle.

    Raises:
        RegistryError: it is not what was registered, is of another asset or version, or no key is
            named though the champion was signed with one.
        faultwatch_edge.errors.EdgeError: no training signed it, a device would refuse it, or the
            key cannot be read.
    """
    if settings.release_key is None:
        _check_needless(registry)
        return
    key = load_private_key(settings.release_key)
    with tempfile.TemporaryDirectory() as scratch:
        candidate = registry.download(version, Path(scratch) / "candidate")
        bundle = read_bundle(candidate, trusted_keys=load_trusted_keys([settings.public_key_file]))
        _check_fit(registry, version, bundle)
        check_golden(Detector.from_bundle(bundle), bundle)
        signed = Path(scratch) / candidate.name
        write_bundle(
            signed,
            manifest=replace(bundle.manifest, key_id=key_id(key.public_key())),
            onnx=bundle.onnx,
            golden=bundle.golden,
            private_key=key,
            certificate=bundle.certificate,
        )
        registry.keep_signed(version, signed)


def _check_needless(registry: Registry) -> None:
    """Devices that took a champion of another key may trust that one only."""
    champion = registry.champion()
    if champion is not None and is_signed_anew(champion):
        raise RegistryError(
            f"{registry.asset_id}: the champion, version {champion.version}, is signed with a key "
            "apart from the trainings', and FAULTWATCH_RELEASE_KEY is not set; set it to that key"
        )


def _check_fit(registry: Registry, version: RegisteredVersion, bundle: Bundle) -> None:
    manifest = bundle.manifest
    if (manifest.asset_id, manifest.version) != (registry.asset_id, int(version.version)):
        raise RegistryError(
            f"{registry.asset_id}: version {version.version} holds a bundle of "
            f"{manifest.asset_id}, version {manifest.version}; it is not signed, train again"
        )
