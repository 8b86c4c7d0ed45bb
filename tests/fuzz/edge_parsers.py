"""Fuzzing of whatever the edge agent reads from a network or a file, for as long as one likes.

``python tests/fuzz/edge_parsers.py [NAME ...] [--seconds 600] [--seed N]``: each parser reads
inputs that are mutated from its corpus (``tests/fuzz/corpus/NAME.txt``, one input a line, base64).
It may answer with what it read, or with an error of the package, in one line; anything else, an
input that takes longer than two seconds or much memory is a failure, and printed. With ``--keep``
inputs that led to an answer of a new kind are added to the corpus.
"""

import argparse
import base64
import io
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_WR, create_connection
from threading import Thread
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from faultwatch_edge.alarm import Alarm
from faultwatch_edge.bundle import parse_bundle, write_bundle
from faultwatch_edge.certificate import Certificate
from faultwatch_edge.config import AssetSource, RegistryConfig, read_config
from faultwatch_edge.errors import EdgeError
from faultwatch_edge.golden import Golden
from faultwatch_edge.keys import key_id
from faultwatch_edge.manifest import AlarmSpec, ChannelSpec, Manifest, ThresholdSpec, WindowSpec
from faultwatch_edge.orders import read_order
from faultwatch_edge.registry import RegistryMirror
from faultwatch_edge.slots import Slots, read_slots
from faultwatch_edge.snapshot import read_alarm, read_state
from faultwatch_edge.sources.csv_lines import read_lines, read_samples
from faultwatch_edge.sources.json_payload import JsonPayloads, PayloadError
from faultwatch_edge.trial import Tally
from faultwatch_edge.web import OperatorPage

CORPUS: Final = Path(__file__).with_name("corpus")
LONGEST_S: Final = 2.0
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
CHANNELS: Final = (
    ChannelSpec("flow", "FT-101", "m3/h", "continuous", "periodic", (0.0, 50.0)),
    ChannelSpec("total", None, "m3", "counter", "on_change", None),
)
Parse = Callable[[bytes], object]


@dataclass(frozen=True)
class Parser:
    """What is tried: inputs to begin with, and what reads them."""

    seeds: tuple[bytes, ...]
    parse: Parse


def make_manifest(key: Ed25519PrivateKey) -> Manifest:
    return Manifest(
        contract=1,
        asset_id="pump_07",
        asset_name="Feed pump",
        site="Plant A",
        version=3,
        created_at="2026-01-31T12:00:00Z",
        channels=CHANNELS,
        window=WindowSpec(1.0, 4, 2, 3.0, 1, 2.0),
        threshold=ThresholdSpec(3.0, 0.1, 0.08, (0.02, 0.2), 40.0, extrapolated=False),
        alarm=AlarmSpec(4.0, 4.0, "high", "worn", "dry", "switch", enabled=True),
        state_size=2,
        reconstructor="vae",
        mlflow_run="0123456789abcdef",
        historian_version=12,
        git_revision="abc1234",
        key_id=key_id(key.public_key()),
    )


def make_golden() -> Golden:
    cells, windows = np.zeros((110, 2), np.float32), 54
    score = np.zeros(windows, np.float32)
    return Golden(cells, score, score > 1, np.zeros((windows, 2), np.float32), score)


CERTIFICATE: Final = json.dumps(
    {
        "within_s": 20.0, "smallest": 0.5, "largest": 16.0, "onsets": 10, "needed": 8,
        "promised_per_day": 0.1, "alarms": 1, "days": 20.0, "uncertified": [],
        "limits": [
            {
                "channel": "flow", "unit": "m3/h", "kind": "bias", "is_found": True, "size": 5.6,
                "deviations": 2.8, "found": 9, "median_delay_s": 7.0,
            }
        ],
    }
).encode()  # fmt: skip
CONFIG: Final = b"""
[agent]
folder = "state"
[mqtt]
host = "localhost"
[webhook]
url = "https://x/y"
[[asset]]
bundle = "pump.fwb"
topic = "plant/{channel}"
keys = { flow = "a.b" }
"""
ORDER: Final = b'{"verb": "acknowledge", "by": "Kim"}'
CSV: Final = b"time,flow\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z,x\n"
STATE: Final = json.dumps(
    {"version": 1, "bundle_sha256": "0", "alarm": {"state": "shelved", "is_active": True}}
).encode()
POST: Final = b"POST /orders/pump_07 HTTP/1.1\r\nHost: localhost:1\r\n"
REQUESTS: Final = (
    b"GET /state.json HTTP/1.1\r\nHost: localhost:1\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1:1\r\n\r\n",
    POST + b"Content-Type: application/json\r\nContent-Length: 36\r\n\r\n" + ORDER,
)


def read_csv(data: bytes) -> object:
    lines = read_lines(io.BytesIO(data))
    return list(read_samples(lines, CHANNELS, min_channels=1, note=lambda _: None))


def read_toml(data: bytes, *, file: Path) -> object:
    file.write_bytes(data)
    return read_config(file)


def read_both_states(data: bytes) -> object:
    text = data.decode("utf-8", errors="replace")
    found: Alarm | None = read_alarm(text)
    read_slots(text)
    return found, read_state(text, where="pump_07")


@contextmanager
def parsers(folder: Path) -> Iterator[dict[str, Parser]]:
    """All that are tried; servers run while it is open."""
    key = Ed25519PrivateKey.generate()
    manifest, golden = make_manifest(key), make_golden()
    path = folder / manifest.file_name
    write_bundle(path, manifest=manifest, onnx=b"graph", golden=golden, private_key=key)
    single = AssetSource("p.fwb", "plant/{channel}", time_format="ms")
    wide = replace(single, topic="plant/pump", time_format="iso")
    payload = b'{"time": "2026-01-01T00:00:00Z", "flow": 1.5, "total": null}'
    order = b'{"verb": "shelve", "by": "Kim", "reason": "seal", "for_s": 60}'
    slots = Slots("pump_07-3.fwb", highest=3, trial=Tally(scored=3)).to_json().encode()
    trusted = [key.public_key()]
    with page_parser() as page, registry_parser(folder / "mirror") as registry:
        yield {
            "payload": Parser((payload,), lambda d: read_payload(wide, "plant/pump", d)),
            "payload_of_one": Parser(
                (b'{"time": 1767225600000, "value": 1.5}',),
                lambda d: read_payload(single, "plant/flow", d),
            ),
            "order": Parser((order,), read_order),
            "config": Parser((CONFIG,), lambda d: read_toml(d, file=folder / "edge.toml")),
            "state": Parser((STATE, slots), read_both_states),
            "csv": Parser(
                (b"time,flow\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01Z,x\n",), read_csv
            ),
            "manifest": Parser((manifest.to_json(),), Manifest.from_json),
            "golden": Parser((golden.to_npz(),), Golden.from_npz),
            "certificate": Parser((CERTIFICATE,), Certificate.from_json),
            "bundle": Parser(
                (path.read_bytes(),), lambda d: parse_bundle(d, name="b", trusted_keys=trusted)
            ),
            "page": Parser(REQUESTS, page),
            "registry": registry,
        }


def read_payload(source: AssetSource, topic: str, data: bytes) -> object:
    return JsonPayloads(source, CHANNELS).read(topic, data)


@contextmanager
def page_parser() -> Iterator[Parse]:
    """Bytes to the operator's page, over a real connection; it must answer the next one, too."""
    left: list[str] = []
    page = OperatorPage(
        0,
        state=lambda: {"away": [], "assets": []},
        metrics=lambda: "",
        assets=frozenset({"pump_07"}),
        leave=lambda _, body: left.append(body),
    )
    with page:

        def ask(data: bytes) -> object:
            answer = b""
            with create_connection(("127.0.0.1", page.port), 5) as connection, suppress(OSError):
                connection.sendall(data)  # the page may have seen enough of it
                connection.shutdown(SHUT_WR)
                answer = connection.recv(65_536)
            for body in left:
                read_order(body.encode())
            left.clear()
            plain = HTTPConnection("127.0.0.1", page.port, timeout=5)
            plain.request("GET", "/state.json", headers={"Host": f"localhost:{page.port}"})
            status = plain.getresponse().status
            plain.close()
            if status != 200:
                raise HTTPException(f"the next request was answered by {status}")
            return answer[:40]

        yield ask


@contextmanager
def registry_parser(folder: Path) -> Iterator[Parser]:
    """What a registry answers, whatever it was asked."""
    answer: list[bytes] = [b""]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer[0])))
            self.end_headers()
            self.wfile.write(answer[0])

        def say_nothing(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        log_message = say_nothing

    version = {
        "version": "3",
        "tags": [
            {"key": "bundle", "value": "pump_07-3.fwb"},
            {"key": "bundle_sha256", "value": "0" * 64},
        ],
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        mirror = RegistryMirror(
            RegistryConfig(f"http://127.0.0.1:{server.server_port}"),
            password=None,
            folders={"pump_07": folder},
            note=lambda _: None,
        )

        def fetch(data: bytes) -> object:
            answer[0] = data
            mirror.fetch("pump_07")
            return sorted(file.name for file in folder.parent.iterdir())

        try:
            yield Parser((json.dumps({"model_version": version}).encode(),), fetch)
        finally:
            server.shutdown()
            thread.join()


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
    text = str(answer) if isinstance(answer, Exception | bytes) else type(answer).__name__
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "#", text)[:80]


def problem_of(parser: Parser, data: bytes) -> tuple[str, str]:
    """What is wrong with how an input was answered, or nothing; and the kind of answer."""
    began, answer = time.monotonic(), None
    try:
        answer = parser.parse(data)
    except (EdgeError, PayloadError) as error:
        if not str(error).isprintable():
            return f"a sentence with other characters: {str(error)!r}", ""
        answer = error
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return repr(error)[:200], ""
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
