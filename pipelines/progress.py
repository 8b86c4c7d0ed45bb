"""What a person sees while something long goes on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from typing_extensions import override

Advance = Callable[[str], None]
"""Takes the name of the step that begins."""


class Told:
    """Is told how far a trial is; this one keeps it to itself."""

    def say(self, sentence: str) -> None:
        """What goes on from now on."""

    def begin(self, rows: int) -> None:
        """So many rows are about to be scored."""

    def advance(self, rows: int, windows: int) -> None:
        """So many rows and windows were scored since."""


class _Shown(Told):
    """Shows it on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, speed="")
        self._windows = 0

    @override
    def say(self, sentence: str) -> None:
        self._progress.reset(self._task, total=None, description=sentence, speed="")

    @override
    def begin(self, rows: int) -> None:
        self._windows = 0
        self._progress.reset(self._task, total=rows)

    @override
    def advance(self, rows: int, windows: int) -> None:
        self._windows += windows
        self._progress.advance(self._task, rows)
        seconds = self._progress.tasks[0].elapsed or 0.0
        if seconds:
            speed = f"{self._windows / seconds:,.0f} windows/s"
            self._progress.update(self._task, speed=speed)


class _Written(Told):
    """Writes each sentence on a line, where there is no terminal."""

    @override
    def say(self, sentence: str) -> None:
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()


@contextmanager
def shown_progress() -> Iterator[Told]:
    """Show progress on standard error until the block ends."""
    if not sys.stderr.isatty():
        yield _Written()
        return
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[speed]}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        yield _Shown(progress)


@contextmanager
def shown_steps(console: Console, steps: int) -> Iterator[Advance]:
    """A bar that goes away in the end; the function names the step that begins."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    words = TextColumn("{task.description}", markup=False)
    with Progress(*columns, words, console=console, transient=True) as progress:
        task, begun = progress.add_task("", total=steps), count()

        def advance(description: str) -> None:
            progress.update(task, description=description, completed=next(begun))

        yield advance
