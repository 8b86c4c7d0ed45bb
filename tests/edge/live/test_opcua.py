"""What a real OPC UA server measures arrives as samples, whatever happens to it meanwhile."""

import math
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from faultwatch_edge.config import OpcUaConfig
from faultwatch_edge.errors import ConfigError
from faultwatch_edge.sources.opcua import OpcUaSource
from faultwatch_edge.sources.opcua_values import AssetNodes, OpcUaRejection, OpcUaSample

pytestmark = pytest.mark.slow

NODES: Final = tuple((one, f"ns=1;s={one}") for one in ("flow", "valve", "total"))
PUMP: Final = AssetNodes("pump", NODES, frozenset({"valve"}), period_s=0.1)
SECOND: Final = 1_000_000
Taken = list[OpcUaSample | OpcUaRejection]


@pytest.fixture
def server(run_opcua: Any) -> Iterator[Any]:
    with run_opcua() as one:
        yield one


@dataclass
class Listener:
    """The source, and what came from it."""

    source: OpcUaSource
    notes: list[str]
    taken: Taken = field(default_factory=list)

    def hears(self, count: int, wait_for: Callable[..., None]) -> Taken:
        """The next few that come."""

        def are_there() -> bool:
            self.taken += self.source.take(100)
            return len(self.taken) >= count

        wait_for(are_there, f"{count} of {self.taken}, {self.notes}")
        taken, self.taken = self.taken, []
        return taken

    def said(self, words: str) -> int:
        return sum(words in note for note in self.notes)


@contextmanager
def listening(
    config: OpcUaConfig, password: str | None = None, nodes: AssetNodes = PUMP
) -> Iterator[Listener]:
    notes: list[str] = []
    source = OpcUaSource(
        config, password=password, wanted=lambda: [nodes], note=notes.append, again_s=0.2
    )
    with source:
        yield Listener(source, notes)


def plain(server: Any) -> OpcUaConfig:
    return OpcUaConfig(server.address, security="none")


def sample(second: float, *, is_again: bool = False, **values: float) -> OpcUaSample:
    return OpcUaSample("pump", round(second * SECOND), values, is_again)


def test_values_come_with_the_time_of_their_source_also_where_they_are_as_before(
    server: Any, wait_for: Any
) -> None:
    with listening(plain(server)) as heard:
        wait_for(lambda: heard.source.is_connected, "the connection")
        server.order(
            write=[
                {"channel": "flow", "value": 1.5, "at": 100},
                {"channel": "valve", "value": True, "at": 100},
                {"channel": "total", "value": 7, "at": 100, "type": "UInt32"},
            ]
        )
        assert heard.hears(1, wait_for) == [sample(100, flow=1.5, valve=1, total=7)]
        server.write("flow", 1.5, 101)
        assert heard.hears(1, wait_for) == [sample(101, flow=1.5)]
        server.order(
            write=[{"channel": "flow", "value": 1.5, "at": second} for second in (102, 103, 104)]
        )
        assert heard.hears(3, wait_for) == [sample(second, flow=1.5) for second in (102, 103, 104)]
        assert not heard.said("has lost")
        server.write("flow", 2.5, 105, by_server=True, status=0x480)
        assert heard.hears(1, wait_for) == [sample(105, flow=2.5)]
        assert heard.said("pump: the server has lost values of channel 'flow'") == 1


def test_a_value_whose_quality_is_not_good_is_missing_and_counted(
    server: Any, wait_for: Any
) -> None:
    with listening(plain(server)) as heard:
        wait_for(lambda: heard.source.bad["pump"] == 3, "what the server does not know yet")
        server.order(
            write=[
                {"channel": "flow", "value": 1.5, "at": 100, "status": "BadSensorFailure"},
                {"channel": "valve", "value": 1.0, "at": 100, "status": "UncertainLastUsableValue"},
                {"channel": "total", "value": math.nan, "at": 100},
            ]
        )
        wait_for(lambda: heard.source.bad["pump"] == 6, "the bad values")
        server.write("total", 3.0, 101)
        assert heard.hears(1, wait_for) == [sample(101, total=3)]


def test_what_is_no_number_is_refused_once_until_it_changes(server: Any, wait_for: Any) -> None:
    bad: dict[str, object] = {"channel": "flow", "value": None, "at": 1, "status": "BadNoData"}

    def write(*values: object) -> list[dict[str, object]]:
        return [one for value in values for one in (bad, bad | {"value": value, "status": "Good"})]

    with listening(plain(server)) as heard:
        wait_for(lambda: heard.source.is_connected, "the connection")
        server.order(write=write("high", "low", [1.0, 2.0], 1.0, "high"))
        taken = heard.hears(5, wait_for)
        refused = [one for one in taken if isinstance(one, OpcUaRejection)]
        assert [one.is_again for one in refused] == [False, True, False, False]
        assert refused[0].reason == (
            "node 'ns=1;s=flow' of channel 'flow' has text, expected a Boolean or a number"
        )
        assert "has an array, expected" in refused[2].reason
        server.write("valve", 1.0, None)
        (timeless,) = heard.hears(1, wait_for)
        assert isinstance(timeless, OpcUaRejection)
        assert "without a time of source or server" in timeless.reason


def test_what_an_unchanged_channel_is_goes_with_the_first_sample_after_it(
    server: Any, wait_for: Any
) -> None:
    server.write("valve", 1.0, 50)
    server.write("flow", 9.0, 60)
    with listening(plain(server)) as heard:
        assert heard.hears(1, wait_for) == [sample(60, flow=9, is_again=True)]
        server.write("flow", 10.0, 100)
        server.write("flow", 11.0, 101)
        assert heard.hears(2, wait_for) == [sample(100, flow=10, valve=1), sample(101, flow=11)]


def test_a_node_that_vanishes_is_said_once_and_watched_again_when_it_is_back(
    server: Any, wait_for: Any
) -> None:
    others = ("speed", "ns=1;s=speed"), ("odd", "ns=1;g=odd")
    nodes = AssetNodes("pump", (*NODES, *others), frozenset(), 0.1)
    with listening(plain(server), nodes=nodes) as heard:
        wait_for(lambda: heard.said("node 'ns=1;g=odd' of channel 'odd' cannot be watched"), "odd")
        wait_for(lambda: heard.said("node 'ns=1;s=speed' of channel 'speed' cannot be"), "speed")
        server.order(delete="flow")
        wait_for(lambda: heard.said("'flow' cannot be watched (BadNodeIdUnknown)"), "flow")
        server.write("total", 1.0, 100)
        assert heard.hears(1, wait_for) == [sample(100, total=1)]
        server.order(add="flow")
        wait_for(lambda: heard.said("channel 'flow' is there again"), "flow again")
        server.write("flow", 2.0, 101)
        assert heard.hears(1, wait_for) == [sample(101, flow=2)]
        assert heard.said("cannot be watched") == 3


def test_other_nodes_are_watched_when_others_are_wanted(server: Any, wait_for: Any) -> None:
    wanted, notes = [replace(PUMP, nodes=NODES[:1])], list[str]()
    with OpcUaSource(
        plain(server), password=None, wanted=lambda: list(wanted), note=notes.append, again_s=0.1
    ) as source:
        wait_for(lambda: source.bad["pump"] == 1, "the first node")
        wanted[:] = [replace(PUMP, nodes=NODES[1:])]
        wait_for(lambda: source.bad["pump"] == 3, "the two others")
        heard = Listener(source, notes)
        server.write("total", 1.0, 100)
        assert heard.hears(1, wait_for) == [sample(100, total=1)]
        assert len(notes) == 1


def test_a_server_that_was_stopped_is_said_once_and_found_again(server: Any, wait_for: Any) -> None:
    with listening(plain(server)) as heard:
        wait_for(lambda: heard.source.is_connected, "the connection")
        server.stop()
        wait_for(lambda: heard.said("cannot be reached"), "the refusal")
        assert not heard.source.is_connected
        assert heard.said("has gone") == heard.said("cannot be reached") == 1
        server.start()
        server.write("flow", 3.0, 100)
        assert heard.hears(1, wait_for) == [sample(100, flow=3, is_again=True)]
        assert heard.said("connected to the OPC UA server") == 2


def test_a_server_that_hangs_is_noticed(server: Any, wait_for: Any) -> None:
    with listening(plain(server)) as heard:
        wait_for(lambda: heard.source.is_connected, "the connection")
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: heard.said("has gone"), "the end of patience")
        server.process.send_signal(signal.SIGCONT)
        wait_for(lambda: heard.source.is_connected, "the server again")


def make_certificate(folder: Path, name: str, uri: str | None) -> tuple[Path, Path]:
    """A certificate that is signed by itself, as OPC UA applications have them, and its key."""
    now, key = datetime.now(UTC), rsa.generate_private_key(65_537, 2_048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(socket.gethostname())]
    names += [] if uri is None else [x509.UniformResourceIdentifier(uri)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    certificate, _ = make_certificate(folder, "server", "urn:plant:server")
    encoded = x509.load_pem_x509_certificate(certificate.read_bytes())
    (folder / "server.der").write_bytes(encoded.public_bytes(serialization.Encoding.DER))
    make_certificate(folder, "other", "urn:plant:server")
    make_certificate(folder, "agent", "urn:plant:agent")
    make_certificate(folder, "nameless", None)
    return folder


@pytest.fixture(scope="module")
def secured(folder: Path, run_opcua: Any) -> Iterator[Any]:
    words = [str(folder / "server.pem"), str(folder / "server.key"), "edge", "edge-secret"]
    with run_opcua(*words) as one:
        yield one


def encrypted(address: str, folder: Path, **changes: str) -> OpcUaConfig:
    given: dict[str, Any] = {
        "certificate": str(folder / "agent.pem"),
        "private_key": str(folder / "agent.key"),
        "server_certificate": str(folder / "server.der"),
        "username": "edge",
    }
    return OpcUaConfig(address, **{**given, **changes})


def test_what_comes_encrypted_is_the_same(secured: Any, folder: Path, wait_for: Any) -> None:
    with listening(encrypted(secured.address, folder), "edge-secret") as heard:
        wait_for(lambda: heard.source.is_connected, "the connection")
        secured.write("flow", 1.5, 100)
        assert heard.hears(1, wait_for) == [sample(100, flow=1.5)]


@pytest.mark.parametrize(
    ("user", "password"), [("edge", "wrong"), ("who", "edge-secret"), (None, None)]
)
def test_a_user_that_is_refused_is_said_once(
    secured: Any, folder: Path, wait_for: Any, user: str | None, password: str | None
) -> None:
    who = "a user without a name" if user is None else f"the user '{user}' or its password"
    config = replace(encrypted(secured.address, folder), username=user)
    with listening(config, password) as heard:
        wait_for(lambda: heard.notes, "the refusal")
        assert f"refuses {who} (Bad" in heard.notes[0]
        time.sleep(1.5)
        assert len(heard.notes) == 1
        assert not heard.source.is_connected


def test_a_server_that_shows_another_certificate_is_refused(
    secured: Any, folder: Path, wait_for: Any
) -> None:
    config = encrypted(secured.address, folder, server_certificate=str(folder / "other.pem"))
    with listening(config, "edge-secret") as heard:
        wait_for(lambda: heard.notes, "the refusal")
        assert "shows another certificate than opcua.server_certificate" in heard.notes[0]
        assert not heard.source.is_connected


def test_a_value_larger_than_any_measurement_is_not_waited_for(server: Any, wait_for: Any) -> None:
    with listening(plain(server)) as heard:
        wait_for(lambda: heard.source.is_connected, "the connection")
        server.write("flow", [0.0] * 600_000, 100)
        wait_for(lambda: heard.said("has gone"), "the end of the connection")
        assert not heard.source.take(1)


def test_a_server_that_announces_an_endless_message_is_cut_off(wait_for: Any) -> None:
    acknowledge = struct.pack("<4sI5I", b"ACKF", 28, 0, 65_535, 65_535, 0, 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = OpcUaConfig(f"opc.tcp://127.0.0.1:{listener.getsockname()[1]}", security="none")
        with listening(config) as heard, listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(acknowledge)
            connection.recv(4096)
            with pytest.raises(OSError, match=r"reset|pipe"):
                connection.sendall(struct.pack("<4sI", b"OPNF", 2**31) + bytes(50_000_000))
            wait_for(lambda: heard.said("cannot be reached"), "the refusal")


def test_a_server_without_encryption_is_no_good_where_it_is_wanted(
    server: Any, folder: Path, wait_for: Any
) -> None:
    with listening(encrypted(server.address, folder), "edge-secret") as heard:
        wait_for(lambda: heard.notes, "the refusal")
        assert "offers no Basic256Sha256 with encryption" in heard.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("certificate", None, "cannot be read"),
        ("certificate", b"x", "is no certificate"),
        ("private_key", b"x", "is no key"),
        ("server_certificate", b"-----BEGIN", "is no certificate"),
    ],
)
def test_a_file_that_is_no_certificate_or_key_is_refused(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / "bad").write_bytes(content)
    config = encrypted("opc.tcp://localhost:4840", folder, **{name: str(tmp_path / "bad")})
    with pytest.raises(ConfigError, match=rf"opcua\.{name} '.*/bad' {sentence}"):
        OpcUaSource(config, password=None, wanted=list, note=print)


def test_a_certificate_that_names_no_application_is_refused(folder: Path) -> None:
    config = encrypted("opc.tcp://localhost:4840", folder, certificate=str(folder / "nameless.pem"))
    with pytest.raises(ConfigError, match="names no application, expected a URI such as urn:"):
        OpcUaSource(config, password=None, wanted=list, note=print)


def test_a_key_that_is_not_of_rsa_is_refused(folder: Path, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "key").write_bytes(key)
    config = encrypted("opc.tcp://localhost:4840", folder, private_key=str(tmp_path / "key"))
    with pytest.raises(ConfigError, match="is not of RSA, expected that"):
        OpcUaSource(config, password=None, wanted=list, note=print)
