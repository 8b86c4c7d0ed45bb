"""Tells systemd that the agent runs, so that one that hangs is killed and started again."""

import os
import socket
from types import TracebackType
from typing import Final, Self

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
_EVERY_US: Final = 5_000_000


class Watchdog:
    """Speaks to systemd where that listens (``Type=notify``), else to nobody.

    Reference: sd_notify(3), https://www.freedesktop.org/software/systemd/man/sd_notify.html
    """

    def __init__(self) -> None:
        address = os.environ.get(SOCKET_VARIABLE, "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._due_us: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._say("STOPPING=1")
        self._socket.close()

    def alive(self, passed_us: int) -> None:
        """It runs; told every few seconds.

        Args:
            passed_us: by a clock that nobody sets.
        """
        if self._due_us is not None and passed_us < self._due_us:
            return
        self._say("WATCHDOG=1" if self._due_us is not None else "READY=1")
        self._due_us = passed_us + _EVERY_US

    def _say(self, word: str) -> None:
        if not self._address:
            return
        try:
            self._socket.sendto(word.encode(), self._address)
        except OSError:  # nobody listens any more: that is for systemd to notice
            self._address = ""
