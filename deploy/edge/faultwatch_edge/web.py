"""The operator's page: served to this machine only, by the agent itself, with nothing from outside.

It shows what the service has put together at its last step, and leaves orders in the spool, as the
command line does. A request that another web site made a browser send is refused: by its `Host`,
which must be this machine, and by the content type, which such a site may not choose.
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from threading import Thread
from types import TracebackType
from typing import ClassVar, Final, Self
from urllib.parse import unquote

from faultwatch_edge.errors import BundleError, ConfigError, SpoolError
from faultwatch_edge.orders import LARGEST, read_order

HOST: Final = "127.0.0.1"
_NAMES: Final = frozenset({"127.0.0.1", "localhost"})
_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PATIENCE_S: Final = 10.0
_ORDERS: Final = "/orders/"

State = Callable[[], Mapping[str, object]]
Leave = Callable[[str, str], None]


class OperatorPage:
    """Serves the page in a thread of its own while it is open.

    Args:
        port: on 127.0.0.1.
        state: what is shown, as it is now.
        metrics: what Prometheus reads.
        assets: for which orders are taken.
        leave: takes an asset and an order of its operator, as JSON.

    Raises:
        ConfigError: the port cannot be used.
    """

    def __init__(
        self,
        port: int,
        *,
        state: State,
        metrics: Callable[[], str],
        assets: frozenset[str],
        leave: Leave,
    ) -> None:
        given = {"state": state, "metrics": metrics, "assets": assets, "leave": leave}
        handler = type("Handler", (_Handler,), given)
        try:
            self._server = ThreadingHTTPServer((HOST, port), handler)
        except OSError as error:
            raise ConfigError(
                f"page.port {port} cannot be used ({error.strerror}), expected a free port"
            ) from error
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="page", daemon=True)

    @property
    def port(self) -> int:
        """Where it is served."""
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: ClassVar[State]
    metrics: ClassVar[Callable[[], str]]
    assets: ClassVar[frozenset[str]]
    leave: ClassVar[Leave]
    timeout = _PATIENCE_S
    server_version, sys_version = "faultwatch-edge", ""

    def do_GET(self) -> None:
        if not self._is_local():
            return
        if self.path == "/state.json":
            body = json.dumps(type(self).state(), allow_nan=False).encode()
            self._answer(HTTPStatus.OK, body, "application/json")
        elif self.path == "/metrics":
            body = type(self).metrics().encode()
            self._answer(HTTPStatus.OK, body, "text/plain; version=0.0.4; charset=utf-8")
        elif self.path in _FILES:
            name, kind = _FILES[self.path]
            body = resources.files("faultwatch_edge").joinpath("page", name).read_bytes()
            self._answer(HTTPStatus.OK, body, kind)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        asset = unquote(self.path.removeprefix(_ORDERS))
        if not self._is_local():
            return
        if not self.path.startswith(_ORDERS) or asset not in self.assets:
            self._refuse(HTTPStatus.NOT_FOUND, "no such asset")
            return
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > LARGEST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LARGEST} bytes")
            return
        body = self.rfile.read(int(length))
        try:
            read_order(body)
        except BundleError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        try:
            type(self).leave(asset, body.decode("utf-8"))
        except SpoolError as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return
        self._answer(HTTPStatus.ACCEPTED, b"", "text/plain")

    def _is_local(self) -> bool:
        """Whether the browser means this machine: another name may be pointed at it."""
        name = self.headers.get("Host", "").rpartition(":")[0]
        if name in _NAMES:
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "expected http://localhost or http://127.0.0.1")
        return False

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._answer(status, sentence.encode(), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _say_nothing(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """A page that refreshes itself would fill the log."""

    log_message = _say_nothing
