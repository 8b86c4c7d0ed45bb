"""One JSON object a line, to a file or to standard output."""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from faultwatch_edge.errors import SinkError

STANDARD_OUTPUT = "-"


class JsonLines:
    """Appends to a file, or writes to standard output; each line is flushed when it is written.

    Args:
        name: path of the file, or ``-`` for standard output.

    Raises:
        SinkError: the file cannot be opened, or a line cannot be written.
        BrokenPipeError: whoever read standard output has gone.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        try:
            self._file: TextIO = (
                sys.stdout
                if name == STANDARD_OUTPUT
                else Path(name).open("a", encoding="utf-8", newline="\n")  # noqa: SIM115 - __exit__
            )
        except OSError as error:
            raise SinkError(
                f"{name}: cannot be opened ({error.strerror}), expected a file to append to"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not sys.stdout:
            with suppress(OSError):  # each line was flushed: what is left is what could not be
                self._file.close()

    def write(self, record: Mapping[str, object]) -> None:
        """Write one object and flush it."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        try:
            self._file.write(f"{line}\n")
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(f"{self._name}: cannot be written ({error.strerror})") from error
