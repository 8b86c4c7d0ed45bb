"""A stream of text as blocks of whole lines, in bounded memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

BLOCK_BYTES = 32 * 1024 * 1024
"""Bytes of a block, at most, and of a line: a longer one is taken apart."""
LINES_BACK = 1000
"""How many lines before the cut are searched for one that no quoted field goes over."""
NEWLINE = 10


@dataclass(frozen=True)
class Block:
    """Whole lines of a text, UTF-8."""

    data: bytes
    first_line: int
    """Number of its first line, counted from 1."""
    lines: int
    """How many lines."""
    place: int
    """Bytes of the text up to its end."""
    is_last: bool
    """Whether the text ends with it."""

    @property
    def is_open(self) -> bool:
        """Whether its last line has no end: it may be cut."""
        return not self.data.endswith(b"\n")

    @property
    def last_line_begins(self) -> int:
        """Place in the text where its last line begins."""
        end = len(self.data) - (0 if self.is_open else 1)
        return self.place - len(self.data) + self.data.rfind(b"\n", 0, end) + 1


def read_blocks(
    read: Callable[[int], bytes], *, place: int, line: int, most_lines: int
) -> Iterator[Block]:
    r"""Cut a stream into blocks of whole lines; quoted fields with line ends in them stay whole.

    Args:
        read: gives at most so many bytes, and none at the end.
        place: bytes of the text before these.
        line: number of the first line of these.
        most_lines: lines of a block, at most.

    Example:
        >>> import io
        >>> blocks = read_blocks(io.BytesIO(b"1\n2\n3").read, place=0, line=1, most_lines=2)
        >>> [(block.data, block.first_line, block.is_last) for block in blocks]
        [(b'1\n2\n', 1, False), (b'3', 3, True)]
    """
    held, is_at_end = b"", False
    while True:
        pieces, size = [held], len(held)
        while size < BLOCK_BYTES and not is_at_end:
            pieces.append(read(BLOCK_BYTES - size))
            is_at_end = not pieces[-1]
            size += len(pieces[-1])
        if not size:
            return
        held, tail = _joined(pieces)
        end, lines = _cut(held, most_lines, is_at_end=is_at_end)
        data, held = held[:end], held[end:] + tail
        if not held and not is_at_end:
            held = read(BLOCK_BYTES)
            is_at_end = not held
        place += end
        yield Block(data, line, lines, place, is_last=is_at_end and not held)
        line += lines


def _joined(pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Pieces up to their last line end, so that no large block is copied twice, and the rest."""
    *before, last = pieces
    end = last.rfind(b"\n") + 1 or len(last)
    return b"".join([*before, memoryview(last)[:end]]), last[end:]


def _cut(held: bytes, most_lines: int, *, is_at_end: bool) -> tuple[int, int]:
    """Where the block ends, and how many lines it then has."""
    ends = np.flatnonzero(np.frombuffer(held, np.uint8) == NEWLINE) + 1
    if is_at_end and len(ends) <= most_lines and (len(ends) < most_lines or ends[-1] == len(held)):
        return len(held), len(ends) + (not held.endswith(b"\n"))
    if not len(ends):
        return len(held), 1
    count = min(most_lines, len(ends))
    is_inside_quotes = held.count(b'"', 0, int(ends[count - 1])) % 2 == 1
    if is_inside_quotes:
        count = _before_quotes(held, ends, count)
    return int(ends[count - 1]), count


def _before_quotes(held: bytes, ends: np.typing.NDArray[np.intp], count: int) -> int:
    """Lines up to the nearest line end that is not in a quoted field; all, if none is near."""
    quotes = 1
    for fewer in range(count - 1, max(0, count - LINES_BACK), -1):
        quotes += held.count(b'"', int(ends[fewer - 1]), int(ends[fewer]))
        if quotes % 2 == 0:
            return fewer
    return count
