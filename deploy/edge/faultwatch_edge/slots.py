"""The bundle that runs and the one before it, as files of the agent's own."""

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from faultwatch_edge.errors import BundleError, SpoolError
from faultwatch_edge.strict_json import read_json
from faultwatch_edge.trial import Tally

_NAME: Final = re.compile(r"(?P<asset>.+)-(?P<version>[0-9]{1,9})\.fwb")


def parse_name(name: str) -> tuple[str, int] | None:
    """Asset and version of a bundle's file; None = it is not one's name.

    Example:
        >>> parse_name("pump_07-3.fwb"), parse_name("notes.txt")
        (('pump_07', 3), None)
    """
    match = _NAME.fullmatch(name)
    return None if match is None else (match["asset"], int(match["version"]))


@dataclass(frozen=True, slots=True)
class Slots:
    """Which bundles an asset has on this device; names are those of files."""

    running: str | None = None
    before: str | None = None
    """What ran before it; after a roll-back, what was rolled back from."""
    highest: int = 0
    """Highest version that ever ran: no older one comes from outside."""
    left: int | None = None
    """Version that was rolled back from, and that nobody has named anew since."""
    trial: Tally | None = None
    """Of the bundle that runs; None = it has passed."""

    def with_newer(self, name: str) -> "Slots":
        """The same with a newer bundle at work, on trial if there is one to go back to."""
        found = parse_name(name)
        version = self.highest if found is None else found[1]
        trial = None if self.running is None else Tally()
        return Slots(name, self.running, max(self.highest, version), trial=trial)

    def rolled_back(self) -> "Slots":
        """The same with the other bundle at work, and the one that was refused from now on."""
        found = parse_name(self.running or "")
        left = None if found is None else found[1]
        return replace(self, running=self.before, before=self.running, left=left, trial=None)

    def with_trial(self, trial: Tally | None) -> "Slots":
        """The same with so much counted of the trial; None = it is over."""
        return replace(self, trial=trial)

    def without_left(self) -> "Slots":
        """The same after somebody has named another version than the one rolled back from."""
        return replace(self, left=None)

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))


def read_slots(text: str | None) -> Slots:
    """What ``to_json`` wrote; of nothing, or of what cannot be read, empty slots.

    Example:
        >>> kept = Slots("pump_07-3.fwb", highest=3).to_json()
        >>> read_slots(kept).highest, read_slots(None).highest
        (3, 0)
    """
    with suppress(BundleError):
        if text is not None:
            return read_json(Slots, text.encode(), where="slots")
    return Slots()


def keep_file(folder: Path, name: str, data: bytes) -> None:
    """Write a bundle into the agent's folder, whole or not at all.

    Raises:
        SpoolError: it cannot be written.
    """
    part = folder / f".{name}.part"
    try:
        folder.mkdir(exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise SpoolError(f"{folder / name}: cannot be written ({error.strerror})") from error
