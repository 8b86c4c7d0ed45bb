"""Standard output for people: as wide as their terminal, or as a file wants it."""

import sys

from rich.console import Console


def standard_output(*, plain_width: int = 160) -> Console:
    """The console that prints to it.

    Args:
        plain_width: columns where it goes into a file or a pipe.
    """
    return Console(width=None if sys.stdout.isatty() else plain_width)
