"""Alarms and events to a web address: one request each, in order, until it was taken."""

import json
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from queue import Queue
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from faultwatch_edge.config import WebhookConfig
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.spool import Record, SinkName
from faultwatch_edge.web_client import PATIENCE_S, make_opener, one_line

MOST_OUT: Final = 16
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
_NOT_NOW: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class Webhook:
    """A sink: see ``delivery.Sink``. A thread of its own posts while it is open.

    What an asset in shadow says is not posted: nobody is to be called by it.

    An answer 2xx takes a record; 4xx refuses it, and it is posted again later, after others; where
    there is no answer, or any other, all wait, with growing pauses. Redirections are not followed.

    Args:
        config: where to.
        token: sent as ``Authorization: Bearer``; None = none.
        note: takes a sentence for whoever looks at the log.

    Raises:
        ConfigError: the certificate authority's file or the token cannot be used.
    """

    name: SinkName = "webhook"

    def __init__(
        self, config: WebhookConfig, *, token: str | None, note: Callable[[str], None]
    ) -> None:
        self._url, self._note = config.url, note
        self._headers = {"Content-Type": "application/json; charset=utf-8"}
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise ConfigError("the webhook's token has other characters than printable ASCII")
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = make_opener(config.ca, option="webhook.ca")
        self._out: Queue[tuple[int, bytes] | None] = Queue()
        self._done: deque[tuple[int, bool]] = deque()
        self._waiting = 0
        self._closing = Event()
        self._is_away = False
        self._said = ""
        self._thread = Thread(target=self._post_all, name="webhook", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._out.put(None)
        self._thread.join(PATIENCE_S + 1)

    @property
    def is_ready(self) -> bool:
        """Whether there was an answer to the last request."""
        return not self._is_away

    @property
    def room(self) -> int:
        """How many records may be given now."""
        return MOST_OUT - self._waiting

    def send(self, record: Record, body: str, *, number: int) -> None:
        """Give a record to the thread."""
        del record
        self._waiting += 1
        if json.loads(body).get("shadow"):
            self._done.append((number, False))
            return
        self._out.put((number, body.encode()))

    def delivered(self) -> tuple[list[int], list[int]]:
        """Numbers of what was taken since the last call, and of what was refused."""
        taken: list[int] = []
        refused: list[int] = []
        for _ in range(len(self._done)):
            number, is_refused = self._done.popleft()
            self._waiting -= 1
            (refused if is_refused else taken).append(number)
        return taken, refused

    def _post_all(self) -> None:
        while (one := self._out.get()) is not None and not self._closing.is_set():
            number, body = one
            pause_s = FIRST_PAUSE_S
            while (is_refused := self._post(body)) is None:
                self._is_away = True
                if self._closing.wait(pause_s):
                    return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._is_away = False
            self._done.append((number, is_refused))

    def _post(self, body: bytes) -> bool | None:
        """Whether it was refused; None = there was no answer that says so."""
        request = urllib.request.Request(self._url, body, self._headers, method="POST")  # noqa: S310 - http or https, by the configuration
        try:
            with self._opener.open(request, timeout=PATIENCE_S):
                self._say("")
                return False
        except urllib.error.HTTPError as error:
            error.close()
            self._say(f"{self._url} answers {error.code} {one_line(error.reason)}; tried again")
            is_refusal = HTTPStatus.BAD_REQUEST <= error.code < HTTPStatus.INTERNAL_SERVER_ERROR
            return True if is_refusal and error.code not in _NOT_NOW else None
        except (OSError, HTTPException, ValueError) as error:
            self._say(f"{self._url} cannot be reached ({one_line(error)}); tried again")
            return None

    def _say(self, sentence: str) -> None:
        """A sentence, once until another is said."""
        if sentence != self._said and sentence:
            self._note(sentence)
        self._said = sentence
