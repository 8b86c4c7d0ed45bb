"""What a broker sends that no broker should: the connection ends, and whoever reads it does not."""

from socket import create_server

import pytest

from faultwatch_edge.config import MqttConfig
from faultwatch_edge.mqtt import Connection

CONNECTED = b"\x20\x03\x00\x00\x00"


@pytest.mark.parametrize(
    ("packet", "sentence"),
    [
        (b"\x32\xff\xff\xff\x7f", "the broker sends 268435455 bytes, expected at most 263168"),
        (b"\x32\x80\x80\x40\x00\x0aplant/pump", "the broker sends 1048576 bytes"),
    ],
)
def test_a_packet_that_is_larger_than_the_broker_was_told_is_not_waited_for(
    packet: bytes, sentence: str
) -> None:
    said: list[str] = []
    with create_server(("127.0.0.1", 0)) as server:
        config = MqttConfig(port=server.getsockname()[1])
        connection = Connection(
            config, password=None, filters=["plant/pump"], will=("w", ""), note=said.append
        )
        with connection:
            broker, _ = server.accept()
            with broker:
                broker.sendall(CONNECTED + packet)
                while broker.recv(4096):
                    pass
    assert sentence in said[-1]
