"""Child processes: started in order, watched, stopped in reverse order, none left behind.

Each leads a session of its own, so that Ctrl-C reaches only this process, which then stops them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from rich.console import Console

HOST = "127.0.0.1"
"""The only address that anything listens on."""
MARK = "FAULTWATCH_UP"
"""In the environment of every process that belongs to an ``up``: its home."""
START_S = 180.0
"""Longest wait for a service; a laptop under load takes a tenth of it."""
STOP_S = 10.0
"""Longest wait for a service to stop by itself."""
TAIL_LINES = 15

say = Console(highlight=False, markup=False, soft_wrap=True).print


class StartError(Exception):
    """What keeps the services from running; the message says which and what to do."""


class StopRequested(Exception):  # noqa: N818 - a person's wish, no error
    """Ctrl-C, or a signal that asks to stop."""


@contextmanager
def stop_requests() -> Iterator[Event]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set, instead of ending this process.

    Children inherit signals that are ignored, but not our handlers: with these, each child starts
    with the ordinary meaning of SIGINT, even where a shell started us in the background.
    """
    event = Event()
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup: the terminal may close
        del before[signal.SIGHUP]
    for number in before:
        signal.signal(number, lambda *_: event.set())
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def marked_processes(home: Path) -> dict[int, int]:
    """Session by process of all that an ``up`` of this home started, however far down.

    Empty where there is no ``/proc``, as outside Linux.
    """
    mark = f"{MARK}={home}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = os.getsid(int(folder.name))
    return found


@dataclass(frozen=True)
class Child:
    """A started process and its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    lasting: bool
    """Whether it is to run until it is stopped."""

    def check(self) -> None:
        """Raise if it has ended and should not have, or ended badly."""
        code = self.process.poll()
        if code is None or (code == 0 and not self.lasting):
            return
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        raise StartError(
            f"{self.name} ended with exit code {code}; the end of {self.log}:\n" + "\n".join(tail)
        )


class Services:
    """Children, in the order of their start.

    Args:
        environment: of each child.
        home: their working folder; the logs go into ``logs`` in it.
        stopping: set when somebody asks to stop.
    """

    def __init__(self, environment: Mapping[str, str], home: Path, stopping: Event) -> None:
        self._environment = environment
        self._home = home
        self._stopping = stopping
        self._children: list[Child] = []

    def start(
        self,
        name: str,
        *arguments: str | int,
        secrets: Mapping[str, str] | None = None,
        lasting: bool = True,
    ) -> None:
        """Start ``python -m ARGUMENTS``; the log of the time before is kept as ``.log.1``.

        Args:
            name: what people read.
            arguments: a module and its options, which anybody on this machine can see.
            secrets: what this child alone has in its environment.
            lasting: whether it is to run until it is stopped.
        """
        log = self._home / "logs" / f"{name.lower().replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, "-P", "-m", *map(str, arguments)],
                cwd=self._home,
                env={**self._environment, **(secrets or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(Child(name, process, log, lasting))

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a service answers, and say so.

        Raises:
            StartError: it does not, or a child ended.
            StopRequested: somebody asked to stop.
        """
        began = time.monotonic()
        while not ready():
            if time.monotonic() - began > START_S:
                raise StartError(
                    f"{name} did not answer within {START_S:.0f} s; see {self._home / 'logs'}"
                )
            self._pause()
        say(f"{name} is ready.")

    def ended(self, name: str) -> bool:
        """Whether a child that does one thing has done it."""
        return all(c.process.poll() is not None for c in self._children if c.name == name)

    def watch(self) -> None:
        """Wait for good.

        Raises:
            StartError: a child ended.
            StopRequested: somebody asked to stop.
        """
        while True:
            self._pause()

    def _pause(self) -> None:
        if self._stopping.wait(0.25):
            raise StopRequested
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """Stop a running training first, so that it can report; then all, the last one first."""
        self._end_strays()
        for child in reversed(self._children):
            child.process.terminate()
            try:
                child.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            self._end_strays()

    def _end_strays(self) -> None:
        """End what runs in no child's session: trainings, and what a killed child left behind."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._strays():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            patience = time.monotonic() + STOP_S / 2
            while self._strays() and time.monotonic() < patience:
                time.sleep(0.1)

    def _strays(self) -> list[int]:
        ours = {child.process.pid for child in self._children if child.process.poll() is None}
        return [pid for pid, session in marked_processes(self._home).items() if session not in ours]
