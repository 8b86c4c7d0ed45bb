"""Release: the champion's bundle, checked as a device checks it, into a folder."""

import shutil
import tempfile
from pathlib import Path

from prefect import flow

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.detector import Detector, check_golden
from faultwatch_edge.keys import load_trusted_keys
from pipelines.config import load_asset
from pipelines.processes import has_ended, this_process
from pipelines.registry import Registry, is_signed_anew
from pipelines.settings import Settings
from pipelines.tracking import answered


def release_bundle(registry: Registry, settings: Settings, alias: str, folder: Path) -> Path:
    """Copy a registered bundle and its public key into a folder, for devices to take.

    Args:
        registry: of the asset.
        settings: where the public key is.
        alias: ``champion``, ``canary``, or a version number.
        folder: where to.

    Raises:
        RegistryError: there is no such bundle, or it is not what was registered.
        faultwatch_edge.errors.EdgeError: a device would refuse it.
    """
    version = registry.version_of(alias)
    path = registry.download_for_devices(version, folder)
    anew = is_signed_anew(version)
    key_file = settings.release_public_key_file if anew else settings.public_key_file
    bundle = read_bundle(path, trusted_keys=load_trusted_keys([key_file]))
    check_golden(Detector.from_bundle(bundle), bundle)
    (folder / key_file.name).write_bytes(key_file.read_bytes())
    return path


def mirror_champion(registry: Registry, settings: Settings) -> Path | None:
    """Keep the champion's bundle, and no other, where devices look for it.

    The bundle appears whole under its name; what it replaces goes afterwards.

    Args:
        registry: of the asset.
        settings: ``releases`` is the folder; each asset has one of its own in it.

    Returns:
        The bundle; None where no folder is set, or there is no champion.

    Raises:
        faultwatch_edge.errors.EdgeError: a device would refuse it.
    """
    if settings.releases is None:
        return None
    folder = settings.releases / registry.asset_id
    while (champion := registry.champion_version()) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{this_process()}-") as scratch:
            fetched = release_bundle(registry, settings, str(champion), Path(scratch))
            for path in Path(scratch).iterdir():
                path.replace(folder / path.name)
        released = folder / fetched.name
        for other in folder.glob("*.fwb"):
            if other != released:
                other.unlink(missing_ok=True)
        if registry.champion_version() == champion:  # nobody promoted or took back meanwhile
            return released
    return None


def _clear(folder: Path) -> None:
    """Remove what processes left there that were killed."""
    for left in folder.glob(".*"):
        if has_ended(left.name.removeprefix(".").rpartition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)


@flow(name="release", description="Write the champion's bundle for devices.")
@answered()
def release(asset_file: str, folder: str, alias: str = "champion") -> str:
    """Write a registered bundle for devices.

    Args:
        asset_file: asset file, or id of a shipped asset.
        folder: where the bundle and the public key go.
        alias: ``champion``, ``canary``, or a version number.
    """
    settings = Settings()
    registry = Registry(settings, load_asset(asset_file).asset.id)
    return str(release_bundle(registry, settings, alias, Path(folder)))
