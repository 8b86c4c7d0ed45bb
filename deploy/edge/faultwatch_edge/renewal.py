"""Newer bundles from a watched folder: checked as at the start, and put to work between samples."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from faultwatch_edge.bundle import Bundle, read_bundle
from faultwatch_edge.errors import ConfigError, EdgeError
from faultwatch_edge.watched import Watched

_NAME: Final = re.compile(r"(?P<asset>.+)-(?P<version>[0-9]{1,9})\.fwb")
_EVERY_US: Final = 10_000_000
Stamp = tuple[Path, int, int]


def newest_bundle(folder: Path) -> tuple[Path, int] | None:
    """File and version of the newest bundle in a folder, by its name; None = there is none.

    Raises:
        ConfigError: there are bundles of two assets.
    """
    matches = [(file, _NAME.fullmatch(file.name)) for file in sorted(folder.glob("*.fwb"))]
    found = [(file, match["asset"], int(match["version"])) for file, match in matches if match]
    assets = sorted({asset for _, asset, _ in found})
    if len(assets) > 1:
        raise ConfigError(
            f"{folder}: holds bundles of '{assets[0]}' and '{assets[1]}', expected a folder for "
            "each asset"
        )
    file, _, version = max(found, key=lambda one: one[2], default=(None, "", 0))
    return None if file is None else (file, version)


class Renewal:
    """Looks for a newer bundle of one asset.

    An older one is never taken: whoever wants to go back takes the newer file away and starts the
    agent again.

    Args:
        folder: watched.
        keys: trusted signers.
        note: takes a sentence for whoever looks at the log.
    """

    def __init__(
        self, folder: Path, keys: Sequence[Ed25519PublicKey], note: Callable[[str], None]
    ) -> None:
        self._folder, self._keys, self._note = folder, keys, note
        self._refused: Stamp | None = None
        self._due_us = 0

    def look(self, watched: Watched, passed_us: int) -> None:
        """Every few seconds: put a newer bundle to work, or say once why it is refused."""
        if passed_us < self._due_us:
            return
        self._due_us = passed_us + _EVERY_US
        try:
            newest = newest_bundle(self._folder)
            if newest is None or newest[1] <= watched.bundle.manifest.version:
                return
            file = newest[0]
            stamp = (file, file.stat().st_size, file.stat().st_mtime_ns)
            if stamp != self._refused:
                self._refused = stamp
                self._renew(watched, read_bundle(file, trusted_keys=self._keys))
        except (EdgeError, OSError) as error:
            self._note(f"{error}; {watched.bundle.manifest.file_name} goes on")

    def _renew(self, watched: Watched, bundle: Bundle) -> None:
        before, now = watched.bundle.manifest, bundle.manifest
        if now.asset_id != before.asset_id or now.version <= before.version:
            raise ConfigError(
                f"{self._folder}: the newest bundle is version {now.version} of '{now.asset_id}', "
                f"expected one after {before.version} of '{before.asset_id}'"
            )
        watched.renew(bundle)
        self._note(f"{now.asset_id}: version {before.version} makes way for version {now.version}")
