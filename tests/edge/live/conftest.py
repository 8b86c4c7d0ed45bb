"""A real broker, encrypted, with passwords and access lists; the agent as a process beside it."""

import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

SHIPPED: Final = Path(__file__).parents[3] / "deploy" / "mosquitto"
PROGRAM: Final = Path("/usr/sbin/mosquitto")
USERS: Final = ("edge", "gateway", "operator", "collector")
PATIENCE_S: Final = 20.0
OPCUA: Final = Path(__file__).with_name("opcua_server.py")
Body = dict[str, Any]


def _make_certificates(folder: Path) -> None:
    """A certificate authority, and a broker's certificate by it."""
    now = datetime.now(UTC)

    def made(name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer, signing_key = issuer or (subject, key)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        authority = x509.BasicConstraints(ca=issuer is None, path_length=None)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(authority, critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(signing_key, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return subject, key

    made("broker", made("ca", None))


@dataclass
class Broker:
    """Mosquitto by the configuration that ships."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - a broker of our own
                [PROGRAM, "-c", str(self.folder / "mosquitto.conf")],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(self._answers, "the broker")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False


def wait_for(is_so: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < end, f"waited {patience_s:g} s for {what}"
        time.sleep(0.02)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if not PROGRAM.exists():
        pytest.skip("there is no MQTT broker; install the Debian package mosquitto")
    folder = tmp_path / "broker"
    (folder / "kept").mkdir(parents=True)
    _make_certificates(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(SHIPPED / "acl", folder / "acl")
    passwords = folder / "passwords"
    passwords.touch(mode=0o600)
    for user in USERS:
        words = ["/usr/bin/mosquitto_passwd", "-b", str(passwords), user, f"{user}-secret"]
        subprocess.run(words, check=True)  # noqa: S603 - our own words
    text = (SHIPPED / "mosquitto.conf").read_text()
    for shipped, here in {
        "listener 8883": f"user root\nlistener {port}",
        "/etc/mosquitto/certs/": f"{folder}/",
        "/etc/mosquitto/": f"{folder}/",
        "/var/lib/mosquitto/": f"{folder}/kept/",
    }.items():
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / "mosquitto.conf").write_text(text)
    running = Broker(folder, port)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@dataclass
class Peer:
    """Another client of the broker; ``collector`` hears everything, also what came while away."""

    client: paho.Client
    heard: list[tuple[str, Body]] = field(default_factory=list)
    is_subscribed: bool = False

    def say(self, topic: str, body: object) -> bool:
        """Publish; whether the broker took it."""
        codes: list[bool] = []
        self.client.on_publish = lambda *found: codes.append(found[3].is_failure)
        self.client.publish(topic, body if isinstance(body, bytes) else json.dumps(body), qos=1)
        wait_for(lambda: codes, f"the broker to take {topic}")
        return not codes[0]

    def told(self, *kinds: str) -> list[Body]:
        return [body for _, body in self.heard if body.get("kind") in kinds]


@contextmanager
def peer(broker: Broker, user: str, topic: str | None = None) -> Iterator[Peer]:
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=f"{user}-test", protocol=paho.MQTTv5
    )
    client.username_pw_set(user, f"{user}-secret")
    client.tls_set(ca_certs=str(broker.ca), tls_version=ssl.PROTOCOL_TLS_CLIENT)
    client.reconnect_delay_set(1, 1)
    client.on_socket_open = lambda *found: found[2].setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    one = Peer(client)
    if topic is not None:

        def subscribe(*_: object) -> None:
            client.subscribe(topic, qos=1)

        client.on_connect = subscribe
        client.on_subscribe = lambda *_: setattr(one, "is_subscribed", True)
    client.on_message = lambda _, __, message: one.heard.append(
        (message.topic, json.loads(message.payload))
    )
    session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
    session.SessionExpiryInterval = 3_600
    client.connect("127.0.0.1", broker.port, clean_start=False, properties=session)
    client.loop_start()
    try:
        wait_for(lambda: client.is_connected() and (topic is None or one.is_subscribed), user)
        yield one
    finally:
        client.disconnect()
        client.loop_stop()
        client.on_connect = client.on_subscribe = client.on_message = client.on_publish = None


@dataclass
class AgentProcess:
    """``faultwatch-edge serve`` as a process."""

    config: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    program: Sequence[str] = ("-m", "faultwatch_edge")

    def start(self, password: str = "edge-secret") -> None:  # noqa: S107
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, *self.program, "serve", str(self.config)],
                stderr=log,
                env={**os.environ, "FAULTWATCH_EDGE_MQTT_PASSWORD": password},
            )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(10)
        self.process = None
        return code

    @property
    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def agent(
    broker: Broker, bundle_path: Path, key_folder: Path, tmp_path: Path
) -> Iterator[AgentProcess]:
    config = tmp_path / "edge.toml"
    config.write_text(
        f"""
[agent]
folder = "state"
keys = ["{key_folder / "faultwatch.pub"}"]

[mqtt]
host = "localhost"
port = {broker.port}
username = "edge"
ca = "broker/ca.pem"

[page]
port = 0

[[asset]]
bundle = "{bundle_path}"
topic = "plant/pump_07"
time = "at"
time_format = "s"
keys = {{ valve = "state.valve" }}
"""
    )
    one = AgentProcess(config, tmp_path / "log")
    one.log.touch()
    yield one
    if one.process is not None:
        one.process.kill()
        one.process.wait()


@dataclass
class OpcUaServer:
    """An OPC UA server as a process that can be stopped and started again."""

    port: int
    words: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/plant"

    def start(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - a server of our own
            [sys.executable, "-W", "ignore", str(OPCUA), str(self.port), *self.words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answered("ready")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def order(self, **order: Any) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self._answered("done")

    def write(self, channel: str, value: object, at: float | None, **more: object) -> None:
        self.order(write=[{"channel": channel, "value": value, "at": at, **more}])

    def _answered(self, word: str) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word


@contextmanager
def run_opcua(*words: str) -> Iterator[OpcUaServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = OpcUaServer(free.getsockname()[1], words)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session", name="run_opcua")
def _run_opcua() -> Callable[..., AbstractContextManager[OpcUaServer]]:
    """A server for as long as it is needed; words make it encrypted, see ``opcua_server.py``."""
    return run_opcua


@pytest.fixture(name="peer")
def _peer(broker: Broker) -> Callable[..., AbstractContextManager[Peer]]:
    """Another client of the broker: who, and what it listens to."""
    return partial(peer, broker)


@pytest.fixture(name="wait_for")
def _wait_for() -> Callable[..., None]:
    """Wait until something is so."""
    return wait_for
