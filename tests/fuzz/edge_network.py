"""Parsers of what comes from a network, tried over real connections: see ``edge_parsers.py``."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_WR, create_connection, create_server
from threading import Thread
from typing import Final

from faultwatch_edge.config import MqttConfig, RegistryConfig, WebhookConfig
from faultwatch_edge.errors import EdgeError
from faultwatch_edge.mqtt import Connection
from faultwatch_edge.orders import read_order
from faultwatch_edge.registry import RegistryMirror
from faultwatch_edge.sinks.webhook import Webhook
from faultwatch_edge.web import OperatorPage

ORDER: Final = b'{"verb": "acknowledge", "by": "Kim"}'
POST: Final = b"POST /orders/pump_07 HTTP/1.1\r\nHost: localhost:1\r\n"
REQUESTS: Final = (
    b"GET /state.json HTTP/1.1\r\nHost: localhost:1\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1:1\r\n\r\n",
    POST + b"Content-Type: application/json\r\nContent-Length: 36\r\n\r\n" + ORDER,
)
PACKETS: Final = (
    b"\x20\x03\x00\x00\x00" + b"\x90\x04\x00\x01\x00\x01",  # CONNACK, SUBACK
    b"\x20\x06\x00\x00\x03\x21\x00\x0a" + b"\xd0\x00",  # at most ten messages; PINGRESP
    b"\x32\x11\x00\x0aplant/pump\x00\x01\x00{}",  # PUBLISH
    b"\x32\x1d\x00\x0aplant/pump\x00\x02\x0c\x26\x00\x01a\x00\x01b\x02\x00\x00\x00\x09{}",
    b"\x40\x02\x00\x01" + b"\x40\x03\x00\x01\x87",  # PUBACK, and one that refuses
    b"\xe0\x02\x8e\x00",  # DISCONNECT: taken over by another client
)
ANSWERS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b'HTTP/1.1 429 Too Many Requests\r\nContent-Length: 17\r\n\r\n{"message": "no"}',
    b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
)
Parse = Callable[[bytes], object]


@dataclass(frozen=True)
class Parser:
    """What is tried: inputs to begin with, and what reads them."""

    seeds: tuple[bytes, ...]
    parse: Parse


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
            return answer[:40].decode("latin-1")

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


def check_sentences(said: list[str]) -> None:
    for sentence in said:
        if not sentence.isprintable():
            raise HTTPException(f"a sentence with other characters: {sentence!r}")


@contextmanager
def answer_parser(folder: Path) -> Iterator[Parser]:
    """What a server answers to what is posted, and to whoever asks a registry: any bytes at all."""
    answer: list[bytes] = []
    with create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(65_536)
                        connection.sendall(answer[-1])

        Thread(target=serve, daemon=True).start()
        address, said = f"http://127.0.0.1:{server.getsockname()[1]}", list[str]()
        hook = Webhook(WebhookConfig(address), token=None, note=said.append)
        mirror = RegistryMirror(
            RegistryConfig(address), password=None, folders={"pump_07": folder}, note=said.append
        )

        def ask(data: bytes) -> object:
            answer[:] = [data]
            said.clear()
            hook._post(b"{}")  # noqa: SLF001 - without its thread and pauses
            try:
                mirror.fetch("pump_07")
            except EdgeError as error:
                said.append(str(error))
            check_sentences(said)
            return " ".join(said)

        yield Parser(ANSWERS, ask)


@contextmanager
def packet_parser() -> Iterator[Parser]:
    """What a broker sends, read as the client's own thread reads it: that must not end."""
    with create_server(("127.0.0.1", 0)) as server:
        config = MqttConfig(port=server.getsockname()[1])

        def read(data: bytes) -> object:
            said: list[str] = []
            connection = Connection(
                config, password=None, filters=["plant/+"], will=("w", ""), note=said.append
            )
            client = connection._client  # noqa: SLF001 - without its thread
            client.connect("127.0.0.1", config.used_port)
            broker, _ = server.accept()
            with broker, suppress(BrokenPipeError, ConnectionResetError):
                broker.sendall(data)
                broker.shutdown(SHUT_WR)
                while client.loop_read() == 0:
                    pass
            client.disconnect()
            client.loop_misc()
            check_sentences(said)
            came = connection.take(most=10, timeout_s=0.0)
            return f"{len(came) > 0} {connection.is_connected} {said}"

        yield Parser(PACKETS, read)
