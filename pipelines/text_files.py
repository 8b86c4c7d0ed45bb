"""Text files: opened whatever their encoding and compression, read on where they were left."""

import codecs
import gzip
import hashlib
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BufferedIOBase
from pathlib import Path

from features.blocks import Block, read_blocks
from features.csv_text import header_of, open_place
from features.source import SourceConfig
from pipelines.ledger import Progress

PIECE = 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class TextError(Exception):
    """A text that cannot be read; the message goes on from the name of the file."""


class Text:
    """The text of a file, decompressed and as UTF-8, and the digest of what was read of it."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._path = path
        self._encoding = encoding
        self._stream: BufferedIOBase | None = None
        self.begin()

    def close(self) -> None:
        """Let go of the file."""
        if self._stream is not None:
            self._stream.close()

    def begin(self) -> None:
        """Go to the beginning."""
        self.close()
        self._stream = _opened(self._path)
        # Not read of gzip: that loses what it has when it comes to a damaged place.
        is_gzip = isinstance(self._stream, gzip.GzipFile)
        read = self._stream.read1 if is_gzip else self._stream.read
        plain = codecs.lookup(self._encoding).name in ("utf-8", "utf-8-sig", "ascii")
        self._read = read if plain else _transcoded(read, self._encoding)
        self._at_once = PIECE if is_gzip or not plain else sys.maxsize
        self._digest = hashlib.blake2b(digest_size=7)
        self.failure: Exception | None = None
        """Why it could not be read to its end; None = it could, as far as it was."""
        self._held = b""

    def read(self, most: int) -> bytes:
        """Some bytes; a damaged place is the end, after the last whole line before it."""
        if self._held:
            held, self._held = self._held[:most], self._held[most:]
            return held
        pieces: list[bytes] = []
        try:
            while (
                self.failure is None
                and most > 0
                and (piece := self._read(min(most, self._at_once)))
            ):
                pieces.append(piece)
                most -= len(piece)
        except (EOFError, OSError, zlib.error) as error:
            self.failure = error
            data = b"".join(pieces)
            return data[: data.rfind(b"\n") + 1]
        return b"".join(pieces)

    def check_end(self) -> None:
        """Raise what kept it from being read to its end."""
        if self.failure is not None:
            raise self.failure

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay."""
        data = self.read(count)
        self._held = data + self._held
        return data

    def read_line(self) -> bytes:
        """The next line with its end; of a very long one the beginning."""
        line = b""
        while len(line) < PIECE and (piece := self.read(PIECE)):
            line += piece
            if end := line.find(b"\n") + 1:
                self._held = line[end:] + self._held
                return line[:end]
        return line

    def note(self, data: bytes) -> int:
        """Digest of all that was noted, and this."""
        self._digest.update(data)
        return int.from_bytes(self._digest.digest())

    def pass_over(self, count: int) -> int:
        """Digest of the next bytes, which are read and not kept."""
        digest = self.note(b"")
        while count > 0 and (piece := self.read(min(count, PIECE))):
            digest = self.note(piece)
            count -= len(piece)
        return digest


def _opened(path: Path) -> BufferedIOBase:
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_gzip else path.open("rb")


def _transcoded(read_raw: Callable[[int], bytes], encoding: str) -> Callable[[int], bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def read(most: int) -> bytes:
        while raw := read_raw(max(1, most // 4)):
            if text := decoder.decode(raw):
                return text.encode()
        return decoder.decode(b"", final=True).encode()

    return read


@dataclass(frozen=True)
class Header:
    """The beginning of a text."""

    columns: list[str]
    """Names of the columns."""
    place: int
    """Bytes before the first row."""
    line: int
    """Line of the first row."""


def read_header(text: Text, source: SourceConfig) -> Header | None:
    """Names of the columns; None of an empty file.

    Raises:
        TextError: the text is in another encoding, or has no lines.
    """
    first = text.peek(len(BYTE_ORDER_MARK))
    if first[:2] in UTF_16_MARKS:
        raise TextError("is UTF-16 text; set [source] encoding = 'utf-16'")
    place = len(text.read(len(first))) if first == BYTE_ORDER_MARK else 0
    number = 1
    while (line := text.read_line()) and not line.strip():
        place += len(line)
        number += 1
    if not line:
        return None
    if b"\r" in line.rstrip(b"\r\n"):
        raise TextError("ends its lines with CR alone; write them with LF or CR LF")
    if source.header and b"\0" in line:
        raise TextError(
            "has the character NUL in its first line, so it is no UTF-8 text; set [source] "
            "encoding, such as 'utf-16-le', or remove the file"
        )
    columns = header_of(line.decode("utf-8", errors="replace").rstrip("\r\n"), source)
    if not source.header:
        return Header(columns, place, number)
    return Header(columns, place + len(line), number + 1)


def _go_on(text: Text, header: Header, known: Progress) -> Progress | None:
    """Where new rows begin, with the text at that place; None = it is another file than before."""
    text.begin()
    if known.place < header.place or text.pass_over(known.place) != known.digest:
        return None
    if known.open_place < 0 or not (more := text.peek(2)):
        return known
    text.begin()
    digest = text.pass_over(known.open_place)
    opened = text.peek(known.place - known.open_place)
    if b'"' not in opened and more.startswith((b"\n", b"\r\n")):  # it was whole, and has its end
        end = known.place + more.index(b"\n") + 1
        digest = text.pass_over(end - known.open_place)
        return replace(known, place=end, digest=digest, open_place=-1)
    lines = known.lines - opened.count(b"\n") - (not opened.endswith(b"\n"))
    return replace(known, place=known.open_place, lines=lines, digest=digest, open_place=-1)


def read_on(
    text: Text, header: Header, source: SourceConfig, known: Progress, *, most_lines: int
) -> tuple[Progress | None, Iterator[tuple[Block, Progress]]]:
    """Blocks of what was not read yet, each with how far the text is read with it.

    Args:
        text: of the file, wherever it stands.
        header: of that text.
        source: how its lines are written.
        known: how far it was read before.
        most_lines: of a block.

    Returns:
        Where it is read on; None = from the first row, since it is another text than before, or
        was never read. And the blocks.
    """
    found = _go_on(text, header, known)
    if found is None:
        text.begin()
        text.pass_over(header.place)
    start = found or Progress(place=header.place, lines=header.line - 1)
    blocks = read_blocks(text.read, place=start.place, line=start.lines + 1, most_lines=most_lines)
    return found, ((block, _after_block(block, text.note(block.data), source)) for block in blocks)


def _after_block(block: Block, digest: int, source: SourceConfig) -> Progress:
    return Progress(
        place=block.place,
        lines=block.first_line + block.lines - 1,
        digest=digest,
        open_place=open_place(block, source) if block.is_last else -1,
    )
