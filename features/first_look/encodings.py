"""The encoding of a text file, told from pieces of it."""

import codecs

UTF_16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class SniffingError(Exception):
    """Data whose form cannot be told; the message says what was found and what to do."""


def sniff_encoding(pieces: list[bytes]) -> str:
    """Name the encoding of a file.

    Args:
        pieces: bytes from the file, the first from its beginning; others begin and all may end
            within a line.

    Returns:
        ``ascii`` where several would do; ``utf-8``, with or without a mark; ``utf-16``, with a
        mark; ``cp1252``, or ``latin-1`` where a byte has no meaning in that.

    Raises:
        SniffingError: the bytes are no text.

    Example:
        >>> sniff_encoding(["Durchfluß".encode("cp1252")])
        'cp1252'
    """
    if pieces[0].startswith(tuple(UTF_16_MARKS)):
        return "utf-16"
    if any(b"\x00" in piece for piece in pieces):
        raise SniffingError("is no text; expected CSV or Parquet")
    first, *others = [piece[: piece.rfind(b"\n") + 1] or piece for piece in pieces]
    whole = [first, *(piece[piece.find(b"\n") + 1 :] for piece in others)]
    for encoding in ("ascii", "utf-8", "cp1252"):
        if all(_decodes(piece, encoding) for piece in whole):
            return encoding
    return "latin-1"


def _decodes(piece: bytes, encoding: str) -> bool:
    try:
        piece.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def decode_pieces(pieces: list[bytes], encoding: str, *, to_the_end: bool) -> list[list[str]]:
    r"""Whole lines of each piece.

    Args:
        pieces: as `sniff_encoding` takes them; in ``utf-16`` cut at even places.
        encoding: as it says.
        to_the_end: whether the last piece is the end of the file, so that its last line is whole.

    Example:
        >>> decode_pieces([b"time,flow\n1,2", b"3\n4,5\n6,7"], "utf-8", to_the_end=False)
        [['time,flow'], ['4,5']]
    """
    exact = UTF_16_MARKS[pieces[0][:2]] if encoding == "utf-16" else encoding
    texts = [piece.decode(exact, errors="replace").lstrip("\ufeff") for piece in pieces]
    if to_the_end and not texts[-1].endswith("\n"):
        texts[-1] += "\n"
    first, *others = [_lines(text[: text.rfind("\n") + 1]) for text in texts]
    return [first, *(lines[1:] for lines in others)]


def _lines(text: str) -> list[str]:
    """Lines that end with LF or CR LF; not with the other ends that Python knows."""
    return [line.removesuffix("\r") for line in text.split("\n")[:-1]]
