"""Records as JSON lines in a file that survives a power cut, and does not fill the disk."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from faultwatch_edge.spool import Record, SinkName

MOST_BYTES: Final = 64 * 1024 * 1024
"""Size from which the file is put aside as ``.1``, in place of the one before."""
_AT_ONCE: Final = 256


class LineFile:
    """A sink: see ``delivery.Sink``. Lines count as delivered when they are on disk.

    Args:
        path: of the file; other programs may rename it at any time.
        note: takes a sentence for whoever looks at the log.
        most_bytes: see ``MOST_BYTES``.
    """

    name: SinkName = "file"

    def __init__(
        self, path: Path, note: Callable[[str], None], *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._path, self._note, self._most_bytes = path, note, most_bytes
        self._lines: list[bytes] = []
        self._numbers: list[int] = []
        self._said = ""

    @property
    def is_ready(self) -> bool:
        """Whether the last lines could be written."""
        return not self._said

    @property
    def room(self) -> int:
        """How many lines may be given before ``delivered`` writes them."""
        return _AT_ONCE - len(self._lines)

    def send(self, record: Record, body: str, *, number: int) -> None:
        """Take a line."""
        del record
        self._lines.append(body.encode() + b"\n")
        self._numbers.append(number)

    def delivered(self) -> tuple[list[int], list[int]]:
        """Write what was given: numbers of the lines that are on disk now, and none refused."""
        if not self._lines:
            return [], []
        try:
            self._write()
        except OSError as error:
            self._say(f"{self._path} cannot be written ({error.strerror}); tried again")
            return [], []
        self._said = ""
        done, self._numbers, self._lines = self._numbers, [], []
        return done, []

    def _write(self) -> None:
        with suppress(FileNotFoundError):
            if self._path.stat().st_size >= self._most_bytes:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        with self._path.open("ab+") as file:
            if _is_torn(file):
                file.write(b"\n")
            file.writelines(self._lines)
            file.flush()
            os.fsync(file.fileno())

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self._note(sentence)


def _is_torn(file: BinaryIO) -> bool:
    """Whether the last line has no end: the device lost power, or the disk was full."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
