"""Which process did something, whether it still runs, and that no two do the same."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path


class BusyError(Exception):
    """Another process does the same; the message says which and since when."""


@contextmanager
def one_training(home: Path, asset_id: str, at: datetime) -> Iterator[None]:
    """Hold the only place for a training of an asset in a home; it is free when its holder ends.

    Args:
        home: folder of all that belongs together.
        asset_id: the asset.
        at: when the training begins; for those that come meanwhile.

    Raises:
        BusyError: another process trains it.
    """
    path = home / "locks" / f"{asset_id}.training"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise BusyError(
                f"{asset_id} is being trained by {file.read() or 'another process'}; "
                "wait until that has ended, or end it"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()} since {at:%Y-%m-%d %H:%M} UTC")
        file.flush()
        yield


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
