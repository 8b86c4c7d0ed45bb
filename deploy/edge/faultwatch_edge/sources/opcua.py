"""One connection to an OPC UA server, in a thread of its own: what changes there comes by itself.

The server watches the nodes of all assets and sends what is measured anew. It does not send again
what was sent, or what happened while the connection was lost: that is missing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UASocketProtocol
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from faultwatch_edge.config import OpcUaConfig
from faultwatch_edge.sources.opcua_certificates import Credentials, read_credentials
from faultwatch_edge.sources.opcua_subscription import (
    ALIVE_S,
    ANSWER_S,
    LIFETIME_S,
    Node,
    Subscription,
)
from faultwatch_edge.sources.opcua_values import (
    AssetNodes,
    OpcUaRejection,
    OpcUaSample,
    OpcUaValues,
)

LARGEST_MESSAGE: Final = 4 * 1024 * 1024
_MOST_CHUNKS: Final = 512
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_GOODBYE_S: Final = 2.0
_NAME: Final = "faultwatch-edge"
_USER_REFUSED: Final = (
    StatusCodes.BadUserAccessDenied,
    StatusCodes.BadIdentityTokenInvalid,
    StatusCodes.BadIdentityTokenRejected,
)


class _Client(Client):
    """asyncua's client, which believes no server that says it may send without bounds."""

    async def connect_socket(self) -> None:  # type: ignore[explicit-override]  # asyncua's own name
        await super().connect_socket()
        protocol = self.uaclient.protocol
        if protocol is not None:
            read = protocol.data_received
            protocol.data_received = lambda data: _receive(protocol, read, data)  # type: ignore[method-assign]

    async def send_hello(self) -> None:  # type: ignore[explicit-override]  # asyncua's own name
        await super().send_hello()
        if self.uaclient.protocol is not None:
            limits = self.uaclient.protocol._connection._limits  # noqa: SLF001 - set nowhere else
            limits.max_message_size, limits.max_chunk_count = LARGEST_MESSAGE, _MOST_CHUNKS
            limits.max_recv_buffer = LARGEST_MESSAGE


def _receive(protocol: UASocketProtocol, read: Callable[[bytes], None], data: bytes) -> None:
    """Pass on what came, but wait for no more of a message than it may be long."""
    read(data)
    if len(protocol.receive_buffer or b"") > LARGEST_MESSAGE:
        protocol.receive_buffer = None
        protocol.disconnect_socket()


class OpcUaSource:
    """Subscribes to the nodes of all assets, and hands over what comes.

    Args:
        config: where and as whom.
        password: None = none.
        wanted: gives the nodes, as they are wanted now.
        note: takes a sentence for whoever looks at the log.
        again_s: how often nodes are looked for that are not there, or may have gone.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """

    def __init__(
        self,
        config: OpcUaConfig,
        *,
        password: str | None,
        wanted: Callable[[], Sequence[AssetNodes]],
        note: Callable[[str], None],
        again_s: float = 30.0,
    ) -> None:
        self._config, self._password, self._wanted = config, password, wanted
        self._note, self._said = note, ""
        self._again_s = again_s
        self._credentials = None if config.security == "none" else read_credentials(config)
        self._values = OpcUaValues(note)
        self._is_ready = False
        self._absent: set[Node] = set()
        self._stop, self._begun = asyncio.Event(), Event()
        self._thread = Thread(target=lambda: asyncio.run(self._run()), name=_NAME, daemon=True)
        logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)  # what matters is said by us

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def is_connected(self) -> bool:
        """Whether the server is there and watches the nodes."""
        return self._is_ready

    @property
    def bad(self) -> Mapping[str, int]:
        """Values without a good quality so far, by asset."""
        return self._values.bad

    def take(self, most: int, *, timeout_s: float = 0.0) -> Sequence[OpcUaSample | OpcUaRejection]:
        """What came, in order; waits for the first."""
        return self._values.take(most, timeout_s=timeout_s)

    @property
    def _where(self) -> str:
        return f"the OPC UA server at {self._config.address}"

    def _say(self, sentence: str) -> None:
        """A sentence, once until another is said: the server may be away for days."""
        if sentence != self._said:
            self._said = sentence
            self._note(sentence)

    async def _run(self) -> None:
        """Work until ``_stop`` is set."""
        self._loop = asyncio.get_running_loop()
        # Tasks of asyncua's own that end by an error: the connection is then lost, which is said.
        self._loop.set_exception_handler(lambda *_: None)
        self._begun.set()
        work = asyncio.create_task(self._work())
        await self._stop.wait()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    async def _work(self) -> None:
        """One session after the other, with growing pauses while there is none."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._session(self._wanted())
            except Exception as error:  # noqa: BLE001 - whatever a server does must not end the thread
                self._say(f"{await self._reason(error)}; tried again")
            finally:
                was_ready, self._is_ready = self._is_ready, False
                self._values.forget()
            pause_s = _FIRST_PAUSE_S if was_ready else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _session(self, wanted: Sequence[AssetNodes]) -> None:
        """Connect, subscribe and listen; ends when other nodes are wanted.

        Raises:
            Exception: there is no connection, or it is lost.
        """
        client = await self._client()
        try:
            await client.connect()
            subscription = Subscription(client, self._values, self._tell)
            await subscription.begin(wanted)
            self._is_ready = True
            self._say(f"connected to {self._where}{subscription.revised}")
            while self._wanted() == wanted:
                await subscription.listen(self._again_s)
                await subscription.look()
        finally:
            await _end(client)

    async def _client(self) -> _Client:
        client = _Client(self._config.address, timeout=ANSWER_S, watchdog_intervall=ALIVE_S)
        client.name = client.description = _NAME
        client.product_uri = client.application_uri = f"urn:{_NAME}"
        client.session_timeout = round(1_000 * LIFETIME_S)
        client.max_messagesize, client.max_chunkcount = LARGEST_MESSAGE, _MOST_CHUNKS
        if self._config.username is not None:
            client.set_user(self._config.username)
            client.set_password(self._password or "")
        own = self._credentials
        if own is not None:
            client.application_uri = own.uri
            await client.set_security(
                SecurityPolicyBasic256Sha256,
                CertProperties(own.certificate, "der"),
                CertProperties(own.private_key, "pem"),
                server_certificate=CertProperties(own.server_certificate, "der"),
            )
        return client

    def _tell(self, node: Node, problem: str | None) -> None:
        """Say that a node cannot be watched, or is there again; once until it changes."""
        if (problem is not None) == (node in self._absent):
            return
        where = f"{node.asset}: node '{node.node}' of channel '{node.channel}'"
        if problem is None:
            self._absent.discard(node)
            self._note(f"{where} is there again")
        else:
            self._absent.add(node)
            self._note(f"{where} cannot be watched ({problem}); the channel is missing meanwhile")

    async def _reason(self, error: Exception) -> str:
        """What an error means to whoever can mend it."""
        if self._is_ready:
            return f"{self._where} has gone ({_text(error)}); what it measures meanwhile is missing"
        if isinstance(error, UaStatusCodeError) and error.code in _USER_REFUSED:
            user = self._config.username
            who = "a user without a name" if user is None else f"the user '{user}' or its password"
            return f"{self._where} refuses {who} ({_text(error)})"
        if self._credentials is not None:
            with suppress(Exception):  # it cannot even be asked
                return await self._mismatch(self._credentials, error)
        return f"{self._where} cannot be reached ({_text(error)})"

    async def _mismatch(self, own: Credentials, error: Exception) -> str:
        """Why a server that answers is no good; what it says only serves the sentence."""
        client = _Client(self._config.address, ANSWER_S)
        endpoints = await client.connect_and_get_server_endpoints()
        shown = {
            bytes(one.ServerCertificate or b"")
            for one in endpoints
            if one.SecurityPolicyUri == SecurityPolicyBasic256Sha256.URI
            and one.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt
        }
        if not shown:
            return f"{self._where} offers no Basic256Sha256 with encryption, expected that"
        if not any(one.startswith(own.server_certificate) for one in shown):
            return f"{self._where} shows another certificate than opcua.server_certificate"
        return f"{self._where} refuses the agent, or its certificate ({_text(error)})"


def _text(error: Exception) -> str:
    if isinstance(error, UaStatusCodeError):
        return ua.StatusCode(error.code).name
    return str(error) or type(error).__name__


async def _end(client: Client) -> None:
    """Say goodbye where somebody listens; close the connection in any case."""
    protocol = client.uaclient.protocol
    with suppress(Exception):
        await asyncio.wait_for(client.disconnect(), _GOODBYE_S)
    if protocol is not None and protocol.transport is not None:
        protocol.transport.abort()
