"""Newer bundles: checked as at the start, put to work between samples, and taken back if need be.

The agent keeps the bundle that runs and the one before it as files of its own, so that it goes on
whatever becomes of the folder that they came from. A newer bundle is on trial for a day of scored
time (``trial.py``): one that does not keep what it promises makes way for the one before it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from faultwatch_edge.bundle import Bundle, parse_bundle, read_bundle, read_file
from faultwatch_edge.errors import BundleError, ConfigError, EdgeError, TrustError
from faultwatch_edge.keys import key_id
from faultwatch_edge.manifest import Manifest
from faultwatch_edge.orders import Order
from faultwatch_edge.slots import Slots, keep_file, parse_name, read_slots
from faultwatch_edge.spool import Record
from faultwatch_edge.trial import is_passed, why_failed
from faultwatch_edge.watched import Watched

_EVERY_US: Final = 10_000_000
Keys = Callable[[], Sequence[Ed25519PublicKey]]
Stamp = tuple[str, int, int, tuple[str, ...]]


def newest_bundle(folder: Path) -> tuple[Path, int] | None:
    """File and version of the newest bundle in a folder, by its name; None = there is none.

    Raises:
        ConfigError: there are bundles of two assets.
    """
    named = [(file, parse_name(file.name)) for file in sorted(folder.glob("*.fwb"))]
    found = [(file, *name) for file, name in named if name is not None]
    assets = sorted({asset for _, asset, _ in found})
    if len(assets) > 1:
        raise ConfigError(
            f"{folder}: holds bundles of '{assets[0]}' and '{assets[1]}', expected a folder for "
            "each asset"
        )
    file, _, version = max(found, key=lambda one: one[2], default=(None, "", 0))
    return None if file is None else (file, version)


class Renewal:
    """Which bundle of one asset is at work.

    From a folder an older bundle is never taken. Where the folder shows what a registry's alias
    means (``follows``), the bundle that ran before is taken again when the alias goes back to it:
    that is a person's roll-back. Everything else that is older is refused there, too.

    Args:
        place: folder that is watched.
        kept: the agent's own folder of bundles.
        slots: as ``remembered`` gave it; None = the first start.
        keys: gives the trusted signers, as they are now.
        note: takes a sentence for whoever looks at the log.
        follows: whether the folder shows what a registry's alias means.
    """

    def __init__(
        self,
        place: Path,
        kept: Path,
        slots: str | None,
        *,
        keys: Keys,
        note: Callable[[str], None],
        follows: bool = False,
    ) -> None:
        self._place, self._kept, self._slots = place, kept, read_slots(slots)
        self._keys, self._note, self._follows = keys, note, follows
        self._refused: Stamp | None = None
        self._due_us = 0

    @staticmethod
    def memory(place: Path) -> str:
        """Under which name the slots are kept."""
        return f"{place}/bundles"

    def remembered(self, watched: Watched) -> Mapping[str, str]:
        """What is kept with the agent's state."""
        trial = self._slots.trial and watched.tally
        return {self.memory(self._place): self._slots.with_trial(trial).to_json()}

    @property
    def has_begun(self) -> bool:
        """Whether a bundle has run on this device before."""
        return self._slots.running is not None

    def begin(self) -> Bundle:
        """The bundle to begin with: what ran last, else the newest of the folder.

        Raises:
            EdgeError: there is none that can be used.
        """
        if self._slots.running is not None:
            try:
                return read_bundle(self._kept / self._slots.running, trusted_keys=self._keys())
            except BundleError as error:
                self._note(f"{error}; the newest of {self._place} is used")
        newest = newest_bundle(self._place)
        if newest is None:
            raise ConfigError(f"{self._place}: holds no bundle, expected ASSET-VERSION.fwb")
        bundle = self._fetch(newest[0])
        self._slots = Slots(highest=self._slots.highest).with_newer(newest[0].name)
        return bundle

    def attend(self, watched: Watched) -> None:
        """Take care of an asset that ``begin``'s bundle watches."""
        watched.tally = self._slots.trial or watched.tally
        watched.on_roll_back = lambda order, at_us: self._order_back(watched, order, at_us)

    def look(self, watched: Watched, at_us: int, passed_us: int) -> list[Record]:
        """Judge the bundle on trial; every few seconds, see whether there is a newer one.

        Args:
            watched: the asset.
            at_us: now, by the device's clock.
            passed_us: by a clock that nobody sets.
        """
        records = self._judge(watched, at_us)
        if passed_us < self._due_us:
            return records
        self._due_us = passed_us + _EVERY_US
        try:
            return records + self._seek(watched, at_us)
        except (EdgeError, OSError) as error:
            self._note(f"{error}; {watched.bundle.manifest.file_name} goes on")
            return records

    def _judge(self, watched: Watched, at_us: int) -> list[Record]:
        if self._slots.trial is None:
            return []
        manifest = watched.bundle.manifest
        reason = why_failed(watched.tally, manifest)
        if reason is None:
            if is_passed(watched.tally, manifest):
                self._slots = self._slots.with_trial(None)
                self._note(f"{manifest.file_name} has kept what it promises for a day")
            return []
        self._slots = self._slots.with_trial(None)
        try:
            return self._go_back(watched, f": {reason}", at_us)
        except EdgeError as error:
            self._note(f"{manifest.file_name}: {reason}; cannot be taken back ({error})")
            return []

    def _seek(self, watched: Watched, at_us: int) -> list[Record]:
        newest = newest_bundle(self._place)
        if newest is None:
            return []
        file, version = newest
        if self._slots.left not in (None, version):
            self._slots = self._slots.without_left()
        if self._is_meant_back(file.name, version):
            records = self._go_back(watched, " by the registry", at_us)
            self._slots = self._slots.without_left()
            return records
        if file.name == self._slots.running or version == self._slots.left:
            return []
        if version <= self._slots.highest and not self._follows:
            return []
        stamp = self._stamp(file)
        if stamp == self._refused:
            return []
        self._refused = stamp
        if version <= self._slots.highest:
            raise BundleError(
                f"{file.name}: is older than what has run on this device, and not what ran last; "
                "release it again under a new version, or put the file into edge.toml"
            )
        return self._renew(watched, file, at_us)

    def _stamp(self, file: Path) -> Stamp:
        """What is refused once: the same file by the same keys."""
        found = file.stat() if file.exists() else file.lstat()
        trusted: list[str] = []
        with suppress(TrustError):  # said when the bundle is read
            trusted = sorted(map(key_id, self._keys()))
        return file.name, found.st_size, found.st_mtime_ns, tuple(trusted)

    def _is_meant_back(self, name: str, version: int) -> bool:
        """Whether the alias has gone back to the bundle that ran before."""
        return self._follows and name == self._slots.before and version != self._slots.left

    def _renew(self, watched: Watched, file: Path, at_us: int) -> list[Record]:
        before = watched.bundle.manifest
        bundle = self._fetch(file)
        now = bundle.manifest
        try:
            if now.asset_id != before.asset_id:
                raise ConfigError(
                    f"{self._place}: holds a bundle of '{now.asset_id}', expected those of "
                    f"'{before.asset_id}'"
                )
            _check_units(before, now)
            _check_nodes(watched, now)
            watched.renew(bundle)
        except EdgeError:
            self._drop(file.name)
            raise
        self._drop(self._slots.before)
        self._slots = self._slots.with_newer(file.name)
        self._note(f"{now.asset_id}: version {before.version} makes way for version {now.version}")
        return watched.tell_model(f"Runs version {now.version}", at_us, is_poor=False)

    def _go_back(self, watched: Watched, why: str, at_us: int) -> list[Record]:
        """Put the other bundle to work.

        Raises:
            EdgeError: there is none, or it cannot be used any more.
        """
        if self._slots.before is None:
            raise ConfigError(f"{watched.asset}: no other version has run on this device")
        bundle = read_bundle(self._kept / self._slots.before, trusted_keys=self._keys())
        watched.renew(bundle)
        self._slots = self._slots.rolled_back()
        what = f"Runs version {bundle.manifest.version} again{why}"
        self._note(f"{watched.asset}: {what}")
        return watched.tell_model(what, at_us, is_poor=True)

    def _order_back(self, watched: Watched, order: Order, at_us: int) -> list[Record]:
        self._note(f"{watched.asset}: roll-back by {order.by}: {order.reason}")
        return self._go_back(watched, f" by {order.by}", at_us)

    def _fetch(self, file: Path) -> Bundle:
        """A bundle, checked and copied to the agent's own files.

        Raises:
            EdgeError: it is refused, or cannot be kept.
        """
        data = read_file(file)
        bundle = parse_bundle(data, name=file.name, trusted_keys=self._keys())
        if bundle.manifest.file_name != file.name:
            raise BundleError(
                f"{file.name}: is version {bundle.manifest.version} of "
                f"'{bundle.manifest.asset_id}', expected the name {bundle.manifest.file_name}"
            )
        keep_file(self._kept, file.name, data)
        return bundle

    def _drop(self, name: str | None) -> None:
        if name not in (None, self._slots.running):
            with suppress(OSError):
                (self._kept / str(name)).unlink(missing_ok=True)


def _check_units(before: Manifest, now: Manifest) -> None:
    """The source's values, which it gives by name or tag, would be taken for others."""
    known = {key: one for one in before.channels for key in (one.tag, one.name) if key}
    for channel in now.channels:
        for key in (channel.name, channel.tag):
            old = known.get(key or "", channel)
            if old.unit != channel.unit:
                raise BundleError(
                    f"{before.asset_id}: channel '{old.name}' has unit '{old.unit}' but "
                    f"{now.file_name} expects '{channel.unit}'; convert at the source and start "
                    "the agent with that bundle, or train again"
                )


def _check_nodes(watched: Watched, now: Manifest) -> None:
    """Whoever wrote ``asset.nodes`` did not know of a new channel: it would be missing for ever."""
    new = sorted(set(now.channel_names) - set(watched.bundle.manifest.channel_names))
    if watched.nodes is not None and new:
        raise ConfigError(
            f"{now.asset_id}: {now.file_name} has channel '{new[0]}', for which asset.nodes has no "
            "node; name it and start the agent with that bundle, or train without it"
        )
