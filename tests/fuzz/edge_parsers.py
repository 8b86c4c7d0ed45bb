"""Fuzzing of whatever the edge agent reads from a network or a file, for as long as one likes.

``python tests/fuzz/edge_parsers.py [NAME ...] [--seconds 600] [--seed N]``: each parser reads
inputs that are mutated from its corpus (``tests/fuzz/corpus/NAME.txt``, one input a line, base64).
It may answer with what it read, or with an error of the package, in one line; anything else, an
input that takes longer than two seconds or much memory is a failure, and printed. With ``--keep``
inputs that led to an answer of a new kind are added to the corpus.
"""

import argparse
import base64
import faulthandler
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge_inputs import parsers
from edge_network import Parser

from faultwatch_edge.errors import EdgeError
from faultwatch_edge.sources.json_payload import PayloadError

CORPUS: Final = Path(__file__).with_name("corpus")
NAMES: Final = (
    *("payload", "payload_of_one", "order", "config", "state", "csv", "manifest", "golden"),
    *("certificate", "bundle", "key", "messages", "resumed", "page", "registry", "answer"),
    "packet",
)
LONGEST_S: Final = 2.0
HANGS_S: Final = 20.0
"""Then the process ends, and shows where it was."""
MOST_BYTES: Final = 1024**3
MOST_KEPT: Final = 40
LONGEST_INPUT: Final = 60_000
TOKENS: Final = (
    *(b"0", b"-1", b"1e999", b"NaN", b"-Infinity", b"9" * 400, b"1" * 5000, b"1e-999", b"0x10"),
    *(b"null", b"true", b'""', b"[]", b"{}", b"[" * 900, b'{"a":' * 900, b'"\\ud800"', b"\\u0000"),
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\r\n\r\n", b",", b";", b"'", b"..%2f"),
    *(b"2026-01-01T00:00:00Z", b"9999-12-31T23:59:59.999999+23:59", b"0001-01-01T00:00:00-23:59"),
    *(b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x07", b"\x93NUMPY", b"Content-Length: 99999\r\n"),
)


class Mutator:
    """Inputs made from others, repeatably."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311 - repeatable

    def __call__(self, corpus: list[bytes]) -> bytes:
        data = bytearray(self._draw.choice(corpus))
        for _ in range(self._draw.choice((1, 1, 1, 2, 3, 8))):
            self._change(data, corpus)
        return bytes(data[:LONGEST_INPUT])

    def _change(self, data: bytearray, corpus: list[bytes]) -> None:
        draw = self._draw
        at = draw.randint(0, len(data))
        until = min(len(data), at + draw.choice((0, 1, 2, 4, 16, 200)))
        match draw.randrange(6):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
            case 1:
                data[at:until] = b""
            case 2:
                data[at:until] = draw.choice(TOKENS)
            case 3:
                data[at:at] = data[at:until] * draw.choice((1, 2, 50))
            case 4:
                other = draw.choice(corpus)
                begin = draw.randint(0, len(other))
                data[at:until] = other[begin : begin + draw.choice((4, 40, 400))]
            case _:
                self._change_value(data)

    def _change_value(self, data: bytearray) -> None:
        """Another word or number in the place of one."""
        words = list(re.finditer(rb"[-\w.+:]+|\"[^\"]*\"", bytes(data[:LONGEST_INPUT])))
        if words:
            word = self._draw.choice(words)
            data[word.start() : word.end()] = self._draw.choice(TOKENS)


def kind_of(answer: object) -> str:
    """What kind of answer it is: numbers and quotations left out."""
    text = str(answer) if isinstance(answer, Exception | str) else type(answer).__name__
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "#", text)[:80]


def problem_of(parser: Parser, data: bytes) -> tuple[str, str]:
    """What is wrong with how an input was answered, or nothing; and the kind of answer."""
    began, answer = time.monotonic(), None
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    try:
        answer = parser.parse(data)
    except (EdgeError, PayloadError) as error:
        if not str(error).isprintable():
            return f"a sentence with other characters: {str(error)!r}", ""
        answer = error
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return repr(error)[:200], ""
    finally:
        faulthandler.cancel_dump_traceback_later()
    if time.monotonic() - began > LONGEST_S:
        return f"took {time.monotonic() - began:.1f} s", ""
    return "", kind_of(answer)


def load_corpus(name: str, parser: Parser) -> list[bytes]:
    file = CORPUS / f"{name}.txt"
    lines = file.read_text().split() if file.exists() else []
    return [*parser.seeds, *(base64.b64decode(line) for line in lines)]


def fuzz(name: str, parser: Parser, *, seconds: float, seed: int, keep: bool) -> int:
    """Try one parser; returns the number of failures."""
    corpus, kinds, failures, tried = load_corpus(name, parser), set[str](), 0, 0
    given = len(corpus)
    mutate, end = Mutator(seed), time.monotonic() + seconds
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() < end and failures < 10:
        data = corpus[tried] if tried < given else mutate(corpus)
        tried += 1
        problem, kind = problem_of(parser, data)
        if problem:
            failures += 1
            shown = base64.b64encode(data).decode()
            sys.stdout.write(f"{name}: {problem[:300]}\n  {shown[:600]}\n")
        elif kind not in kinds:
            kinds.add(kind)
            if tried > given and len(corpus) < MOST_KEPT and len(data) < 1_500:
                corpus.append(data)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MOST_BYTES // 2:
        failures += 1
        sys.stdout.write(f"{name}: memory has grown by {grown} bytes\n")
    if keep:
        write_corpus(name, corpus[len(parser.seeds) :])
    sys.stdout.write(
        f"{name}: {tried} inputs, {len(kinds)} kinds of answers, {failures} failures\n"
    )
    return failures


def write_corpus(name: str, inputs: list[bytes]) -> None:
    CORPUS.mkdir(exist_ok=True)
    lines = sorted({base64.b64encode(data).decode() for data in inputs})
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """This script with those arguments, by itself."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this script


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parsers; default: all")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each parser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="add to the corpus")
    options = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_DATA, (2 * MOST_BYTES, 2 * MOST_BYTES))
    wanted: dict[str, Any] = {"seconds": options.seconds, "seed": options.seed}
    with tempfile.TemporaryDirectory() as folder, parsers(Path(folder)) as known:
        chosen: Mapping[str, Parser] = {
            name: one for name, one in known.items() if name in (options.names or known)
        }
        failures = [fuzz(name, one, keep=options.keep, **wanted) for name, one in chosen.items()]
    return 1 if sum(failures) or not failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
