"""Which process did something, and whether it still runs."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """Host, number and start of this process, as one word.

    Example:
        >>> has_ended(this_process())
        False
    """
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def has_ended(process: str) -> bool:
    """Whether a process of this host is gone; False for one of another host, which nobody knows.

    Example:
        >>> has_ended(f"{socket.gethostname()}:{os.getpid()}:1")
        True
    """
    host, _, rest = process.partition(":")
    number, _, started = rest.partition(":")
    if host != socket.gethostname() or not number.isdecimal() or not started:
        return False
    return _started(int(number)) != started


def _started(number: int) -> str:
    """When a process began, in ticks since the machine did; '' = there is none."""
    try:
        text = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
