"""Bytes from some places of a file, packed or not."""

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

LONGEST_HEAD, HEAD_LINES = 8_000_000, 20
"""Bytes of the first block, at most, until it has so many lines."""
SMALL_GZIP = 8_000_000
"""Packed bytes up to which a file is unpacked to its end."""
MOST_UNPACKED = 64_000_000
"""Bytes that a small packed file may become."""
STEP = 65_536


def read_blocks(path: Path, count: int, *, places: int) -> tuple[list[bytes], bool]:
    """Read bytes from the beginning of a file; with three places also from its middle and end.

    Args:
        path: the file, packed by gzip or not.
        count: bytes from each place; more from the first until there are some lines.
        places: 1 or 3.

    Returns:
        The bytes, all in one if they are few; and whether the last are the end of the file.
    """
    with path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            size = stream.seek(0, io.SEEK_END)
            return _places(stream, size, count, places)
    most = MOST_UNPACKED if places > 1 and path.stat().st_size <= SMALL_GZIP else LONGEST_HEAD
    data = _unpacked(path, most)
    blocks, to_the_end = _places(io.BytesIO(data), len(data), count, places)
    return blocks, to_the_end and len(data) < most


def _unpacked(path: Path, most: int) -> bytes:
    """The beginning of a packed file, as far as it is whole."""
    data = bytearray()
    with gzip.open(path) as stream:
        try:
            while len(data) < most and (more := stream.read(STEP)):
                data += more
        except (EOFError, zlib.error):
            if not data:
                raise
    return bytes(data)


def _places(stream: BinaryIO, size: int, count: int, places: int) -> tuple[list[bytes], bool]:
    stream.seek(0)
    if size <= places * count:
        return [stream.read()], True
    first = stream.read(count)
    while first.count(b"\n") < HEAD_LINES and len(first) < LONGEST_HEAD:
        if not (more := stream.read(count)):
            return [first], True
        first += more
    if places == 1:
        return [first], False
    blocks = [first]
    for start in ((size - count) // 2, size - count):
        stream.seek(start // 2 * 2)  # with two bytes a character, at the border of one
        blocks.append(stream.read(count if start < size - count else -1))
    return blocks, True
